// Logs reads the log of a job, or follows it while the job runs: all of it,
// one section, the end, what matches an expression, or what took how long.
package main

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"strconv"

	"github.com/gitlabjobs/gitlabjobs"
	"github.com/gitlabjobs/gitlabjobs/examples/internal/command"
	"github.com/gitlabjobs/gitlabjobs/joblog"
)

const help = `logs [flags] [JOB]

Reads a job's log. JOB is an ID, or a name in the newest pipeline. In a terminal
the log comes as it is, in colour; elsewhere, with -plain and with the flags
that pick lines it comes as text: without codes, timestamps and redraws.

examples:
  logs -project group/app 4711                          the whole log
  logs -project group/app -follow deploy                while the job runs
  logs -project group/app -section step_script -tail 20 integration
  logs -project group/app -grep 'FAIL|panic' -context 3 integration
  logs -project group/app -sections integration         a table of what took how long

exit codes: 0 done, 3 nothing matched or the job followed didn't succeed, 1 other failures`

func main() { command.Main("logs", run) }

func run(ctx context.Context, env *command.Env, args []string) error {
	flags := command.Flags(help)
	target := command.AddTarget(flags)
	ref := flags.String("ref", "", "the `branch or tag` in whose newest pipeline the job is looked for by its name")
	follow := flags.Bool("follow", false, "go on until the job has finished")
	plain := flags.Bool("plain", false, "text without colours, also in a terminal")
	sections := flags.Bool("sections", false, "show how long each section took, in place of the log")
	p := &picker{out: env.Stdout}
	flags.StringVar(&p.section, "section", "", "only the lines of the section of this `name`")
	flags.IntVar(&p.tail, "tail", 0, "only the last `lines` of what there would be")
	flags.IntVar(&p.context, "context", 0, "so many `lines` around each that -grep finds")
	flags.Func("grep", "only the lines that match this `regexp`, with their numbers", func(value string) (err error) {
		p.grep, err = regexp.Compile(value)
		return err
	})
	if err := env.Parse(flags, args, 1); err != nil {
		return err
	}
	if p.tail < 0 || p.context < 0 {
		return command.Usagef("-tail and -context aren't negative")
	}
	gitlab, err := env.Connect(target)
	if err != nil {
		return err
	}
	l := &log{GitLab: gitlab, follow: *follow}
	if l.job, err = find(ctx, gitlab, flags.Arg(0), *ref, *follow); err != nil {
		return err
	}
	_, _, p.terminal = command.TerminalSize(env.Stdout)
	p.terminal = p.terminal && !*plain
	switch {
	case *sections:
		err = showSections(env.Stdout, l.open(ctx))
	case p.terminal && !p.picks():
		err = l.copy(ctx, env.Stdout)
	default:
		err = p.show(joblog.Lines(l.open(ctx)))
	}
	if err != nil {
		return err
	}
	if *follow && l.job.Status != gitlabjobs.StatusSuccess {
		fmt.Fprintf(env.Stderr, "Job %d (%s): %s %s\n", l.job.ID, l.job.Name, l.job.Status, l.job.FailureReason)
		return command.ErrUnsuccessful
	}
	return nil
}

// find returns the ID of a job given by its ID, or by its name in the newest
// pipeline. The simulated project has jobs that it is worth to look at.
func find(ctx context.Context, gitlab *command.GitLab, job, ref string, follow bool) (*gitlabjobs.Job, error) {
	if id, err := strconv.ParseInt(job, 10, 64); err == nil {
		return gitlab.Jobs.Get(ctx, gitlab.Project, id)
	}
	if job == "" {
		switch {
		case gitlab.Demo == nil:
			return nil, command.Usagef("which job? Give its ID or name behind the flags")
		case follow:
			job = gitlab.Demo.Running.Name()
		default:
			job = gitlab.Demo.Failed.Name()
		}
	}
	pipeline, err := gitlab.NewestPipeline(ctx, ref)
	if err != nil {
		return nil, err
	}
	for candidate, err := range gitlab.Jobs.AllInPipeline(ctx, gitlab.Project, pipeline, nil) {
		if err != nil {
			return nil, err
		}
		if candidate.Name == job {
			return candidate, nil
		}
	}
	return nil, fmt.Errorf("pipeline %d has no job %q", pipeline, job)
}

// A log is the log of a job.
type log struct {
	*command.GitLab
	job    *gitlabjobs.Job // once it was followed, as it has finished
	follow bool
}

// copy writes the log to w.
func (l *log) copy(ctx context.Context, w io.Writer) error {
	if !l.follow {
		_, err := l.Jobs.DownloadTrace(ctx, l.Project, l.job.ID, w, nil)
		return err
	}
	job, err := l.Jobs.FollowTrace(ctx, l.Project, l.job.ID, w, nil)
	if job != nil {
		l.job = job
	}
	return err
}

// open returns the log as it comes in.
func (l *log) open(ctx context.Context) io.Reader {
	r, w := io.Pipe()
	go func() { w.CloseWithError(l.copy(ctx, w)) }()
	return r
}

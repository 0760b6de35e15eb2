// Watch shows the jobs of a pipeline while they run: as a live table in a
// terminal, as lines elsewhere.
package main

import (
	"context"
	"fmt"
	"time"

	"github.com/gitlabjobs/gitlabjobs"
	"github.com/gitlabjobs/gitlabjobs/examples/internal/command"
)

const help = `watch [flags]

Shows the jobs of a pipeline until none is left that moves by itself: as a live
table in a terminal; as a line for each change where the output is a file or
pipe, or NO_COLOR is set.

examples:
  watch -project group/app                 the newest pipeline
  watch -project group/app -ref main       of a branch
  watch -project group/app -pipeline 4711 && deploy

exit codes: 0 the pipeline succeeded, 3 it didn't, 1 GitLab couldn't be asked`

func main() { command.Main("watch", run) }

func run(ctx context.Context, env *command.Env, args []string) error {
	flags := command.Flags(help)
	target := command.AddTarget(flags)
	pipeline := flags.Int64("pipeline", 0, "the pipeline's `ID`; default: the newest one")
	ref := flags.String("ref", "", "the `branch or tag` whose newest pipeline is meant")
	interval := flags.Duration("interval", 2*time.Second, "the shortest `time` between two looks; it grows while nothing changes")
	if err := env.Parse(flags, args, 0); err != nil {
		return err
	}
	if *interval <= 0 {
		return command.Usagef("-interval %v is no time", *interval)
	}
	gitlab, err := env.Connect(target)
	if err != nil {
		return err
	}
	if *pipeline == 0 {
		if *pipeline, err = gitlab.NewestPipeline(ctx, *ref); err != nil {
			return err
		}
	}
	b := newBoard(fmt.Sprintf("%s pipeline %d", gitlab.Project, *pipeline))
	events := gitlab.Jobs.WatchPipeline(ctx, gitlab.Project, *pipeline, &gitlabjobs.WatchOptions{MinInterval: *interval})
	if _, _, ok := command.TerminalSize(env.Stdout); ok {
		err = live(ctx, env.Stdout, b, events)
	} else {
		for event, failed := range events {
			if err = failed; err != nil {
				break
			}
			b.add(event.Job)
			fmt.Fprintln(env.Stdout, change(event))
		}
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(env.Stdout, "\n%s\n", b.summary())
	if !b.succeeded() {
		return command.ErrUnsuccessful
	}
	return nil
}

// change is the line for an event.
func change(event gitlabjobs.JobEvent) string {
	job := event.Job
	line := fmt.Sprintf("%s %s/%s %d: ", time.Now().Format(time.TimeOnly), job.Stage, job.Name, job.ID)
	if event.Previous != "" {
		line += string(event.Previous) + " -> "
	}
	line += string(job.Status)
	if job.FailureReason != "" {
		line += " (" + string(job.FailureReason) + ")"
	}
	return line
}

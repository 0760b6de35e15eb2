// Timeline draws a pipeline as a Gantt chart: which job was queued and ran
// when, retries, and the critical path. It writes an SVG and an HTML page.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/gitlabjobs/gitlabjobs"
	"github.com/gitlabjobs/gitlabjobs/examples/internal/command"
)

const help = `timeline [flags]

Draws a pipeline as a Gantt chart into NAME.svg, and NAME.html with a table of
the jobs beside it. The API doesn't tell which job needed which: the critical
path is the chain of jobs that ended last before the next one could start.

examples:
  timeline -project group/app                      the newest pipeline
  timeline -project group/app -ref main -o main    of a branch, into main.svg and main.html
  timeline -project group/app -pipeline 4711 -o - >4711.svg`

func main() { command.Main("timeline", run) }

func run(ctx context.Context, env *command.Env, args []string) error {
	flags := command.Flags(help)
	target := command.AddTarget(flags)
	pipeline := flags.Int64("pipeline", 0, "the pipeline's `ID`; default: the newest one")
	ref := flags.String("ref", "", "the `branch or tag` whose newest pipeline is meant")
	name := flags.String("o", "timeline", "the `name` of the files without .svg and .html; - writes the SVG to standard output")
	if err := env.Parse(flags, args, 0); err != nil {
		return err
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
	runs, err := fetch(ctx, gitlab, *pipeline)
	if err != nil {
		return err
	}
	c := newChart(string(gitlab.Project), runs, time.Now())
	if *name == "-" {
		return c.svg(env.Stdout)
	}
	if err := write(*name+".svg", c.svg); err != nil {
		return err
	}
	if err := write(*name+".html", c.html); err != nil {
		return err
	}
	summarize(env.Stdout, c)
	fmt.Fprintf(env.Stdout, "\nDrawn into %[1]s.svg and %[1]s.html.\n", *name)
	return nil
}

// fetch returns all attempts at the jobs and bridges of a pipeline.
func fetch(ctx context.Context, gitlab *command.GitLab, pipeline int64) ([]*attempt, error) {
	var attempts []*attempt
	for job, err := range gitlab.Jobs.AllInPipeline(ctx, gitlab.Project, pipeline, &gitlabjobs.PipelineListOptions{IncludeRetried: true}) {
		if err != nil {
			return nil, err
		}
		attempts = append(attempts, &attempt{Job: job})
	}
	if len(attempts) == 0 {
		return nil, fmt.Errorf("pipeline %d has no jobs", pipeline)
	}
	for bridge, err := range gitlab.Jobs.AllBridges(ctx, gitlab.Project, pipeline, nil) {
		if errors.Is(err, gitlabjobs.ErrNotFound) {
			break // a GitLab before 12.8 has no such list
		}
		if err != nil {
			return nil, err
		}
		attempts = append(attempts, &attempt{Bridge: true, Job: &gitlabjobs.Job{
			ID: bridge.ID, Name: bridge.Name, Stage: bridge.Stage, Status: bridge.Status, AllowFailure: bridge.AllowFailure,
			FailureReason: bridge.FailureReason, QueuedDuration: bridge.QueuedDuration, WebURL: bridge.WebURL,
			CreatedAt: bridge.CreatedAt, StartedAt: bridge.StartedAt, FinishedAt: bridge.FinishedAt,
		}})
	}
	return attempts, nil
}

func write(file string, draw func(io.Writer) error) error {
	var b bytes.Buffer
	if err := draw(&b); err != nil {
		return err
	}
	const readable = 0o644
	return os.WriteFile(file, b.Bytes(), readable)
}

// summarize prints what the picture shows.
func summarize(out io.Writer, c *chart) {
	fmt.Fprintf(out, "%s\n%s\n\n", c.Title(), c.Subtitle())
	fmt.Fprintln(out, "The critical path:")
	jobs := command.Table(out, "job", "starts after", "waited", "queued", "ran", "status")
	var before time.Time
	for _, a := range c.Critical {
		var waited time.Duration
		if !before.IsZero() {
			waited = max(0, a.Ready.Sub(before))
		}
		jobs.AppendRow([]any{strings.TrimSpace(a.Job.Name + " " + a.Try()), clock(a.Ready.Sub(c.Start)), clock(waited), clock(a.Queued()), clock(a.Ran()), a.Job.Status})
		before = a.End
	}
	fmt.Fprintln(out, jobs.Render())
}

// Retrybot retries the jobs of a pipeline that failed because of the
// infrastructure, and leaves those alone whose own script failed.
package main

import (
	"context"
	"fmt"

	"github.com/gitlabjobs/gitlabjobs/examples/internal/command"
)

const help = `retrybot [flags]

Retries the jobs of a pipeline that failed for reasons of the infrastructure,
such as a lost runner, waits for them, and says why it does what. How often a
job has been retried is counted by GitLab, so that starting it again doesn't
start the count anew. It never retries a job twice by mistake, even if an
answer of GitLab gets lost.

examples:
  retrybot -project group/app                     the newest pipeline
  retrybot -project group/app -ref main -max 3    of a branch, at most three times each
  retrybot -project group/app -pipeline 4711 -dry-run

exit codes: 0 no such failure is left, 3 some are, 1 GitLab couldn't be asked`

func main() { command.Main("retrybot", run) }

func run(ctx context.Context, env *command.Env, args []string) error {
	flags := command.Flags(help)
	target := command.AddTarget(flags)
	pipeline := flags.Int64("pipeline", 0, "the pipeline's `ID`; default: the newest one")
	ref := flags.String("ref", "", "the `branch or tag` whose newest pipeline is meant")
	most := flags.Int("max", 2, "retry each job at most so many `times`")
	dryRun := flags.Bool("dry-run", false, "explain, and retry nothing")
	if err := env.Parse(flags, args, 0); err != nil {
		return err
	}
	if *most < 1 {
		return command.Usagef("-max %d retries nothing: say -dry-run for that", *most)
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
	b := &bot{GitLab: gitlab, out: env.Stdout, pipeline: *pipeline, most: *most, dryRun: *dryRun, retries: make(map[string]int), explained: make(map[int64]bool)}
	left, err := b.work(ctx)
	if err != nil {
		return err
	}
	if left > 0 {
		fmt.Fprintf(env.Stdout, "\n%d of the infrastructure's failures are left.\n", left)
		return command.ErrUnsuccessful
	}
	fmt.Fprintln(env.Stdout, "\nNo failure of the infrastructure is left.")
	return nil
}

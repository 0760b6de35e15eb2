// Cleanup deletes the artifacts of old jobs, or marks them as kept, by age,
// name, ref and size. It only shows what it would do unless -apply is given.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/gitlabjobs/gitlabjobs"
	"github.com/gitlabjobs/gitlabjobs/examples/internal/command"
)

const help = `cleanup [flags]

Deletes the artifacts of jobs that match all filters, or with -keep marks them
as kept, so that they don't expire. Logs stay. It is a dry run unless -apply is
given. With -state, progress is kept in a file: the same command goes on there.

examples:
  cleanup -project group/app -older-than 30d                   what it would free
  cleanup -project group/app -older-than 30d -apply            frees it
  cleanup -project group/app -name '^nightly' -larger-than 100MB -apply -state cleanup.json
  cleanup -project group/app -ref '^v[0-9]' -keep -apply       releases don't expire`

func main() { command.Main("cleanup", run) }

func run(ctx context.Context, env *command.Env, args []string) error {
	flags := command.Flags(help)
	target := command.AddTarget(flags)
	chosen := addFilter(flags)
	keep := flags.Bool("keep", false, "mark the artifacts as kept instead of deleting them")
	apply := flags.Bool("apply", false, "do it; without this flag it is a dry run")
	stateFile := flags.String("state", "", "`file` that keeps the progress, so that an interrupted run goes on")
	if err := env.Parse(flags, args, 0); err != nil {
		return err
	}
	if *apply && chosen.empty() {
		return command.Usagef("-apply without a filter means every artifact of the project: say so by -older-than 0s")
	}
	gitlab, err := env.Connect(target)
	if err != nil {
		return err
	}

	c := &cleaner{GitLab: gitlab, out: env.Stdout, filter: chosen, keep: *keep, apply: *apply, now: time.Now(), sums: make(map[string]*sum)}
	task := fmt.Sprintf("%s %s keep=%t apply=%t", gitlab.Project, chosen, *keep, *apply)
	c.state, err = loadState(*stateFile, task)
	if err != nil {
		return err
	}
	err = c.clean(ctx)
	if saveErr := c.state.save(err == nil); saveErr != nil {
		return errors.Join(err, saveErr)
	}
	c.summarize()
	if err != nil {
		return err
	}
	if c.failures > 0 {
		return fmt.Errorf("%d jobs couldn't be changed: see above, then run it again", c.failures)
	}
	return nil
}

// A cleaner goes through the jobs of a project.
type cleaner struct {
	*command.GitLab
	out         io.Writer
	filter      *filter
	keep, apply bool
	now         time.Time
	state       *state
	sums        map[string]*sum // by the job's name
	failures    int
}

// A sum is what a cleaner has found under one name.
type sum struct {
	name   string
	jobs   int
	bytes  int64
	oldest time.Time
}

// clean goes through the list page by page, because a page's cursor, other
// than the place of an iterator, can be written down to go on from.
func (c *cleaner) clean(ctx context.Context) error {
	for {
		page, err := c.list(ctx)
		if err != nil {
			return err
		}
		for _, job := range page.Items {
			if !c.filter.matches(job, c.now) || c.keep && job.ArtifactsExpireAt.IsZero() {
				continue
			}
			if err := c.handle(ctx, job); err != nil {
				return err
			}
		}
		if !page.HasNext() {
			return nil
		}
		c.state.Page, c.state.Cursor = page.NextPage, page.NextCursor
		if err := c.state.save(false); err != nil {
			return err
		}
	}
}

// list returns the page that the state is at.
func (c *cleaner) list(ctx context.Context) (*gitlabjobs.Page[*gitlabjobs.Job], error) {
	const perPage = 100
	page, err := c.Jobs.List(ctx, c.Project, &gitlabjobs.ListOptions{
		Scope:   []gitlabjobs.Status{gitlabjobs.StatusSuccess, gitlabjobs.StatusFailed, gitlabjobs.StatusCanceled},
		PerPage: perPage, Page: c.state.Page, Cursor: c.state.Cursor, Keyset: c.state.Page == 0,
	})
	var refusal *gitlabjobs.Error
	if errors.As(err, &refusal) && refusal.StatusCode == http.StatusMethodNotAllowed && c.state.Page == 0 {
		c.state.Page = 1 // a server without keyset pagination for jobs
		return c.list(ctx)
	}
	return page, err
}

// handle deletes or keeps the artifacts of one job. Both are safe to repeat,
// so the client retries them by itself. An error ends the run: the same would
// meet every other job.
func (c *cleaner) handle(ctx context.Context, job *gitlabjobs.Job) error {
	did := "would delete"
	if c.keep {
		did = "would keep"
	}
	var err error
	switch {
	case c.apply && c.keep:
		did = "kept"
		_, err = c.Jobs.KeepArtifacts(ctx, c.Project, job.ID)
	case c.apply:
		did = "deleted"
		err = c.Jobs.DeleteArtifacts(ctx, c.Project, job.ID)
	}
	what := fmt.Sprintf("%d %s (%s, %s, %s old)", job.ID, job.Name, job.Ref,
		humanize.IBytes(uint64(size(job))), age(job, c.now).Round(time.Minute))
	switch {
	case errors.Is(err, gitlabjobs.ErrNotFound):
		fmt.Fprintln(c.out, "gone already", what)
		return nil
	case errors.Is(err, gitlabjobs.ErrConflict):
		fmt.Fprintln(c.out, "not now", what, "-", err)
		c.failures++
		return nil
	case err != nil:
		return err
	}
	fmt.Fprintln(c.out, did, what)
	s := c.sums[job.Name]
	if s == nil {
		s = &sum{name: job.Name, oldest: job.FinishedAt}
		c.sums[job.Name] = s
	}
	s.jobs++
	s.bytes += size(job)
	if job.FinishedAt.Before(s.oldest) {
		s.oldest = job.FinishedAt
	}
	c.state.Jobs++
	c.state.Bytes += size(job)
	return nil
}

// summarize prints what this run has come to, by the name of the job, and what
// all runs of the state file have.
func (c *cleaner) summarize() {
	if c.state.Jobs == 0 {
		fmt.Fprintln(c.out, "No artifacts match.")
		return
	}
	result := command.Table(c.out, "job", "count", "size", "oldest")
	total := sum{}
	largest := func(a, b *sum) int { return cmp.Or(cmp.Compare(b.bytes, a.bytes), cmp.Compare(a.name, b.name)) }
	for _, s := range slices.SortedFunc(maps.Values(c.sums), largest) {
		result.AppendRow(table.Row{s.name, s.jobs, humanize.IBytes(uint64(s.bytes)), s.oldest.Format(time.DateOnly)})
		total.jobs += s.jobs
		total.bytes += s.bytes
	}
	result.AppendFooter(table.Row{"all", total.jobs, humanize.IBytes(uint64(total.bytes))})
	fmt.Fprintf(c.out, "\n%s\n", result.Render())
	if c.state.Jobs > total.jobs {
		fmt.Fprintf(c.out, "With the runs before: %d jobs, %s.\n", c.state.Jobs, humanize.IBytes(uint64(c.state.Bytes)))
	}
	if !c.apply {
		fmt.Fprintln(c.out, "This was a dry run: nothing was changed. Add -apply to do it.")
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/gitlabjobs/gitlabjobs"
	"github.com/gitlabjobs/gitlabjobs/examples/internal/command"
)

// A bot retries jobs of one pipeline.
type bot struct {
	*command.GitLab
	out       io.Writer
	pipeline  int64
	most      int
	dryRun    bool
	retries   map[string]int // by the job's name
	explained map[int64]bool // the jobs whose fate has been told
}

// work retries and waits in rounds, until a round finds nothing to retry. It
// returns how many failures of the infrastructure are left.
func (b *bot) work(ctx context.Context) (left int, err error) {
	for {
		newest, err := b.newest(ctx)
		if err != nil {
			return 0, err
		}
		left = 0
		var again []*gitlabjobs.Job
		for _, job := range newest {
			if !job.FailureReason.Infrastructure() {
				b.explain(job)
				continue
			}
			left++
			retried, err := b.consider(ctx, job)
			if err != nil {
				return 0, err
			}
			if retried != nil {
				again = append(again, retried)
			}
		}
		if len(again) == 0 {
			return left, nil
		}
		for _, job := range again {
			if err := b.wait(ctx, job); err != nil {
				return 0, err
			}
		}
	}
}

// newest returns the newest attempt at each job, and counts the retries. A
// GitLab before 13.9 doesn't list the earlier attempts: then those of this run
// count.
func (b *bot) newest(ctx context.Context) ([]*gitlabjobs.Job, error) {
	byName := make(map[string]*gitlabjobs.Job)
	attempts := make(map[string]int)
	for job, err := range b.Jobs.AllInPipeline(ctx, b.Project, b.pipeline, &gitlabjobs.PipelineListOptions{IncludeRetried: true}) {
		if err != nil {
			return nil, err
		}
		attempts[job.Name]++
		if known := byName[job.Name]; known == nil || job.ID > known.ID {
			byName[job.Name] = job
		}
	}
	for name, n := range attempts {
		b.retries[name] = max(b.retries[name], n-1)
	}
	return slices.SortedFunc(maps.Values(byName), func(x, y *gitlabjobs.Job) int { return int(x.ID - y.ID) }), nil
}

// explain says, once, why a job isn't a matter of this program.
func (b *bot) explain(job *gitlabjobs.Job) {
	if b.explained[job.ID] {
		return
	}
	b.explained[job.ID] = true
	switch {
	case job.Status == gitlabjobs.StatusFailed && job.FailureReason == "":
		b.say(job, "failed, and this GitLab doesn't tell why: left alone")
	case job.Status == gitlabjobs.StatusFailed:
		b.say(job, "failed by %s, which would fail again: left alone", job.FailureReason)
	case job.Status.Active():
		b.say(job, "%s: run this again once it has finished", job.Status)
	case job.Status == gitlabjobs.StatusManual:
		b.say(job, "waits for a person: left alone")
	}
}

// consider retries a job that failed because of the infrastructure, unless
// something speaks against it. It returns the new job, nil if there is none.
func (b *bot) consider(ctx context.Context, job *gitlabjobs.Job) (*gitlabjobs.Job, error) {
	done := b.retries[job.Name]
	switch {
	case job.Archived:
		b.say(job, "failed by %s, but is archived: too old to be retried", job.FailureReason)
		return nil, nil
	case done >= b.most:
		b.say(job, "failed by %s, but has been retried %d times, and -max is %d: left to a person", job.FailureReason, done, b.most)
		return nil, nil
	case b.dryRun:
		b.say(job, "failed by %s: would be retried, %d of at most %d", job.FailureReason, done+1, b.most)
		return nil, nil
	}
	b.say(job, "failed by %s, not by its script: retry %d of at most %d", job.FailureReason, done+1, b.most)
	b.retries[job.Name]++
	retried, err := b.retry(ctx, job)
	if errors.Is(err, gitlabjobs.ErrNotRetryable) {
		b.say(job, "GitLab refuses to retry it: left alone")
		return nil, nil
	}
	return retried, err
}

// retry retries a job and returns the new one. Where it is open whether GitLab
// has done it, it looks before it asks again. That asking again can't do harm
// even if the first request was only slow: GitLab refuses to retry a job that
// has been retried.
func (b *bot) retry(ctx context.Context, job *gitlabjobs.Job) (*gitlabjobs.Job, error) {
	const tries = 3
	for try := 1; ; try++ {
		retried, err := b.Jobs.Retry(ctx, b.Project, job.ID, nil)
		unknown, refused := errors.Is(err, gitlabjobs.ErrOutcomeUnknown), errors.Is(err, gitlabjobs.ErrNotRetryable)
		if err == nil || !unknown && !refused {
			return retried, err
		}
		if unknown {
			b.say(job, "GitLab's answer got lost: looking whether it was retried")
		}
		retried, lookErr := b.successor(ctx, job)
		switch {
		case lookErr != nil:
			return nil, errors.Join(err, lookErr)
		case retried != nil:
			b.say(job, "was retried: job %d", retried.ID)
			return retried, nil
		case refused || try == tries:
			return nil, err
		}
		b.say(job, "was not retried: asking again")
	}
}

// successor returns the job that has taken another one's place, nil if there
// is none. It looks more than once, since GitLab may still be at it.
func (b *bot) successor(ctx context.Context, job *gitlabjobs.Job) (*gitlabjobs.Job, error) {
	const (
		looks = 3
		pause = 2 * time.Second
	)
	for look := 1; ; look++ {
		for other, err := range b.Jobs.AllInPipeline(ctx, b.Project, b.pipeline, nil) {
			if err != nil {
				return nil, err
			}
			if other.Name == job.Name && other.ID > job.ID {
				return other, nil
			}
		}
		if look == looks {
			return nil, nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// wait waits for a job and says what became of it.
func (b *bot) wait(ctx context.Context, job *gitlabjobs.Job) error {
	b.say(job, "is the new try: waiting for it, see %s", job.WebURL)
	done, err := b.Jobs.Wait(ctx, b.Project, job.ID, nil)
	if errors.Is(err, gitlabjobs.ErrManual) {
		return nil // the next round explains it
	}
	if err != nil {
		return err
	}
	b.explained[done.ID] = !done.FailureReason.Infrastructure()
	switch {
	case done.FailureReason == "":
		b.say(done, "%s", done.Status)
	case !done.FailureReason.Infrastructure():
		b.say(done, "failed by %s this time, which isn't the infrastructure: left alone", done.FailureReason)
	}
	return nil
}

func (b *bot) say(job *gitlabjobs.Job, format string, args ...any) {
	fmt.Fprintf(b.out, "%s %d: %s\n", job.Name, job.ID, fmt.Sprintf(format, args...))
}

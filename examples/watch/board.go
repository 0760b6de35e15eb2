package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gitlabjobs/gitlabjobs"
)

// A board is what is known of a pipeline's jobs.
type board struct {
	title  string
	stages map[string]int64 // the lowest job ID of each: GitLab makes jobs in the stages' order
	rows   map[string]*row  // by the job's name
}

// A row is the newest attempt at a job.
type row struct {
	job   *gitlabjobs.Job
	first int64 // the ID of the first attempt
	tries map[int64]bool
}

func newBoard(title string) *board {
	return &board{title: title, stages: make(map[string]int64), rows: make(map[string]*row)}
}

// add takes over what has become of a job.
func (b *board) add(job *gitlabjobs.Job) {
	if lowest, ok := b.stages[job.Stage]; !ok || job.ID < lowest {
		b.stages[job.Stage] = job.ID
	}
	r := b.rows[job.Name]
	if r == nil {
		r = &row{job: job, first: job.ID, tries: make(map[int64]bool)}
		b.rows[job.Name] = r
	}
	r.tries[job.ID] = true
	r.first = min(r.first, job.ID)
	if job.ID >= r.job.ID {
		r.job = job
	}
}

// sorted returns the rows in the order of their stages.
func (b *board) sorted() []*row {
	return slices.SortedFunc(maps.Values(b.rows), func(x, y *row) int {
		return cmp.Or(cmp.Compare(b.stages[x.job.Stage], b.stages[y.job.Stage]), cmp.Compare(x.first, y.first))
	})
}

// failed reports whether a row keeps the pipeline from success.
func (r *row) failed() bool {
	status := r.job.Status
	return status == gitlabjobs.StatusFailed && !r.job.AllowFailure || status == gitlabjobs.StatusCanceled
}

func (b *board) succeeded() bool {
	return !slices.ContainsFunc(slices.Collect(maps.Values(b.rows)), (*row).failed)
}

// summary says how the pipeline has ended.
func (b *board) summary() string {
	count := make(map[gitlabjobs.Status]int)
	var failed []string
	for _, r := range b.sorted() {
		count[r.job.Status]++
		if r.failed() {
			failed = append(failed, r.job.Name)
		}
	}
	var parts []string
	for _, status := range slices.Sorted(maps.Keys(count)) {
		parts = append(parts, fmt.Sprintf("%d %s", count[status], status))
	}
	text := fmt.Sprintf("%s: %s.", b.title, strings.Join(parts, ", "))
	if len(failed) > 0 {
		text += " Not successful: " + strings.Join(failed, ", ") + "."
	}
	return text
}

// took is how long a job has run, or has waited for a runner.
func (r *row) took(now time.Time) string {
	job := r.job
	const second = float64(time.Second)
	switch {
	case job.Status == gitlabjobs.StatusRunning && !job.StartedAt.IsZero():
		return max(0, now.Sub(job.StartedAt)).Round(time.Second).String()
	case job.Duration != nil:
		return time.Duration(*job.Duration * second).Round(time.Second).String()
	case job.Status == gitlabjobs.StatusPending && job.QueuedDuration != nil:
		return "queued " + time.Duration(*job.QueuedDuration*second).Round(time.Second).String()
	}
	return ""
}

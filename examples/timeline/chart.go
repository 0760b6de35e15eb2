package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/gitlabjobs/gitlabjobs"
)

// An attempt is one run of a job: a retry makes another.
type attempt struct {
	Job      *gitlabjobs.Job
	Bridge   bool
	Number   int       // of the attempt, from 1
	Of       int       // how many there are
	Ready    time.Time // when it was queued; zero if it never was
	Start    time.Time // when it began to run; zero if it hasn't
	End      time.Time // when it ended, or now
	Critical bool
}

// Drawn reports whether there is something of the attempt to see.
func (a *attempt) Drawn() bool { return !a.Ready.IsZero() }

// Queued returns how long the attempt waited for a runner.
func (a *attempt) Queued() time.Duration {
	if a.Start.IsZero() {
		return a.End.Sub(a.Ready)
	}
	return a.Start.Sub(a.Ready)
}

// Ran returns how long the attempt ran.
func (a *attempt) Ran() time.Duration {
	if a.Start.IsZero() {
		return 0
	}
	return a.End.Sub(a.Start)
}

// Try says which attempt it is, "" for the only one.
func (a *attempt) Try() string {
	if a.Of == 1 {
		return ""
	}
	return fmt.Sprintf("(try %d of %d)", a.Number, a.Of)
}

// A row is the attempts at one job, in their order.
type row struct {
	Name     string
	Attempts []*attempt
}

// Last returns the attempt that counts.
func (r *row) Last() *attempt { return r.Attempts[len(r.Attempts)-1] }

// A stage is the jobs of one stage.
type stage struct {
	Name string
	Rows []*row
}

// A chart is a pipeline in time.
type chart struct {
	Project    string
	Pipeline   *gitlabjobs.Pipeline
	First      *gitlabjobs.Job
	Stages     []*stage
	Critical   []*attempt // in their order
	Start, End time.Time
	Now        time.Time // zero unless something is still moving
}

func newChart(project string, attempts []*attempt, now time.Time) *chart {
	slices.SortFunc(attempts, func(a, b *attempt) int { return cmp.Compare(a.Job.ID, b.Job.ID) })
	c := &chart{Project: project, Start: attempts[0].Job.CreatedAt}
	for _, a := range attempts {
		a.place(now)
		if c.First == nil && !a.Bridge {
			c.First, c.Pipeline = a.Job, a.Job.Pipeline
		}
		if a.Job.CreatedAt.Before(c.Start) {
			c.Start = a.Job.CreatedAt
		}
		if a.End.After(c.End) {
			c.End = a.End
		}
		if a.Job.Status.Active() && a.Drawn() {
			c.Now = now
		}
		c.add(a)
	}
	// A chart of nothing that ran still has an axis.
	if shortest := c.Start.Add(time.Second); c.End.Before(shortest) {
		c.End = shortest
	}
	for _, s := range c.Stages {
		slices.SortStableFunc(s.Rows, func(a, b *row) int { return a.Attempts[0].order().Compare(b.Attempts[0].order()) })
	}
	c.findCriticalPath()
	return c
}

// place finds out when an attempt was queued, began and ended.
func (a *attempt) place(now time.Time) {
	job := a.Job
	a.Start, a.End = job.StartedAt, job.FinishedAt
	if a.End.IsZero() {
		a.End = now
	}
	switch {
	case !job.StartedAt.IsZero():
		a.Ready = job.StartedAt
		if job.QueuedDuration != nil {
			a.Ready = a.Ready.Add(-time.Duration(*job.QueuedDuration * float64(time.Second)))
		}
	case job.Status == gitlabjobs.StatusPending && job.QueuedDuration != nil:
		a.Ready = now.Add(-time.Duration(*job.QueuedDuration * float64(time.Second)))
	default:
		a.End = time.Time{} // it has never been queued
	}
}

// order returns by which time an attempt's row is sorted: those that were
// never queued come last.
func (a *attempt) order() time.Time {
	if a.Drawn() {
		return a.Ready
	}
	const never = 100 * 365 * 24 * time.Hour
	return a.Job.CreatedAt.Add(never)
}

// add puts an attempt into its stage and row. Jobs are made in the order of
// their stages, so the lowest ID of each has the stages in order.
func (c *chart) add(a *attempt) {
	i := slices.IndexFunc(c.Stages, func(s *stage) bool { return s.Name == a.Job.Stage })
	if i < 0 {
		c.Stages = append(c.Stages, &stage{Name: a.Job.Stage})
		i = len(c.Stages) - 1
	}
	s := c.Stages[i]
	j := slices.IndexFunc(s.Rows, func(r *row) bool { return r.Name == a.Job.Name })
	if j < 0 {
		s.Rows = append(s.Rows, &row{Name: a.Job.Name})
		j = len(s.Rows) - 1
	}
	r := s.Rows[j]
	r.Attempts = append(r.Attempts, a)
	for i, a := range r.Attempts {
		a.Number, a.Of = i+1, len(r.Attempts)
	}
}

// findCriticalPath goes back from the attempt that ended last: a retry had to
// wait for the attempt before it, any other for the one that ended last before
// it was queued, among those that let a pipeline go on.
func (c *chart) findCriticalPath() {
	type placed struct {
		*attempt
		stage    int
		previous *attempt
	}
	var all []*placed
	for i, s := range c.Stages {
		for _, r := range s.Rows {
			var previous *attempt
			for _, a := range r.Attempts {
				if a.Drawn() {
					all = append(all, &placed{a, i, previous})
					previous = a
				}
			}
		}
	}
	latest := func(a, b *placed) int { return a.End.Compare(b.End) }
	if len(all) == 0 {
		return
	}
	// Jobs of one stage depend on each other only by needs: then one is
	// queued as soon as the other has ended.
	const atOnce, rounding = 2 * time.Second, time.Second
	for at := slices.MaxFunc(all, latest); at != nil; {
		at.Critical = true
		c.Critical = append(c.Critical, at.attempt)
		var before []*placed
		for _, p := range all {
			gap := at.Ready.Sub(p.End)
			passed := p.Job.Status == gitlabjobs.StatusSuccess || p.Job.AllowFailure && p.Job.Status.Finished()
			switch {
			case p.Critical || gap < -rounding:
			case at.previous != nil && p.attempt == at.previous,
				at.previous == nil && passed && (p.stage < at.stage || p.stage == at.stage && gap <= atOnce):
				before = append(before, p)
			}
		}
		at = nil
		if len(before) > 0 {
			at = slices.MaxFunc(before, latest)
		}
	}
	slices.Reverse(c.Critical)
}

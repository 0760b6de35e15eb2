package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/gitlabjobs/gitlabjobs"
)

// clock writes a duration as 1:02:03, 2:03 or 0:03.
func clock(d time.Duration) string {
	d = d.Round(time.Second)
	h, m, s := int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60
	if h > 0 {
		return fmt.Sprintf("%d:%02d:%02d", h, m, s)
	}
	return fmt.Sprintf("%d:%02d", m, s)
}

// kind is a job's class in the style sheet: its status, or "allowed" for a
// failure that doesn't count.
func kind(job *gitlabjobs.Job) string {
	switch {
	case job.Status == gitlabjobs.StatusFailed && job.AllowFailure:
		return "allowed"
	case job.Status == gitlabjobs.StatusPending, job.Status == gitlabjobs.StatusPreparing, job.Status == gitlabjobs.StatusWaitingForResource:
		return "waiting"
	}
	return string(job.Status)
}

// A legend explains a class.
type legend struct {
	Kind, Text string
	X          int
}

// Legend explains the classes of bars.
func (c *chart) Legend() []legend {
	return []legend{
		{"success", "success", 100}, {"failed", "failed", 205}, {"allowed", "failed, allowed to", 295}, {"running", "running", 455}, {"canceled", "canceled", 560},
	}
}

// Title names the pipeline.
func (c *chart) Title() string {
	if c.Pipeline == nil {
		return c.Project
	}
	title := fmt.Sprintf("%s pipeline %d", c.Project, c.Pipeline.ID)
	if c.Pipeline.Status != "" {
		title += ": " + string(c.Pipeline.Status)
	}
	return title
}

// Subtitle says what the pipeline ran for and how long it took.
func (c *chart) Subtitle() string {
	var parts []string
	if c.First != nil {
		commit := c.First.Ref
		if c.First.Commit != nil {
			commit += " at " + c.First.Commit.ShortID + ", “" + c.First.Commit.Title + "”"
		}
		parts = append(parts, commit)
	}
	parts = append(parts, c.Start.UTC().Format("2006-01-02 15:04 UTC"), c.Took())
	return strings.Join(parts, " · ")
}

// Took says how long the pipeline took.
func (c *chart) Took() string {
	if c.Now.IsZero() {
		return clock(c.End.Sub(c.Start))
	}
	return clock(c.End.Sub(c.Start)) + " so far"
}

// Path says what the critical path consists of.
func (c *chart) Path() string {
	var names []string
	var queued, ran time.Duration
	for _, a := range c.Critical {
		if a.Number == a.Of {
			names = append(names, a.Job.Name)
		}
		queued += a.Queued()
		ran += a.Ran()
	}
	if len(names) == 0 {
		return "Nothing has run yet."
	}
	waited := max(0, c.End.Sub(c.Start)-ran-queued)
	return fmt.Sprintf("Critical path: %s. Of %s, it ran %s, was queued for %s, and waited %s for something else.",
		strings.Join(names, " → "), c.Took(), clock(ran), clock(queued), clock(waited))
}

// took says how long a stage took, "" if nothing of it has run.
func (s *stage) took() string {
	var first, last time.Time
	for _, r := range s.Rows {
		for _, a := range r.Attempts {
			if a.Drawn() && (first.IsZero() || a.Ready.Before(first)) {
				first = a.Ready
			}
			if a.End.After(last) {
				last = a.End
			}
		}
	}
	if first.IsZero() {
		return ""
	}
	return clock(last.Sub(first))
}

// Rows are the jobs of all stages, for the table.
func (c *chart) Rows() []*row {
	var rows []*row
	for _, s := range c.Stages {
		rows = append(rows, s.Rows...)
	}
	return rows
}

// Tip is what a bar says when it is pointed at.
func (a *attempt) Tip() string {
	tip := strings.TrimSpace(a.Job.Name+" "+a.Try()) + ": " + string(a.Job.Status)
	if a.Job.FailureReason != "" {
		tip += " (" + string(a.Job.FailureReason) + ")"
	}
	return fmt.Sprintf("%s\nqueued %s, ran %s", tip, clock(a.Queued()), clock(a.Ran()))
}

// QueuedText and RanText are durations for the table.
func (a *attempt) QueuedText() string { return orDash(a, a.Queued()) }

// RanText is how long the attempt ran.
func (a *attempt) RanText() string { return orDash(a, a.Ran()) }

func orDash(a *attempt, d time.Duration) string {
	if !a.Drawn() {
		return "–"
	}
	return clock(d)
}

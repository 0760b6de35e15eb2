package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/gitlabjobs/gitlabjobs"
	"github.com/gitlabjobs/gitlabjobs/examples/internal/command"
)

// The codes that a terminal is moved by.
const (
	hideCursor = "\x1b[?25l"
	showCursor = "\x1b[?25h"
	up         = "\x1b[%dA\r"
	clearBelow = "\x1b[J"
)

// live draws the board anew with every change, and every second, since the
// jobs that run have a clock.
func live(ctx context.Context, out io.Writer, b *board, events iter.Seq2[gitlabjobs.JobEvent, error]) error {
	const tick = time.Second
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		event gitlabjobs.JobEvent
		err   error
	}
	results := make(chan result)
	go func() {
		defer close(results)
		for event, err := range events {
			select {
			case results <- result{event, err}:
			case <-ctx.Done():
				return
			}
		}
	}()
	fmt.Fprint(out, hideCursor)
	defer fmt.Fprint(out, showCursor)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	drawn := 0 // lines on the screen
	for {
		select {
		case r, ok := <-results:
			if !ok || r.err != nil {
				b.draw(out, drawn)
				return cmp.Or(r.err, context.Cause(ctx))
			}
			b.add(r.event.Job)
			if r.event.Previous == "" {
				continue // they come many at once: the next tick shows them
			}
		case <-ticker.C:
		}
		drawn = b.draw(out, drawn)
	}
}

// draw draws the board over the lines drawn before, and returns how many it
// has drawn now.
func (b *board) draw(out io.Writer, before int) int {
	text := b.screen(out, time.Now())
	if before > 0 {
		text = fmt.Sprintf(up, before) + clearBelow + text
	}
	fmt.Fprint(out, text)
	return strings.Count(text, "\n")
}

// screen is the board as a table that fits the terminal: where there are too
// many jobs, it leaves out those that have succeeded, and then the last ones.
func (b *board) screen(out io.Writer, now time.Time) string {
	const around = 8 // lines that aren't jobs, and one to spare
	columns, rows, _ := command.TerminalSize(out)
	shown, room := b.sorted(), max(1, rows-around)
	all := len(shown)
	if all > room {
		shown = slices.DeleteFunc(shown, func(r *row) bool { return r.job.Status == gitlabjobs.StatusSuccess })
		shown = shown[:min(len(shown), room)]
	}
	t := command.Table(out, "stage", "job", "status", "time", "")
	t.SetTitle("%s", b.title)
	t.Style().Size.WidthMax = columns
	stage := ""
	for _, r := range shown {
		job, name, note := r.job, "", string(r.job.FailureReason)
		if job.Stage != stage {
			stage, name = job.Stage, job.Stage
		}
		if len(r.tries) > 1 {
			note = strings.TrimSpace(fmt.Sprintf("try %d %s", len(r.tries), note))
		}
		if job.AllowFailure && job.Status == gitlabjobs.StatusFailed {
			note += ", allowed to"
		}
		t.AppendRow([]any{name, job.Name, command.Colour(job.Status, mark(job.Status)+" "+string(job.Status)), r.took(now), note})
	}
	text := t.Render() + "\n"
	if hidden := all - len(shown); hidden > 0 {
		text += fmt.Sprintf("and %d more\n", hidden)
	}
	return text
}

// mark is a sign for a status, for those who don't see the colour.
func mark(status gitlabjobs.Status) string {
	switch status {
	case gitlabjobs.StatusSuccess:
		return "✓"
	case gitlabjobs.StatusFailed:
		return "✗"
	case gitlabjobs.StatusRunning:
		return "▶"
	case gitlabjobs.StatusManual:
		return "‖"
	case gitlabjobs.StatusCanceled, gitlabjobs.StatusSkipped:
		return "–"
	}
	return "·"
}

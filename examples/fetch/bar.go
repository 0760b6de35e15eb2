package main

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/gitlabjobs/gitlabjobs"
	"github.com/gitlabjobs/gitlabjobs/examples/internal/command"
)

// A bar shows the progress of a download in a terminal, and nothing elsewhere.
type bar struct {
	out     io.Writer
	name    string
	started time.Time
	resumes int
	bar     *progressbar.ProgressBar // nil before the first news
}

func newBar(out io.Writer, name string) *bar {
	b := &bar{out: out, name: name, started: time.Now()}
	if _, _, ok := command.TerminalSize(out); !ok {
		b.out = nil
	}
	return b
}

// show is a [gitlabjobs.DownloadOptions] Progress function.
func (b *bar) show(p gitlabjobs.Progress) {
	if b.out == nil {
		return
	}
	if b.bar == nil {
		const width = 30
		b.bar = progressbar.NewOptions64(p.Total,
			progressbar.OptionSetWriter(b.out), progressbar.OptionSetDescription(b.name), progressbar.OptionSetWidth(width),
			progressbar.OptionShowBytes(true), progressbar.OptionUseIECUnits(true), progressbar.OptionShowTotalBytes(true),
			progressbar.OptionShowCount(),
			progressbar.OptionSetTheme(progressbar.Theme{Saucer: "█", SaucerPadding: "░"}), progressbar.OptionClearOnFinish(),
			progressbar.OptionSetSpinnerChangeInterval(0)) // it turns with the news, not by itself
	}
	if p.Resumes > b.resumes {
		b.resumes = p.Resumes
		b.bar.Describe(fmt.Sprintf("%s, resumed %dx", b.name, p.Resumes))
	}
	_ = b.bar.Set64(p.Written) // a picture that can't be drawn stops no download
}

// finish removes the bar.
func (b *bar) finish() {
	if b.bar != nil {
		_ = b.bar.Exit() // likewise
		_ = b.bar.Clear()
	}
}

// took is how long it took, for people.
func (b *bar) took() time.Duration { return time.Since(b.started).Round(10 * time.Millisecond) }

package main

import (
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"github.com/gitlabjobs/gitlabjobs"
)

// The measures of the picture, in pixels.
const (
	width       = 1200
	labelsWidth = 190 // the column with the names
	rightMargin = 60
	headHeight  = 92
	stageHeight = 30
	rowHeight   = 30
	barHeight   = 18
	footHeight  = 74
	charWidth   = 6.4 // of the labels' font, about
)

var (
	//go:embed chart.svg.tmpl
	svgText string
	//go:embed page.html.tmpl
	htmlText string

	templates = template.Must(template.Must(template.New("svg").Parse(svgText)).New("html").Parse(htmlText))
)

// svg draws the chart.
func (c *chart) svg(w io.Writer) error { return templates.ExecuteTemplate(w, "svg", c.draw()) }

// html writes a page with the chart and a table of its jobs.
func (c *chart) html(w io.Writer) error { return templates.ExecuteTemplate(w, "html", c.draw()) }

// A picture is a chart with the place of everything in it.
type picture struct {
	*chart
	Width, Height    int
	Left, Right      int
	Top, Bottom      int // of the area with the bars
	Bands            []band
	Ticks            []tick
	Lines            []line
	Bars             []bar
	Arrows           []string // of the critical path
	NowX             float64  // 0 where nothing is still moving
	LegendY, FooterY int
}

// A band is a stage's part of the picture.
type band struct {
	Name     string
	Took     string
	Y, H     int
	TextY    int
	Shadowed bool
}

// A tick is a mark of the time axis.
type tick struct {
	X    float64
	Text string
}

// A line is the label of a row.
type line struct {
	Name, Full, Kind, Note string
	Y                      int
	NoteX                  float64
}

// A bar is an attempt: queued from X on, running from StartX on.
type bar struct {
	*attempt
	Kind                 string
	X, StartX, Y         float64
	QueuedWidth, Width   float64
	Whole                float64
	Label                string
	LabelX               float64
	Inside, Early, Retry bool
	JoinX                float64 // where the attempt before it ended
}

func (c *chart) draw() *picture {
	p := &picture{chart: c, Width: width, Left: labelsWidth, Right: width - rightMargin, Top: headHeight}
	p.Ticks = p.ticks()
	middles := make(map[*attempt]float64) // the bars' middles
	y := p.Top
	for i, s := range c.Stages {
		b := band{Name: s.Name, Took: s.took(), Y: y, H: stageHeight + len(s.Rows)*rowHeight, TextY: y + stageHeight - 10, Shadowed: i%2 == 0}
		y += stageHeight
		for _, r := range s.Rows {
			middle := y + rowHeight/2
			p.Lines = append(p.Lines, p.label(r, middle))
			joinX := 0.0
			for _, a := range r.Attempts {
				if !a.Drawn() {
					continue
				}
				bar := p.bar(a, float64(middle), joinX)
				p.Bars = append(p.Bars, bar)
				middles[a], joinX = float64(middle), bar.StartX+bar.Width
			}
			y += rowHeight
		}
		p.Bands = append(p.Bands, b)
	}
	p.Bottom = y
	p.LegendY, p.FooterY = y+46, y+68
	p.Height = y + footHeight + 8
	if !c.Now.IsZero() {
		p.NowX = p.x(c.Now)
	}
	for i, a := range c.Critical {
		if i == 0 {
			continue
		}
		if path := p.arrow(c.Critical[i-1], a, middles); path != "" {
			p.Arrows = append(p.Arrows, path)
		}
	}
	return p
}

// x returns where a moment is.
func (p *picture) x(at time.Time) float64 {
	share := float64(at.Sub(p.Start)) / float64(p.End.Sub(p.Start))
	return float64(p.Left) + share*float64(p.Right-p.Left)
}

func (p *picture) bar(a *attempt, middle, joinX float64) bar {
	const visible = 2.5 // the least width of a bar
	b := bar{attempt: a, Kind: kind(a.Job), X: p.x(a.Ready), Y: middle - barHeight/2, Early: a.Number < a.Of, Retry: joinX > 0, JoinX: joinX}
	end := p.x(a.End)
	b.StartX = end
	if !a.Start.IsZero() {
		b.StartX = p.x(a.Start)
		b.Width = max(visible, end-b.StartX)
		b.Label = clock(a.Ran())
	}
	b.QueuedWidth = b.StartX - b.X
	b.Whole = b.QueuedWidth + b.Width
	if b.Early && a.Job.FailureReason != "" && a.Job.FailureReason != gitlabjobs.ReasonScriptFailure {
		b.Label += " " + strings.ReplaceAll(string(a.Job.FailureReason), "_", " ")
	}
	const padding = 10
	room := func(text string) float64 { return float64(len(text))*charWidth + padding }
	if room(b.Label) > b.Width && b.Early {
		b.Label = clock(a.Ran()) // the next attempt follows: there is no room beside
	}
	if b.Inside = room(b.Label) <= b.Width; b.Inside {
		b.LabelX = b.StartX + b.Width/2
	} else if b.LabelX = b.StartX + b.Width + 6; b.Early {
		b.Label = ""
	}
	return b
}

// label returns the name of a row, and why there is no bar where there is none.
func (p *picture) label(r *row, middle int) line {
	const room = 22 // characters
	last := r.Last()
	l := line{Name: r.Name, Full: r.Name, Kind: kind(last.Job), Y: middle, NoteX: float64(p.Left) + 8}
	if letters := []rune(l.Name); len(letters) > room {
		l.Name = string(letters[:room-1]) + "…"
	}
	if !last.Drawn() {
		l.Note = map[gitlabjobs.Status]string{
			gitlabjobs.StatusManual: "waits for a person to play it", gitlabjobs.StatusCreated: "waits for earlier stages",
			gitlabjobs.StatusSkipped: "skipped", gitlabjobs.StatusScheduled: "waits for its delay", gitlabjobs.StatusCanceled: "canceled before it started",
		}[last.Job.Status]
		l.Note = cmp.Or(l.Note, string(last.Job.Status))
		if len(r.Attempts) > 1 {
			l.NoteX = p.x(r.Attempts[len(r.Attempts)-2].End) + 70
		}
	}
	return l
}

// arrow returns the path that leads from the end of one attempt to where the
// next was queued, "" where there is no room for one.
func (p *picture) arrow(from, to *attempt, middles map[*attempt]float64) string {
	x1, y1, x2, y2 := p.x(from.End), middles[from], p.x(to.Ready), middles[to]
	const back, head, room = 5, 3, 14
	switch {
	case y1 == y2 && x2-x1 < room:
		return ""
	case y1 == y2:
		return fmt.Sprintf("M%.1f %.1fH%.1f", x1, y1, max(x1, x2-head))
	case y1 > y2:
		y1 -= barHeight / 2
	default:
		y1 += barHeight / 2
	}
	return fmt.Sprintf("M%.1f %.1fV%.1fH%.1f", min(x1, x2)-back, y1, y2, x2-head)
}

// ticks returns the marks of the axis: at round times, not too close.
func (p *picture) ticks() []tick {
	const most = 12
	whole := p.End.Sub(p.Start)
	step := 24 * time.Hour
	for _, s := range []time.Duration{
		time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second,
		time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
		time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour,
	} {
		if whole/s <= most {
			step = s
			break
		}
	}
	step *= 1 + whole/(step*(most+1)) // for those that take weeks
	var ticks []tick
	for at := time.Duration(0); at <= whole; at += step {
		ticks = append(ticks, tick{p.x(p.Start.Add(at)), clock(at)})
	}
	return ticks
}

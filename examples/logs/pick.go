package main

import (
	"fmt"
	"io"
	"iter"
	"regexp"
	"slices"
	"strings"

	"github.com/gitlabjobs/gitlabjobs/examples/internal/command"
	"github.com/gitlabjobs/gitlabjobs/joblog"
)

// A picker shows some lines of a log.
type picker struct {
	out      io.Writer
	terminal bool
	section  string
	grep     *regexp.Regexp
	context  int // lines around a match
	tail     int

	last   []string // the lines that -tail has kept
	shown  int
	before []joblog.Line // those that a match would show as its context
	after  int           // how many more lines belong to the last match
	number int           // of the line shown last
}

// picks reports whether there are lines that aren't shown.
func (p *picker) picks() bool { return p.section != "" || p.grep != nil || p.tail > 0 }

// show shows what is picked of the lines.
func (p *picker) show(lines iter.Seq2[joblog.Line, error]) error {
	var sections []string
	for line, err := range lines {
		if err != nil {
			return err
		}
		for _, section := range line.Sections {
			if !slices.Contains(sections, section) {
				sections = append(sections, section)
			}
		}
		switch {
		case p.section != "" && !slices.Contains(line.Sections, p.section):
		case p.grep == nil:
			p.write(line.Text)
		default:
			line.Raw = nil // it wouldn't outlive the next step
			p.search(line)
		}
	}
	for _, text := range p.last {
		fmt.Fprintln(p.out, text)
	}
	switch {
	case p.shown > 0 || !p.picks():
		return nil
	case p.section != "" && !slices.Contains(sections, p.section):
		return fmt.Errorf("the log has no section %q; it has: %s", p.section, strings.Join(sections, ", "))
	}
	return command.ErrUnsuccessful
}

// search shows a line that matches, and the lines around it.
func (p *picker) search(line joblog.Line) {
	switch found := p.grep.FindAllStringIndex(line.Text, -1); {
	case found != nil:
		for _, earlier := range p.before {
			p.writeNumbered(earlier, "-", earlier.Text)
		}
		p.before, p.after = p.before[:0], p.context
		p.writeNumbered(line, ":", p.highlight(line.Text, found))
	case p.after > 0:
		p.after--
		p.writeNumbered(line, "-", line.Text)
	case p.context > 0:
		if len(p.before) == p.context {
			p.before = p.before[1:]
		}
		p.before = append(p.before, line)
	}
}

// writeNumbered shows a line with its number, and a rule where lines are left
// out before it.
func (p *picker) writeNumbered(line joblog.Line, mark, text string) {
	if p.context > 0 && p.number > 0 && line.Number > p.number+1 {
		p.write("--")
	}
	p.number = line.Number
	p.write(fmt.Sprintf("%d%s %s", line.Number, mark, text))
}

func (p *picker) write(text string) {
	p.shown++
	if p.tail == 0 {
		fmt.Fprintln(p.out, text)
		return
	}
	if len(p.last) == p.tail {
		p.last = p.last[1:]
	}
	p.last = append(p.last, text)
}

// highlight shows in a terminal what has matched.
func (p *picker) highlight(text string, found [][]int) string {
	if !p.terminal {
		return text
	}
	const boldRed, reset = "\x1b[1;31m", "\x1b[0m"
	var b strings.Builder
	end := 0
	for _, at := range found {
		b.WriteString(text[end:at[0]] + boldRed + text[at[0]:at[1]] + reset)
		end = at[1]
	}
	return b.String() + text[end:]
}

// showSections shows how long each section took, in the order of their starts.
func showSections(out io.Writer, r io.Reader) error {
	var blocks [][]joblog.Section // each a section and those inside it
	longest := 0.0
	for section, err := range joblog.Sections(r) {
		if err != nil {
			return err
		}
		// A section comes when it ends, so behind those inside it.
		inside := len(blocks)
		for inside > 0 && blocks[inside-1][0].Depth > section.Depth {
			inside--
		}
		block := slices.Concat([]joblog.Section{section}, slices.Concat(blocks[inside:]...))
		blocks = append(blocks[:inside], block)
		longest = max(longest, section.Duration.Seconds())
	}
	if len(blocks) == 0 {
		fmt.Fprintln(out, "The log has no sections.")
		return nil
	}
	const barWidth = 24
	t := command.Table(out, "section", "took", "", "what")
	for _, s := range slices.Concat(blocks...) {
		took := "not ended"
		if !s.End.IsZero() {
			took = s.Duration.String()
		}
		bar := ""
		if longest > 0 {
			bar = strings.Repeat("█", int(barWidth*s.Duration.Seconds()/longest+0.5))
		}
		t.AppendRow([]any{strings.Repeat("  ", s.Depth) + s.Name, took, bar, s.Header})
	}
	fmt.Fprintln(out, t.Render())
	return nil
}

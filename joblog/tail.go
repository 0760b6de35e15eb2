package joblog

import (
	"io"
	"slices"
)

const (
	// keptBuffer is up to how many bytes a line's buffer is kept for the next
	// line, however short; beyond it, one that is wastedFactor times too long
	// is dropped, lest long lines far up in the log fill the memory.
	keptBuffer   = 64 << 10
	wastedFactor = 8
)

// Tail reads a job log to its end and returns the last n lines, with the
// numbers, sections and times that [Lines] gives them. Nothing in them is
// shared: they may be kept and changed. If n isn't positive, nothing is read.
//
// The memory needed is that of n lines, however long the log. An error of r
// comes with the last lines before it.
func Tail(r io.Reader, n int) ([]Line, error) {
	if n <= 0 {
		return nil, nil
	}
	s := &lineScanner{source: source{r: r}}
	var ring []tailLine
	for {
		raw, ok := s.source.next()
		if !ok {
			break
		}
		if len(ring) < n {
			ring = append(ring, tailLine{})
		}
		s.keep(raw, &ring[s.number%n])
	}
	lines := make([]Line, 0, len(ring))
	oldest := s.number - len(ring)
	for i := range ring {
		lines = append(lines, s.finish(ring[(oldest+i)%n]))
	}
	return lines, s.source.failure()
}

// tailLine is a line without its text, which is made when the line turns out
// to be one of the last.
type tailLine struct {
	line     Line
	sections []string
	raw      []byte
}

// keep notes a line in the place of an older one, whose memory it takes over.
func (s *lineScanner) keep(raw sourceLine, to *tailLine) {
	s.number++
	var after []mark
	if hasMarkers(raw.payload) {
		s.screen.draw(raw.payload)
		var before []mark
		before, after = s.screen.split()
		s.nesting.apply(before)
	}
	if cap(to.raw) > keptBuffer && cap(to.raw) > wastedFactor*len(raw.raw) {
		to.raw = nil
	}
	to.line = Line{Number: s.number, Time: raw.time, Stream: raw.stream}
	to.raw = append(to.raw[:0], raw.raw...)
	to.sections = append(to.sections[:0], s.nesting.open...)
	s.nesting.apply(after)
}

func (s *lineScanner) finish(kept tailLine) Line {
	s.screen.draw(s.source.payload(kept.raw, kept.line.Stream != ""))
	line := kept.line
	line.Text, line.Raw = toText(s.screen.text), slices.Clip(kept.raw)
	if len(kept.sections) > 0 {
		line.Sections = slices.Clip(kept.sections)
	}
	return line
}

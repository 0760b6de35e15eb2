package joblog

import (
	"io"
	"iter"
	"slices"
	"time"
)

// Section is a part of a job log that the job page shows as a block, with the
// time it took. The runner makes one for each step of a job (such as
// "prepare_executor", "get_sources", "step_script"), and scripts can make
// their own inside them.
type Section struct {
	// Name identifies the section. A log may have several of one name.
	Name string
	// Header is the text after the marker, like [Line.Text].
	Header string
	// Start and End are in UTC, to the second. A time beyond the year 9999 is
	// taken for none and is zero, as is the End of a section that never ended.
	Start, End time.Time
	// Duration is the time from Start to End, to the second; zero where one of
	// them is.
	Duration time.Duration
	// Depth is how many sections are around this one.
	Depth int
	// Collapsed is set if the job page shows the header alone at first.
	Collapsed bool
}

// Sections yields the sections of a job log in the order in which they end:
// those inside another before it. A section that is still open when one around
// it ends, ends with it, at the same time. What is open at the end of the log
// comes last, innermost first, with a zero End.
//
// An error of r is yielded once, with a zero Section, after all sections, those
// that were open included, and ends the sequence. A second range over the
// sequence goes on where the first one stopped.
func Sections(r io.Reader) iter.Seq2[Section, error] {
	s := &sectionScanner{source: source{r: r}}
	failed := false
	return func(yield func(Section, error) bool) {
		for s.advance() {
			section := s.ended[0]
			s.ended = s.ended[1:]
			if !yield(section, nil) {
				return
			}
		}
		if err := s.source.failure(); err != nil && !failed {
			failed = true
			yield(Section{}, err)
		}
	}
}

type sectionScanner struct {
	source  source
	screen  screen
	nesting nesting
	open    []Section // goes with nesting.open
	ended   []Section // to be yielded
}

// advance reads on until a section has ended, and tells whether there is one.
func (s *sectionScanner) advance() bool {
	for len(s.ended) == 0 {
		line, ok := s.source.next()
		if !ok {
			s.end(0, time.Time{})
			break
		}
		if !hasMarkers(line.payload) {
			continue
		}
		s.screen.draw(line.payload)
		for i, m := range s.screen.marks {
			if m.start {
				s.start(m.marker, s.screen.after(i))
			} else if depth, found := s.nesting.find(m.name); found {
				s.end(depth, m.time)
			}
		}
	}
	return len(s.ended) > 0
}

func (s *sectionScanner) start(m marker, header []byte) {
	depth := len(s.open)
	if !s.nesting.start(m.name) {
		return
	}
	s.open = append(s.open, Section{
		Name:      s.nesting.open[depth],
		Header:    toText(header),
		Start:     m.time,
		Depth:     depth,
		Collapsed: m.collapsed,
	})
}

// end ends the section at a depth and all in it, innermost first.
func (s *sectionScanner) end(depth int, at time.Time) {
	for _, section := range slices.Backward(s.open[depth:]) {
		section.End = at
		if !section.Start.IsZero() && !at.IsZero() {
			section.Duration = at.Sub(section.Start)
		}
		s.ended = append(s.ended, section)
	}
	s.open = s.open[:depth]
	s.nesting.cut(depth)
}

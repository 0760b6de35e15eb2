package joblog

import (
	"io"
	"iter"
	"time"
)

// Line is one line of a job log.
type Line struct {
	// Number counts the lines of the log from 1.
	Number int
	// Time is when the runner saw the line, in UTC, to the microsecond; zero
	// where the log has no timestamps.
	Time time.Time
	// Stream is where the job wrote the line to; "" where the log has no
	// timestamps, with which the runner notes it.
	Stream Stream
	// Sections names the sections that the line belongs to, outermost first.
	// The line that has a section's header belongs to it. Where markers and
	// text share a line, its last text counts. The slice never changes and may
	// be kept; neighboring lines share it, so it must not be written to.
	Sections []string
	// Text is what a terminal shows of the line in the end: without timestamps,
	// section markers, ANSI codes and line end, redraws resolved, and with
	// U+FFFD in place of each byte that isn't UTF-8.
	Text string
	// Raw is the line as it is in the log, with its end. The Raw of all lines
	// one after the other are the log, byte by byte.
	Raw []byte
}

// Stream is an output of a job's script. The runner writes its own messages to
// [Stdout].
type Stream string

// The streams a job can write to.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
)

// Lines yields the lines of a job log as it reads them.
//
// Where the runner has cut a line in pieces, marked as continuations, it is one
// Line with one Number, its Time that of the first piece, and Raw has all of
// it. A continuation after a line of another stream is a Line of its own. In a
// log with timestamps, therefore, a line is yielded once the next has begun.
//
// An error of r is yielded once, with a zero Line, after the lines read so far,
// and ends the sequence. The end of the log is no error, with a line feed or
// without.
//
// Raw is valid until the next step: clone it to keep it. A line may be of any
// length, and is in memory as a whole; nothing else of the log is. A second
// range over the sequence goes on where the first one stopped.
func Lines(r io.Reader) iter.Seq2[Line, error] {
	s := &lineScanner{source: source{r: r}}
	failed := false
	return func(yield func(Line, error) bool) {
		for {
			raw, ok := s.source.next()
			if !ok {
				break
			}
			if !yield(s.line(raw), nil) {
				return
			}
		}
		if err := s.source.failure(); err != nil && !failed {
			failed = true
			yield(Line{}, err)
		}
	}
}

type lineScanner struct {
	source  source
	screen  screen
	nesting nesting
	number  int
}

func (s *lineScanner) line(raw sourceLine) Line {
	s.number++
	line := Line{Number: s.number, Time: raw.time, Stream: raw.stream, Raw: raw.raw}
	if isPlain(raw.payload) {
		line.Text, line.Sections = toText(raw.payload), s.nesting.share()
		return line
	}
	s.screen.draw(raw.payload)
	before, after := s.screen.split()
	s.nesting.apply(before)
	line.Text, line.Sections = toText(s.screen.text), s.nesting.share()
	s.nesting.apply(after)
	return line
}

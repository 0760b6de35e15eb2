package joblog

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"slices"
)

// stripBlock is how many bytes are worked on at once: it bounds the buffers.
const stripBlock = 64 << 10

// NewStripper returns a writer that removes ANSI codes and section markers from
// the log that is written to it, and writes what is left to w. Timestamps,
// carriage returns and line ends stay, and so do bytes that aren't UTF-8.
//
// No escape byte comes through, and to strip again changes nothing. How the log
// is cut into writes makes no difference. The memory needed is constant.
//
// Close writes what was held back because it could have become a marker; it
// doesn't close w. A write after Close is [fs.ErrClosed]. An error of w is
// returned as it is, and so it is by all writes after it. The writer isn't safe
// for concurrent use.
func NewStripper(w io.Writer) io.WriteCloser {
	return &stripper{w: w}
}

type stripper struct {
	w      io.Writer
	code   codeState
	head   []byte // how the line began, as long as a timestamp
	held   []byte // written and not decided on yet
	out    []byte
	err    error
	closed bool
}

var errStripperClosed = fmt.Errorf("joblog: write to a stripper: %w", fs.ErrClosed)

func (s *stripper) Write(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	written := 0
	for block := range slices.Chunk(p, stripBlock) {
		if s.err = s.pass(block); s.err != nil {
			break
		}
		written += len(block)
	}
	return written, s.err
}

func (s *stripper) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	err := s.err
	if err == nil {
		s.out = s.out[:0]
		s.strip(s.held, true)
		err = s.send(s.out)
		s.err = errStripperClosed
	}
	s.held, s.out = nil, nil
	return err
}

// pass strips a block, along with what was held back before it.
func (s *stripper) pass(block []byte) error {
	if s.code == noCode && len(s.held) == 0 && isClean(block) {
		s.drop(block) // what is kept needn't be copied
		return s.send(block)
	}
	in := block
	if len(s.held) > 0 {
		s.held = append(s.held, block...)
		in = s.held
	}
	s.out = s.out[:0]
	n := s.strip(in, false)
	s.held = append(s.held[:0], in[n:]...)
	return s.send(s.out)
}

func (s *stripper) send(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	n, err := s.w.Write(b)
	if err == nil && n < len(b) {
		return io.ErrShortWrite
	}
	return err
}

// isClean tells whether a block can pass as it is.
func isClean(block []byte) bool {
	return bytes.IndexByte(block, escape) < 0 &&
		!bytes.Contains(block, []byte(markerHead)) && headLen(block) == 0
}

// strip appends to s.out what is left of in. It returns how much of in it could
// decide on; if nothing follows, that is all.
func (s *stripper) strip(in []byte, last bool) (decided int) {
	for wait := false; decided < len(in) && !wait; {
		var n int
		if s.code != noCode {
			n, wait = s.stripCode(in[decided:], last)
		} else {
			n, wait = s.stripText(in[decided:], last)
		}
		decided += n
	}
	return decided
}

// stripCode drops the rest of an escape code. What the runner puts between the
// pieces of a line is no part of it, and stays.
func (s *stripper) stripCode(in []byte, last bool) (n int, wait bool) {
	dropped := 0
	for n < len(in) && s.code != noCode {
		gap, sure := s.gap(in[n:])
		if !sure && !last {
			wait = true
			break
		}
		if gap > 0 {
			s.drop(in[dropped:n])
			s.keep(in[n : n+gap])
			n += gap
			dropped = n
			continue
		}
		next, taken := s.code.step(in[n])
		if taken {
			n++
		}
		s.code = next
	}
	s.drop(in[dropped:n])
	return n, wait
}

// stripText passes text on to the next escape byte, or until it has dropped a
// marker.
func (s *stripper) stripText(in []byte, last bool) (n int, wait bool) {
	text, _, _ := bytes.Cut(in, []byte{escape})
	for {
		i := bytes.Index(text[n:], []byte(markerHead))
		if i < 0 {
			break
		}
		s.keep(text[n : n+i])
		n += i
		size, found, sure := s.matchMarker(in[n:])
		switch {
		case found:
			s.dropMarker(in[n : n+size])
			return n + size, false
		case !sure && !last:
			return n, true
		}
		s.keep(text[n : n+1])
		n++
	}
	if len(text) < len(in) {
		s.keep(text[n:])
		s.drop(in[len(text) : len(text)+1])
		s.code = codeEscape
		return len(text) + 1, false
	}
	held := 0
	if !last {
		held = headLen(text[n:])
	}
	s.keep(text[n : len(text)-held])
	return len(text) - held, held > 0
}

// keep lets a part of the log pass.
func (s *stripper) keep(b []byte) {
	s.drop(b)
	s.out = append(s.out, b...)
}

// drop goes past a part of the log.
func (s *stripper) drop(b []byte) {
	if i := bytes.LastIndexByte(b, '\n'); i >= 0 {
		s.head, b = s.head[:0], b[i+1:]
	}
	s.head = append(s.head, b[:min(len(b), stampLen-len(s.head))]...)
}

// dropMarker drops all of a marker but the gaps in it.
func (s *stripper) dropMarker(marker []byte) {
	for {
		i := bytes.IndexByte(marker, '\n')
		if i < 0 {
			s.drop(marker)
			return
		}
		s.drop(marker[:i])
		s.keep(marker[i : i+gapLen])
		marker = marker[i+gapLen:]
	}
}

// matchMarker looks for a marker at the start of in. It isn't sure if in may go
// on to be one. Gaps count towards its length: they could go on for ever.
func (s *stripper) matchMarker(in []byte) (size int, found, sure bool) {
	state := newMarkerState()
	for size < len(in) {
		if size >= maxMarker {
			return 0, false, true
		}
		gap, sure := s.gap(in[size:])
		if !sure {
			return 0, false, false
		}
		if gap > 0 {
			size += gap
			continue
		}
		if !state.step(in[size]) {
			return 0, false, true
		}
		size++
		if state.phase == markerDone {
			return size, true, true
		}
	}
	return 0, false, false
}

// gapLen is the length of what lies between two pieces of a line: a line feed
// and the timestamp of a continuation.
const gapLen = 1 + stampLen

// gap measures one at the start of in, which isn't empty. It isn't
// sure if in may go on to be one.
func (s *stripper) gap(in []byte) (n int, sure bool) {
	if in[0] != '\n' {
		return 0, true
	}
	line, stamped := parseStamp(s.head)
	if !stamped {
		return 0, true
	}
	if len(in) < gapLen {
		return 0, !stampShaped(in[1:])
	}
	if next, ok := parseStamp(in[1:]); ok && next.continues(line) {
		return gapLen, true
	}
	return 0, true
}

// headLen measures how much of the start of a marker's head b ends with.
func headLen(b []byte) int {
	for n := min(len(markerHead)-1, len(b)); n > 0; n-- {
		if bytes.HasSuffix(b, []byte(markerHead[:n])) {
			return n
		}
	}
	return 0
}

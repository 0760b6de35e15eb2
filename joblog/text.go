package joblog

import (
	"bytes"
	"slices"
	"unicode/utf8"
)

// screen makes of a line's bytes the text that a terminal shows in the end,
// and finds the section markers.
type screen struct {
	text  []byte
	marks []mark
	base  int  // where the text after the last marker begins
	home  bool // the cursor is at the first column: text replaces what is there
}

// mark is a marker and its place in the text.
type mark struct {
	marker
	at int
}

// isPlain tells whether a payload is its own text: there is nothing to draw.
func isPlain(payload []byte) bool {
	return bytes.IndexByte(payload, escape) < 0 && bytes.IndexByte(payload, '\r') < 0
}

// hasMarkers tells whether a payload may have section markers.
func hasMarkers(payload []byte) bool {
	return bytes.Contains(payload, []byte(markerTail))
}

// draw clears the screen and draws a payload; the marks are valid as long as it is.
func (s *screen) draw(payload []byte) {
	s.text, s.marks, s.base, s.home = s.text[:0], s.marks[:0], 0, false
	for p := payload; len(p) > 0; {
		run := p[:printable(p)]
		p = p[len(run):]
		if bytes.HasPrefix(p, []byte(markerTail)) {
			if i, found := findMarker(run); found {
				s.write(run[:i])
				s.mark(parseMarker(run[i:]))
				p = p[len(markerTail):]
				continue
			}
		}
		s.write(run)
		switch {
		case len(p) == 0:
		case p[0] == '\r':
			s.home = true
			p = p[1:]
		default:
			n := codeLen(p)
			s.control(p[:n])
			p = p[n:]
		}
	}
}

// after is the text between the i-th marker and the next one, or the end.
func (s *screen) after(i int) []byte {
	if i+1 < len(s.marks) {
		return s.text[s.marks[i].at:s.marks[i+1].at]
	}
	return s.text[s.marks[i].at:]
}

// split divides the marks into those before the place to which the line
// belongs, which is its last text or section start, and those after it. A line
// without either belongs to its end.
func (s *screen) split() (before, after []mark) {
	for i, v := range slices.Backward(s.marks) {
		if v.start || len(s.after(i)) > 0 {
			return s.marks[:i+1], s.marks[i+1:]
		}
	}
	if len(s.text) > 0 {
		return nil, s.marks
	}
	return s.marks, nil
}

func (s *screen) write(text []byte) {
	if len(text) == 0 {
		return
	}
	if s.home {
		s.erase()
	}
	s.text = append(s.text, text...)
}

// mark notes a marker. What stands before it stays, since it belongs to what
// came before: GitLab's job page breaks the line here.
func (s *screen) mark(m marker) {
	s.base, s.home = len(s.text), false
	s.marks = append(s.marks, mark{m, s.base})
}

func (s *screen) erase() { s.text, s.home = s.text[:s.base], false }

// control obeys the codes that redraw a line. The cursor is either home or
// after the text.
func (s *screen) control(code []byte) {
	if len(code) < len("\x1b[K") || code[1] != '[' {
		return
	}
	parameter := string(code[2 : len(code)-1])
	switch code[len(code)-1] {
	case 'K', 'J': // to the end, to the start, or all of it
		switch parameter {
		case "", "0":
			if s.home {
				s.erase()
			}
		case "1":
			if !s.home {
				s.erase()
			}
		case "2", "3":
			s.erase()
		}
	case 'G': // to a column
		if parameter == "" || parameter == "0" || parameter == "1" {
			s.home = true
		}
	}
}

// printable measures what comes before the next carriage return or code.
func printable(b []byte) int {
	for i, c := range b {
		if c == escape || c == '\r' {
			return i
		}
	}
	return len(b)
}

// toText makes a valid string, with U+FFFD for each byte that is none of UTF-8.
func toText(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return string(bytes.Runes(b))
}

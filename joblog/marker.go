package joblog

import (
	"bytes"
	"strconv"
	"time"
)

const (
	// maxMarker bounds a section marker, in bytes, so that the stripper needn't
	// hold back more.
	maxMarker = 1 << 10
	// maxUnix is the last second of the year 9999, in Unix time. What is beyond
	// is no time that encoding/json or a person could read.
	maxUnix = 253402300799
)

const (
	markerHead = "section_"
	markerTail = "\r\x1b[0K"
)

// marker is the start or the end of a section.
type marker struct {
	start     bool
	name      []byte
	time      time.Time
	collapsed bool
}

// parseMarker reads a marker without its tail, of which markerState has seen
// that it is one.
func parseMarker(b []byte) marker {
	kind, rest, _ := bytes.Cut(b[len(markerHead):], []byte{':'})
	unix, rest, _ := bytes.Cut(rest, []byte{':'})
	name, options, _ := bytes.Cut(rest, []byte{'['})
	m := marker{start: kind[0] == 's', name: name}
	if n, err := strconv.ParseInt(string(unix), 10, 64); err == nil && n <= maxUnix {
		m.time = time.Unix(n, 0).UTC()
	}
	for option := range bytes.SplitSeq(bytes.TrimSuffix(options, []byte{']'}), []byte{','}) {
		if string(bytes.TrimSpace(option)) == "collapsed=true" {
			m.collapsed = true
		}
	}
	return m
}

// markerState recognizes a marker byte by byte.
type markerState struct {
	phase markerPhase
	word  string      // in a fixed word: what has to come yet
	after markerPhase // in a fixed word: the phase after it
	size  int
}

type markerPhase uint8

const (
	markerWord    markerPhase = iota // in a fixed word
	markerKind                       // before the s of start or the e of end
	markerTime                       // before the first digit
	markerTimes                      // before another digit
	markerName                       // before the first byte of the name
	markerNames                      // before another one
	markerOptions                    // in the brackets
	markerReturn                     // after the brackets
	markerDone
)

func newMarkerState() markerState {
	return markerState{word: markerHead, after: markerKind}
}

// step goes on by one byte, and tells whether it can still be a marker.
func (m *markerState) step(b byte) bool {
	if m.size++; m.size > maxMarker {
		return false
	}
	switch m.phase {
	case markerWord:
		if b != m.word[0] {
			return false
		}
		if m.word = m.word[1:]; m.word == "" {
			m.phase = m.after
		}
		return true
	case markerKind:
		switch b {
		case 's':
			m.expect("tart:", markerTime)
		case 'e':
			m.expect("nd:", markerTime)
		}
		return b == 's' || b == 'e'
	case markerTime:
		m.phase = markerTimes
		return isDigit(b)
	case markerTimes:
		if b == ':' {
			m.phase = markerName
		}
		return b == ':' || isDigit(b)
	case markerName:
		m.phase = markerNames
		return isName(b)
	case markerNames:
		if b == '[' {
			m.phase = markerOptions
			return true
		}
		return isName(b) || m.stepTail(b)
	case markerOptions:
		if b == ']' {
			m.phase = markerReturn
		}
		return b == ']' || b == '=' || b == ',' || b == ' ' || isName(b)
	case markerReturn:
		return m.stepTail(b)
	}
	return false
}

func (m *markerState) stepTail(b byte) bool {
	m.expect(markerTail[1:], markerDone)
	return b == markerTail[0]
}

func (m *markerState) expect(word string, after markerPhase) {
	m.phase, m.word, m.after = markerWord, word, after
}

// findMarker looks for a marker, without its tail, that ends where b does.
func findMarker(b []byte) (start int, found bool) {
	for start < len(b) {
		i := bytes.Index(b[start:], []byte(markerHead))
		if i < 0 {
			break
		}
		start += i
		if isMarker(b[start:]) {
			return start, true
		}
		start++
	}
	return 0, false
}

// isMarker tells whether b and a tail make a marker.
func isMarker(b []byte) bool {
	state := newMarkerState()
	for _, c := range b {
		if !state.step(c) {
			return false
		}
	}
	for _, c := range []byte(markerTail) {
		if !state.step(c) {
			return false
		}
	}
	return state.phase == markerDone
}

func isName(b byte) bool {
	switch {
	case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', isDigit(b):
		return true
	}
	return b == '_' || b == '.' || b == '-'
}

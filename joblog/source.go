package joblog

import (
	"bytes"
	"io"
	"time"
)

const (
	// firstBuffer is the size in bytes of the read buffer until a line needs more.
	firstBuffer = 64 << 10
	// maxEmptyReads is how often in a row a reader may return nothing.
	maxEmptyReads = 100
)

// source cuts a log into lines: it joins the pieces that the runner has made
// of one, and takes the timestamps off.
type source struct {
	r          io.Reader
	buf        []byte
	start, end int    // what of buf has been read and not been handed out
	err        error  // why reading ended
	joined     []byte // the payload of a line in pieces
}

// sourceLine is valid until the next call of next.
type sourceLine struct {
	raw     []byte // all bytes
	payload []byte // without timestamps and line end
	time    time.Time
	stream  Stream
}

// next returns the next line; there is none at the end and after an error,
// which failure tells apart.
func (s *source) next() (sourceLine, bool) {
	size := s.lineLen(0)
	if size == 0 {
		return sourceLine{}, false
	}
	first, stamped := parseStamp(s.unread(0)[:size])
	if stamped {
		for s.joinsAt(size, first) {
			size += s.lineLen(size)
		}
	}
	line := sourceLine{raw: s.unread(0)[:size:size]}
	if stamped {
		line.time, line.stream = first.time, first.stream()
	}
	line.payload = bytes.TrimSuffix(s.payload(line.raw, stamped), []byte{'\r'})
	s.start += size
	return line, true
}

// failure is the error that ended the log early.
func (s *source) failure() error {
	if s.err == io.EOF { //nolint:errorlint // io.Reader promises io.EOF itself
		return nil
	}
	return s.err
}

// payload takes the line end off a line, and the timestamps of its pieces.
func (s *source) payload(raw []byte, stamped bool) []byte {
	if !stamped {
		return bytes.TrimSuffix(raw, lineFeed)
	}
	piece, rest, more := bytes.Cut(raw, lineFeed)
	if len(rest) == 0 {
		return piece[stampLen:]
	}
	s.joined = append(s.joined[:0], piece[stampLen:]...)
	for more && len(rest) > 0 {
		piece, rest, more = bytes.Cut(rest, lineFeed)
		s.joined = append(s.joined, piece[stampLen:]...)
	}
	return s.joined
}

var lineFeed = []byte{'\n'}

// joinsAt tells whether what follows the next skip bytes is a continuation of
// the same stream. One of another stream goes on from a line farther up, to
// which it can't be joined any more: it is left a line of its own. No more is
// read than needed to know.
func (s *source) joinsAt(skip int, first stamp) bool {
	for {
		head := s.unread(skip)
		if len(head) >= stampLen {
			next, ok := parseStamp(head)
			return ok && next.continues(first)
		}
		if !stampShaped(head) || !s.fill() {
			return false
		}
	}
}

// lineLen measures the line that begins skip bytes on, its end included.
func (s *source) lineLen(skip int) int {
	searched := skip
	for {
		if i := bytes.IndexByte(s.unread(searched), '\n'); i >= 0 {
			return searched + i + 1 - skip
		}
		searched = s.end - s.start
		if !s.fill() {
			return searched - skip
		}
	}
}

func (s *source) unread(skip int) []byte { return s.buf[s.start+skip : s.end] }

// fill reads more, and tells whether there was any.
func (s *source) fill() bool {
	if s.err != nil {
		return false
	}
	if s.end == len(s.buf) {
		s.makeRoom()
	}
	for range maxEmptyReads {
		n, err := s.r.Read(s.buf[s.end:])
		s.end += n
		s.err = err
		if n > 0 {
			return true
		}
		if err != nil {
			return false
		}
	}
	s.err = io.ErrNoProgress
	return false
}

func (s *source) makeRoom() {
	unread := s.unread(0)
	to := s.buf
	if len(unread) > len(s.buf)/2 || len(s.buf) == 0 {
		to = make([]byte, max(2*len(s.buf), firstBuffer))
	}
	s.end = copy(to, unread)
	s.start, s.buf = 0, to
}

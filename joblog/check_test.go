package joblog_test

import (
	"bytes"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs/joblog"
)

// checkLines checks what holds for the lines of any log.
func checkLines(t *testing.T, log []byte) {
	t.Helper()
	lines, err := collect(joblog.Lines(bytes.NewReader(log)), clone)
	require.NoError(t, err)

	var raw []byte
	for i, line := range lines {
		raw = append(raw, line.Raw...)
		assert.Equal(t, i+1, line.Number)
		assert.True(t, utf8.ValidString(line.Text), "line %d", line.Number)
		assert.False(t, strings.ContainsAny(line.Text, "\x1b\r\n"), "line %d: %q", line.Number, line.Text)
		assert.Equal(t, line.Stream == "", line.Time.IsZero(), "line %d", line.Number)
	}
	require.Equal(t, string(log), string(raw))

	slowly, err := collect(joblog.Lines(iotest.OneByteReader(bytes.NewReader(log))), clone)
	require.NoError(t, err)
	require.Equal(t, lines, slowly)

	const few = 3
	last, err := joblog.Tail(iotest.HalfReader(bytes.NewReader(log)), few)
	require.NoError(t, err)
	require.Equal(t, lines[max(0, len(lines)-few):], append([]joblog.Line(nil), last...))
}

// checkSections checks what holds for the sections of any log.
func checkSections(t *testing.T, log []byte) {
	t.Helper()
	sections, err := collect(joblog.Sections(bytes.NewReader(log)), same)
	require.NoError(t, err)
	for _, s := range sections {
		assert.NotEmpty(t, s.Name)
		assert.True(t, utf8.ValidString(s.Header))
		assert.False(t, strings.ContainsAny(s.Header, "\x1b\r\n"), "%q", s.Header)
		assert.GreaterOrEqual(t, s.Depth, 0)
		if s.Start.IsZero() || s.End.IsZero() {
			assert.Zero(t, s.Duration)
		} else {
			assert.Equal(t, s.End.Sub(s.Start), s.Duration)
		}
	}
	slowly, err := collect(joblog.Sections(iotest.OneByteReader(bytes.NewReader(log))), same)
	require.NoError(t, err)
	require.Equal(t, sections, slowly)
}

// checkStripper checks what holds for what is left of any log.
func checkStripper(t *testing.T, log []byte, size int) {
	t.Helper()
	once := strip(t, log, len(log))
	require.NotContains(t, string(once), "\x1b")
	require.Equal(t, string(once), string(strip(t, once, len(once))), "again")
	require.Equal(t, string(once), string(strip(t, log, size)), "in pieces of %d bytes", size)

	rest := once
	for _, b := range log {
		if len(rest) > 0 && rest[0] == b {
			rest = rest[1:]
		}
	}
	require.Empty(t, rest, "nothing is added and the order is kept")
	if !bytes.Contains(log, []byte{'\x1b'}) {
		require.Equal(t, string(log), string(once), "nothing to strip")
	}
	markerless := bytes.ReplaceAll(log, []byte("\r\x1b[0K"), nil)
	if !bytes.ContainsRune(once, '\r') && !bytes.ContainsAny(markerless, "GJK") {
		require.Equal(t, texts(t, log), texts(t, once), "where nothing is redrawn, the text stays")
	}
}

// texts returns the text of all lines of a log up to the last that isn't empty.
func texts(t *testing.T, log []byte) string {
	t.Helper()
	lines, err := collect(joblog.Lines(bytes.NewReader(log)), func(line joblog.Line) string { return line.Text })
	require.NoError(t, err)
	return strings.TrimRight(strings.Join(lines, "\n"), "\n")
}

// strip strips a log that is written in pieces.
func strip(t *testing.T, log []byte, size int) []byte {
	t.Helper()
	var out bytes.Buffer
	w := joblog.NewStripper(&out)
	for rest := log; len(rest) > 0; {
		piece := rest[:min(size, len(rest))]
		n, err := w.Write(piece)
		require.NoError(t, err)
		require.Equal(t, len(piece), n)
		rest = rest[len(piece):]
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

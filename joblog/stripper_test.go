package joblog_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs/joblog"
)

func TestStripper(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ log, want string }{
		"plain":                        {"text\r\nmore\n", "text\r\nmore\n"},
		"redraws stay":                 {"10%\r\x1b[K100%\r\n", "10%\r100%\r\n"},
		"codes":                        {"\x1b[0;31mred\x1b[m \x1b]8;;https://example.com\x1b\\link\x1b]8;;\a\x1b(B\n", "red link\n"},
		"code broken off by a line":    {"a\x1b[3\n1mb\x1b]0;title\r\nc\n", "a\n1mb\r\nc\n"},
		"escape at the end":            {"text\x1b", "text"},
		"bytes that aren't UTF-8":      {"Gr\xf6\xdfe \x9b31m\n", "Gr\xf6\xdfe \x9b31m\n"},
		"markers":                      {"\x1b[0Ksection_start:1:a[collapsed=true]\r\x1b[0KHeader\nsection_end:2:a\r\x1b[0Ktext\n", "Header\ntext\n"},
		"what is no marker stays":      {"a section_start:1:\r\x1b[0K sections sec", "a section_start:1:\r sections sec"},
		"half a marker stays":          {"section_start:1:a[b=c]\r\x1b[0", "section_start:1:a[b=c]\r"},
		"marker in the name of one":    {"section_start:1:section_end:2:b\r\x1b[0K", "section_start:1:"},
		"no marker made of pieces":     {"section_\x1b[1mstart:1:a\r\x1b[0K", "section_start:1:a\r"},
		"no code made of pieces":       {"\x1b\x1b[1m[1m", "[1m"},
		"too long for a marker":        {"section_start:1:" + strings.Repeat("a", 1005) + "\r\x1b[0K", "section_start:1:" + strings.Repeat("a", 1005) + "\r"},
		"timestamps stay":              {stamp("01O ") + "\x1b[1mtext\x1b[m\n", stamp("01O ") + "text\n"},
		"marker across a continuation": {stamp("00O ") + "section_start:1:a\r\n" + stamp("00O+") + "\x1b[0KHeader\n", stamp("00O ") + "\n" + stamp("00O+") + "Header\n"},
		"code across a continuation":   {stamp("01O ") + "a\x1b[3\n" + stamp("01O+") + "1mb\n", stamp("01O ") + "a\n" + stamp("01O+") + "b\n"},
		"code before another line":     {stamp("01O ") + "a\x1b[3\n" + stamp("01O ") + "1mb\n", stamp("01O ") + "a\n" + stamp("01O ") + "1mb\n"},
		"code before another stream":   {stamp("01O ") + "a\x1b[3\n" + stamp("01E+") + "1mb\n", stamp("01O ") + "a\n" + stamp("01E+") + "1mb\n"},
		"code after no timestamp":      {"a\x1b[3\n" + stamp("01O+") + "1mb\n", "a\n" + stamp("01O+") + "1mb\n"},
		"code before half a timestamp": {stamp("01O ") + "a\x1b[3\n" + stamp("01O+")[:20], stamp("01O ") + "a\n" + stamp("01O+")[:20]},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, test.want, string(strip(t, []byte(test.log), len(test.log))))
			checkStripper(t, []byte(test.log), 1)
		})
	}
}

// TestStripperHoldsBackLittle writes a log bit by bit and looks at what comes out at once.
func TestStripperHoldsBackLittle(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := joblog.NewStripper(&out)
	for _, step := range []struct{ write, out string }{
		{"text", "text"},
		{" passes", " passe"}, // an s may become a section's
		{" on: sections", "s on: section"},
		{"\nsection_start:", "s\n"},
		{"1:a\r\x1b[0K", ""},
		{"section_end:1:a\r", ""},
		{"\n", "section_end:1:a\r\n"},
		{stamp("00O ") + "section_end:1:b\r", stamp("00O ")},
		{"\n2026", ""}, // a continuation may come
		{"\n", "section_end:1:b\r\n2026\n"},
		{"\x1b[3", ""},
		{"1mred\x1b]0;", "red"},
		{"title\a.", "."},
		{" section_", " "},
	} {
		out.Reset()
		_, err := io.WriteString(w, step.write)
		require.NoError(t, err)
		assert.Equal(t, step.out, out.String(), "after %q", step.write)
	}
	out.Reset()
	require.NoError(t, w.Close())
	assert.Equal(t, "section_", out.String())
}

func TestStripperClose(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := joblog.NewStripper(&out)
	_, err := io.WriteString(w, "section_start:1:a\r")
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.NoError(t, w.Close(), "again")
	assert.Equal(t, "section_start:1:a\r", out.String())
	_, err = io.WriteString(w, "text")
	require.ErrorIs(t, err, fs.ErrClosed)
	assert.Equal(t, "section_start:1:a\r", out.String())
}

func TestStripperWriteErrors(t *testing.T) {
	t.Parallel()
	full := errors.New("disk full")
	for name, log := range map[string]string{"plain": "text", "stripped": "\x1b[1mtext"} {
		w := joblog.NewStripper(&brokenWriter{err: full})
		n, err := io.WriteString(w, log)
		require.ErrorIs(t, err, full, name)
		assert.Zero(t, n, name)
		_, err = io.WriteString(w, "more")
		require.ErrorIs(t, err, full, name)
		require.ErrorIs(t, w.Close(), full, name)
	}

	w := joblog.NewStripper(&brokenWriter{})
	_, err := io.WriteString(w, "text")
	require.ErrorIs(t, err, io.ErrShortWrite)

	w = joblog.NewStripper(&brokenWriter{err: full})
	_, err = io.WriteString(w, "section_")
	require.NoError(t, err)
	require.ErrorIs(t, w.Close(), full, "what was held back")

	const passed = 128 << 10
	w = joblog.NewStripper(&brokenWriter{room: passed, err: full})
	n, err := w.Write(make([]byte, passed+1))
	require.ErrorIs(t, err, full)
	assert.Equal(t, passed, n)
}

// TestStripperMemory lets pass through what a stripper might want to hold.
func TestStripperMemory(t *testing.T) {
	const size, most = 4 << 20, 256 << 10
	for name, start := range map[string]string{
		"string without end":       "\x1b]0;",
		"code without end":         "\x1b[",
		"marker without end":       "section_start:1:",
		"marker in pieces":         "section_start:1:a\r",
		"markers in markers":       "section_start:1:section_",
		"string in pieces":         "\x1b]0;a",
		"line feeds in the string": "\x1b]0;\n",
	} {
		t.Run(name, func(t *testing.T) {
			block := []byte(strings.Repeat("1", 100))
			switch {
			case strings.HasSuffix(name, "in pieces"):
				block = []byte("\n" + stamp("01O+"))
			case name == "markers in markers":
				block = []byte("section_")
			}
			w := joblog.NewStripper(io.Discard)
			_, err := io.WriteString(w, start)
			require.NoError(t, err)
			got := allocated(func() {
				_, err := io.CopyBuffer(struct{ io.Writer }{w}, io.LimitReader(&repeatReader{block: block}, size), make([]byte, 1<<10))
				assert.NoError(t, err)
				assert.NoError(t, w.Close())
			})
			t.Logf("%d bytes for %d", got, size)
			assert.Less(t, got, uint64(most))
		})
	}
}

// brokenWriter fails when its room is used up; without an error it writes too little.
type brokenWriter struct {
	room int
	err  error
}

func (w *brokenWriter) Write(p []byte) (int, error) {
	if len(p) <= w.room {
		w.room -= len(p)
		return len(p), nil
	}
	return 0, w.err
}

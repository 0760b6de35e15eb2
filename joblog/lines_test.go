package joblog_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs/joblog"
)

func TestText(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ log, want string }{
		"plain":                          {"make: nothing to do\n", "make: nothing to do"},
		"no line end":                    {"make", "make"},
		"empty":                          {"\n", ""},
		"windows line end":               {"make\r\n", "make"},
		"tab, bell and backspace stay":   {"a\tb\a\b\n", "a\tb\a\b"},
		"colours":                        {"\x1b[0;31;1mred\x1b[m, \x1b[38;2;1;2;3mtrue\x1b[39m\n", "red, true"},
		"private mode":                   {"\x1b[?25lhidden cursor\x1b[?25h\n", "hidden cursor"},
		"title ended by BEL":             {"\x1b]0;title\atext\n", "text"},
		"hyperlink ended by ST":          {"\x1b]8;;https://example.com\x1b\\text\x1b]8;;\x1b\\\n", "text"},
		"character set":                  {"\x1b(Btext\x1b=\x1b7\x1b8\n", "text"},
		"device control string":          {"\x1bPq#0~~\x1b\\text\n", "text"},
		"CSI broken off":                 {"text\x1b[38;5\n", "text"},
		"escape at the end":              {"text\x1b", "text"},
		"string broken off by the end":   {"text\x1b]0;title\r\n", "text"},
		"string broken off by a code":    {"\x1b]0;title\x1b[1mtext\n", "text"},
		"string broken off by cancel":    {"\x1b]0;title\x18text\n", "\x18text"},
		"CSI broken off by another":      {"\x1b[1\x1b[1mtext\n", "text"},
		"CSI broken off by a letter":     {"\x1b[1ätext\n", "ätext"},
		"8-bit codes are letters' bytes": {"caf\xc3\xa9 \xe2\x80\x9bquote\n", "café ‛quote"},
		"invalid UTF-8":                  {"Gr\xf6\xdfe\n", "Gr\ufffd\ufffde"},
		"a letter around a code":         {"\xc3\x1b[1m\xa9\n", "é"},

		"progress":                       {"10%\r50%\r100%\r\n", "100%"},
		"progress without line end":      {"10%\r50%\r", "50%"},
		"progress in one line with text": {"10%\r50%\rdone\n", "done"},
		"leading carriage return":        {"\r10%\r\r50%\n", "50%"},
		"two carriage returns at end":    {"10%\r\r\n", "10%"},
		"shorter redraw":                 {"downloading\rdone\n", "done"},
		"blanks are text":                {"10% [Working]\r             \r\n", "             "},
		"colour alone is no text":        {"100%\r\x1b[0m\n", "100%"},
		"erased":                         {"100%\r\x1b[K\n", ""},
		"erased with parameter":          {"100%\r\x1b[0K\n", ""},
		"erased and redrawn":             {"100%\r\x1b[Kdone\n", "done"},
		"erase at the end of text":       {"text\x1b[K\x1b[0K\n", "text"},
		"erase to the start":             {"100%\x1b[1K\rdone\n", "done"},
		"erase to the start at home":     {"100%\r\x1b[1K\n", "100%"},
		"erase all":                      {"100%\x1b[2K\n", ""},
		"erase the screen":               {"100%\x1b[2J\x1b[Hdone\n", "done"},
		"erase something else":           {"100%\r\x1b[?K\x1b[5K\n", "100%"},
		"spinner by column":              {"⠙\x1b[1G\x1b[0K⠹\x1b[1G\x1b[0Kdone\n", "done"},
		"column without parameter":       {"10%\x1b[Gdone\n", "done"},
		"another column":                 {"10%\x1b[12Gdone\n", "10%done"},

		"section markers":                 {"\x1b[0Ksection_start:1:a[collapsed=true]\r\x1b[0K\x1b[1mHeader\x1b[m\n", "Header"},
		"one section after another":       {"section_end:1:a\r\x1b[0Ksection_start:1:b\r\x1b[0K\x1b[0KHeader\n", "Header"},
		"text before a marker stays":      {"text\x1b[0Ksection_end:1:a\r\x1b[0K\n", "text"},
		"redraw before a marker":          {"1%\r2%section_end:1:a\r\x1b[0K3%\r4%\n", "2%4%"},
		"redraw right before a marker":    {"1%\rsection_end:1:a\r\x1b[0K\n", "1%"},
		"erased before a marker":          {"1%\r\x1b[0Ksection_end:1:a\r\x1b[0K\n", ""},
		"marker without tail":             {"section_start:1:a\r\n", "section_start:1:a"},
		"marker with half a tail":         {"section_start:1:a\r\x1b[0\n", "section_start:1:a"},
		"marker without time":             {"section_start::a\r\x1b[0KHeader\n", "Header"},
		"marker without name":             {"section_start:1:\r\x1b[0Kx\n", "x"},
		"marker with another letter":      {"section_start:1:a/b\r\x1b[0Kx\n", "x"},
		"marker of another kind":          {"section_stop:1:a\r\x1b[0Kx\n", "x"},
		"marker in the name of another":   {"section_start:1:section_start:2:b\r\x1b[0K x\n", "section_start:1: x"},
		"marker with strange options":     {"section_start:1:a[b=c, d=e,]\r\x1b[0Kx\n", "x"},
		"marker cut by a code":            {"section_\x1b[1mstart:1:a\r\x1b[0Kx\n", "x"},
		"marker as long as it may be":     {"section_start:1:" + strings.Repeat("a", 1004) + "\r\x1b[0K\n", ""},
		"timestamp":                       {stamp("00O ") + "text\n", "text"},
		"timestamp alone":                 {stamp("00O ") + "\n", ""},
		"timestamp cut off":               {stamp("00O ")[:31], stamp("00O ")[:31]},
		"no timestamp: 30 February":       {"2026-02-30T00:00:00.000000Z 00O x\n", "2026-02-30T00:00:00.000000Z 00O x"},
		"no timestamp: month 13":          {"2026-13-01T00:00:00.000000Z 00O x\n", "2026-13-01T00:00:00.000000Z 00O x"},
		"no timestamp: another stream":    {"2026-03-14T09:26:53.000001Z 00X x\n", "2026-03-14T09:26:53.000001Z 00X x"},
		"no timestamp: no hexadecimal":    {"2026-03-14T09:26:53.000001Z 0gO x\n", "2026-03-14T09:26:53.000001Z 0gO x"},
		"no timestamp: not at the start":  {" " + stamp("00O ") + "x\n", " " + stamp("00O ") + "x"},
		"continuation":                    {stamp("01O ") + "one, \n" + stamp("01O+") + "two\n", "one, two"},
		"continuation of a progress bar":  {stamp("01O ") + "1%\r\n" + stamp("01O+") + "2%\r\n" + stamp("01O+") + "3%\n", "3%"},
		"continuation within a code":      {stamp("01O ") + "a\x1b[3\n" + stamp("01O+") + "1mb\n", "ab"},
		"continuation within a letter":    {stamp("01O ") + "caf\xc3\n" + stamp("01O+") + "\xa9\n", "café"},
		"continuation within a marker":    {stamp("00O ") + "section_start:1:a\r\n" + stamp("00O+") + "\x1b[0KHeader\n", "Header"},
		"continuation within a line end":  {stamp("01O ") + "text\r\n" + stamp("01O+") + "\n", "text"},
		"continuation without line end":   {stamp("01O ") + "one, \n" + stamp("01O+") + "two", "one, two"},
		"continuation without text":       {stamp("01O ") + "one\n" + stamp("01O+"), "one"},
		"continuation without a line":     {stamp("01O+") + "two\n", "two"},
		"a file separator is no line end": {"a\x1cb\u2028c\n", "a\x1cb\u2028c"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lines, err := collect(joblog.Lines(strings.NewReader(test.log)), clone)
			require.NoError(t, err)
			require.Len(t, lines, 1)
			assert.Equal(t, test.want, lines[0].Text)
			assert.Equal(t, test.log, string(lines[0].Raw))
		})
	}
}

func TestLineOfASectionMarker(t *testing.T) {
	t.Parallel()
	const log = "before\n" +
		"\x1b[0Ksection_start:1:a\r\x1b[0KHeader of a\n" +
		"in a\n" +
		"section_start:1:b\r\x1b[0K\n" +
		"in b\n" +
		"end of b section_end:1:b\r\x1b[0K\n" +
		"in a again\n" +
		"section_end:1:a\r\x1b[0Ksection_start:1:c\r\x1b[0KHeader of c\n" +
		"no end section_end:1:none\r\x1b[0K\n" +
		"section_end:1:c\r\x1b[0K\n" +
		"end of nothing, section_start:1:d\r\x1b[0K\n" +
		"section_start:1:e\r\x1b[0Ksection_start:1:f\r\x1b[0Kf in e in d\n" +
		"section_end:1:d\r\x1b[0Kafter\n" +
		"section_start:1:g\r\x1b[0Ksection_end:1:g\r\x1b[0K\n"
	var got []string
	for line, err := range joblog.Lines(strings.NewReader(log)) {
		require.NoError(t, err)
		got = append(got, strings.Join(line.Sections, "/")+": "+line.Text)
	}
	assert.Equal(t, []string{
		": before",
		"a: Header of a",
		"a: in a",
		"a/b: ",
		"a/b: in b",
		"a/b: end of b ",
		"a: in a again",
		"c: Header of c",
		"c: no end ",
		": ",
		"d: end of nothing, ",
		"d/e/f: f in e in d",
		": after",
		"g: ",
	}, got)
}

func TestSectionsOfALineStay(t *testing.T) {
	t.Parallel()
	log := &strings.Builder{}
	for _, name := range []string{"a", "b", "c", "d"} {
		fmt.Fprintf(log, "section_start:1:%s\r\x1b[0K\n", name)
		fmt.Fprintf(log, "section_start:1:%s%s\r\x1b[0K\n", name, name)
		fmt.Fprintf(log, "section_end:1:%s%s\r\x1b[0K\n", name, name)
	}
	log.WriteString("section_end:1:b\r\x1b[0K\nsection_start:1:e\r\x1b[0K\n")

	var kept, cloned [][]string
	for line, err := range joblog.Lines(strings.NewReader(log.String())) {
		require.NoError(t, err)
		kept = append(kept, line.Sections)
		cloned = append(cloned, slices.Clone(line.Sections))
	}
	assert.Equal(t, cloned, kept)
	assert.Equal(t, []string{"a", "b", "c", "cc"}, kept[7])
	assert.Equal(t, []string{"a", "e"}, kept[len(kept)-1])
}

func TestTimestamps(t *testing.T) {
	t.Parallel()
	const log = "2026-03-14T09:26:53.000001Z 00O starting\n" +
		"2026-03-14T09:26:54.000000Z 01O 10%\r\n" +
		"2026-03-14T09:26:54.500000Z 01O+20%\r\n" +
		"2026-03-14T09:26:54.600000Z 01E warning\n" +
		"2026-03-14T09:26:55.000000Z 01O+30%\n" +
		"2026-03-14T09:26:55.000000Z 02O+of another container\n" +
		"no timestamp\n" +
		"2026-03-14T09:26:56.000000Z 01O+nor a line to join\n"
	var got []string
	for line, err := range joblog.Lines(strings.NewReader(log)) {
		require.NoError(t, err)
		when := ""
		if !line.Time.IsZero() {
			when = line.Time.Format(time.RFC3339Nano)
		}
		got = append(got, fmt.Sprintf("%d %s %s: %s", line.Number, when, line.Stream, line.Text))
	}
	assert.Equal(t, []string{
		"1 2026-03-14T09:26:53.000001Z stdout: starting",
		"2 2026-03-14T09:26:54Z stdout: 20%",
		"3 2026-03-14T09:26:54.6Z stderr: warning",
		"4 2026-03-14T09:26:55Z stdout: 30%",
		"5 2026-03-14T09:26:55Z stdout: of another container",
		"6  : no timestamp",
		"7 2026-03-14T09:26:56Z stdout: nor a line to join",
	}, got)
}

func TestLinesOfAnyLength(t *testing.T) {
	t.Parallel()
	const long = 3 << 20
	log := strings.Repeat("x", long) + "\nshort\n" +
		stamp("01O ") + strings.Repeat("y", long) + "\n" + stamp("01O+") + strings.Repeat("z", long) + "\n" +
		strings.Repeat("\x1b[1m#\r", long/6)
	lines, err := collect(joblog.Lines(strings.NewReader(log)), clone)
	require.NoError(t, err)
	require.Len(t, lines, 4)
	assert.Len(t, lines[0].Text, long)
	assert.Equal(t, "short", lines[1].Text)
	assert.Len(t, lines[2].Text, 2*long)
	assert.Equal(t, "#", lines[3].Text)
}

func TestLinesAsTheyCome(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	next, stop := iter.Pull2(joblog.Lines(r))
	defer stop()
	write := func(s string) {
		_, err := io.WriteString(w, s)
		assert.NoError(t, err)
	}

	go write("first\n")
	line, err, ok := next()
	require.True(t, ok)
	require.NoError(t, err)
	assert.Equal(t, "first", line.Text, "without waiting for the second")

	go write(stamp("00O ") + "second\nthird")
	line, err, ok = next()
	require.True(t, ok)
	require.NoError(t, err)
	assert.Equal(t, "second", line.Text, "no longer than the third can be a continuation")

	go func() { assert.NoError(t, w.Close()) }()
	line, err, ok = next()
	require.True(t, ok)
	require.NoError(t, err)
	assert.Equal(t, "third", line.Text)
}

func TestLinesGoOnAfterABreak(t *testing.T) {
	t.Parallel()
	lines := joblog.Lines(strings.NewReader("one\ntwo\nthree\n"))
	for line, err := range lines {
		require.NoError(t, err)
		assert.Equal(t, "one", line.Text)
		break
	}
	rest, err := collect(lines, func(line joblog.Line) string { return line.Text })
	require.NoError(t, err)
	assert.Equal(t, []string{"two", "three"}, rest)
}

// stamp makes a timestamp of a stream and a join flag, such as "01O+".
func stamp(stream string) string { return "2026-03-14T09:26:53.000001Z " + stream }

func clone(line joblog.Line) joblog.Line {
	line.Raw = bytes.Clone(line.Raw)
	return line
}

// collect ranges over a sequence until its error, which has to be the last step.
func collect[T, U any](seq iter.Seq2[T, error], keep func(T) U) ([]U, error) {
	var all []U
	var failure error
	for v, err := range seq {
		if failure != nil {
			return all, errors.New("a step after the error")
		}
		if failure = err; err == nil {
			all = append(all, keep(v))
		}
	}
	return all, failure
}

package joblog_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs/joblog"
)

func TestReadErrors(t *testing.T) {
	t.Parallel()
	broken := errors.New("connection reset")
	const log = "section_start:1:a\r\x1b[0KA\nin a line"
	read := func() io.Reader {
		return io.MultiReader(strings.NewReader(log), iotest.ErrReader(broken))
	}

	lines := joblog.Lines(read())
	texts, err := collect(lines, func(line joblog.Line) string { return line.Text })
	require.ErrorIs(t, err, broken)
	assert.Equal(t, []string{"A", "in a line"}, texts)
	again, err := collect(lines, clone)
	require.NoError(t, err, "the error comes once")
	assert.Empty(t, again)

	sections, err := collect(joblog.Sections(read()), same)
	require.ErrorIs(t, err, broken)
	require.Len(t, sections, 1)
	assert.Equal(t, "a", sections[0].Name)
	assert.True(t, sections[0].End.IsZero())

	tail, err := joblog.Tail(read(), 1)
	require.ErrorIs(t, err, broken)
	require.Len(t, tail, 1)
	assert.Equal(t, "in a line", tail[0].Text)

	_, err = collect(joblog.Lines(stuckReader{}), clone)
	require.ErrorIs(t, err, io.ErrNoProgress)

	texts, err = collect(joblog.Lines(iotest.DataErrReader(strings.NewReader("one\ntwo"))), func(line joblog.Line) string { return line.Text })
	require.NoError(t, err)
	assert.Equal(t, []string{"one", "two"}, texts, "bytes that come with io.EOF")
}

// stuckReader reads nothing for ever.
type stuckReader struct{}

func (stuckReader) Read([]byte) (int, error) { return 0, nil }

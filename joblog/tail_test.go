package joblog_test

import (
	"fmt"
	"io"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs/joblog"
)

func TestTail(t *testing.T) {
	t.Parallel()
	log := "one\nsection_start:1:a\r\x1b[0KA\n" +
		stamp("01O ") + "1%\r\n" + stamp("01O+") + "\x1b[1m2%\n" +
		"section_end:1:a\r\x1b[0Klast"
	all, err := collect(joblog.Lines(strings.NewReader(log)), clone)
	require.NoError(t, err)
	require.Len(t, all, 4)

	for _, n := range []int{1, 2, 3, 4, 5, math.MaxInt} {
		got, err := joblog.Tail(strings.NewReader(log), n)
		require.NoError(t, err)
		assert.Equal(t, all[len(all)-min(n, len(all)):], got, "n = %d", n)
	}
}

func TestTailOfNothing(t *testing.T) {
	t.Parallel()
	got, err := joblog.Tail(strings.NewReader(""), 10)
	require.NoError(t, err)
	assert.Empty(t, got)

	unread := strings.NewReader("one\n")
	for _, n := range []int{0, -1} {
		got, err = joblog.Tail(unread, n)
		require.NoError(t, err)
		assert.Empty(t, got)
	}
	assert.Equal(t, 4, unread.Len())
}

func TestTailOwnsItsLines(t *testing.T) {
	t.Parallel()
	const log = "section_start:1:a\r\x1b[0K\none\ntwo\n"
	got, err := joblog.Tail(strings.NewReader(log), 2)
	require.NoError(t, err)
	require.Len(t, got, 2)
	for i := range got[0].Raw {
		got[0].Raw[i] = '-'
	}
	got[0].Sections[0] = "-"
	_ = append(got[0].Raw, "more"...)
	_ = append(got[0].Sections, "more")
	assert.Equal(t, "two\n", string(got[1].Raw))
	assert.Equal(t, []string{"a"}, got[1].Sections)
	assert.Equal(t, "one", got[0].Text)
}

// TestTailMemory compares a log and one that is many times as long.
func TestTailMemory(t *testing.T) {
	blocks := logBlocks()
	for name, longer := range map[string]int64{"plain": 64 << 20, "rich": 16 << 20} {
		t.Run(name, func(t *testing.T) {
			tail := func(size int64) func() {
				return func() {
					lines, err := joblog.Tail(io.LimitReader(&repeatReader{block: blocks[name]}, size), 100)
					require.NoError(t, err)
					assert.Len(t, lines, 100)
				}
			}
			short, long := allocated(tail(1<<20)), allocated(tail(longer))
			t.Logf("%d bytes for 1 MiB, %d bytes for %d MiB", short, long, longer>>20)
			assert.InEpsilon(t, short, long, 0.1)
		})
	}
}

// TestTailDropsLongLines has lines of 1 MiB far up in the log.
func TestTailDropsLongLines(t *testing.T) {
	const lines, long = 20, 1 << 20
	log := strings.Repeat(strings.Repeat("x", long)+"\n", lines) + strings.Repeat("short\n", lines)
	got, err := joblog.Tail(strings.NewReader(log), lines)
	require.NoError(t, err)
	held := 0
	for _, l := range got {
		held += cap(l.Raw)
	}
	assert.Less(t, held, 1<<20)
}

// allocated measures the bytes that f allocates in all.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// repeatReader reads a block again and again.
type repeatReader struct {
	block []byte
	at    int
}

func (r *repeatReader) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		m := copy(p[n:], r.block[r.at:])
		n += m
		r.at = (r.at + m) % len(r.block)
	}
	return n, nil
}

// logBlocks are pieces of logs to be repeated: plain text, and text with all
// that a log can have.
func logBlocks() map[string][]byte {
	const blockLines = 1000
	var plain, rich strings.Builder
	for i := range blockLines {
		fmt.Fprintf(&plain, "=== RUN   TestUpload/part_%d_of_an_archive: %d bytes written to storage, ok\n", i, i*4096)
		switch i % 20 {
		case 0:
			fmt.Fprintf(&rich, "%ssection_start:%d:step_%d\r\n%s\x1b[0K\x1b[36;1mStep %d\x1b[0;m\n", stamp("00O "), i, i%7, stamp("00O+"), i)
		case 10:
			fmt.Fprintf(&rich, "%s 10%%\r 50%%\r\n%s100%% of %d\n", stamp("01O "), stamp("01O+"), i)
		case 19:
			fmt.Fprintf(&rich, "%ssection_end:%d:step_%d\r\x1b[0K\n", stamp("00O "), i, (i-19)%7)
		default:
			fmt.Fprintf(&rich, "%s\x1b[32;1mPASS\x1b[0m TestUpload/part_%d \x1b[2m(%d bytes written to storage)\x1b[22m\n", stamp("01O "), i, i*4096)
		}
	}
	return map[string][]byte{"plain": []byte(plain.String()), "rich": []byte(rich.String())}
}

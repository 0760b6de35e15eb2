package joblog_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs/joblog"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestCorpus reads the logs of testdata: testdata/README.md tells what they are.
func TestCorpus(t *testing.T) {
	t.Parallel()
	for _, name := range corpus(t) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			log, err := os.ReadFile(name)
			require.NoError(t, err)
			base := strings.TrimSuffix(name, ".log")

			checkLines(t, log)
			checkSections(t, log)
			checkStripper(t, log, 7)

			var lines strings.Builder
			for line, err := range joblog.Lines(bytes.NewReader(log)) {
				require.NoError(t, err)
				fmt.Fprintf(&lines, "%4d%s %s| %q\n", line.Number, origin(line), path(line.Sections), line.Text)
			}
			golden(t, base+".lines.golden", []byte(lines.String()))

			var sections strings.Builder
			for s, err := range joblog.Sections(bytes.NewReader(log)) {
				require.NoError(t, err)
				fmt.Fprintf(&sections, "%-24s depth %d, %s to %s, %v, collapsed %t, %q\n",
					s.Name, s.Depth, clock(s.Start), clock(s.End), s.Duration, s.Collapsed, s.Header)
			}
			golden(t, base+".sections.golden", []byte(sections.String()))

			golden(t, base+".stripped.golden", strip(t, log, len(log)))
		})
	}
}

func origin(line joblog.Line) string {
	if line.Stream == "" {
		return ""
	}
	return " " + line.Time.Format("15:04:05.000000") + " " + string(line.Stream)
}

func path(sections []string) string {
	if len(sections) == 0 {
		return ""
	}
	return strings.Join(sections, "/") + " "
}

func clock(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Format(time.TimeOnly)
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(name, got, 0o644))
	}
	want, err := os.ReadFile(name)
	require.NoError(t, err)
	assert.Equal(t, string(want), string(got))
}

func corpus(tb testing.TB) []string {
	tb.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", "*.log"))
	require.NoError(tb, err)
	require.NotEmpty(tb, names)
	return names
}

package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs"
	"github.com/gitlabjobs/gitlabjobs/examples/internal/command"
	"github.com/gitlabjobs/gitlabjobs/examples/internal/command/commandtest"
	"github.com/gitlabjobs/gitlabjobs/jobstest"
)

func TestTimeline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := commandtest.New(t)
		name := filepath.Join(t.TempDir(), "chart")
		got := s.Run(t.Context(), run, "-o", name)
		require.Equal(t, command.ExitOK, got.Code, got.Stderr)
		assert.Contains(t, got.Stdout, "acme/rocket pipeline 102: running")
		assert.Regexp(t, `(?m)^compile +0:00 +0:00 +0:04 +1:52 +success$`, got.Stdout)
		assert.Regexp(t, `(?m)^unit \(try 2 of 2\) +2:23 `, got.Stdout)

		svg := read(t, name+".svg")
		texts := wellFormed(t, svg)
		for _, want := range []string{"compile", "package", "waits for a person to play it", "now", "9:00", "earlier try"} {
			assert.Contains(t, texts, want)
		}
		assert.Contains(t, svg, "runner_system_failure")
		page := read(t, name+".html")
		assert.Contains(t, page, "<svg")
		assert.Equal(t, 10, strings.Count(page, "<tr class="), "every attempt and the bridge")
		assert.Contains(t, page, "failed (script_failure)")
	})
}

// The SVG goes to standard output without anything around it, and what others
// have named is escaped.
func TestStandardOutput(t *testing.T) {
	t.Parallel()
	s := commandtest.New(t)
	pipeline := s.Server.AddProject("acme/odd").AddPipeline(jobstest.PipelineSpec{Title: "a < b && c"})
	pipeline.AddJob(jobstest.JobSpec{Name: `<script>alert("1")</script>`, Stage: "x & y", Duration: time.Minute})
	pipeline.AddJob(jobstest.JobSpec{Name: strings.Repeat("ä", 40)})
	got := s.Run(t.Context(), run, "-project", "acme/odd", "-o", "-")
	require.Equal(t, command.ExitOK, got.Code, got.Stderr)
	assert.True(t, strings.HasPrefix(got.Stdout, "<svg"))
	assert.NotContains(t, got.Stdout, "<script")
	texts := wellFormed(t, got.Stdout)
	assert.Contains(t, texts, `<script>alert("1")</script>`)
	assert.Contains(t, texts, "x & y")
	assert.Contains(t, texts, strings.Repeat("ä", 21)+"…")
}

// GitLab 12.3 has neither bridges nor retried jobs to list.
func TestOldGitLab(t *testing.T) {
	t.Parallel()
	s := commandtest.New(t, jobstest.WithVersion(jobstest.V12_3))
	got := s.Run(t.Context(), run, "-o", "-", "-ref", "main")
	require.Equal(t, command.ExitOK, got.Code, got.Stderr)
	assert.Contains(t, wellFormed(t, got.Stdout), "compile")
}

func TestFailures(t *testing.T) {
	t.Parallel()
	s := commandtest.New(t)
	s.Server.AddProject("acme/empty")
	for args, says := range map[string]string{
		"-project acme/empty":    "has no jobs yet",
		"-ref nowhere":           `no jobs of the ref "nowhere"`,
		"-pipeline 9999":         "Check the project and the ID",
		"-o /nowhere/at/all":     "no such file or directory",
		"-project acme/unknown":  "404",
		"-project acme/rocket/.": "segment",
	} {
		got := s.Run(t.Context(), run, strings.Fields(args)...)
		assert.Equal(t, command.ExitFailure, got.Code, args)
		assert.Contains(t, got.Stderr, says)
	}
}

func TestCriticalPath(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	id := int64(0)
	job := func(stage, name string, status gitlabjobs.Status, queued, began, ended int) *attempt {
		id++
		at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
		wait := float64(began - queued)
		return &attempt{Job: &gitlabjobs.Job{
			ID: id, Stage: stage, Name: name, Status: status, CreatedAt: start, QueuedDuration: &wait, StartedAt: at(began), FinishedAt: at(ended),
		}}
	}
	const ok, failed = gitlabjobs.StatusSuccess, gitlabjobs.StatusFailed
	waiting := &attempt{Job: &gitlabjobs.Job{ID: 900, Stage: "deploy", Name: "manual", Status: gitlabjobs.StatusManual, CreatedAt: start}}
	for name, tt := range map[string]struct {
		attempts []*attempt
		want     string
	}{
		"one":              {[]*attempt{job("build", "a", ok, 0, 1, 9)}, "a1"},
		"stages":           {[]*attempt{job("build", "a", ok, 0, 1, 9), job("build", "b", ok, 0, 1, 8), job("test", "c", ok, 9, 10, 20), job("test", "d", ok, 9, 10, 15)}, "a1 c1"},
		"needs":            {[]*attempt{job("build", "a", ok, 0, 1, 9), job("build", "b", ok, 9, 10, 30)}, "a1 b1"},
		"not of its stage": {[]*attempt{job("build", "a", ok, 0, 1, 9), job("build", "b", ok, 14, 20, 30)}, "b1"},
		"retry":            {[]*attempt{job("build", "a", ok, 0, 1, 9), job("test", "b", failed, 9, 10, 15), job("test", "b", ok, 60, 61, 70)}, "a1 b1 b2"},
		"failed":           {[]*attempt{job("build", "a", ok, 0, 1, 5), job("build", "b", failed, 0, 1, 9), job("test", "c", ok, 10, 11, 20)}, "a1 c1"},
		"never started":    {[]*attempt{waiting}, ""},
	} {
		var got []string
		for _, a := range newChart("p", tt.attempts, start.Add(time.Hour)).Critical {
			got = append(got, a.Job.Name+string(rune('0'+a.Number)))
		}
		assert.Equal(t, tt.want, strings.Join(got, " "), name)
	}
}

func TestClock(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "0:00", clock(400*time.Millisecond))
	assert.Equal(t, "2:05", clock(125*time.Second))
	assert.Equal(t, "26:00:01", clock(26*time.Hour+time.Second))
}

func read(t *testing.T, file string) string {
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(data)
}

// wellFormed fails unless text is XML, and returns the texts in it.
func wellFormed(t *testing.T, text string) (texts []string) {
	decoder := xml.NewDecoder(strings.NewReader(text))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return texts
		}
		require.NoError(t, err)
		if data, ok := token.(xml.CharData); ok {
			texts = append(texts, strings.TrimSpace(string(data)))
		}
	}
}

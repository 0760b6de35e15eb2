package main

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
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

func TestLines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := commandtest.New(t)
		got := s.Run(t.Context(), run)
		assert.Equal(t, command.ExitUnsuccessful, got.Code, got.Stderr)
		assert.Regexp(t, `(?m)^\d\d:\d\d:\d\d test/browser 1016: failed \(runner_system_failure\)$`, got.Stdout)
		assert.Regexp(t, `(?m)^\d\d:\d\d:\d\d deploy/docs 1018: running -> success$`, got.Stdout)
		assert.Contains(t, got.Stdout, "acme/rocket pipeline 102: 3 failed, 1 manual, 4 success. Not successful: integration, browser.")
		assert.NotContains(t, got.Stdout, "\x1b")
	})
}

// A pipeline that has succeeded is code 0, though a job has failed that was
// allowed to, and another one before its retry.
func TestSuccess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := commandtest.New(t)
		got := s.Run(t.Context(), run, "-pipeline", fmt.Sprint(s.Previous.ID()))
		assert.Equal(t, command.ExitOK, got.Code, got.Stderr)
		assert.Contains(t, got.Stdout, "pipeline 101: 1 failed, 6 success.")
	})
}

// screens returns what a terminal has shown, one after the other.
func screens(output string) []string {
	codes := regexp.MustCompile(`\x1b\[[0-9]*m`)
	return strings.Split(codes.ReplaceAllString(output, ""), clearBelow)
}

func TestLiveTable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := commandtest.New(t)
		got := s.RunInTerminal(t.Context(), run)
		assert.Equal(t, command.ExitUnsuccessful, got.Code, got.Stderr)
		shown := screens(got.Stdout)
		require.Greater(t, len(shown), 2)
		first, last := shown[0], shown[len(shown)-1]
		assert.Contains(t, first, "▶ running")
		assert.Contains(t, first, hideCursor)
		assert.Regexp(t, `docs +│ ✓ success`, last)
		assert.Regexp(t, `lint +│ ✗ failed +│ 35s +│ script_failure, allowed to`, last)
		assert.Regexp(t, `unit +│ ✓ success +│ 1m35s +│ try 2`, last)
		assert.Contains(t, last, showCursor)
		table, _, _ := strings.Cut(first, "└")
		assert.Contains(t, got.Stdout, fmt.Sprintf(up, strings.Count(table, "\n")+1), "it goes up by as many lines as there are")
	})
}

// A retry takes the place of the job that it is for.
func TestRetryWhileWatching(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := commandtest.New(t)
		pipeline := s.Server.AddProject("acme/retried").AddPipeline(jobstest.PipelineSpec{})
		job := pipeline.AddJob(jobstest.JobSpec{Name: "flaky", Status: gitlabjobs.StatusFailed, RetryCourses: [][]jobstest.Step{{
			{After: time.Second, Status: gitlabjobs.StatusRunning}, {After: 20 * time.Second, Status: gitlabjobs.StatusSuccess},
		}}})
		pipeline.AddJob(jobstest.JobSpec{Name: "slow", Course: []jobstest.Step{{Status: gitlabjobs.StatusRunning}, {After: time.Minute, Status: gitlabjobs.StatusSuccess}}})
		client, err := gitlabjobs.NewClient(gitlabjobs.WithBaseURL(s.Server.URL()), gitlabjobs.WithPrivateToken(s.Server.Token()), gitlabjobs.WithHTTPClient(s.Server.HTTPClient()))
		require.NoError(t, err)
		time.AfterFunc(5*time.Second, func() {
			_, err := client.Jobs.Retry(t.Context(), "acme/retried", job.ID(), nil)
			assert.NoError(t, err)
		})
		got := s.RunInTerminal(t.Context(), run, "-project", "acme/retried")
		assert.Equal(t, command.ExitOK, got.Code, got.Stderr)
		shown := screens(got.Stdout)
		assert.Regexp(t, `flaky +│ ✗ failed`, shown[0])
		assert.Regexp(t, `flaky +│ ✓ success +│ \d+s +│ try 2`, shown[len(shown)-1])
		assert.Contains(t, got.Stdout, "acme/retried pipeline 104: 2 success.")
	})
}

// A board that is higher than the terminal leaves out what is done.
func TestTallBoard(t *testing.T) {
	t.Parallel()
	b := newBoard("tall")
	const jobs = 60
	for i := range int64(jobs) {
		job := &gitlabjobs.Job{ID: i + 1, Name: fmt.Sprintf("job-%02d", i), Stage: "test", Status: gitlabjobs.StatusSuccess}
		if i >= 50 {
			job.Status = gitlabjobs.StatusPending
		}
		b.add(job)
	}
	text := b.screen(small{}, time.Now())
	assert.LessOrEqual(t, strings.Count(text, "\n"), 20)
	assert.NotContains(t, text, "job-00")
	assert.Contains(t, text, "job-50")
	assert.Contains(t, text, "and 50 more\n")
}

// small is a terminal of 20 rows.
type small struct{}

func (small) Write(p []byte) (int, error) { return len(p), nil }
func (small) Size() (columns, rows int)   { return 60, 20 }

func TestFailures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := commandtest.New(t)
		assert.Equal(t, command.ExitUsage, s.Run(t.Context(), run, "-interval", "0s").Code)
		got := s.Run(t.Context(), run, "-pipeline", "9999")
		assert.Equal(t, command.ExitFailure, got.Code)
		s.Server.Fail(jobstest.Fault{Endpoint: "GET /projects/:id/pipelines/:pipeline_id/jobs", Skip: 1, Status: http.StatusUnauthorized})
		got = s.RunInTerminal(t.Context(), run)
		assert.Equal(t, command.ExitFailure, got.Code)
		assert.Contains(t, got.Stdout, showCursor)
		assert.Contains(t, got.Stderr, "Set GITLAB_TOKEN")
	})
}

// Ctrl-C leaves the table and the cursor.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := commandtest.New(t)
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		got := s.RunInTerminal(ctx, run)
		assert.Equal(t, command.ExitInterrupted, got.Code)
		assert.True(t, strings.HasSuffix(got.Stdout, showCursor))
		assert.Contains(t, screens(got.Stdout)[1], "running")
	})
}

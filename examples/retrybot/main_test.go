package main

import (
	"context"
	"net/http"
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

const retry = "POST /projects/:id/jobs/:job_id/retry"

// retries returns how many retries were asked for.
func retries(s *commandtest.Simulation) (n int) {
	for _, r := range s.Server.Requests() {
		if r.Endpoint == retry {
			n++
		}
	}
	return n
}

// attempts returns the attempts at a job of the newest pipeline.
func attempts(s *commandtest.Simulation, name string) (found []*jobstest.Job) {
	for _, job := range s.Pipeline.Jobs() {
		if job.Name() == name {
			found = append(found, job)
		}
	}
	return found
}

func TestRetriesUntilItSucceeds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := commandtest.New(t)
		got := s.Run(t.Context(), run)
		assert.Equal(t, command.ExitOK, got.Code, got.Stderr)
		for _, want := range []string{
			"integration 1015: failed by script_failure, which would fail again: left alone",
			"browser 1016: failed by runner_system_failure, not by its script: retry 1 of at most 2",
			"browser 1020: failed by runner_system_failure, not by its script: retry 2 of at most 2",
			"browser 1021: success",
			"package 1019: waits for a person",
			"No failure of the infrastructure is left.",
		} {
			assert.Equal(t, 1, strings.Count(got.Stdout, want), "%s\n%s", want, got.Stdout)
		}
		assert.Equal(t, 2, retries(s))
	})
}

// The count is GitLab's: another run doesn't start it anew.
func TestMost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := commandtest.New(t)
		for range 2 {
			got := s.Run(t.Context(), run, "-max", "1")
			assert.Equal(t, command.ExitUnsuccessful, got.Code, got.Stderr)
			assert.Contains(t, got.Stdout, "has been retried 1 times, and -max is 1: left to a person")
		}
		assert.Equal(t, 1, retries(s))
	})
}

func TestDryRun(t *testing.T) {
	t.Parallel()
	s := commandtest.New(t)
	got := s.Run(t.Context(), run, "-dry-run", "-ref", "main")
	assert.Equal(t, command.ExitUnsuccessful, got.Code, got.Stderr)
	assert.Contains(t, got.Stdout, "would be retried, 1 of at most 2")
	assert.Zero(t, retries(s))
}

// Whatever happens to the request or its answer, no job gets two retries of
// one failure.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fault jobstest.Fault
		says  string
		sent  int
	}{
		"done, answer lost":     {jobstest.Fault{Status: http.StatusBadGateway, TakesEffect: true}, "was retried: job 1020", 2},
		"not done":              {jobstest.Fault{Status: http.StatusBadGateway}, "was not retried: asking again", 3},
		"connection closed":     {jobstest.Fault{CloseBeforeAnswer: true}, "asking again", 3},
		"refused, though done":  {jobstest.Fault{Status: http.StatusForbidden, Body: `{"message":"403 Forbidden - Job is not retryable"}`, TakesEffect: true}, "was retried: job 1020", 2},
		"refused, and not done": {jobstest.Fault{Status: http.StatusForbidden, Body: `{"message":"403 Forbidden - Job is not retryable"}`}, "GitLab refuses to retry it", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := commandtest.New(t)
				tt.fault.Endpoint, tt.fault.Times = retry, 1
				s.Server.Fail(tt.fault)
				got := s.Run(t.Context(), run)
				assert.Contains(t, got.Stdout, tt.says)
				assert.Equal(t, tt.sent, retries(s))
				if tt.sent > 1 {
					assert.Equal(t, command.ExitOK, got.Code, got.Stderr)
					assert.Len(t, attempts(s, "browser"), 3, "the failed one and two retries")
				} else {
					assert.Equal(t, command.ExitUnsuccessful, got.Code)
				}
			})
		})
	}
}

// A GitLab that stays silent about every retry is given up.
func TestGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := commandtest.New(t)
		s.Server.Fail(jobstest.Fault{Endpoint: retry, Status: http.StatusBadGateway})
		got := s.Run(t.Context(), run)
		assert.Equal(t, command.ExitFailure, got.Code)
		assert.Contains(t, got.Stderr, "look at the job before you do it again")
		assert.Equal(t, 3, retries(s))
	})
}

func TestOtherEnds(t *testing.T) {
	t.Parallel()
	s := commandtest.New(t)
	failed := jobstest.JobSpec{Status: gitlabjobs.StatusFailed, FailureReason: gitlabjobs.ReasonRunnerSystemFailure}
	add := func(project string, change func(*jobstest.JobSpec)) {
		spec := failed
		change(&spec)
		s.Server.AddProject(project).AddPipeline(jobstest.PipelineSpec{}).AddJob(spec)
	}
	step := func(step jobstest.Step) [][]jobstest.Step { return [][]jobstest.Step{{step}} }
	add("end/archived", func(spec *jobstest.JobSpec) { spec.Archived = true })
	add("end/script", func(spec *jobstest.JobSpec) {
		spec.RetryCourses = step(jobstest.Step{Status: gitlabjobs.StatusFailed})
	})
	add("end/manual", func(spec *jobstest.JobSpec) {
		spec.RetryCourses = step(jobstest.Step{Status: gitlabjobs.StatusManual})
	})
	for project, tt := range map[string]struct {
		says string
		code int
	}{
		"end/archived": {"too old to be retried", command.ExitUnsuccessful},
		"end/script":   {"failed by script_failure this time", command.ExitOK},
		"end/manual":   {"waits for a person", command.ExitOK},
		"end/nowhere":  {"", command.ExitFailure},
	} {
		got := s.Run(t.Context(), run, "-project", project)
		assert.Equal(t, tt.code, got.Code, "%s: %s", project, got.Stderr)
		assert.Contains(t, got.Stdout, tt.says)
	}
	assert.Equal(t, command.ExitUsage, s.Run(t.Context(), run, "-max", "0").Code)
}

// Ctrl-C ends a wait at once.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := commandtest.New(t)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		start := time.Now()
		got := s.Run(ctx, run)
		require.Equal(t, command.ExitInterrupted, got.Code)
		assert.Contains(t, got.Stderr, "interrupted")
		assert.Less(t, time.Since(start), 2*time.Second)
	})
}

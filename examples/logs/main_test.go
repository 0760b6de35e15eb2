package main

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/gitlabjobs/gitlabjobs"
	"github.com/gitlabjobs/gitlabjobs/examples/internal/command"
	"github.com/gitlabjobs/gitlabjobs/examples/internal/command/commandtest"
	"github.com/gitlabjobs/gitlabjobs/jobstest"
)

func TestWholeLog(t *testing.T) {
	t.Parallel()
	s := commandtest.New(t)
	got := s.Run(t.Context(), run)
	assert.Equal(t, command.ExitOK, got.Code, got.Stderr)
	assert.True(t, strings.HasPrefix(got.Stdout, "Running with gitlab-runner"), got.Stdout)
	assert.Contains(t, got.Stdout, "--- FAIL: TestLaunchWindow (42.18s)\n")
	assert.NotContains(t, got.Stdout, "\x1b")
	assert.NotContains(t, got.Stdout, "section_start")

	raw := s.RunInTerminal(t.Context(), run)
	assert.Equal(t, s.Failed.Log(), raw.Stdout)
	plain := s.RunInTerminal(t.Context(), run, "-plain")
	assert.Equal(t, got.Stdout, plain.Stdout)
}

func TestPicks(t *testing.T) {
	t.Parallel()
	s := commandtest.New(t)
	pipeline := s.Server.AddProject("acme/log").AddPipeline(jobstest.PipelineSpec{})
	pipeline.AddJob(jobstest.JobSpec{Name: "job", Log: "one\nsection_start:100:a\r\x1b[0KHeader A\ntwo\nsection_start:100:b\r\x1b[0Kinner\n" +
		"three\nsection_end:103:b\r\x1b[0K\nsection_end:110:a\r\x1b[0K\nfour\x1b[31m red\x1b[0m\nfive\nsection_start:110:c\r\x1b[0Klast\n"})
	for _, tt := range []struct{ args, want string }{
		{"-tail 2", "five\nlast\n"},
		{"-section b", "inner\nthree\n"},
		{"-section a -tail 1", "\n"},
		{"-grep ^t", "3: two\n5: three\n"},
		{"-grep four -context 1", "7- \n8: four red\n9- five\n"},
		{"-grep one|five -context 1", "1: one\n2- Header A\n--\n8- four red\n9: five\n10- last\n"},
		{"-grep e$ -section a", "5: three\n"},
		{"-grep e -context 1 -tail 2", "9: five\n10- last\n"},
	} {
		got := s.Run(t.Context(), run, append([]string{"-project", "acme/log"}, append(strings.Fields(tt.args), "job")...)...)
		assert.Equal(t, command.ExitOK, got.Code, got.Stderr)
		assert.Equal(t, tt.want, got.Stdout, tt.args)
	}
	got := s.RunInTerminal(t.Context(), run, "-project", "acme/log", "-grep", "o", "job")
	assert.Contains(t, got.Stdout, "3: tw\x1b[1;31mo\x1b[0m\n")
	got = s.Run(t.Context(), run, "-project", "acme/log", "-sections", "job")
	lines := strings.Split(got.Stdout, "\n")
	assert.Regexp(t, `^a +10s +█{24} +Header A$`, lines[1])
	assert.Regexp(t, `^  b +3s +█{7} +inner$`, lines[2])
	assert.Regexp(t, `^c +not ended +last$`, lines[3])
}

func TestFollow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := commandtest.New(t)
		got := s.Run(t.Context(), run, "-follow")
		assert.Equal(t, command.ExitOK, got.Code, got.Stderr)
		assert.Equal(t, 1, strings.Count(got.Stdout, "[8/8] packing part-08  100%"))
		assert.True(t, strings.HasSuffix(got.Stdout, "Job succeeded\n"))
	})
}

// Following says by its code how the job ended; what is in the way of a read
// of the log doesn't end it.
func TestFollowFailingJob(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := commandtest.New(t)
		s.Server.AddProject("acme/fails").AddPipeline(jobstest.PipelineSpec{}).AddJob(jobstest.JobSpec{Course: []jobstest.Step{
			{Status: gitlabjobs.StatusRunning, Log: "one\n"}, {After: 10 * time.Second, Log: "two\n"},
			{After: 20 * time.Second, Status: gitlabjobs.StatusFailed, Log: "three\n"},
		}})
		s.Server.Fail(jobstest.Fault{Endpoint: "GET /projects/:id/jobs/:job_id/trace", Skip: 1, Times: 3, ResetBeforeAnswer: true})
		got := s.Run(t.Context(), run, "-project", "acme/fails", "-follow", "-plain", "job")
		assert.Equal(t, command.ExitUnsuccessful, got.Code)
		assert.Equal(t, "one\ntwo\nthree\n", got.Stdout)
		assert.Contains(t, got.Stderr, "failed script_failure")
	})
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := commandtest.New(t)
		s.Server.AddProject("acme/slow").AddPipeline(jobstest.PipelineSpec{}).AddJob(jobstest.JobSpec{Status: gitlabjobs.StatusRunning, Log: "one\ntwo\n"})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		got := s.Run(ctx, run, "-project", "acme/slow", "-follow", "job")
		assert.Equal(t, command.ExitInterrupted, got.Code)
		assert.Equal(t, "one\ntwo\n", got.Stdout)
	})
}

func TestFailures(t *testing.T) {
	t.Parallel()
	s := commandtest.New(t)
	for args, want := range map[string]struct {
		code int
		says string
	}{
		"-grep nothing-like-it":     {command.ExitUnsuccessful, ""},
		"-section nope":             {command.ExitFailure, "it has: prepare_executor, get_sources, database, step_script"},
		"nope":                      {command.ExitFailure, `has no job "nope"`},
		"99999":                     {command.ExitFailure, "Check the project and the ID"},
		"-grep (":                   {command.ExitUsage, "missing closing )"},
		"-tail -1":                  {command.ExitUsage, "negative"},
		"unit -plain":               {command.ExitUsage, "Flags stand before"},
		"-project acme/docs -ref x": {command.ExitFailure, `no jobs of the ref "x"`},
	} {
		got := s.Run(t.Context(), run, strings.Fields(args)...)
		assert.Equal(t, want.code, got.Code, "%s: %s", args, got.Stderr)
		assert.Contains(t, got.Stderr, want.says)
	}
}

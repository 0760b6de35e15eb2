package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs"
	"github.com/gitlabjobs/gitlabjobs/examples/internal/command"
	"github.com/gitlabjobs/gitlabjobs/examples/internal/command/commandtest"
	"github.com/gitlabjobs/gitlabjobs/jobstest"
)

const deleteArtifacts = "DELETE /projects/:id/jobs/:job_id/artifacts"

// deleted returns how many requests to delete artifacts were made.
func deleted(s *commandtest.Simulation) (n int) {
	for _, r := range s.Server.Requests() {
		if r.Method == http.MethodDelete {
			n++
		}
	}
	return n
}

// withArtifacts returns the names of the project's jobs that have artifacts.
func withArtifacts(project *jobstest.Project) []string {
	var names []string
	for _, job := range project.Jobs() {
		if job.Snapshot().ArtifactsFile != nil {
			names = append(names, job.Name())
		}
	}
	return names
}

func TestDryRunDeletesNothing(t *testing.T) {
	t.Parallel()
	s := commandtest.New(t)
	before := withArtifacts(s.Project)
	got := s.Run(t.Context(), run)
	assert.Equal(t, command.ExitOK, got.Code, got.Stderr)
	assert.Equal(t, len(before), strings.Count(got.Stdout, "would delete"))
	assert.Regexp(t, `(?m)^compile +2 +129 KiB`, got.Stdout)
	assert.Contains(t, got.Stdout, "This was a dry run")
	for _, r := range s.Server.Requests() {
		assert.Equal(t, http.MethodGet, r.Method)
	}
	assert.Equal(t, before, withArtifacts(s.Project))
}

func TestFilters(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args string
		left []string
	}{
		{"-older-than 1d", []string{"compile", "assets", "unit"}},
		{"-larger-than 60KiB", []string{"assets", "unit", "assets", "unit"}},
		{"-name ^(unit|assets)$", []string{"compile", "compile", "package"}},
		{"-ref ^v", []string{"compile", "assets", "unit", "compile", "assets", "unit", "package"}},
		{"-older-than 0s", nil},
		{"-older-than 1d -name ^unit$", []string{"compile", "assets", "compile", "assets", "unit", "package"}},
	} {
		t.Run(tt.args, func(t *testing.T) {
			t.Parallel()
			s := commandtest.New(t)
			got := s.Run(t.Context(), run, append(strings.Fields(tt.args), "-apply")...)
			assert.Equal(t, command.ExitOK, got.Code, got.Stderr)
			assert.ElementsMatch(t, tt.left, withArtifacts(s.Project))
			assert.NotContains(t, got.Stdout, "dry run")
			if len(tt.left) == 7 {
				assert.Contains(t, got.Stdout, "No artifacts match.")
			}
		})
	}
}

func TestKeep(t *testing.T) {
	t.Parallel()
	s := commandtest.New(t)
	pipeline := s.Project.AddPipeline(jobstest.PipelineSpec{Ref: "v2", Tag: true})
	release := pipeline.AddJob(jobstest.JobSpec{Name: "release", Archive: jobstest.Zip(map[string]string{"a": "b"}), ArtifactsExpireIn: time.Hour})
	got := s.Run(t.Context(), run, "-keep", "-ref", "^v", "-apply")
	assert.Equal(t, command.ExitOK, got.Code, got.Stderr)
	assert.Equal(t, 1, strings.Count(got.Stdout, "kept"))
	assert.Zero(t, release.Snapshot().ArtifactsExpireAt)
	assert.Zero(t, deleted(s))
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	s := commandtest.New(t)
	for args, says := range map[string]string{
		"-apply":             "-apply without a filter",
		"-older-than soon":   "older-than",
		"-older-than 3.5d":   "no number of days",
		"-name [":            "missing closing ]",
		"-demo -url http://": "exclude each other",
		"everything":         `what is "everything"?`,
	} {
		got := s.Run(t.Context(), run, strings.Fields(args)...)
		assert.Equal(t, command.ExitUsage, got.Code, args)
		assert.Contains(t, got.Stderr, says)
	}
	assert.Empty(t, s.Server.Requests())
}

// One job that is in the way doesn't stop the others; a token that may not
// delete stops at once.
func TestFailures(t *testing.T) {
	t.Parallel()
	s := commandtest.New(t)
	s.Server.Fail(jobstest.Fault{Endpoint: deleteArtifacts, Times: 1, Status: http.StatusConflict, Body: `{"message":"409 Conflict"}`})
	s.Server.Fail(jobstest.Fault{Endpoint: deleteArtifacts, Skip: 1, Times: 1, Status: http.StatusNotFound, Body: `{"message":"404 Not found"}`})
	got := s.Run(t.Context(), run, "-older-than", "0s", "-apply")
	assert.Equal(t, command.ExitFailure, got.Code)
	assert.Contains(t, got.Stdout, "not now")
	assert.Contains(t, got.Stdout, "gone already")
	assert.Equal(t, 5, strings.Count(got.Stdout, "deleted "))
	assert.Contains(t, got.Stderr, "1 jobs couldn't be changed")

	s = commandtest.New(t)
	s.Server.Fail(jobstest.Fault{Endpoint: deleteArtifacts, Status: http.StatusForbidden, Body: `{"message":"403 Forbidden"}`})
	got = s.Run(t.Context(), run, "-older-than", "0s", "-apply")
	assert.Equal(t, command.ExitFailure, got.Code)
	assert.Equal(t, 1, deleted(s))
	assert.Contains(t, got.Stderr, "Maintainer")
}

// A run that is interrupted goes on from its state file, without asking for
// the pages it is through with.
func TestResume(t *testing.T) {
	t.Parallel()
	for _, version := range []jobstest.Version{jobstest.Newest, jobstest.V12_3} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			t.Parallel()
			s := commandtest.New(t, jobstest.WithVersion(version))
			const jobs = 250
			pipeline := s.Server.AddProject("acme/many").AddPipeline(jobstest.PipelineSpec{})
			archive := jobstest.Zip(map[string]string{"a": "b"})
			for range jobs {
				pipeline.AddJob(jobstest.JobSpec{Archive: archive})
			}
			stateFile := filepath.Join(t.TempDir(), "state.json")
			args := []string{"-project", "acme/many", "-older-than", "0s", "-apply", "-state", stateFile}

			heal := s.Server.Fail(jobstest.Fault{Endpoint: deleteArtifacts, Skip: 150, Status: http.StatusForbidden})
			got := s.Run(t.Context(), run, args...)
			assert.Equal(t, command.ExitFailure, got.Code)
			assert.Equal(t, 150, strings.Count(got.Stdout, "deleted "))
			require.FileExists(t, stateFile)
			other := s.Run(t.Context(), run, append(args, "-name", "other")...)
			assert.Equal(t, command.ExitFailure, other.Code)
			assert.Contains(t, other.Stderr, "is of another task")

			heal()
			s.Server.ResetRequests()
			got = s.Run(t.Context(), run, args...)
			assert.Equal(t, command.ExitOK, got.Code, got.Stderr)
			assert.Equal(t, jobs-150, deleted(s))
			assert.Contains(t, got.Stdout, "With the runs before: 250 jobs")
			first := s.Server.Requests()[0].Query
			assert.NotEmpty(t, first.Get("cursor")+first.Get("page"))
			_, err := os.Stat(stateFile)
			require.ErrorIs(t, err, os.ErrNotExist)
			for _, job := range pipeline.Jobs() {
				require.Nil(t, job.Snapshot().ArtifactsFile)
			}
		})
	}
}

// Logs stay, so they don't count.
func TestSize(t *testing.T) {
	t.Parallel()
	assert.EqualValues(t, 5, size(&gitlabjobs.Job{Artifacts: []gitlabjobs.Artifact{
		{FileType: "archive", Size: 3}, {FileType: "metadata", Size: 2}, {FileType: "trace", Size: 1000},
	}}))
	assert.EqualValues(t, 7, size(&gitlabjobs.Job{ArtifactsFile: &gitlabjobs.ArtifactsFile{Size: 7}}))
}

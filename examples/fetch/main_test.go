package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs"
	"github.com/gitlabjobs/gitlabjobs/examples/internal/command"
	"github.com/gitlabjobs/gitlabjobs/examples/internal/command/commandtest"
	"github.com/gitlabjobs/gitlabjobs/jobstest"
)

const download = "GET /projects/:id/jobs/:job_id/artifacts"

// large adds a job with an archive of 3 MiB, and returns its ID and digest.
func large(t *testing.T, s *commandtest.Simulation) (id, digest string) {
	const size, entries = 3 << 20, 5
	archive, n := jobstest.SyntheticZip(size, entries)
	job := s.Pipeline.AddJob(jobstest.JobSpec{Name: "large", ArchiveReader: archive, ArchiveSize: n})
	hash := sha256.New()
	_, err := io.Copy(hash, io.NewSectionReader(archive, 0, n))
	require.NoError(t, err)
	return fmt.Sprint(job.ID()), hex.EncodeToString(hash.Sum(nil))
}

func digestOf(t *testing.T, file string) string {
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func TestSave(t *testing.T) {
	t.Parallel()
	for _, flags := range []string{"", "-parallel 4", "-sha256 DIGEST"} {
		t.Run(flags, func(t *testing.T) {
			t.Parallel()
			s := commandtest.New(t)
			id, digest := large(t, s)
			file := filepath.Join(t.TempDir(), "a.zip")
			args := strings.Fields(strings.ReplaceAll(flags, "DIGEST", digest))
			got := s.Run(t.Context(), run, append(args, "-id", id, "-o", file)...)
			require.Equal(t, command.ExitOK, got.Code, got.Stderr)
			assert.Equal(t, digest, digestOf(t, file))
			assert.Contains(t, got.Stdout, "Fetched the artifacts of job "+id)
			assert.Contains(t, got.Stdout, "SHA-256 "+digest+", as ")
		})
	}
}

// A connection that breaks again and again is resumed.
func TestResets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := commandtest.New(t)
		id, digest := large(t, s)
		s.Server.Fail(jobstest.Fault{Endpoint: download, ResetAfter: 1_000_000})
		file := filepath.Join(t.TempDir(), "a.zip")
		got := s.Run(t.Context(), run, "-id", id, "-o", file)
		require.Equal(t, command.ExitOK, got.Code, got.Stderr)
		assert.Equal(t, digest, digestOf(t, file))
		assert.Regexp(t, `resumed [3-9]x\.`, got.Stdout)
	})
}

// What has come before a failure is kept, and the next run goes on there.
func TestGoesOnWhereItFailed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := commandtest.New(t)
		id, digest := large(t, s)
		file := filepath.Join(t.TempDir(), "a.zip")
		first := s.Server.Fail(jobstest.Fault{Endpoint: download, ResetAfter: 2_000_000})
		then := s.Server.Fail(jobstest.Fault{Endpoint: download, Skip: 1, Status: http.StatusServiceUnavailable})
		got := s.Run(t.Context(), run, "-id", id, "-o", file)
		assert.Equal(t, command.ExitFailure, got.Code)
		assert.Contains(t, got.Stderr, "are kept in a.zip.part: run this again")
		assert.NoFileExists(t, file)

		first()
		then()
		s.Server.ResetRequests()
		got = s.Run(t.Context(), run, "-id", id, "-o", file)
		require.Equal(t, command.ExitOK, got.Code, got.Stderr)
		assert.Equal(t, digest, digestOf(t, file))
		assert.Less(t, s.Server.BytesSent(), int64(2<<20))
		assert.NoFileExists(t, file+".part")
	})
}

func TestProgressBar(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := commandtest.New(t)
		id, _ := large(t, s)
		s.Server.Fail(jobstest.Fault{Endpoint: download, BytesPerSecond: 1 << 20, ResetAfter: 2 << 20})
		got := s.RunInTerminal(t.Context(), run, "-id", id, "-o", filepath.Join(t.TempDir(), "a.zip"))
		require.Equal(t, command.ExitOK, got.Code, got.Stderr)
		assert.Regexp(t, `a\.zip +\d+% █+░+.*/3\.0 MiB`, got.Stderr)
		assert.Contains(t, got.Stderr, "a.zip, resumed 1x")
		assert.NotContains(t, got.Stdout, "%")
	})
}

func TestExtract(t *testing.T) {
	t.Parallel()
	s := commandtest.New(t)
	dir := filepath.Join(t.TempDir(), "out")
	got := s.Run(t.Context(), run, "-extract", dir)
	require.Equal(t, command.ExitOK, got.Code, got.Stderr)
	assert.Contains(t, got.Stdout, "5 files, 257 KiB")
	readme, err := os.ReadFile(filepath.Join(dir, "dist", "README.md"))
	require.NoError(t, err)
	assert.Contains(t, string(readme), "v1.41.0")

	again := s.Run(t.Context(), run, "-extract", dir)
	assert.Equal(t, command.ExitFailure, again.Code)
	assert.Contains(t, again.Stderr, "There is a file already")
	again = s.Run(t.Context(), run, "-extract", dir, "-overwrite")
	assert.Equal(t, command.ExitOK, again.Code, again.Stderr)
}

func TestOneFile(t *testing.T) {
	t.Parallel()
	s := commandtest.New(t)
	got := s.Run(t.Context(), run, "-file", "dist/README.md", "-o", "-")
	require.Equal(t, command.ExitOK, got.Code, got.Stderr)
	assert.True(t, strings.HasPrefix(got.Stdout, "# rocket v1.41.0\n"))
	assert.Contains(t, got.Stderr, "Fetched dist/README.md")

	file := filepath.Join(t.TempDir(), "README.md")
	got = s.Run(t.Context(), run, "-file", "dist/README.md", "-o", file, "-recent")
	require.Equal(t, command.ExitOK, got.Code, got.Stderr)
	assert.FileExists(t, file)

	missing := filepath.Join(t.TempDir(), "missing")
	got = s.Run(t.Context(), run, "-file", "missing", "-o", missing)
	assert.Equal(t, command.ExitFailure, got.Code)
	left, err := os.ReadDir(filepath.Dir(missing))
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestStandardOutput(t *testing.T) {
	t.Parallel()
	s := commandtest.New(t)
	id, digest := large(t, s)
	got := s.Run(t.Context(), run, "-id", id, "-o", "-")
	require.Equal(t, command.ExitOK, got.Code, got.Stderr)
	sum := sha256.Sum256([]byte(got.Stdout))
	assert.Equal(t, digest, hex.EncodeToString(sum[:]))
}

// In a CI job nothing but its own variables is needed.
func TestInCI(t *testing.T) {
	server := jobstest.NewServer(jobstest.WithObjectStore(jobstest.ObjectStore{}))
	t.Cleanup(server.Close)
	demo := server.AddDemo()
	running := demo.Pipeline.AddJob(jobstest.JobSpec{Name: "release", Status: gitlabjobs.StatusRunning})
	for _, name := range []string{"GITLAB_URL", "GITLAB_HOST", "GITLAB_TOKEN"} {
		t.Setenv(name, "")
	}
	t.Setenv("CI_API_V4_URL", server.URL()+"/api/v4")
	t.Setenv("CI_SERVER_URL", server.URL())
	t.Setenv("CI_PROJECT_ID", fmt.Sprint(demo.Project.ID()))
	t.Setenv("CI_DEFAULT_BRANCH", "main")
	t.Setenv("CI_JOB_TOKEN", running.Token())
	dir := filepath.Join(t.TempDir(), "out")
	env := &command.Env{Stdout: io.Discard, Stderr: io.Discard}
	require.NoError(t, run(t.Context(), env, []string{"-job", "package", "-extract", dir}))
	assert.FileExists(t, filepath.Join(dir, "dist", "rocket"))
	for _, r := range server.Requests() {
		if r.Origin == "gitlab" {
			assert.NotEmpty(t, r.Header.Get("Job-Token"))
		} else {
			assert.Empty(t, r.Header.Get("Job-Token"))
		}
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	s := commandtest.New(t)
	file := filepath.Join(t.TempDir(), "a.zip")
	for args, want := range map[string]struct {
		code int
		says string
	}{
		"-extract d -o a.zip":  {command.ExitUsage, "doesn't go with"},
		"-file a -parallel 2":  {command.ExitUsage, "for archives"},
		"-parallel 0":          {command.ExitUsage, "fetches nothing"},
		"-id 5 -ref main":      {command.ExitUsage, "names the job already"},
		"-job nope -o " + file: {command.ExitFailure, "Check the project and the ID"},
		"-o " + file + " -sha256 " + strings.Repeat("0", 64): {command.ExitFailure, "What came isn't what was expected"},
		"-o /nowhere/a.zip": {command.ExitFailure, "no such file or directory"},
	} {
		got := s.Run(t.Context(), run, strings.Fields(args)...)
		assert.Equal(t, want.code, got.Code, "%s: %s", args, got.Stderr)
		assert.Contains(t, got.Stderr, want.says)
	}
	left, err := os.ReadDir(filepath.Dir(file))
	require.NoError(t, err)
	assert.Empty(t, left)
}

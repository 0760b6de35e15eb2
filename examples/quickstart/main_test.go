package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs/jobstest"
)

func TestQuickstart(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out, nil))
	for _, want := range []string{
		"this is a simulated GitLab at http://127.0.0.1:",
		"manual",
		"ERROR: Job failed",
		"[8/8] packing part-08  100%",
		`"package" finished: success.`,
		"verified: true.",
		"# rocket v1.42.0",
	} {
		assert.Contains(t, out.String(), want)
	}
	assert.NotContains(t, out.String(), "\x1b")
}

// Where a project is given, nothing is played unless it was asked for.
func TestQuickstartOnGitLab(t *testing.T) {
	server := jobstest.NewServer()
	t.Cleanup(server.Close)
	demo := server.AddDemo()
	t.Setenv("GITLAB_URL", server.URL())
	t.Setenv("GITLAB_TOKEN", server.Token())
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out, []string{demo.Project.Path()}))
	assert.Contains(t, out.String(), "nothing was started")
	for _, r := range server.Requests() {
		assert.Equal(t, "GET", r.Method)
	}
	assert.Error(t, run(t.Context(), &out, []string{"no/such-project"}))
}

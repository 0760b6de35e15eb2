package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs"
	"github.com/gitlabjobs/gitlabjobs/examples/internal/command"
)

// A client that is given what the simulator prints can use it.
func TestSimulator(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	out, stdout := io.Pipe()
	var code int
	go func() {
		err := run(ctx, &command.Env{Stdout: stdout, Stderr: io.Discard}, []string{"-rate-limit", "600"})
		code = command.Report(ctx, io.Discard, "simulator", err)
		stdout.Close()
	}()
	env := make(map[string]string)
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.Contains(lines.Text(), "-X POST") {
		if variable, ok := strings.CutPrefix(lines.Text(), "  export "); ok {
			name, value, _ := strings.Cut(variable, "=")
			env[name] = value
		}
	}
	client, err := gitlabjobs.NewClient(gitlabjobs.WithBaseURL(env["GITLAB_URL"]), gitlabjobs.WithPrivateToken(env["GITLAB_TOKEN"]))
	require.NoError(t, err)
	page, err := client.Jobs.List(t.Context(), "acme/rocket", nil)
	require.NoError(t, err)
	assert.NotEmpty(t, page.Items)
	resp, err := http.Get(env["GITLAB_URL"] + "/api/v4/nowhere")
	require.NoError(t, err)
	resp.Body.Close()

	interrupt()
	var rest bytes.Buffer
	for lines.Scan() {
		rest.WriteString(strings.Join(strings.Fields(lines.Text()), " ") + "\n")
	}
	assert.Contains(t, rest.String(), "GET /projects/:id/jobs 200 1\n")
	assert.Contains(t, rest.String(), "GET /api/v4/nowhere 404 1\n")
	assert.Equal(t, command.ExitOK, code)
}

func TestSimulatorOptions(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	for _, tt := range []struct {
		args string
		code int
		says string
	}{
		{"-listen " + taken.Addr().String(), command.ExitFailure, "choose another address by -listen"},
		{"-gitlab 13.0", command.ExitUsage, "newest or 12.3"},
		{"-rate-limit -1", command.ExitUsage, "negative"},
		{"8080", command.ExitUsage, `what is "8080"?`},
	} {
		var stderr bytes.Buffer
		err := run(t.Context(), &command.Env{Stdout: io.Discard, Stderr: &stderr}, strings.Fields(tt.args))
		assert.Equal(t, tt.code, command.Report(t.Context(), &stderr, "simulator", err), tt.args)
		assert.Contains(t, stderr.String(), tt.says)
	}
}

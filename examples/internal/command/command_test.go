package command_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs"
	"github.com/gitlabjobs/gitlabjobs/examples/internal/command"
	"github.com/gitlabjobs/gitlabjobs/jobstest"
)

// clearEnvironment lets nothing in the environment say which GitLab is meant.
func clearEnvironment(t *testing.T) {
	for _, name := range []string{
		"GITLAB_URL", "GITLAB_HOST", "GITLAB_TOKEN", "CI_API_V4_URL", "CI_SERVER_URL", "CI_JOB_TOKEN", "CI_PROJECT_ID",
	} {
		t.Setenv(name, "")
	}
}

// connect parses a command line and connects. Its simulator counts.
func connect(args ...string) (gitlab *command.GitLab, simulators int, err error) {
	env := &command.Env{Stdout: io.Discard, Stderr: io.Discard, Simulator: func() (*jobstest.Server, *jobstest.Demo) {
		simulators++
		server := jobstest.NewServer(jobstest.WithInMemory())
		return server, server.AddDemo()
	}}
	flags := command.Flags("program [flags]")
	target := command.AddTarget(flags)
	if err := env.Parse(flags, args, 0); err != nil {
		return nil, 0, err
	}
	gitlab, err = env.Connect(target)
	return gitlab, simulators, err
}

func TestConnectToSimulator(t *testing.T) {
	clearEnvironment(t)
	gitlab, simulators, err := connect()
	require.NoError(t, err)
	assert.Equal(t, 1, simulators)
	assert.EqualValues(t, "acme/rocket", gitlab.Project)
	newest, err := gitlab.NewestPipeline(t.Context(), "")
	require.NoError(t, err)
	assert.Equal(t, gitlab.Demo.Pipeline.ID(), newest)

	t.Setenv("GITLAB_TOKEN", "glpat-of-a-real-one")
	_, simulators, err = connect("-demo")
	require.NoError(t, err)
	assert.Equal(t, 1, simulators)
}

func TestConnectToGitLab(t *testing.T) {
	server := jobstest.NewServer()
	t.Cleanup(server.Close)
	demo := server.AddDemo()
	for name, tt := range map[string]struct {
		env  map[string]string
		args []string
	}{
		"flags":       {map[string]string{"GITLAB_TOKEN": server.Token()}, []string{"-url", server.URL(), "-project", "acme/rocket"}},
		"environment": {map[string]string{"GITLAB_TOKEN": server.Token(), "GITLAB_URL": server.URL()}, []string{"-project", "acme/rocket"}},
		"CI job": {map[string]string{
			"CI_API_V4_URL": server.URL() + "/api/v4", "CI_JOB_TOKEN": demo.Running.Token(), "CI_PROJECT_ID": fmt.Sprint(demo.Project.ID()),
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			clearEnvironment(t)
			for variable, value := range tt.env {
				t.Setenv(variable, value)
			}
			gitlab, simulators, err := connect(tt.args...)
			require.NoError(t, err)
			assert.Zero(t, simulators)
			assert.Nil(t, gitlab.Demo)
			newest, err := gitlab.NewestPipeline(t.Context(), "main")
			require.NoError(t, err)
			assert.Equal(t, demo.Pipeline.ID(), newest)
		})
	}
}

func TestConnectMistakes(t *testing.T) {
	clearEnvironment(t)
	for _, args := range [][]string{
		{"-url", "https://gitlab.example.com"}, {"-url", "gitlab", "-project", "a/b"}, {"-demo", "-url", "https://gitlab.example.com"}, {"-nothing"}, {"operand"},
	} {
		_, simulators, err := connect(args...)
		assert.Equal(t, command.ExitUsage, command.Report(t.Context(), io.Discard, "program", err), args)
		assert.Zero(t, simulators)
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	var stdout bytes.Buffer
	env := &command.Env{Stdout: &stdout, Stderr: io.Discard}
	flags := command.Flags("program [flags]\n\nDoes things.")
	flags.Bool("loud", false, "do them loudly")
	err := env.Parse(flags, []string{"-h"}, 0)
	assert.Equal(t, command.ExitOK, command.Report(t.Context(), io.Discard, "program", err))
	assert.Equal(t, "usage: program [flags]\n\nDoes things.\n\nflags:\n  -loud\n    \tdo them loudly\n", stdout.String())
}

func TestReport(t *testing.T) {
	t.Parallel()
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		ctx  context.Context
		err  error
		code int
		says string
	}{
		{t.Context(), nil, command.ExitOK, ""},
		{t.Context(), errors.New("it broke"), command.ExitFailure, "program: it broke\n"},
		{t.Context(), command.Usagef("no %s", "flag"), command.ExitUsage, "program: no flag\nRun it with -h for help.\n"},
		{t.Context(), fmt.Errorf("so: %w", command.ErrUnsuccessful), command.ExitUnsuccessful, ""},
		{interrupted, context.Canceled, command.ExitInterrupted, "program: interrupted\n"},
		{interrupted, nil, command.ExitOK, ""},
	} {
		var stderr bytes.Buffer
		assert.Equal(t, tt.code, command.Report(tt.ctx, &stderr, "program", tt.err))
		assert.Equal(t, tt.says, stderr.String())
	}
}

// What an error advises is something to do, also from below other errors.
func TestAdvice(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		says string
	}{
		{&gitlabjobs.Error{StatusCode: 401}, "Set GITLAB_TOKEN"},
		{&gitlabjobs.Error{StatusCode: 403}, "role"},
		{&gitlabjobs.Error{StatusCode: 404}, "Check the project"},
		{&gitlabjobs.Error{StatusCode: 429}, "later"},
		{fmt.Errorf("page 2: %w", gitlabjobs.ErrUnexpectedContent), "login page"},
		{&net.OpError{Op: "dial", Err: errors.New("refused")}, "Is GitLab up"},
		{&net.OpError{Op: "dial", Err: &net.DNSError{IsNotFound: true}}, "Check the host"},
		{&tls.CertificateVerificationError{Err: errors.New("unknown authority")}, "SSL_CERT_FILE"},
		{&net.OpError{Op: "listen", Err: errors.New("in use")}, ""},
		{errors.New("something else"), ""},
	} {
		advice := command.Advice(tt.err)
		assert.Contains(t, advice, tt.says, "%v", tt.err)
		assert.Equal(t, tt.says == "", advice == "", "%v", tt.err)
	}
}

// sized is a writer that says that it is a terminal.
type sized struct{ bytes.Buffer }

func (*sized) Size() (columns, rows int) { return 70, 20 }

func TestTable(t *testing.T) {
	t.Parallel()
	columns, rows, ok := command.TerminalSize(&sized{})
	assert.Equal(t, []any{70, 20, true}, []any{columns, rows, ok})
	_, _, ok = command.TerminalSize(&bytes.Buffer{})
	assert.False(t, ok)

	plain := command.Table(&bytes.Buffer{}, "job", "size")
	plain.AppendRow([]any{"unit", 12})
	assert.Equal(t, "JOB   SIZE\nunit    12", plain.Render())
	boxed := command.Table(&sized{}, "job", "size")
	boxed.AppendRow([]any{"unit", 12})
	assert.Contains(t, boxed.Render(), "│ unit │   12 │")
}

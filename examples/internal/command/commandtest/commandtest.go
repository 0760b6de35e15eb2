// Package commandtest runs the example programs in tests.
package commandtest

import (
	"bytes"
	"context"
	"testing"

	"github.com/gitlabjobs/gitlabjobs/examples/internal/command"
	"github.com/gitlabjobs/gitlabjobs/jobstest"
)

// A Simulation is a simulated GitLab with the demo project, reached without
// sockets, so that it also works inside a testing/synctest bubble.
type Simulation struct {
	*jobstest.Demo
	Server *jobstest.Server
}

// A Result is what a program has written and its exit code.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// New starts a simulation that ends with the test.
func New(t testing.TB, opts ...jobstest.Option) *Simulation {
	server := jobstest.NewServer(append(opts, jobstest.WithInMemory())...)
	t.Cleanup(server.Close)
	return &Simulation{Demo: server.AddDemo(), Server: server}
}

// Run runs a program on the simulation.
func (s *Simulation) Run(ctx context.Context, program func(context.Context, *command.Env, []string) error, args ...string) Result {
	var stdout, stderr bytes.Buffer
	env := &command.Env{
		Stdout: &stdout, Stderr: &stderr,
		Simulator: func() (*jobstest.Server, *jobstest.Demo) { return s.Server, s.Demo },
	}
	err := program(ctx, env, append([]string{"-demo"}, args...))
	code := command.Report(ctx, &stderr, "program", err)
	return Result{stdout.String(), stderr.String(), code}
}

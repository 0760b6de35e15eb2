// Package commandtest runs the example programs in tests.
package commandtest

import (
	"bytes"
	"context"
	"fmt"
	"io"
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

// A Program is the run function of a program.
type Program = func(context.Context, *command.Env, []string) error

// Run runs a program on the simulation.
func (s *Simulation) Run(ctx context.Context, program Program, args ...string) Result {
	var stdout, stderr bytes.Buffer
	return s.run(ctx, program, &stdout, &stderr, &stdout, &stderr, args)
}

// RunInTerminal is Run with both outputs on terminals.
func (s *Simulation) RunInTerminal(ctx context.Context, program Program, args ...string) Result {
	var stdout, stderr terminal
	return s.run(ctx, program, &stdout, &stderr, &stdout.Buffer, &stderr.Buffer, args)
}

func (s *Simulation) run(ctx context.Context, program Program, stdout, stderr io.Writer, out, err fmt.Stringer, args []string) Result {
	env := &command.Env{
		Stdout: stdout, Stderr: stderr,
		Simulator: func() (*jobstest.Server, *jobstest.Demo) { return s.Server, s.Demo },
	}
	failed := program(ctx, env, append([]string{"-demo"}, args...))
	code := command.Report(ctx, stderr, "program", failed)
	return Result{out.String(), err.String(), code}
}

// A terminal of the usual size keeps what is written to it.
type terminal struct{ bytes.Buffer }

func (*terminal) Size() (columns, rows int) { return 80, 24 }

// Package command is what the example programs share: flags that say which
// GitLab is meant, advice on errors, exit codes and what a terminal can do.
package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/gitlabjobs/gitlabjobs/jobstest"
)

// The exit codes, for scripts.
const (
	ExitOK           = 0
	ExitFailure      = 1   // the program couldn't do its work
	ExitUsage        = 2   // the command line is wrong
	ExitUnsuccessful = 3   // it did its work, and the outcome isn't a success
	ExitInterrupted  = 130 // Ctrl-C, as shells have it
)

// ErrUnsuccessful says that a program did what it was asked to, and that the
// outcome, which it has explained, isn't a success: a pipeline failed, say.
var ErrUnsuccessful = errors.New("not successful")

// An Env is what a program runs in.
type Env struct {
	Stdout, Stderr io.Writer
	// Simulator makes the GitLab that is used where none is named. It is there
	// until the process ends.
	Simulator func() (*jobstest.Server, *jobstest.Demo)
}

// Main runs a program and exits with its code. Ctrl-C cancels its context; a
// second Ctrl-C kills it.
func Main(name string, run func(ctx context.Context, env *Env, args []string) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	env := &Env{Stdout: os.Stdout, Stderr: os.Stderr, Simulator: func() (*jobstest.Server, *jobstest.Demo) {
		server := jobstest.NewServer()
		return server, server.AddDemo()
	}}
	err := run(ctx, env, os.Args[1:])
	os.Exit(Report(ctx, os.Stderr, name, err))
}

// Report explains an error and returns the exit code for it.
func Report(ctx context.Context, stderr io.Writer, name string, err error) int {
	var usage *usageError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return ExitOK
	case errors.Is(err, ErrUnsuccessful):
		return ExitUnsuccessful
	case ctx.Err() != nil:
		fmt.Fprintf(stderr, "%s: interrupted\n", name)
		return ExitInterrupted
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "%s: %v\nRun it with -h for help.\n", name, err)
		return ExitUsage
	}
	fmt.Fprintf(stderr, "%s: %v\n", name, err)
	if advice := Advice(err); advice != "" {
		fmt.Fprintln(stderr, advice)
	}
	return ExitFailure
}

// Flags returns a flag set whose -h prints the text and then the flags.
func Flags(text string) *flag.FlagSet {
	name, _, _ := strings.Cut(text, " ")
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {
		fmt.Fprintf(flags.Output(), "usage: %s\n\nflags:\n", strings.TrimSpace(text))
		flags.PrintDefaults()
	}
	return flags
}

// Parse parses the command line, which has at most so many operands beside the
// flags. A wrong one is a usage error; after -h, which prints the help, the
// error is [flag.ErrHelp].
func (e *Env) Parse(flags *flag.FlagSet, args []string, operands int) error {
	usage := flags.Usage
	flags.Usage = func() {}
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		flags.SetOutput(e.Stdout)
		usage()
		return err
	}
	if err != nil {
		return &usageError{err.Error()}
	}
	if flags.NArg() > operands {
		return Usagef("what is %q? Flags stand before everything else", flags.Arg(operands))
	}
	return nil
}

// A usageError is a mistake in the command line.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

// Usagef returns an error that says what is wrong with the command line.
func Usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

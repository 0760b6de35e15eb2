// Command report measures gitlabjobs, the official client and the limit that
// net/http and curl set on the same work in one run, and writes RESULTS.md and
// results.svg into the current directory:
//
//	go run -C benchmarks ./report
//
// Server, contestants and the report itself are processes of their own, all of
// this binary: the environment says which part a process plays.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

// roleVariable holds the part that a process plays; the report starts the others.
const (
	roleVariable = "GITLABJOBS_BENCHMARK_ROLE"
	roleServe    = "serve"
	roleWork     = "work"
)

func main() {
	if err := play(os.Getenv(roleVariable)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func play(role string) error {
	switch role {
	case roleServe:
		return serve(os.Stdin, os.Stdout)
	case roleWork:
		return work(os.Stdin, os.Stdout)
	}
	only := flag.String("only", "", "the cases to run, such as `ac`; the default is all, and nothing is written otherwise")
	rounds := flag.Int("rounds", fullScale.Rounds, "how often each contestant does each case")
	long := flag.Bool("long", false, "have client-go get the large archive, too: ten minutes and 4 GiB of memory")
	scratch := flag.String("scratch", os.TempDir(), "where archives are written to")
	flag.Parse()
	scale := fullScale
	scale.Rounds, scale.Long = *rounds, *long
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	return report(ctx, *only, scale, *scratch, ".")
}

// report runs the cases and writes what came out to out.
func report(ctx context.Context, only string, scale scale, scratch, out string) error {
	start := time.Now()
	dir, err := os.MkdirTemp(scratch, "gitlabjobs-benchmark-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	bench, err := startBench(ctx, scale, dir)
	if err != nil {
		return err
	}
	defer bench.close()
	var results []result
	for _, s := range studies(scale) {
		if only != "" && !strings.Contains(only, s.id) {
			continue
		}
		r, err := bench.run(ctx, s)
		if err != nil {
			return fmt.Errorf("case %s: %w", s.id, err)
		}
		results = append(results, r)
		fmt.Fprintf(os.Stderr, "%s(%s done after %.0f s)\n\n", r.markdown(), s.id, time.Since(start).Seconds())
	}
	if only != "" {
		return nil
	}
	if err := os.WriteFile(filepath.Join(out, "results.svg"), chart(results), 0o644); err != nil {
		return err
	}
	page := markdown(results, machine(ctx), scale, time.Since(start))
	return os.WriteFile(filepath.Join(out, "RESULTS.md"), page, 0o644)
}

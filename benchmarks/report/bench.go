package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
)

// A scale is how much work the cases are. Tests have a tiny one.
type scale struct {
	Rounds        int
	Archive       int64    // bytes of the archive
	SmallArchive  int64    // bytes of one that client-go gets in reasonable time
	Long          bool     // have client-go get the large one, too
	FarArchive    int64    // bytes of the archive behind latency
	ResetEvery    int64    // bytes after which a connection is reset
	DecodedPages  int      // pages decoded in one run
	Jobs          int      // in the list
	Gets          int      // of one job in one run
	LogSizes      [2]int64 // bytes of the two logs that are followed
	LogSteps      int      // in how many steps a log grows
	BuildBinaries bool
}

var fullScale = scale{
	Rounds:        5,
	Archive:       1 << 30,
	SmallArchive:  64 << 20,
	FarArchive:    256 << 20,
	ResetEvery:    64 << 20,
	DecodedPages:  100,
	Jobs:          5000,
	Gets:          10_000,
	LogSizes:      [2]int64{4 << 20, 32 << 20},
	LogSteps:      8,
	BuildBinaries: true,
}

// The contestants.
const (
	ours     = "gitlabjobs"
	official = "client-go"
	plain    = "net/http"
	curl     = "curl"
)

// A task is what a worker has to do: one run of one contestant.
type task struct {
	Case       string
	Contestant string
	Variant    string
	Scale      scale
	Server     addresses
	Dir        string // for files
}

// name is how tables call the contestant.
func (t task) name() string {
	if t.Variant == "" {
		return t.Contestant
	}
	return t.Contestant + ", " + t.Variant
}

// A metric is one thing that is measured, with its unit.
type metric string

// The metrics.
const (
	wall       metric = "wall, s"
	cpu        metric = "CPU, s"
	peak       metric = "peak memory, MiB"
	throughput metric = "MB/s"
	allocBytes metric = "allocated, KiB/op"
	allocs     metric = "allocations/op"
	perOp      metric = "wall/op, µs"
	requests   metric = "requests"
	wire       metric = "sent by the server, MiB"
	resumes    metric = "resumes"
	failed     metric = "failed"
	size       metric = "binary, MB"
	modules    metric = "linked modules"
	build      metric = "build, s"
)

type metrics map[metric]float64

// A series is all runs of one contestant in one case.
type series struct {
	task
	runs []metrics
}

// values returns what was measured, in ascending order.
func (s series) values(m metric) []float64 {
	var values []float64
	for _, run := range s.runs {
		if value, ok := run[m]; ok {
			values = append(values, value)
		}
	}
	slices.Sort(values)
	return values
}

// median returns the median, and whether there is one.
func (s series) median(m metric) (float64, bool) {
	values := s.values(m)
	if len(values) == 0 {
		return 0, false
	}
	middle := len(values) / 2
	if len(values)%2 == 0 {
		return (values[middle-1] + values[middle]) / 2, true
	}
	return values[middle], true
}

// A bench runs tasks against a server in a process of its own.
type bench struct {
	scale  scale
	dir    string
	server *exec.Cmd
	stdin  io.Closer
	at     addresses

	compiled map[string]bool // files of the compiler's cache with the standard library
}

func startBench(ctx context.Context, scale scale, dir string) (*bench, error) {
	b := &bench{scale: scale, dir: dir, server: self(ctx, roleServe)}
	b.server.Dir = dir
	var err error
	input, err := b.server.StdinPipe()
	if err != nil {
		return nil, err
	}
	b.stdin = input
	output, err := b.server.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := b.server.Start(); err != nil {
		return nil, err
	}
	if err := json.NewEncoder(input).Encode(scale); err != nil {
		return nil, errors.Join(err, b.close())
	}
	if err := json.NewDecoder(output).Decode(&b.at); err != nil {
		return nil, errors.Join(fmt.Errorf("the server doesn't start: %w", err), b.close())
	}
	return b, nil
}

// close ends the server, which lives as long as its standard input.
func (b *bench) close() error { return errors.Join(b.stdin.Close(), b.server.Wait()) }

// self returns the command that runs this binary in another role.
func self(ctx context.Context, role string) *exec.Cmd {
	path, err := os.Executable()
	if err != nil {
		path = os.Args[0]
	}
	cmd := exec.CommandContext(ctx, path)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stderr = os.Stderr
	return cmd
}

// run has all contestants of a case take turns.
func (b *bench) run(ctx context.Context, s study) (result, error) {
	all := make([]series, len(s.tasks))
	for i, t := range s.tasks {
		t.Case, t.Scale, t.Server, t.Dir = s.id, b.scale, b.at, b.dir
		all[i].task = t
	}
	for round := range b.scale.Rounds {
		order := make([]int, len(all))
		for i := range order {
			order[i] = i
		}
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, i := range order {
			measured, err := b.perform(ctx, all[i].task)
			if err != nil {
				return result{}, fmt.Errorf("%s: %w", all[i].name(), err)
			}
			all[i].runs = append(all[i].runs, measured)
		}
	}
	return result{s, all}, nil
}

// perform has a process of its own do a task, and counts what the server sends.
func (b *bench) perform(ctx context.Context, t task) (metrics, error) {
	switch {
	case t.Case == binaries:
		return b.build(ctx, t)
	case t.Contestant == curl:
		return runCurl(ctx, t)
	}
	if _, err := b.counted(ctx); err != nil {
		return nil, err
	}
	input, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	cmd := self(ctx, roleWork)
	cmd.Stdin = bytes.NewReader(input)
	output, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var measured metrics
	if err := json.Unmarshal(output, &measured); err != nil {
		return nil, err
	}
	sent, err := b.counted(ctx)
	if err != nil {
		return nil, err
	}
	measured[requests] = float64(sent.Requests)
	measured[wire] = float64(sent.Bytes) / (1 << 20)
	return measured, nil
}

// counted returns what the server has counted since the last call.
func (b *bench) counted(ctx context.Context) (counts, error) {
	var c counts
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, cmp.Or(b.at.Near, "")+countPath, nil)
	if err != nil {
		return c, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return c, err
	}
	defer resp.Body.Close()
	return c, json.NewDecoder(resp.Body).Decode(&c)
}

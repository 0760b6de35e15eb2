package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

// A result is what came out of a case.
type result struct {
	study
	series []series
}

// median returns the median of a contestant, by the name it has in tables.
func (r result) median(name string, m metric) (float64, bool) {
	for _, s := range r.series {
		if s.name() == name {
			return s.median(m)
		}
	}
	return 0, false
}

// A verdict says whether a target is met.
type verdict struct {
	target
	got   float64
	known bool
}

func (r result) verdicts() []verdict {
	var all []verdict
	for _, t := range r.targets {
		got, known := t.value(r)
		all = append(all, verdict{t, got, known})
	}
	return all
}

func (v verdict) met() bool {
	if v.least {
		return v.known && v.got >= v.limit
	}
	return v.known && v.got <= v.limit
}

func (v verdict) String() string {
	bound, word := "at most", "**not met**"
	if v.least {
		bound = "at least"
	}
	if v.met() {
		word = "met"
	}
	return fmt.Sprintf("%s: %s, target %s %s: %s", v.what, number(v.got), bound, number(v.limit), word)
}

// markdown returns the section of a case.
func (r result) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s. %s\n\n", r.id, r.title)
	if r.note != "" {
		fmt.Fprintf(&b, "%s\n\n", r.note)
	}
	b.WriteString("| |")
	for _, column := range r.columns {
		fmt.Fprintf(&b, " %s |", column)
	}
	b.WriteString("\n|---|" + strings.Repeat("---:|", len(r.columns)) + "\n")
	for _, s := range r.series {
		fmt.Fprintf(&b, "| %s |", s.name())
		for _, column := range r.columns {
			fmt.Fprintf(&b, " %s |", s.cell(column))
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
	for _, v := range r.verdicts() {
		fmt.Fprintf(&b, "- %s\n", v)
	}
	b.WriteString("\n")
	return b.String()
}

// cell returns the median and, where the runs differ, the lowest and highest value.
func (s series) cell(m metric) string {
	middle, ok := s.median(m)
	if !ok {
		return ""
	}
	values := s.values(m)
	low, high := number(values[0]), number(values[len(values)-1])
	if low == high {
		return number(middle)
	}
	return fmt.Sprintf("%s (%s to %s)", number(middle), low, high)
}

// number writes three significant digits.
func number(value float64) string {
	switch {
	case value == float64(int64(value)) || value >= 100:
		return fmt.Sprintf("%.0f", value)
	case value >= 10:
		return fmt.Sprintf("%.1f", value)
	case value >= 1:
		return fmt.Sprintf("%.2f", value)
	}
	return fmt.Sprintf("%.3g", value)
}

// notes are what figures don't say: written by hand, and kept true by it.
//
//go:embed notes.md
var notes string

// markdown returns the page of all results.
func markdown(results []result, machine []string, scale scale, took time.Duration) []byte {
	var b bytes.Buffer
	b.WriteString("# Results\n\nWritten by `go run -C benchmarks ./report`.\n\n")
	fmt.Fprintf(&b, "Medians of %d runs, with the lowest and the highest in parentheses where they differ. Each run is a process of its own, "+
		"and the contestants take turns; the server is another process on the same machine. gitlabjobs and net/http are given no options beside "+
		"the server and a token, nor is client-go.\n\n", scale.Rounds)
	for _, line := range machine {
		fmt.Fprintf(&b, "- %s\n", line)
	}
	fmt.Fprintf(&b, "- the whole run took %.0f s\n\n", took.Seconds())
	b.WriteString("![Time, memory and size of gitlabjobs as a share of client-go's](results.svg)\n\n## Targets\n\n| case | | measured | target | |\n|---|---|---:|---:|---|\n")
	for _, r := range results {
		for _, v := range r.verdicts() {
			bound, word := "at most ", "**not met**"
			if v.least {
				bound = "at least "
			}
			if v.met() {
				word = "met"
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", r.id, v.what, number(v.got), bound+number(v.limit), word)
		}
	}
	b.WriteString("\n")
	for _, r := range results {
		b.WriteString(r.markdown())
	}
	b.WriteString(notes)
	return append(bytes.TrimSpace(b.Bytes()), '\n')
}

// machine returns what the results depend on.
func machine(ctx context.Context) []string {
	lines := []string{
		time.Now().UTC().Format("2006-01-02 15:04 MST"),
		fmt.Sprintf("%s, %d CPUs%s, %s/%s", runtime.Version(), runtime.NumCPU(), cpuModel(), runtime.GOOS, runtime.GOARCH),
	}
	if path, err := os.Executable(); err == nil {
		if info, err := buildinfo.ReadFile(path); err == nil {
			for _, module := range info.Deps {
				if strings.HasPrefix(module.Path, "gitlab.com/") {
					lines = append(lines, module.Path+" "+module.Version)
				}
			}
		}
	}
	if version, err := exec.CommandContext(ctx, curl, "--version").Output(); err == nil {
		fields := strings.Fields(string(version))
		lines = append(lines, strings.Join(fields[:min(2, len(fields))], " "))
	}
	return slices.Clip(lines)
}

// cpuModel returns the name of the CPU on systems that have it in a file.
func cpuModel() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(info)) {
		if key, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(key) == "model name" {
			return " (" + strings.TrimSpace(value) + ")"
		}
	}
	return ""
}

package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// hello are the programs of the contestants that get one job.
var hello = map[string]string{ours: "./hello/gitlabjobs", plain: "./hello/nethttp", official: "./hello/clientgo"}

// build compiles the modules of a contestant's program, and links it. The
// compiler's cache has the standard library before and after it, nothing else.
func (b *bench) build(ctx context.Context, t task) (metrics, error) {
	cache := filepath.Join(b.dir, "go-build")
	if b.compiled == nil {
		if err := compileStandardLibrary(ctx, cache); err != nil {
			return nil, err
		}
		var err error
		if b.compiled, err = filesIn(cache); err != nil {
			return nil, err
		}
	}
	binary := filepath.Join(b.dir, "hello")
	defer os.Remove(binary)
	start := time.Now()
	if err := goCommand(ctx, cache, "build", "-o", binary, hello[t.Contestant]); err != nil {
		return nil, err
	}
	took := time.Since(start)
	stat, err := os.Stat(binary)
	if err != nil {
		return nil, err
	}
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	now, err := filesIn(cache)
	if err != nil {
		return nil, err
	}
	for name := range now {
		if !b.compiled[name] {
			os.Remove(name)
		}
	}
	return metrics{size: float64(stat.Size()) / 1e6, modules: float64(len(info.Deps)), build: took.Seconds()}, nil
}

// compileStandardLibrary fills a cache with what the programs need of it.
func compileStandardLibrary(ctx context.Context, cache string) error {
	args := []string{"list", "-deps", "-f", "{{if .Standard}}{{.ImportPath}}{{end}}"}
	for _, program := range hello {
		args = append(args, program)
	}
	packages, err := exec.CommandContext(ctx, "go", args...).Output()
	if err != nil {
		return fmt.Errorf("go list: %w", err)
	}
	return goCommand(ctx, cache, append([]string{"build"}, strings.Fields(string(packages))...)...)
}

func goCommand(ctx context.Context, cache string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "GOCACHE="+cache)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go %s: %w: %s", args[0], err, output.Bytes())
	}
	return nil
}

func filesIn(dir string) (map[string]bool, error) {
	files := make(map[string]bool)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files[path] = true
		}
		return err
	})
	return files, err
}

package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"errors"
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

// uncached makes the go command compile all modules, but not the standard
// library: with flags of their own, which change nothing, they aren't in its cache.
var uncached = []string{
	"-gcflags=github.com/...=-memprofilerate=524287",
	"-gcflags=gitlab.com/...=-memprofilerate=524287",
	"-gcflags=golang.org/...=-memprofilerate=524287",
}

// build compiles the modules of a contestant's program, and links it. What that
// adds to the compiler's cache, a copy of the user's, is taken out again.
func (b *bench) build(ctx context.Context, t task) (metrics, error) {
	cache := filepath.Join(b.dir, "go-build")
	if b.compiled == nil {
		var err error
		if b.compiled, err = copyCache(ctx, cache); err != nil {
			return nil, err
		}
	}
	binary := filepath.Join(b.dir, "hello")
	defer os.Remove(binary)
	start := time.Now()
	args := append([]string{"build", "-o", binary}, uncached...)
	if err := goCommand(ctx, cache, append(args, hello[t.Contestant])...); err != nil {
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

// copyCache makes a cache that has what the user's has, the standard library
// among it, and returns its files.
func copyCache(ctx context.Context, cache string) (map[string]bool, error) {
	output, err := exec.CommandContext(ctx, "go", "env", "GOCACHE").Output()
	if err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	users := strings.TrimSpace(string(output))
	err = filepath.WalkDir(users, func(path string, entry fs.DirEntry, err error) error {
		name, relErr := filepath.Rel(users, path)
		switch {
		case errors.Is(err, fs.ErrNotExist): // another go command has tidied up
			return nil
		case err != nil || relErr != nil:
			return errors.Join(err, relErr)
		case entry.IsDir():
			return os.MkdirAll(filepath.Join(cache, name), 0o700)
		}
		os.Link(path, filepath.Join(cache, name)) //nolint:errcheck // on another disk it is compiled anew
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, program := range hello {
		if err := goCommand(ctx, cache, "build", "-o", os.DevNull, program); err != nil {
			return nil, err
		}
	}
	return filesIn(cache)
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

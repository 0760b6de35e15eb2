package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/gitlabjobs/gitlabjobs"
)

// fetch asks for a path of the API with net/http alone.
func fetch(ctx context.Context, client *http.Client, baseURL, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, baseURL+"/api/v4/projects/"+project+"/jobs"+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("PRIVATE-TOKEN", benchToken)
	resp, err := client.Do(req)
	if err == nil && resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("the server answered %s", resp.Status)
	}
	return resp, err
}

// newHTTPClient returns a client that keeps as many connections as gitlabjobs.
func newHTTPClient() *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
}

func downloadPlain(ctx context.Context, w *worker) error {
	client := newHTTPClient()
	var written int64
	err := w.toFile(func(file *os.File) error {
		resp, err := fetch(ctx, client, w.Server.Near, fmt.Sprintf("/%d/artifacts", nearJob))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		written, err = io.Copy(file, resp.Body)
		return err
	})
	if err != nil {
		return err
	}
	return expectSize(written, w.Scale.Archive)
}

// decodePlain decodes into gitlabjobs' types with encoding/json.
func decodePlain(ctx context.Context, w *worker) error {
	client := newHTTPClient()
	if w.Variant == "" {
		client.Transport = cannedPage()
	}
	return w.decode(func() (int, error) {
		resp, err := fetch(ctx, client, w.Server.Near, "?per_page="+strconv.Itoa(fullPage))
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		var jobs []*gitlabjobs.Job
		err = json.NewDecoder(resp.Body).Decode(&jobs)
		return len(jobs), err
	})
}

func getPlain(ctx context.Context, w *worker) error {
	client := newHTTPClient()
	return w.timed(w.Scale.Gets, func() error {
		return inParallel(w.Scale.Gets, w.number(), func(int) error {
			resp, err := fetch(ctx, client, w.Server.Near, "/4711")
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			data, err := io.ReadAll(resp.Body)
			if err != nil {
				return err
			}
			var job gitlabjobs.Job
			return json.Unmarshal(data, &job)
		})
	})
}

func resetPlain(ctx context.Context, w *worker) error {
	client := newHTTPClient()
	return w.timed(1, func() error {
		resp, err := fetch(ctx, client, w.Server.Reset, fmt.Sprintf("/%d/artifacts", nearJob))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		w.note(err)
		return nil
	})
}

// runCurl downloads the archive with curl. Its time holds the start of a process.
func runCurl(ctx context.Context, t task) (metrics, error) {
	name := filepath.Join(t.Dir, "download")
	defer os.Remove(name)
	cmd := exec.CommandContext(ctx, curl, "--noproxy", "*", "--silent", "--show-error", "--fail", "--output", name,
		"--header", "PRIVATE-TOKEN: "+benchToken, fmt.Sprintf("%s/api/v4/projects/%s/jobs/%d/artifacts", t.Server.Near, project, nearJob))
	cmd.Stderr = os.Stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return nil, err
	}
	m := metrics{wall: time.Since(start).Seconds()}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		m[cpu] = time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
	}
	return m, nil
}

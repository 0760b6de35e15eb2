package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/gitlabjobs/gitlabjobs"
)

const (
	project    = "12345"
	benchToken = "glpat-benchmarktoken"
)

func (w *worker) client(baseURL string, opts ...gitlabjobs.Option) (*gitlabjobs.Client, error) {
	return gitlabjobs.NewClient(append(opts, gitlabjobs.WithBaseURL(baseURL), gitlabjobs.WithPrivateToken(benchToken))...)
}

// downloadOurs downloads an archive to a file, hashed and verified.
func downloadOurs(ctx context.Context, w *worker) error {
	at := w.Server.Near
	if w.Case == far {
		at = w.Server.Far
	}
	job, size := w.archive()
	client, err := w.client(at)
	if err != nil {
		return err
	}
	var got *gitlabjobs.Download
	if w.Variant == "" || w.Variant == small {
		err = w.toFile(func(file *os.File) error {
			got, err = client.Jobs.DownloadArtifacts(ctx, project, gitlabjobs.FromJob(job), file, nil)
			return err
		})
	} else {
		name := filepath.Join(w.Dir, "saved.zip")
		defer os.Remove(name)
		err = w.timed(1, func() error {
			got, err = client.Jobs.SaveArtifacts(ctx, project, gitlabjobs.FromJob(job), name, &gitlabjobs.SaveOptions{Parallel: w.number()})
			return err
		})
	}
	if err != nil {
		return err
	}
	if !got.Verified {
		return errors.New("the archive was not verified")
	}
	return expectSize(got.Size, size)
}

// decodeOurs lists pages of jobs.
func decodeOurs(ctx context.Context, w *worker) error {
	var opts []gitlabjobs.Option
	if w.Variant == "" {
		opts = append(opts, gitlabjobs.WithHTTPClient(&http.Client{Transport: cannedPage()}))
	}
	client, err := w.client(w.Server.Near, opts...)
	if err != nil {
		return err
	}
	return w.decode(func() (int, error) {
		page, err := client.Jobs.List(ctx, project, &gitlabjobs.ListOptions{PerPage: fullPage})
		if err != nil {
			return 0, err
		}
		return len(page.Items), nil
	})
}

// listOurs ranges over all jobs, and works on them.
func listOurs(ctx context.Context, w *worker) error {
	at := w.Server.Slow
	if w.Variant == asConfigured {
		at = w.Server.Near
	}
	client, err := w.client(at)
	if err != nil {
		return err
	}
	return w.timed(1, func() error {
		c := w.consumer()
		for _, err := range client.Jobs.All(ctx, project, nil) {
			if err != nil {
				return err
			}
			c.next()
		}
		return c.end(w.Scale.Jobs)
	})
}

// getOurs gets one job many times.
func getOurs(ctx context.Context, w *worker) error {
	client, err := w.client(w.Server.Near)
	if err != nil {
		return err
	}
	return w.timed(w.Scale.Gets, func() error {
		return inParallel(w.Scale.Gets, w.number(), func(int) error {
			job, err := client.Jobs.Get(ctx, project, 4711)
			if err == nil && job.ID != 4711 {
				err = fmt.Errorf("job %d came", job.ID)
			}
			return err
		})
	})
}

// readFileOurs reads one small file of an archive.
func readFileOurs(ctx context.Context, w *worker) error {
	client, err := w.client(w.Server.Counted)
	if err != nil {
		return err
	}
	return w.timed(1, func() error {
		archive, err := client.Jobs.OpenArtifacts(ctx, project, gitlabjobs.FromJob(nearJob), nil)
		if err != nil {
			return err
		}
		defer archive.Close()
		content, err := fs.ReadFile(archive, smallFile)
		if err != nil {
			return err
		}
		return expectSize(int64(len(content)), smallFileSize)
	})
}

// resetOurs downloads an archive over connections that are reset.
func resetOurs(ctx context.Context, w *worker) error {
	client, err := w.client(w.Server.Reset)
	if err != nil {
		return err
	}
	var got *gitlabjobs.Download
	err = w.timed(1, func() error {
		got, err = client.Jobs.DownloadArtifacts(ctx, project, gitlabjobs.FromJob(nearJob), io.Discard, nil)
		return err
	})
	if err != nil {
		return err
	}
	w.metrics[failed], w.metrics[resumes] = 0, float64(got.Resumes)
	if !got.Verified {
		return errors.New("the archive was not verified")
	}
	return expectSize(got.Size, w.Scale.Archive)
}

// followOurs follows a growing log.
func followOurs(ctx context.Context, w *worker) error {
	client, err := w.client(w.Server.Counted)
	if err != nil {
		return err
	}
	size := w.logSize()
	if err := w.grow(ctx, size); err != nil {
		return err
	}
	log := newHashingWriter()
	err = w.timed(1, func() error {
		_, err := client.Jobs.FollowTrace(ctx, project, logJob, log,
			&gitlabjobs.FollowOptions{MinInterval: pollInterval, MaxInterval: pollInterval})
		return err
	})
	if err != nil {
		return err
	}
	return log.expect(size)
}

const pollInterval = 10 * time.Millisecond

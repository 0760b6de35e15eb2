package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	gitlab "gitlab.com/gitlab-org/api/client-go/v2"
)

func (w *worker) officialClient(baseURL string, opts ...gitlab.ClientOptionFunc) (*gitlab.Client, error) {
	return gitlab.NewClient(benchToken, append(opts, gitlab.WithBaseURL(baseURL))...)
}

// downloadOfficial downloads an archive, which the client holds in memory, and
// writes it to a file.
func downloadOfficial(ctx context.Context, w *worker) error {
	client, err := w.officialClient(w.Server.Near)
	if err != nil {
		return err
	}
	job, size := w.archive()
	var written int64
	err = w.toFile(func(file *os.File) error {
		content, _, err := client.Jobs.GetJobArtifacts(project, job, gitlab.WithContext(ctx))
		if err != nil {
			return err
		}
		written, err = io.Copy(file, content)
		return err
	})
	if err != nil {
		return err
	}
	return expectSize(written, size)
}

// decodeOfficial lists pages of jobs.
func decodeOfficial(ctx context.Context, w *worker) error {
	var opts []gitlab.ClientOptionFunc
	if w.Variant == "" {
		opts = append(opts, gitlab.WithHTTPClient(&http.Client{Transport: cannedPage()}))
	}
	client, err := w.officialClient(w.Server.Near, opts...)
	if err != nil {
		return err
	}
	list := &gitlab.ListJobsOptions{ListOptions: gitlab.ListOptions{PerPage: fullPage}}
	return w.decode(func() (int, error) {
		jobs, _, err := client.Jobs.ListProjectJobs(project, list, gitlab.WithContext(ctx))
		return len(jobs), err
	})
}

// listOfficial ranges over all jobs, and works on them.
func listOfficial(ctx context.Context, w *worker) error {
	at, options := w.Server.Slow, gitlab.ListOptions{PerPage: fullPage, Pagination: "keyset"}
	if w.Variant == asConfigured {
		at, options = w.Server.Near, gitlab.ListOptions{}
	}
	client, err := w.officialClient(at)
	if err != nil {
		return err
	}
	return w.timed(1, func() error {
		c := w.consumer()
		pages := func(page gitlab.PaginationOptionFunc) ([]*gitlab.Job, *gitlab.Response, error) {
			return client.Jobs.ListProjectJobs(project, &gitlab.ListJobsOptions{ListOptions: options}, gitlab.WithContext(ctx), page)
		}
		for _, err := range gitlab.Scan2(pages) {
			if err != nil {
				return err
			}
			c.next()
		}
		return c.end(w.Scale.Jobs)
	})
}

// getOfficial gets one job many times.
func getOfficial(ctx context.Context, w *worker) error {
	client, err := w.officialClient(w.Server.Near)
	if err != nil {
		return err
	}
	return w.timed(w.Scale.Gets, func() error {
		return inParallel(w.Scale.Gets, w.number(), func(int) error {
			job, _, err := client.Jobs.GetJob(project, 4711, gitlab.WithContext(ctx))
			if err == nil && job.ID != 4711 {
				err = fmt.Errorf("job %d came", job.ID)
			}
			return err
		})
	})
}

// resetOfficial downloads an archive over connections that are reset.
func resetOfficial(ctx context.Context, w *worker) error {
	client, err := w.officialClient(w.Server.Reset)
	if err != nil {
		return err
	}
	return w.timed(1, func() error {
		_, _, err := client.Jobs.GetJobArtifacts(project, nearJob, gitlab.WithContext(ctx))
		w.note(err)
		return nil
	})
}

// followOfficial fetches the whole log again and again, and takes what is new:
// the client has nothing else for that.
func followOfficial(ctx context.Context, w *worker) error {
	client, err := w.officialClient(w.Server.Counted)
	if err != nil {
		return err
	}
	size := w.logSize()
	if err := w.grow(ctx, size); err != nil {
		return err
	}
	log := newHashingWriter()
	err = w.timed(1, func() error {
		for {
			job, _, err := client.Jobs.GetJob(project, logJob, gitlab.WithContext(ctx))
			if err != nil {
				return err
			}
			content, _, err := client.Jobs.GetTraceFile(project, logJob, gitlab.WithContext(ctx))
			if err != nil {
				return err
			}
			if _, err := content.Seek(log.length, io.SeekStart); err != nil {
				return err
			}
			if _, err := io.Copy(log, content); err != nil {
				return err
			}
			if job.Status == "success" {
				return nil
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(pollInterval):
			}
		}
	})
	if err != nil {
		return err
	}
	return log.expect(size)
}

// note remembers whether a download came to its end.
func (w *worker) note(err error) {
	w.metrics[failed] = 0
	if err != nil {
		w.metrics[failed] = 1
	}
}

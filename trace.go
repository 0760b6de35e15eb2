package gitlabjobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// FollowOptions are the options of [JobsService.FollowTrace].
type FollowOptions struct {
	MinInterval time.Duration // between two polls while bytes come; the default is 1 s
	MaxInterval time.Duration // what the interval grows to while none do; the default is 10 s
}

const (
	defaultFollowMin = time.Second
	defaultFollowMax = 10 * time.Second
)

// DownloadTrace streams a job's log to w, over broken connections, in constant
// memory, with all its control codes; package joblog reads them. A job without
// a log has an empty one; GitLab 12 answers not found. It works as
// [JobsService.DownloadArtifacts]. Of a job that is still running it is the
// log so far: see [JobsService.FollowTrace].
//
// Endpoint: GET /projects/:id/jobs/:job_id/trace
//
// GitLab docs: https://docs.gitlab.com/api/jobs/#retrieve-a-job-log
func (s *JobsService) DownloadTrace(ctx context.Context, project ProjectID, jobID int64, w io.Writer, opts *DownloadOptions) (*Download, error) {
	if opts != nil && opts.FileType != "" {
		return nil, errors.New("gitlabjobs: FileType goes with DownloadArtifacts")
	}
	cl := call{endpoint: getTrace, params: params{project: project, job: jobID}}
	return s.client.download(ctx, cl, logContent, w, opts)
}

// FollowTrace writes a job's log to w as it grows, each byte once and in
// order, in constant memory, until the job has finished and its log has
// stopped growing. It returns the finished job, whatever its outcome; one that
// waits for a person comes with [ErrManual].
//
// The API has no incremental read: a poll that finds news costs the whole log,
// whose known part is compared, by digest, and left out. So a log of n bytes
// that grows over p polls moves about n*p/2 bytes; a longer MinInterval makes
// them fewer. Servers that answer conditional requests send nothing where there
// is nothing new, and those that do ranges send what is new only; otherwise the
// price of waiting falls as the interval grows.
//
// A log that shrank, or changed in what was read of it, because it was erased
// for instance, is [ErrContentChanged]. Errors of w come back as they are.
// Intervals and failures are those of [JobsService.Wait], where a poll is a
// look at the job and at its log, and here bytes count as a change, too. Beside
// an error the job is returned as last seen, nil if it never was.
//
// Endpoints: GET /projects/:id/jobs/:job_id,
// GET /projects/:id/jobs/:job_id/trace
//
// GitLab docs: https://docs.gitlab.com/api/jobs/#retrieve-a-job-log
func (s *JobsService) FollowTrace(ctx context.Context, project ProjectID, jobID int64, w io.Writer, opts *FollowOptions) (*Job, error) {
	o := valueOf(opts)
	if w == nil {
		return nil, errors.New("gitlabjobs: the writer is nil")
	}
	p, err := s.newJobPoller(ctx, project, jobID, o.MinInterval, o.MaxInterval, defaultFollowMin, defaultFollowMax)
	if err != nil {
		return nil, err
	}
	l, err := s.client.newLiveLog(ctx, project, jobID, w)
	if err != nil {
		return nil, err
	}
	defer l.close()
	for {
		// The job comes first: what its log lacks once it has finished, a later
		// fetch finds.
		var changed, grown bool
		if p.job == nil || !p.job.Status.Finished() {
			changed, err = p.ask(ctx)
		}
		if err == nil && p.job.Status == StatusManual {
			return p.job, errManual(p.job)
		}
		if err == nil {
			grown, err = l.fetch()
		}
		if l.w.err != nil {
			return p.job, err
		}
		if err == nil && !grown && p.job.Status.Finished() {
			return p.job, nil
		}
		if err = p.end(ctx, err); err == nil {
			err = p.pause(ctx, changed || grown)
		}
		if err != nil {
			return p.job, err
		}
	}
}

// A liveLog copies a log to a writer, in as many fetches as it takes it to grow.
type liveLog struct {
	*transfer
	w *target
}

func (c *Client) newLiveLog(ctx context.Context, project ProjectID, jobID int64, w io.Writer) (*liveLog, error) {
	cl := call{endpoint: getTrace, params: params{project: project, job: jobID}}
	s, err := newStream(ctx, c, cl, logContent.check)
	if err != nil {
		return nil, err
	}
	s.growing = true
	return &liveLog{transfer: newTransfer(s, logContent, DownloadOptions{}), w: &target{Writer: w}}, nil
}

// fetch writes what the log has gained since the last fetch, and reports
// whether that was anything.
func (l *liveLog) fetch() (bool, error) {
	s, before := l.stream, l.written
	s.renew()
	err := l.run(s, l.w)
	l.digester.rest()
	if err == nil {
		s.known = s.header.Get("ETag")
	}
	if l.w.err == nil && errors.Is(err, ErrNotFound) {
		err = nil // GitLab 12 has no log where newer ones have an empty one
		if s.offset > 0 {
			err = s.fail(fmt.Errorf("%w: the log is gone", ErrContentChanged))
		}
	}
	return l.written > before, err
}

func (l *liveLog) close() {
	l.stream.Close()
	l.digester.close()
}

// renew makes a stream that has come to its end, or failed, go on with what
// its content has gained since.
func (s *stream) renew() {
	s.Close()
	s.total, s.broken, s.budget = -1, nil, s.client.newBudget()
}

// A target remembers a writer's error, by which it is told from the server's.
type target struct {
	io.Writer
	err error
}

func (t *target) Write(p []byte) (int, error) {
	n, err := t.Writer.Write(p)
	t.err = err
	return n, err
}

package gitlabjobs

import (
	"context"
	"fmt"
	"iter"
	"time"
)

// WaitOptions are the options of [JobsService.Wait].
type WaitOptions struct {
	MinInterval   time.Duration // between two polls after a change of status; the default is 2 s
	MaxInterval   time.Duration // what the interval grows to while there is none; the default is 30 s
	OnChange      func(*Job)    // called with the first status, and with every change of it
	ThroughManual bool          // go on waiting while the job waits for a person to start it
}

// WatchOptions are the options of [JobsService.WatchPipeline].
type WatchOptions struct {
	MinInterval time.Duration // between two polls after a change of a status; the default is 2 s
	MaxInterval time.Duration // what the interval grows to while there is none; the default is 30 s
}

// A JobEvent is a change of a job's status.
type JobEvent struct {
	Job      *Job   // with its new status
	Previous Status // "" when the job is first seen
}

const (
	defaultWaitMin = 2 * time.Second
	defaultWaitMax = 30 * time.Second
)

// Wait polls a job until it has finished and returns it, whatever its outcome:
// look at its Status. For a job that waits for a person it returns the job and
// [ErrManual], unless opts say ThroughManual.
//
// Polls are conditional, so that an unchanged job costs next to nothing, and
// jittered. The interval between them starts at MinInterval, grows by a half
// up to MaxInterval while the status stays the same, and never leaves these
// bounds; a bound given alone moves the other's default along.
//
// Every poll is retried as other requests are. If it fails all the same, for a
// reason that may pass, waiting goes on: five polls in a row may fail, and the
// error of a sixth is returned. Other errors, such as [ErrNotFound] and
// [ErrUnauthorized], and the end of ctx, whose cause is in the error's chain,
// come back at once. Beside an error the job is returned as last seen, nil if
// it never was.
//
// Endpoint: GET /projects/:id/jobs/:job_id
//
// GitLab docs: https://docs.gitlab.com/api/jobs/#retrieve-a-job
func (s *JobsService) Wait(ctx context.Context, project ProjectID, jobID int64, opts *WaitOptions) (*Job, error) {
	o := valueOf(opts)
	p, err := s.newJobPoller(ctx, project, jobID, o.MinInterval, o.MaxInterval, defaultWaitMin, defaultWaitMax)
	if err != nil {
		return nil, err
	}
	for {
		changed, err := p.ask(ctx)
		if err := p.end(ctx, err); err != nil {
			return p.job, err
		}
		if changed {
			if o.OnChange != nil {
				o.OnChange(p.job)
			}
			switch {
			case p.job.Status.Finished():
				return p.job, nil
			case p.job.Status == StatusManual && !o.ThroughManual:
				return p.job, errManual(p.job)
			}
		}
		if err := p.pause(ctx, changed); err != nil {
			return p.job, err
		}
	}
}

// WatchPipeline returns an iterator over the changes of status of a pipeline's
// jobs, retried and new ones included, but not of its bridges. Every job comes
// when it is first seen, with no Previous status, and again with each change
// that a poll finds.
//
// It ends when no job is left that moves by itself ([Status.Active]): all have
// finished, or wait for a person. A created job moves by itself unless its
// pipeline's status is manual: then it stands behind the job that waits for a
// person, and waits with it. A pipeline without jobs ends at once.
//
// Nothing is asked for before the first step; a break cancels the request
// under way; to range over it again starts anew. Intervals, conditional polls
// and failures are those of [JobsService.Wait]; the iterator ends after its
// first error, with which Job is nil.
//
// Endpoint: GET /projects/:id/pipelines/:pipeline_id/jobs
//
// GitLab docs: https://docs.gitlab.com/api/jobs/#list-all-jobs-for-a-pipeline
func (s *JobsService) WatchPipeline(ctx context.Context, project ProjectID, pipelineID int64, opts *WatchOptions) iter.Seq2[JobEvent, error] {
	o := valueOf(opts)
	return func(yield func(JobEvent, error) bool) {
		list := &pipelinePoller{
			client: s.client,
			call:   call{endpoint: listPipelineJobs, params: params{project: project, pipeline: pipelineID}},
			known:  make(map[position]knownPage),
		}
		p, err := newPoller(ctx, s.client, list.call, o.MinInterval, o.MaxInterval, defaultWaitMin, defaultWaitMax)
		if err != nil {
			yield(JobEvent{}, err)
			return
		}
		statuses := make(map[int64]Status)
		for {
			moving, changed := false, false
			var failed error
			for job, err := range each(ctx, position{PerPage: maxPerPage}, list.page, jobID) {
				if failed = err; failed != nil {
					break
				}
				moving = moving || movesByItself(job)
				previous, seen := statuses[job.ID]
				if seen && previous == job.Status {
					continue
				}
				changed = true
				statuses[job.ID] = job.Status
				event := *job // the page is kept, and isn't the caller's to change
				if !yield(JobEvent{Job: &event, Previous: previous}, nil) {
					return
				}
			}
			err := p.end(ctx, failed)
			if err == nil && failed == nil && !moving {
				return
			}
			if err == nil {
				err = p.pause(ctx, changed)
			}
			if err != nil {
				yield(JobEvent{}, err)
				return
			}
		}
	}
}

// movesByItself reports whether a job's status may change without a person.
func movesByItself(job *Job) bool {
	blocked := job.Status == StatusCreated && job.Pipeline != nil && job.Pipeline.Status == StatusManual
	return job.Status.Active() && !blocked
}

func errManual(job *Job) error {
	return fmt.Errorf("%w: job %d, %q", ErrManual, job.ID, job.Name)
}

// A pipelinePoller lists the jobs of one pipeline again and again. It keeps
// the pages, so that the server needs to send those that have changed only.
type pipelinePoller struct {
	client *Client
	call   call
	known  map[position]knownPage
}

// A knownPage is a page as it was last sent.
type knownPage struct {
	etag string
	page *Page[*Job]
}

// page returns the page at a position.
func (p *pipelinePoller) page(ctx context.Context, at position) (*Page[*Job], error) {
	known := p.known[at]
	page := new(Page[*Job])
	cl := p.call
	cl.query = listQuery{IncludeRetried: true, position: at}
	cl.into = (*list[Job])(&page.Items)
	resp, changed, err := p.client.sendUnlessKnown(ctx, cl, &known.etag) //nolint:bodyclose // send has read and closed it
	if err != nil {
		return nil, err
	}
	if changed {
		page.Items = withoutNull(page.Items)
		page.describe(resp.Header, at)
		known.page = page
		p.known[at] = known
	}
	return known.page, nil
}

package gitlabjobs

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"
)

const (
	// maxFailedPolls is how many polls in a row may fail, each after its own
	// retries. The error of one more ends the polling.
	maxFailedPolls = 5
	// While nothing changes, an interval grows by this part of it: a half.
	growthDivisor = 2
	// An interval is jittered by this part of it, a fifth, so that programs
	// started together don't stay together.
	jitterDivisor = 5
)

// A poller says when to poll next, and which failures to live with: it polls
// soon after a change, and ever less often while there is none.
type poller struct {
	method, url string // of what is polled, for errors; the URL is redacted
	min, max    time.Duration
	interval    time.Duration // the last one, before jitter; 0 before the first
	failures    int           // in a row
}

// newPoller returns the poller for a call. Bad input and bad intervals are
// refused here, before any request. Intervals of 0 mean the defaults.
func newPoller(ctx context.Context, c *Client, cl call, shortest, longest, defaultShortest, defaultLongest time.Duration) (*poller, error) {
	req, err := c.build(ctx, &cl)
	if err != nil {
		return nil, err
	}
	switch {
	case shortest < 0 || longest < 0:
		return nil, errors.New("gitlabjobs: MinInterval or MaxInterval is negative")
	case longest > 0 && shortest > longest:
		return nil, errors.New("gitlabjobs: MinInterval is longer than MaxInterval")
	}
	// A bound given alone moves the other's default along.
	if shortest == 0 {
		shortest = defaultShortest
		if longest > 0 {
			shortest = min(shortest, longest)
		}
	}
	if longest == 0 {
		longest = max(defaultLongest, shortest)
	}
	return &poller{method: cl.endpoint.method, url: redactURL(req.URL), min: shortest, max: longest}, nil
}

// end returns the error that ends the polling after a poll, nil where it goes
// on: a transient failure of which there weren't too many, or none.
func (p *poller) end(ctx context.Context, err error) error {
	switch {
	case err == nil:
		p.failures = 0
		return nil
	case ctx.Err() != nil:
		return newRequestError(ctx, p.method, p.url, err)
	case !isTransient(err):
		return err
	}
	p.failures++
	if p.failures > maxFailedPolls {
		return err
	}
	return nil
}

// pause waits until the next poll is due. Its error is the context's.
func (p *poller) pause(ctx context.Context, changed bool) error {
	if err := sleep(ctx, p.next(changed)); err != nil {
		return newRequestError(ctx, p.method, p.url, err)
	}
	return nil
}

// next returns the time until the next poll. With its jitter it stays within
// the bounds.
func (p *poller) next(changed bool) time.Duration {
	if changed || p.interval == 0 {
		p.interval = p.min
	} else {
		p.interval += min(p.interval/growthDivisor, p.max-p.interval)
	}
	jitter := p.interval / jitterDivisor
	low := max(p.interval-jitter, p.min)
	high := p.interval + min(jitter, p.max-p.interval)
	return low + rand.N(high-low+1)
}

// isTransient reports whether a later request may better a failed one: the
// client has retried it and given up.
func isTransient(err error) bool {
	var refusal *Error
	if errors.As(err, &refusal) {
		return slices.Contains(retriedStatuses, refusal.StatusCode)
	}
	var failed *requestError
	return errors.As(err, &failed) && failed.transient
}

// A jobPoller asks for one job again and again.
type jobPoller struct {
	*poller
	client *Client
	call   call
	etag   string // of the last answer
	job    *Job   // as last seen; nil before the first answer
}

func (s *JobsService) newJobPoller(ctx context.Context, project ProjectID, jobID int64, shortest, longest, defaultShortest, defaultLongest time.Duration) (*jobPoller, error) {
	cl := call{endpoint: getJob, params: params{project: project, job: jobID}}
	p, err := newPoller(ctx, s.client, cl, shortest, longest, defaultShortest, defaultLongest)
	if err != nil {
		return nil, err
	}
	return &jobPoller{poller: p, client: s.client, call: cl}, nil
}

// ask brings the job up to date, and reports whether its status has changed.
func (p *jobPoller) ask(ctx context.Context) (bool, error) {
	job := new(Job)
	cl := p.call
	cl.into = job
	_, changed, err := p.client.sendUnlessKnown(ctx, cl, &p.etag) //nolint:bodyclose // send has read and closed it
	if err != nil || !changed {
		return false, err
	}
	changed = p.job == nil || p.job.Status != job.Status
	p.job = job
	return changed, nil
}

// sendUnlessKnown performs a call whose answer is wanted only if it is another
// than the one with the ETag, and reports whether it is. The ETag is kept up
// to date; weak ones are as good as strong ones here.
func (c *Client) sendUnlessKnown(ctx context.Context, cl call, etag *string) (*http.Response, bool, error) {
	if *etag != "" {
		cl.header = http.Header{headerIfNoneMatch: {*etag}}
		cl.accept = []int{http.StatusNotModified}
	}
	resp, err := c.send(ctx, cl)
	switch {
	case err != nil:
		return nil, false, err
	case resp.StatusCode == http.StatusNotModified:
		return resp, false, nil
	}
	*etag = resp.Header.Get("ETag")
	return resp, true, nil
}

const headerIfNoneMatch = "If-None-Match"

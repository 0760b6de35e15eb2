package jobstest

import (
	"fmt"
	"net/http"
	"slices"
)

func (c *call) listJobs() (reply, *failure) {
	wanted, f := c.scope()
	if f != nil {
		return nil, f
	}
	var jobs []*Job
	for _, j := range slices.Backward(c.project.jobs) {
		if !j.bridge && wanted(j) {
			jobs = append(jobs, j)
		}
	}
	keyset, f := c.wantsKeyset()
	if f != nil {
		return nil, f
	}
	if !keyset && c.s.version == Newest && c.params.Get("sort") == "asc" {
		slices.Reverse(jobs)
	}
	var header http.Header
	if keyset {
		jobs, header, f = c.keysetPage(jobs)
	} else {
		if p, f := c.page(); f == nil && p.number*p.size > c.s.offsetLimit {
			return nil, parameterError(http.StatusMethodNotAllowed, fmt.Sprintf(
				"Offset pagination has a maximum allowed offset of %d for requests that return objects of type Ci::Build. "+
					"Remaining records can be retrieved using keyset pagination.", c.s.offsetLimit))
		}
		jobs, header, f = paginate(c, jobs, false)
	}
	if f != nil {
		return nil, f
	}
	return c.jobList(jobs, header)
}

func (c *call) listPipelineJobs() (reply, *failure) {
	pl, f := c.findPipeline()
	if f != nil {
		return nil, f
	}
	jobs, f := c.pipelineJobs(pl, false)
	if f != nil {
		return nil, f
	}
	if c.s.version == V12_3 {
		slices.Reverse(jobs) // ascending before 13.5
	}
	jobs, header, f := paginate(c, jobs, true)
	if f != nil {
		return nil, f
	}
	return c.jobList(jobs, header)
}

func (c *call) listBridges() (reply, *failure) {
	pl, f := c.findPipeline()
	if f != nil {
		return nil, f
	}
	jobs, f := c.pipelineJobs(pl, true)
	if f != nil {
		return nil, f
	}
	jobs, header, f := paginate(c, jobs, true)
	if f != nil {
		return nil, f
	}
	return c.jobList(jobs, header)
}

// pipelineJobs returns a pipeline's jobs, or its bridges, as the request
// wants them, descending by ID.
func (c *call) pipelineJobs(pl *Pipeline, bridges bool) ([]*Job, *failure) {
	wanted, f := c.scope()
	if f != nil {
		return nil, f
	}
	retried := false
	if c.s.version == Newest {
		if retried, f = c.flag("include_retried"); f != nil {
			return nil, f
		}
	}
	var jobs []*Job
	for _, j := range slices.Backward(pl.jobs) {
		if j.bridge == bridges && (retried || !j.retried) && wanted(j) {
			jobs = append(jobs, j)
		}
	}
	return jobs, nil
}

// The scopes of 12.3, and those that came later.
var (
	oldScopes = []string{"created", "preparing", "pending", "running", "success", "failed", "canceled", "skipped", "manual", "scheduled"}
	newScopes = append([]string{"waiting_for_resource", "waiting_for_callback", "canceling"}, oldScopes...)
)

// scope reads the scope parameter, one value or an array.
func (c *call) scope() (wanted func(*Job) bool, f *failure) {
	known := newScopes
	if c.s.version == V12_3 {
		known = oldScopes
	}
	values := append(slices.Clone(c.params["scope"]), c.params["scope[]"]...)
	for _, v := range values {
		if !slices.Contains(known, v) {
			return nil, invalidParameter("scope does not have a valid value")
		}
	}
	return func(j *Job) bool { return len(values) == 0 || slices.Contains(values, string(j.status)) }, nil
}

func (c *call) jobList(jobs []*Job, header http.Header) (reply, *failure) {
	r := c.s.renderer()
	list := make([]any, len(jobs))
	for i, j := range jobs {
		list[i] = r.any(j)
	}
	rep, f := jsonOf(http.StatusOK, list)
	rep.header = header
	return rep, f
}

package gitlabjobs

import (
	"context"
	"errors"
	"iter"
	"slices"
)

// A JobsService has one method for each endpoint of the Jobs and Job Artifacts
// API. Get it from [Client.Jobs]. It is safe for concurrent use.
//
// Every method may return an [Error], which matches [ErrUnauthorized],
// [ErrForbidden], [ErrNotFound], [ErrConflict] and [ErrRateLimited] by its
// status. GitLab answers 404 also where the token has no access to a project.
type JobsService struct {
	client *Client
}

// ListOptions are the options of [JobsService.List] and [JobsService.All].
type ListOptions struct {
	Scope   []Status // only jobs with one of these statuses; the default is all
	PerPage int      // items a page, at most 100; the default is the server's 20 for a page, 100 for an iterator
	Page    int      // the page's number, from 1 on
	Cursor  string   // the page's cursor: the NextCursor of the page before it
	Keyset  bool     // keyset pagination from the first page on: fast however long the list; GitLab 15.9+
}

// PipelineListOptions are the options of [JobsService.ListInPipeline] and
// [JobsService.AllInPipeline].
type PipelineListOptions struct {
	Scope          []Status // only jobs with one of these statuses; the default is all
	IncludeRetried bool     // also jobs that were retried since; GitLab 13.9+
	PerPage, Page  int      // as in ListOptions
}

// BridgeListOptions are the options of [JobsService.ListBridges] and
// [JobsService.AllBridges].
type BridgeListOptions struct {
	Scope         []Status // only bridges with one of these statuses; the default is all
	PerPage, Page int      // as in ListOptions
}

// CancelOptions are the options of [JobsService.Cancel].
type CancelOptions struct {
	Force bool // also a job that is canceling already; takes the Maintainer role
}

// RetryOptions are the options of [JobsService.Retry].
type RetryOptions struct {
	Inputs map[string]any // the job's inputs; GitLab 18.10+
}

// PlayOptions are the options of [JobsService.Play].
type PlayOptions struct {
	Variables []Variable     // for this run only
	Inputs    map[string]any // the job's inputs; GitLab 18.10+
}

// A Variable is a CI/CD variable for one run of a job.
type Variable struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// List returns one page of a project's jobs, newest first.
//
// Endpoint: GET /projects/:id/jobs
//
// GitLab docs: https://docs.gitlab.com/api/jobs/#list-all-jobs-for-a-project
func (s *JobsService) List(ctx context.Context, project ProjectID, opts *ListOptions) (*Page[*Job], error) {
	o, at := opts.split()
	return s.list(ctx, project, o, at)
}

// All returns an iterator over a project's jobs, newest first. It asks for
// nothing before its first step, fetches the next page while half of the last
// one is still to come, and ends after its first error. It uses keyset
// pagination where the server has it, unless opts name a page.
//
// Endpoint: GET /projects/:id/jobs
//
// GitLab docs: https://docs.gitlab.com/api/jobs/#list-all-jobs-for-a-project
func (s *JobsService) All(ctx context.Context, project ProjectID, opts *ListOptions) iter.Seq2[*Job, error] {
	o, at := opts.split()
	if at.Page == 0 {
		at.Pagination = keyset
	}
	return each(ctx, at.forAll(), func(ctx context.Context, at position) (*Page[*Job], error) {
		return s.list(ctx, project, o, at)
	}, jobID)
}

// ListInPipeline returns one page of a pipeline's jobs, without its bridges.
//
// Endpoint: GET /projects/:id/pipelines/:pipeline_id/jobs
//
// GitLab docs: https://docs.gitlab.com/api/jobs/#list-all-jobs-for-a-pipeline
func (s *JobsService) ListInPipeline(ctx context.Context, project ProjectID, pipelineID int64, opts *PipelineListOptions) (*Page[*Job], error) {
	o := valueOf(opts)
	return s.listInPipeline(ctx, project, pipelineID, o, position{PerPage: o.PerPage, Page: o.Page})
}

// AllInPipeline returns an iterator over a pipeline's jobs, without its
// bridges. It works as that of [JobsService.All].
//
// Endpoint: GET /projects/:id/pipelines/:pipeline_id/jobs
//
// GitLab docs: https://docs.gitlab.com/api/jobs/#list-all-jobs-for-a-pipeline
func (s *JobsService) AllInPipeline(ctx context.Context, project ProjectID, pipelineID int64, opts *PipelineListOptions) iter.Seq2[*Job, error] {
	o := valueOf(opts)
	at := position{PerPage: o.PerPage, Page: o.Page}
	return each(ctx, at.forAll(), func(ctx context.Context, at position) (*Page[*Job], error) {
		return s.listInPipeline(ctx, project, pipelineID, o, at)
	}, jobID)
}

// ListBridges returns one page of a pipeline's bridges, the jobs that trigger
// downstream pipelines.
//
// Endpoint: GET /projects/:id/pipelines/:pipeline_id/bridges
//
// GitLab docs: https://docs.gitlab.com/api/jobs/#list-all-trigger-jobs-for-a-pipeline
func (s *JobsService) ListBridges(ctx context.Context, project ProjectID, pipelineID int64, opts *BridgeListOptions) (*Page[*Bridge], error) {
	o := valueOf(opts)
	return s.listBridges(ctx, project, pipelineID, o, position{PerPage: o.PerPage, Page: o.Page})
}

// AllBridges returns an iterator over a pipeline's bridges. It works as that
// of [JobsService.All].
//
// Endpoint: GET /projects/:id/pipelines/:pipeline_id/bridges
//
// GitLab docs: https://docs.gitlab.com/api/jobs/#list-all-trigger-jobs-for-a-pipeline
func (s *JobsService) AllBridges(ctx context.Context, project ProjectID, pipelineID int64, opts *BridgeListOptions) iter.Seq2[*Bridge, error] {
	o := valueOf(opts)
	at := position{PerPage: o.PerPage, Page: o.Page}
	return each(ctx, at.forAll(), func(ctx context.Context, at position) (*Page[*Bridge], error) {
		return s.listBridges(ctx, project, pipelineID, o, at)
	}, func(bridge *Bridge) int64 { return bridge.ID })
}

// Get returns one job. A bridge's ID is not found.
//
// Endpoint: GET /projects/:id/jobs/:job_id
//
// GitLab docs: https://docs.gitlab.com/api/jobs/#retrieve-a-job
func (s *JobsService) Get(ctx context.Context, project ProjectID, jobID int64) (*Job, error) {
	return fetch[Job](ctx, s.client, call{endpoint: getJob, params: params{project: project, job: jobID}})
}

// Current returns the job that the client's job token belongs to. With any
// other credential it is not found.
//
// Endpoint: GET /job
//
// GitLab docs: https://docs.gitlab.com/api/jobs/#retrieve-a-job-by-job-token
func (s *JobsService) Current(ctx context.Context) (*Job, error) {
	return fetch[Job](ctx, s.client, call{endpoint: getCurrentJob})
}

// AllowedAgents returns the agents for Kubernetes that the job of the client's
// job token may use.
//
// Endpoint: GET /job/allowed_agents
//
// GitLab docs: https://docs.gitlab.com/api/jobs/#list-all-gitlab-agents-for-kubernetes-by-ci_job_token
func (s *JobsService) AllowedAgents(ctx context.Context) (*AllowedAgents, error) {
	return fetch[AllowedAgents](ctx, s.client, call{endpoint: getAllowedAgents})
}

// Cancel cancels a job and returns it. A job that has finished is returned as
// it is. Calling it twice does no harm, so it is retried as reads are.
//
// Endpoint: POST /projects/:id/jobs/:job_id/cancel
//
// GitLab docs: https://docs.gitlab.com/api/jobs/#cancel-a-job
func (s *JobsService) Cancel(ctx context.Context, project ProjectID, jobID int64, opts *CancelOptions) (*Job, error) {
	var body any
	if o := valueOf(opts); o.Force {
		body = map[string]bool{"force": true}
	}
	return fetch[Job](ctx, s.client, call{endpoint: cancelJob, params: params{project: project, job: jobID}, body: body})
}

// Retry runs a finished job again and returns the new job, which has an ID of
// its own. An error that matches [ErrOutcomeUnknown] says that it was sent
// once and may have taken effect; [ErrNotRetryable] says that the job cannot
// be retried in its state. Bridges can be retried, too (GitLab 17+).
//
// Endpoint: POST /projects/:id/jobs/:job_id/retry
//
// GitLab docs: https://docs.gitlab.com/api/jobs/#retry-a-job
func (s *JobsService) Retry(ctx context.Context, project ProjectID, jobID int64, opts *RetryOptions) (*Job, error) {
	var body any
	if o := valueOf(opts); len(o.Inputs) > 0 {
		body = map[string]any{"job_inputs": o.Inputs}
	}
	return fetch[Job](ctx, s.client, call{endpoint: retryJob, params: params{project: project, job: jobID}, body: body})
}

// Play starts a manual job, or a bridge, and returns it. An error that matches
// [ErrOutcomeUnknown] says that it was sent once and may have taken effect;
// [ErrNotPlayable] says that the job cannot be played in its state.
//
// Endpoint: POST /projects/:id/jobs/:job_id/play
//
// GitLab docs: https://docs.gitlab.com/api/jobs/#run-a-job
func (s *JobsService) Play(ctx context.Context, project ProjectID, jobID int64, opts *PlayOptions) (*Job, error) {
	o := valueOf(opts)
	for _, variable := range o.Variables {
		if variable.Key == "" {
			return nil, errors.New("gitlabjobs: a variable has no key")
		}
	}
	body := struct {
		Variables []Variable     `json:"job_variables_attributes,omitempty"`
		Inputs    map[string]any `json:"job_inputs,omitempty"`
	}{o.Variables, o.Inputs}
	return fetch[Job](ctx, s.client, call{endpoint: playJob, params: params{project: project, job: jobID}, body: body})
}

// Erase removes the log and the artifacts of a finished job and returns it. An
// error that matches [ErrOutcomeUnknown] says that it was sent once and may
// have taken effect; [ErrNotErasable] says that the job has been erased before
// or has not finished.
//
// Endpoint: POST /projects/:id/jobs/:job_id/erase
//
// GitLab docs: https://docs.gitlab.com/api/jobs/#erase-a-job
func (s *JobsService) Erase(ctx context.Context, project ProjectID, jobID int64) (*Job, error) {
	return fetch[Job](ctx, s.client, call{endpoint: eraseJob, params: params{project: project, job: jobID}})
}

// listQuery is the query of all lists of jobs.
type listQuery struct {
	Scope          []Status `url:"scope,brackets,omitempty"`
	IncludeRetried bool     `url:"include_retried,omitempty"`
	position
}

func (s *JobsService) list(ctx context.Context, project ProjectID, o ListOptions, at position) (*Page[*Job], error) {
	cl := call{endpoint: listJobs, params: params{project: project}, query: listQuery{Scope: o.Scope, position: at}}
	return listPage[Job](ctx, s.client, cl, at, o.Scope)
}

func (s *JobsService) listInPipeline(ctx context.Context, project ProjectID, pipelineID int64, o PipelineListOptions, at position) (*Page[*Job], error) {
	cl := call{
		endpoint: listPipelineJobs,
		params:   params{project: project, pipeline: pipelineID},
		query:    listQuery{Scope: o.Scope, IncludeRetried: o.IncludeRetried, position: at},
	}
	return listPage[Job](ctx, s.client, cl, at, o.Scope)
}

func (s *JobsService) listBridges(ctx context.Context, project ProjectID, pipelineID int64, o BridgeListOptions, at position) (*Page[*Bridge], error) {
	cl := call{
		endpoint: listBridges,
		params:   params{project: project, pipeline: pipelineID},
		query:    listQuery{Scope: o.Scope, position: at},
	}
	return listPage[Bridge](ctx, s.client, cl, at, o.Scope)
}

// listPage checks what all lists have in common, and fetches the page.
func listPage[T any](ctx context.Context, c *Client, cl call, at position, scope []Status) (*Page[*T], error) {
	if slices.Contains(scope, "") {
		return nil, errors.New("gitlabjobs: a status in Scope is empty")
	}
	if err := at.validate(); err != nil {
		return nil, err
	}
	return fetchPage[T](ctx, c, cl, at)
}

// split returns the options, and the position that is part of them.
func (o *ListOptions) split() (ListOptions, position) {
	options := valueOf(o)
	at := position{PerPage: options.PerPage, Page: options.Page, Cursor: options.Cursor}
	if options.Keyset || options.Cursor != "" {
		at.Pagination = keyset
	}
	return options, at
}

// forAll returns the position with as many items a page as there can be,
// unless it says otherwise.
func (p position) forAll() position {
	if p.PerPage == 0 {
		p.PerPage = maxPerPage
	}
	return p
}

// valueOf returns a copy of what options point to, the zero value for nil.
func valueOf[T any](options *T) T {
	if options == nil {
		return *new(T)
	}
	return *options
}

func jobID(job *Job) int64 { return job.ID }

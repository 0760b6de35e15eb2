package jobstest

import (
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/gitlabjobs/gitlabjobs"
)

// The endpoints in this file aren't the Jobs API's. Programs call them on
// their way to a job, so they answer, with the fields that matter.

func (c *call) getVersion() (reply, *failure) {
	version, revision := "19.1.0", "b1946ac9"
	if c.s.version == V12_3 {
		version, revision = "12.3.9", "7b1f0a2e"
	}
	return asReply(jsonOf(http.StatusOK, map[string]string{"version": version, "revision": revision}))
}

func (c *call) getUser() (reply, *failure) {
	return asReply(jsonOf(http.StatusOK, c.s.renderer().user(c.user)))
}

// getCurrentJob is for job tokens: with any other, there is no job.
func (c *call) getCurrentJob() (reply, *failure) {
	if c.job == nil {
		return nil, notFound("Job")
	}
	return asReply(jsonOf(http.StatusOK, c.s.renderer().job(c.job)))
}

func (c *call) getAllowedAgents() (reply, *failure) {
	if c.job == nil {
		return nil, notFound("Job")
	}
	p := c.job.pl.p
	type idJSON struct {
		ID int64 `json:"id"`
	}
	groups := []idJSON{}
	for i := range strings.Count(p.path, "/") {
		groups = append(groups, idJSON{ID: int64(i + 1)})
	}
	roles := []string{"guest", "reporter", "developer"}
	if c.token.role(p) >= Maintainer {
		roles = append(roles, "maintainer")
	}
	return asReply(jsonOf(http.StatusOK, map[string]any{
		"allowed_agents": []any{map[string]any{
			"id":             int64(1),
			"config_project": c.s.renderer().configProject(p),
			"configuration":  map[string]any{"ci_access": map[string]any{"projects": []any{map[string]any{"id": p.path}}}},
		}},
		"job":      idJSON{ID: c.job.id},
		"pipeline": idJSON{ID: c.job.pl.id},
		"project":  map[string]any{"id": p.id, "groups": groups},
		"user":     map[string]any{"id": c.user.id, "username": c.user.username, "roles_in_project": roles},
	}))
}

type projectJSON struct {
	ID                int64  `json:"id"`
	Description       string `json:"description"`
	Name              string `json:"name"`
	NameWithNamespace string `json:"name_with_namespace"`
	Path              string `json:"path"`
	PathWithNamespace string `json:"path_with_namespace"`
	CreatedAt         stamp  `json:"created_at"`
	DefaultBranch     string `json:"default_branch,omitempty"`
	Visibility        string `json:"visibility,omitempty"`
	WebURL            string `json:"web_url,omitempty"`
}

// configProject is a project as allowed_agents shows it.
func (r *renderer) configProject(p *Project) projectJSON {
	return projectJSON{
		ID: p.id, Name: p.name(), NameWithNamespace: strings.ReplaceAll(p.path, "/", " / "),
		Path: p.name(), PathWithNamespace: p.path, CreatedAt: stamp(p.createdAt),
	}
}

func (c *call) getProject() (reply, *failure) {
	p := c.project
	out := c.s.renderer().configProject(p)
	out.DefaultBranch, out.Visibility, out.WebURL = "main", "private", c.s.externalURL+"/"+p.path
	if p.public {
		out.Visibility = "public"
	}
	return asReply(jsonOf(http.StatusOK, out))
}

func (c *call) listPipelines() (reply, *failure) {
	var pipelines []*Pipeline
	for _, pl := range c.project.pipelines {
		if c.wantsPipeline(pl) {
			pipelines = append(pipelines, pl)
		}
	}
	if c.params.Get("sort") != "asc" {
		slices.Reverse(pipelines)
	}
	pipelines, header, f := paginate(c, pipelines, true)
	if f != nil {
		return nil, f
	}
	r := c.s.renderer()
	list := make([]*pipelineJSON, len(pipelines))
	for i, pl := range pipelines {
		list[i] = r.pipeline(pl)
	}
	rep, f := jsonOf(http.StatusOK, list)
	rep.header = header
	return rep, f
}

// wantsPipeline applies the filters of a list request.
func (c *call) wantsPipeline(pl *Pipeline) bool {
	for param, value := range map[string]string{
		"ref": pl.spec.Ref, "sha": pl.spec.SHA, "status": string(pl.status()), "source": pl.spec.Source,
	} {
		if wanted := c.params.Get(param); wanted != "" && wanted != value {
			return false
		}
	}
	return true
}

func (c *call) getPipeline() (reply, *failure) {
	pl, f := c.findPipeline()
	if f != nil {
		return nil, f
	}
	return asReply(jsonOf(http.StatusOK, c.s.renderer().wholePipeline(pl)))
}

func (c *call) getLatestPipeline() (reply, *failure) {
	ref := first(c.params.Get("ref"), "main")
	for _, pl := range slices.Backward(c.project.pipelines) {
		if pl.spec.Ref == ref {
			return asReply(jsonOf(http.StatusOK, c.s.renderer().wholePipeline(pl)))
		}
	}
	return nil, notFound("Pipeline")
}

type wholePipelineJSON struct {
	*pipelineJSON
	BeforeSHA      string    `json:"before_sha"`
	Tag            bool      `json:"tag"`
	YAMLErrors     *string   `json:"yaml_errors"`
	User           *userJSON `json:"user"`
	StartedAt      stamp     `json:"started_at"`
	FinishedAt     stamp     `json:"finished_at"`
	CommittedAt    stamp     `json:"committed_at"`
	Duration       *int      `json:"duration"`
	QueuedDuration *int      `json:"queued_duration"`
	Coverage       *string   `json:"coverage"`
	DetailedStatus any       `json:"detailed_status"`
}

func (r *renderer) wholePipeline(pl *Pipeline) wholePipelineJSON {
	var started, finished time.Time
	for _, j := range pl.jobs {
		if !j.started.IsZero() && (started.IsZero() || j.started.Before(started)) {
			started = j.started
		}
		if j.finished.After(finished) {
			finished = j.finished
		}
	}
	out := wholePipelineJSON{
		pipelineJSON: r.pipeline(pl), BeforeSHA: strings.Repeat("0", len(pl.spec.SHA)), Tag: pl.spec.Tag, User: r.user(pl.user),
		StartedAt: stamp(started),
		DetailedStatus: map[string]any{
			"text": string(pl.status()), "label": string(pl.status()), "group": string(pl.status()),
			"has_details": true, "details_path": path.Join("/", pl.p.path, "-/pipelines"),
		},
	}
	if pl.status().Finished() && !started.IsZero() {
		out.FinishedAt = stamp(finished)
		duration := int(finished.Sub(started) / time.Second)
		out.Duration = &duration
	}
	return out
}

// A BridgeSpec says what a new bridge is like: a job that triggers a
// pipeline of another project.
type BridgeSpec struct {
	Name          string // default "trigger"
	Stage         string // default "test"
	Status        gitlabjobs.Status
	FailureReason gitlabjobs.FailureReason
	AllowFailure  bool
	Downstream    *Pipeline // nil until the bridge has made one
	CreatedAt     time.Time // these place it in time as those of a [JobSpec] do
	Waited        time.Duration
	Queued        time.Duration
	Duration      time.Duration
	Course        []Step
}

// A Bridge is a job that triggers a downstream pipeline. The endpoints of
// jobs don't find it, but for play and retry.
type Bridge struct{ j *Job }

// AddBridge adds a bridge to the pipeline.
func (pl *Pipeline) AddBridge(spec BridgeSpec) *Bridge {
	s := pl.p.s
	s.mu.Lock()
	defer s.mu.Unlock()
	j := pl.addJob(JobSpec{
		Name: first(spec.Name, "trigger"), Stage: spec.Stage, Status: spec.Status, FailureReason: spec.FailureReason,
		AllowFailure: spec.AllowFailure, CreatedAt: spec.CreatedAt, Waited: spec.Waited, Queued: spec.Queued, Duration: spec.Duration, Course: spec.Course,
	})
	j.bridge, j.downstream = true, spec.Downstream
	return &Bridge{j}
}

// ID returns the bridge's ID.
func (b *Bridge) ID() int64 { return b.j.id }

// SetStatus gives the bridge a status, now. The rest of its course is dropped.
func (b *Bridge) SetStatus(status gitlabjobs.Status) { b.j.SetStatus(status) }

// SetDownstream sets the pipeline that the bridge has made.
func (b *Bridge) SetDownstream(pl *Pipeline) {
	b.j.lock()
	defer b.j.unlock()
	b.j.downstream = pl
}

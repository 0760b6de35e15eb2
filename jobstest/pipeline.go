package jobstest

import (
	"crypto/sha1"
	"encoding/hex"
	"slices"
	"strconv"
	"time"

	"github.com/gitlabjobs/gitlabjobs"
)

// A PipelineSpec says what a new pipeline is like. The zero value is a
// pipeline of the branch main, made by a push.
type PipelineSpec struct {
	Ref       string    // the branch or tag; default "main"
	Tag       bool      // whether Ref is a tag
	SHA       string    // default: made up
	Source    string    // default "push"
	Title     string    // of the commit
	User      string    // who started it; default "root"
	CreatedAt time.Time // default: now, by the server's clock
}

// A Pipeline is a pipeline of a project. Its status follows from its jobs.
type Pipeline struct {
	p         *Project
	id, iid   int64
	spec      PipelineSpec
	user      *user
	jobs      []*Job // bridges too; ascending by ID
	updatedAt time.Time
}

// AddPipeline adds a pipeline without jobs.
func (p *Project) AddPipeline(spec PipelineSpec) *Pipeline {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	pl := &Pipeline{p: p, id: p.s.nextID(&p.s.lastPipeline), iid: int64(len(p.pipelines) + 1), spec: spec}
	if pl.spec.Ref == "" {
		pl.spec.Ref = "main"
	}
	if pl.spec.SHA == "" {
		sum := sha1.Sum([]byte(p.path + strconv.FormatInt(pl.id, 10)))
		pl.spec.SHA = hex.EncodeToString(sum[:])
	}
	if pl.spec.Source == "" {
		pl.spec.Source = "push"
	}
	if pl.spec.Title == "" {
		pl.spec.Title = "Test the CI integration."
	}
	if pl.spec.CreatedAt.IsZero() {
		pl.spec.CreatedAt = p.s.clock.Now()
	}
	pl.updatedAt = pl.spec.CreatedAt
	pl.user = p.s.user(spec.User)
	p.pipelines = append(p.pipelines, pl)
	return pl
}

// ID returns the pipeline's ID.
func (pl *Pipeline) ID() int64 { return pl.id }

// Status returns the pipeline's status, as it follows from its jobs.
func (pl *Pipeline) Status() gitlabjobs.Status {
	pl.p.s.mu.Lock()
	defer pl.p.s.mu.Unlock()
	pl.p.s.tick()
	return pl.status()
}

// Jobs returns the pipeline's jobs without bridges, retried ones too, in the
// order of their IDs.
func (pl *Pipeline) Jobs() []*Job {
	pl.p.s.mu.Lock()
	defer pl.p.s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(pl.jobs), func(j *Job) bool { return j.bridge })
}

// status derives the pipeline's status from its newest jobs, as GitLab does:
// a failure that is allowed counts as a success, a manual job that may be
// left out as if it weren't there.
func (pl *Pipeline) status() gitlabjobs.Status {
	count := make(map[gitlabjobs.Status]int)
	total := 0
	for _, j := range pl.jobs {
		if j.retried {
			continue
		}
		status := j.status
		switch {
		case j.spec.AllowFailure && status == gitlabjobs.StatusManual:
			status = gitlabjobs.StatusSkipped
		case j.spec.AllowFailure && (status == gitlabjobs.StatusFailed || status == gitlabjobs.StatusCanceled):
			status = gitlabjobs.StatusSuccess
		}
		count[status]++
		total++
	}
	done := count[gitlabjobs.StatusSuccess] + count[gitlabjobs.StatusFailed] + count[gitlabjobs.StatusCanceled] + count[gitlabjobs.StatusSkipped]
	for _, s := range []gitlabjobs.Status{gitlabjobs.StatusCreated, gitlabjobs.StatusSkipped} {
		if count[s] == total {
			return s
		}
	}
	for _, s := range []gitlabjobs.Status{
		gitlabjobs.StatusCanceling, gitlabjobs.StatusRunning, gitlabjobs.StatusWaitingForResource,
		gitlabjobs.StatusPreparing, gitlabjobs.StatusWaitingForCallback,
	} {
		if count[s] > 0 {
			return s
		}
	}
	switch {
	case count[gitlabjobs.StatusPending] > 0 && done == 0:
		return gitlabjobs.StatusPending
	case count[gitlabjobs.StatusPending] > 0:
		return gitlabjobs.StatusRunning
	case count[gitlabjobs.StatusManual] > 0:
		return gitlabjobs.StatusManual
	case count[gitlabjobs.StatusScheduled] > 0:
		return gitlabjobs.StatusScheduled
	case count[gitlabjobs.StatusCreated] > 0:
		return gitlabjobs.StatusRunning
	case count[gitlabjobs.StatusFailed] > 0:
		return gitlabjobs.StatusFailed
	case count[gitlabjobs.StatusCanceled] > 0:
		return gitlabjobs.StatusCanceled
	}
	return gitlabjobs.StatusSuccess
}

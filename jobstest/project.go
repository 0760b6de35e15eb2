package jobstest

import (
	"path"
	"slices"
	"strings"
	"time"
)

// A Project is a project of the server. Its methods are safe for concurrent
// use, also while the server answers.
type Project struct {
	s         *Server
	id        int64
	path      string
	createdAt time.Time

	public            bool
	jobTokenScope     bool // whether job tokens of other projects need to be allowed
	jobTokenArtifacts bool // whether job tokens may download artifacts (a licensed feature)
	jobTokenAllowed   []*Project
	statsRefresh      bool
	formerPaths       []string

	pipelines []*Pipeline // ascending by ID
	jobs      []*Job      // bridges too; ascending by ID
}

// AddProject adds a private project with the given full path, such as
// "group/sub/app". It panics if the path is taken.
func (s *Server) AddProject(path string) *Project {
	s.mu.Lock()
	defer s.mu.Unlock()
	path = strings.Trim(path, "/")
	if s.findProject(path) != nil {
		panic("jobstest: there already is a project " + path)
	}
	p := &Project{
		s: s, id: s.nextID(&s.lastProject), path: path, createdAt: s.clock.Now(),
		jobTokenScope: true, jobTokenArtifacts: true,
	}
	s.projects = append(s.projects, p)
	return p
}

// Project returns the project with the given path, or nil.
func (s *Server) Project(path string) *Project {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.findProject(path)
}

// ID returns the project's ID.
func (p *Project) ID() int64 { return p.id }

// Path returns the project's full path.
func (p *Project) Path() string {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	return p.path
}

// SetPublic makes the project readable without membership. Its artifacts can
// then be downloaded without a token.
func (p *Project) SetPublic(public bool) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	p.public = public
}

// SetJobTokenScope says whether the project refuses job tokens of other
// projects that aren't allowed (the default), and which are allowed.
func (p *Project) SetJobTokenScope(enabled bool, allowed ...*Project) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	p.jobTokenScope, p.jobTokenAllowed = enabled, allowed
}

// SetJobTokenArtifacts says whether job tokens may download artifacts, which
// needs a license (the default: they may). Without it, such a download is
// "404 Project Not Found".
func (p *Project) SetJobTokenArtifacts(licensed bool) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	p.jobTokenArtifacts = licensed
}

// SetStatsRefresh says whether the project's statistics are being refreshed:
// then erasing jobs and deleting artifacts is a 409.
func (p *Project) SetStatsRefresh(running bool) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	p.statsRefresh = running
}

// Move gives the project another path. The former one is answered with a
// redirect for GET, and with 405 for other methods.
func (p *Project) Move(path string) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	p.formerPaths = append(p.formerPaths, p.path)
	p.path = strings.Trim(path, "/")
}

// Jobs returns the project's jobs without bridges, retried ones too, in the
// order of their IDs.
func (p *Project) Jobs() []*Job {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(p.jobs), func(j *Job) bool { return j.bridge })
}

// Pipelines returns the project's pipelines in the order of their IDs.
func (p *Project) Pipelines() []*Pipeline {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	return slices.Clone(p.pipelines)
}

func (p *Project) name() string { return path.Base(p.path) }

// findProject finds a project by its present path.
func (s *Server) findProject(path string) *Project {
	for _, p := range s.projects {
		if p.path == path {
			return p
		}
	}
	return nil
}

// findMovedProject finds a project by a path that it has left.
func (s *Server) findMovedProject(path string) *Project {
	for _, p := range s.projects {
		if slices.Contains(p.formerPaths, path) {
			return p
		}
	}
	return nil
}

package command

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"

	"github.com/gitlabjobs/gitlabjobs"
	"github.com/gitlabjobs/gitlabjobs/jobstest"
)

// A Target is the flags that say which GitLab and which project are meant.
type Target struct {
	url, project string
	demo         bool
}

// AddTarget adds the flags of a target.
func AddTarget(flags *flag.FlagSet) *Target {
	t := &Target{}
	flags.StringVar(&t.url, "url", "", "the GitLab's `URL`; default: GITLAB_URL or that of the CI job, else https://gitlab.com")
	flags.StringVar(&t.project, "project", "", "`path or ID` of the project; default: CI_PROJECT_ID")
	flags.BoolVar(&t.demo, "demo", false, "use a simulated GitLab within the process; so it does where nothing says which GitLab")
	return t
}

// A GitLab is a client and the project it is for.
type GitLab struct {
	*gitlabjobs.Client
	Project gitlabjobs.ProjectID
	// Demo is nil unless the GitLab is simulated.
	Demo *jobstest.Demo
}

// Connect returns a client for the target, with the options beside.
func (e *Env) Connect(t *Target, opts ...gitlabjobs.Option) (*GitLab, error) {
	if t.demo && t.url != "" {
		return nil, Usagef("-demo and -url exclude each other")
	}
	if t.demo || !t.named() {
		return e.simulate(t, opts)
	}
	project := cmp.Or(t.project, os.Getenv("CI_PROJECT_ID"))
	if project == "" {
		return nil, Usagef("which project? Say -project group/app, or -demo for a simulated one")
	}
	opts = append(opts, gitlabjobs.FromEnvironment())
	if t.url != "" {
		opts = append(opts, gitlabjobs.WithBaseURL(t.url))
	}
	client, err := gitlabjobs.NewClient(opts...)
	if err != nil {
		return nil, Usagef("%v", err)
	}
	return &GitLab{Client: client, Project: gitlabjobs.ProjectID(project)}, nil
}

// named reports whether anything says which GitLab is meant.
func (t *Target) named() bool {
	if t.url != "" || t.project != "" {
		return true
	}
	for _, name := range []string{"GITLAB_URL", "GITLAB_HOST", "GITLAB_TOKEN", "CI_API_V4_URL", "CI_SERVER_URL"} {
		if os.Getenv(name) != "" {
			return true
		}
	}
	return false
}

func (e *Env) simulate(t *Target, opts []gitlabjobs.Option) (*GitLab, error) {
	server, demo := e.Simulator()
	client, err := gitlabjobs.NewClient(append(opts,
		gitlabjobs.WithBaseURL(server.URL()),
		gitlabjobs.WithPrivateToken(server.Token()),
		gitlabjobs.WithHTTPClient(server.HTTPClient()),
	)...)
	if err != nil {
		return nil, err
	}
	project := cmp.Or(t.project, demo.Project.Path())
	fmt.Fprintf(e.Stderr, "This is project %s of a simulated GitLab. For a real one, set GITLAB_URL, GITLAB_TOKEN and -project.\n\n", project)
	return &GitLab{Client: client, Project: gitlabjobs.ProjectID(project), Demo: demo}, nil
}

// NewestPipeline returns the ID of the pipeline that the project's newest job
// is in, of the ref if one is given.
func (g *GitLab) NewestPipeline(ctx context.Context, ref string) (int64, error) {
	opts := &gitlabjobs.ListOptions{}
	if ref == "" {
		opts.PerPage = 1
	}
	for job, err := range g.Jobs.All(ctx, g.Project, opts) {
		if err != nil {
			return 0, err
		}
		if job.Pipeline != nil && (ref == "" || job.Ref == ref) {
			return job.Pipeline.ID, nil
		}
	}
	if ref != "" {
		return 0, fmt.Errorf("project %s has no jobs of the ref %q", g.Project, ref)
	}
	return 0, fmt.Errorf("project %s has no jobs yet", g.Project)
}

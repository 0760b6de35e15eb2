package jobstest_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs"
	"github.com/gitlabjobs/gitlabjobs/jobstest"
)

func TestWaysToSendAToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	j := w.pl.AddJob(jobstest.JobSpec{})
	oauth := w.s.AddToken(jobstest.Token{Kind: jobstest.OAuthToken})
	for _, c := range []client{
		w.with("PRIVATE-TOKEN", w.s.Token()), w.with("Authorization", "Bearer "+w.s.Token()), w.with("Authorization", "Bearer "+oauth),
	} {
		assert.Equal(t, 200, c.get(w.path(j, "")).status)
	}
	assert.Equal(t, 200, w.with().get(w.path(j, "")+"?private_token="+w.s.Token()).status)
	for _, c := range []client{
		w.with(), w.with("PRIVATE-TOKEN", "bad"), w.with("PRIVATE-TOKEN", oauth), w.with("Authorization", "Bearer bad"), w.with("JOB-TOKEN", "bad"),
	} {
		got := c.get(w.path(j, ""))
		assert.Equal(t, 401, got.status)
		assert.JSONEq(t, `{"message":"401 Unauthorized"}`, got.body)
		assert.Equal(t, 401, c.get("/projects/11/jobs").status)
	}
}

func TestTokensThatNoLongerWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.s.AddToken(jobstest.Token{Value: "fixed"})
	assert.Equal(t, "fixed", token)
	c := w.with("PRIVATE-TOKEN", token)
	assert.Equal(t, 200, c.get("/projects/11/jobs").status)
	w.s.AddToken(jobstest.Token{Value: token, Revoked: true})
	got := c.get("/projects/11/jobs")
	assert.Equal(t, 401, got.status)
	assert.Equal(t, map[string]any{
		"error": "invalid_token", "error_description": "Token was revoked. You have to re-authorize from the user.",
	}, got.object(t))
	w.s.AddToken(jobstest.Token{Value: token, Expired: true})
	assert.Contains(t, c.get("/projects/11/jobs").body, "Token is expired")
}

func TestScopes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	j := w.pl.AddJob(jobstest.JobSpec{Status: gitlabjobs.StatusManual})
	reader := w.with("PRIVATE-TOKEN", w.s.AddToken(jobstest.Token{Scopes: []string{"read_api"}}))
	assert.Equal(t, 200, reader.get(w.path(j, "")).status)
	got := reader.post(w.path(j, "/play"), "")
	assert.Equal(t, 403, got.status)
	assert.Equal(t, map[string]any{
		"error": "insufficient_scope", "scope": "api",
		"error_description": "The request requires higher privileges than provided by the access token.",
	}, got.object(t))
	registry := w.with("PRIVATE-TOKEN", w.s.AddToken(jobstest.Token{Scopes: []string{"read_registry"}}))
	assert.Equal(t, "api read_api", registry.get(w.path(j, "")).object(t)["scope"])
}

func TestRoles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	none := w.with("PRIVATE-TOKEN", w.s.AddToken(jobstest.Token{User: "none", Role: jobstest.NoAccess}))
	other := w.s.AddProject("group/other")
	elsewhere := w.with("PRIVATE-TOKEN", w.s.AddToken(jobstest.Token{User: "else", Projects: []*jobstest.Project{other}}))
	reporter := w.with("PRIVATE-TOKEN", w.s.AddToken(jobstest.Token{User: "reporter", Role: jobstest.Reporter}))
	developer := w.with("PRIVATE-TOKEN", w.s.AddToken(jobstest.Token{User: "dev", Role: jobstest.Developer}))
	j := w.pl.AddJob(jobstest.JobSpec{Archive: jobstest.Zip(nil), User: "dev"})

	for _, c := range []client{none, elsewhere} {
		got := c.get(w.path(j, ""))
		assert.Equal(t, 404, got.status)
		assert.JSONEq(t, `{"message":"404 Project Not Found"}`, got.body)
		assert.Equal(t, 404, c.post(w.path(j, "/retry"), "").status)
	}
	assert.Equal(t, 200, elsewhere.get("/projects/group%2Fother/jobs").status)
	assert.Equal(t, 200, reporter.get(w.path(j, "")).status)
	for _, action := range []string{"cancel", "retry", "play", "erase", "artifacts/keep"} {
		got := reporter.post(w.path(j, "/"+action), "")
		assert.Equal(t, 403, got.status, action)
		assert.JSONEq(t, `{"message":"403 Forbidden"}`, got.body)
	}
	assert.Equal(t, 403, developer.delete(w.path(j, "/artifacts")).status)
	assert.Equal(t, 403, developer.delete("/projects/11/artifacts").status)
	assert.Equal(t, 200, developer.post(w.path(j, "/artifacts/keep"), "").status)

	w.p.SetPublic(true)
	assert.Equal(t, 200, none.get(w.path(j, "")).status)
	assert.Equal(t, 403, none.post(w.path(j, "/retry"), "").status)
}

func TestAnonymous(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	j := w.pl.AddJob(jobstest.JobSpec{Name: "a", Archive: jobstest.Zip(map[string]string{"f": "x"})})
	nobody := w.with()
	downloads := []string{
		w.path(j, "/artifacts"), w.path(j, "/artifacts/f"), w.path(j, "/artifacts/tree"),
		"/projects/11/jobs/artifacts/main/download?job=a", "/projects/11/jobs/artifacts/main/raw/f?job=a",
	}
	for _, path := range downloads {
		got := nobody.get(path)
		assert.Equal(t, 404, got.status, path)
		assert.JSONEq(t, `{"message":"404 Project Not Found"}`, got.body)
	}
	w.p.SetPublic(true)
	for _, path := range downloads {
		assert.Equal(t, 200, nobody.get(path).status, path)
	}
	for _, path := range []string{"/projects/11/jobs", w.path(j, ""), w.path(j, "/trace"), "/projects/11/pipelines/101/jobs", "/job"} {
		assert.Equal(t, 401, nobody.get(path).status, path)
	}
	assert.Equal(t, 401, nobody.post(w.path(j, "/artifacts/keep"), "").status)
}

func TestJobTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	built := w.pl.AddJob(jobstest.JobSpec{Name: "a", Archive: jobstest.Zip(map[string]string{"f": "x"})})
	runner := w.p.AddPipeline(jobstest.PipelineSpec{}).AddJob(jobstest.JobSpec{Name: "b", Status: gitlabjobs.StatusRunning, User: "dev"})
	ci := w.with("JOB-TOKEN", runner.Token())
	token := runner.Token()
	assert.Equal(t, token, runner.Token(), "it is made once")

	accepted := []string{
		"/job", "/job/allowed_agents", "/projects/11/jobs", "/projects/11/pipelines/101/jobs", "/projects/11/pipelines/101/bridges",
		w.path(built, "/artifacts"), w.path(built, "/artifacts/f"), w.path(built, "/artifacts/tree"),
		"/projects/11/jobs/artifacts/main/raw/f", "/projects/11/jobs/artifacts/main/download",
	}
	for _, path := range accepted {
		path += "?job=a"
		assert.Equal(t, 200, ci.get(path).status, path)
		assert.Equal(t, 200, w.with("Authorization", "Bearer "+runner.Token()).get(path).status, path)
		assert.Equal(t, 200, w.with().get(path+"&job_token="+runner.Token()).status, path)
	}
	for _, path := range []string{w.path(built, ""), w.path(built, "/trace")} {
		assert.Equal(t, 401, ci.get(path).status, path)
	}
	assert.Equal(t, 401, ci.post(w.path(built, "/retry"), "").status)

	job := ci.get("/job").object(t)
	assert.InDelta(t, float64(runner.ID()), job["id"], 0)
	assert.Equal(t, "dev", job["user"].(map[string]any)["username"])
	agents := ci.get("/job/allowed_agents").object(t)
	assert.Equal(t, []string{"allowed_agents", "job", "pipeline", "project", "user"}, keys(agents))
	assert.Equal(t, "dev", agents["user"].(map[string]any)["username"])
	for _, path := range accepted[:2] {
		got := w.get(path)
		assert.Equal(t, 404, got.status)
		assert.JSONEq(t, `{"message":"404 Job Not Found"}`, got.body)
	}

	w.p.SetJobTokenArtifacts(false)
	assert.JSONEq(t, `{"message":"404 Project Not Found"}`, ci.get(w.path(built, "/artifacts")).body)
	w.p.SetJobTokenArtifacts(true)

	runner.SetStatus(gitlabjobs.StatusSuccess)
	for _, path := range accepted {
		assert.Equal(t, 401, ci.get(path).status, path)
	}
}

func TestJobTokensOfOtherProjects(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	j := w.pl.AddJob(jobstest.JobSpec{Archive: jobstest.Zip(nil)})
	other := w.s.AddProject("group/other")
	runner := other.AddPipeline(jobstest.PipelineSpec{}).AddJob(jobstest.JobSpec{Status: gitlabjobs.StatusRunning})
	ci := w.with("JOB-TOKEN", runner.Token())
	got := ci.get(w.path(j, "/artifacts"))
	require.Equal(t, 403, got.status)
	assert.JSONEq(t, `{"message":"403 Forbidden - Authentication by CI/CD job token not allowed from group/other to group/app."}`, got.body)
	w.p.SetJobTokenScope(true, other)
	assert.Equal(t, 200, ci.get(w.path(j, "/artifacts")).status)
	w.p.SetJobTokenScope(false)
	assert.Equal(t, 200, ci.get(w.path(j, "/artifacts")).status)
	assert.Equal(t, map[string]any{"ci_job_token_scope_enabled": false}, w.get(w.path(j, "")).object(t)["project"])
}

func TestJobTokensOfVersion12(t *testing.T) {
	t.Parallel()
	w := newWorld(t, jobstest.WithVersion(jobstest.V12_3))
	j := w.pl.AddJob(jobstest.JobSpec{Archive: jobstest.Zip(nil)})
	runner := w.pl.AddJob(jobstest.JobSpec{Status: gitlabjobs.StatusRunning})
	ci := w.with("JOB-TOKEN", runner.Token())
	assert.Equal(t, 200, ci.get(w.path(j, "/artifacts")).status)
	assert.Equal(t, 401, ci.get("/projects/11/jobs").status)
}

func TestMovedProject(t *testing.T) {
	t.Parallel()
	w := newWorld(t, jobstest.WithBasePath("/gitlab"))
	j := w.pl.AddJob(jobstest.JobSpec{})
	w.p.Move("team/app")
	assert.Equal(t, "team/app", w.p.Path())
	got := w.get(w.path(j, "?x=1"))
	assert.Equal(t, 301, got.status)
	assert.Equal(t, w.s.URL()+"/api/v4/projects/11/jobs/"+id(j)+"?x=1", got.header.Get("Location"))
	assert.Contains(t, got.body, "moved permanently")
	assert.Contains(t, got.header.Get("Content-Type"), "text/plain")
	refused := w.post(w.path(j, "/cancel"), "")
	assert.Equal(t, 405, refused.status)
	assert.JSONEq(t, `{"message":"Non GET methods are not allowed for moved projects"}`, refused.body)
	assert.Equal(t, 200, w.get("/projects/team%2Fapp/jobs/"+id(j)).status)
	assert.Equal(t, 404, w.with("PRIVATE-TOKEN", w.s.AddToken(jobstest.Token{Role: jobstest.NoAccess})).get(w.path(j, "")).status)
}

func TestProjects(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := s.AddProject("/a/b/")
	assert.Equal(t, "a/b", p.Path())
	assert.Same(t, p, s.Project("a/b"))
	assert.Nil(t, s.Project("a"))
	assert.Equal(t, []*jobstest.Project{p}, s.Projects())
	assert.Panics(t, func() { s.AddProject("a/b") })
	pl := p.AddPipeline(jobstest.PipelineSpec{})
	j := pl.AddJob(jobstest.JobSpec{})
	b := pl.AddBridge(jobstest.BridgeSpec{})
	assert.Equal(t, []*jobstest.Pipeline{pl}, p.Pipelines())
	assert.Equal(t, []*jobstest.Job{j}, p.Jobs())
	assert.Equal(t, []*jobstest.Job{j}, pl.Jobs())
	assert.Same(t, j, s.Job(j.ID()))
	assert.Nil(t, s.Job(b.ID()))
	j.Fail(gitlabjobs.ReasonAPIFailure)
	assert.Equal(t, gitlabjobs.ReasonAPIFailure, j.Snapshot().FailureReason)
}

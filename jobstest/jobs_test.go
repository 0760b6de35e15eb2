package jobstest_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs"
	"github.com/gitlabjobs/gitlabjobs/jobstest"
)

// A world is a server with a driven clock, a project and a pipeline.
type world struct {
	client
	clock *jobstest.Clock
	p     *jobstest.Project
	pl    *jobstest.Pipeline
}

func newWorld(t *testing.T, opts ...jobstest.Option) world {
	clock := jobstest.NewClock(clockStart)
	s := start(t, append([]jobstest.Option{jobstest.WithClock(clock)}, opts...)...)
	p := s.AddProject("group/app")
	return world{client: newClient(t, s), clock: clock, p: p, pl: p.AddPipeline(jobstest.PipelineSpec{})}
}

// path is the path of a job of the world's project, and what follows.
func (w world) path(j interface{ ID() int64 }, rest string) string {
	return "/projects/group%2Fapp/jobs/" + id(j) + rest
}

func keys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

func TestJobOfTheNewestVersion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	coverage := 98.29
	j := w.pl.AddJob(jobstest.JobSpec{
		Name: "rspec", Stage: "verify", Status: gitlabjobs.StatusFailed, AllowFailure: true, Coverage: &coverage,
		TagList: []string{"docker", "ruby"}, Log: "log\n", Archive: jobstest.Zip(nil), ArtifactsExpireIn: time.Hour,
		Reports: []jobstest.Report{{FileType: "junit", Content: []byte("<x/>")}}, Duration: 1500 * time.Millisecond,
	})
	job := w.get(w.path(j, "")).object(t)
	assert.Equal(t, []string{
		"allow_failure", "archived", "artifacts", "artifacts_expire_at", "artifacts_file", "commit", "coverage", "created_at",
		"duration", "erased_at", "failure_reason", "finished_at", "id", "name", "pipeline", "project", "queued_duration", "ref",
		"runner", "runner_manager", "source", "stage", "started_at", "status", "tag", "tag_list", "user", "web_url",
	}, keys(job))
	assert.Equal(t, "script_failure", job["failure_reason"])
	assert.InDelta(t, coverage, job["coverage"], 0)
	assert.InDelta(t, 1.5, job["duration"], 0)
	assert.InDelta(t, 1.0, job["queued_duration"], 0)
	assert.Nil(t, job["erased_at"])
	assert.Equal(t, "2025-05-06T07:08:09.000Z", job["finished_at"])
	assert.Equal(t, "2025-05-06T08:08:09.000Z", job["artifacts_expire_at"])
	assert.Equal(t, w.s.URL()+"/group/app/-/jobs/"+id(j), job["web_url"])
	assert.Equal(t, "artifacts.zip", job["artifacts_file"].(map[string]any)["filename"])
	assert.Equal(t, map[string]any{"ci_job_token_scope_enabled": true}, job["project"])
	kinds := []any{}
	for _, a := range job["artifacts"].([]any) {
		kinds = append(kinds, a.(map[string]any)["file_type"])
	}
	assert.Equal(t, []any{"archive", "metadata", "trace", "junit"}, kinds)
	assert.Equal(t, []string{
		"created_at", "id", "iid", "project_id", "ref", "sha", "source", "status", "updated_at", "web_url",
	}, keys(job["pipeline"].(map[string]any)))
	assert.Regexp(t, `^2025-05-06T08:08:09\.000\+01:00$`, job["commit"].(map[string]any)["created_at"])
	assert.Equal(t, "root", job["user"].(map[string]any)["username"])

	snapshot := j.Snapshot()
	assert.Equal(t, "rspec", snapshot.Name)
	assert.Equal(t, gitlabjobs.ReasonScriptFailure, snapshot.FailureReason)
	assert.Equal(t, clockStart, snapshot.FinishedAt)
}

func TestJobOfVersion12(t *testing.T) {
	t.Parallel()
	w := newWorld(t, jobstest.WithVersion(jobstest.V12_3))
	j := w.pl.AddJob(jobstest.JobSpec{Status: gitlabjobs.StatusFailed, TagList: []string{"docker"}, Archive: jobstest.Zip(nil)})
	got := w.get(w.path(j, ""))
	job := got.object(t)
	assert.Equal(t, []string{
		"allow_failure", "artifacts", "artifacts_expire_at", "artifacts_file", "commit", "coverage", "created_at", "duration",
		"finished_at", "id", "name", "pipeline", "ref", "runner", "stage", "started_at", "status", "tag", "user", "web_url",
	}, keys(job))
	assert.NotContains(t, keys(job["commit"].(map[string]any)), "web_url")
	assert.NotContains(t, keys(job["runner"].(map[string]any)), "paused")
	assert.Equal(t, []string{"id", "ref", "sha", "status"}, keys(job["pipeline"].(map[string]any)))
	assert.Empty(t, got.header.Get("ETag"))
}

func TestJobWithoutAnything(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	job := w.get(w.path(w.pl.AddJob(jobstest.JobSpec{Status: gitlabjobs.StatusCreated}), "")).object(t)
	for _, key := range []string{
		"coverage", "started_at", "finished_at", "duration", "queued_duration", "runner", "runner_manager", "artifacts_expire_at",
	} {
		assert.Contains(t, job, key)
		assert.Nil(t, job[key], key)
	}
	assert.NotContains(t, job, "failure_reason")
	assert.NotContains(t, job, "artifacts_file")
	assert.Equal(t, []any{}, job["artifacts"])
	assert.Equal(t, []any{}, job["tag_list"])
}

func TestJobIsConditional(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	j := w.pl.AddJob(jobstest.JobSpec{Status: gitlabjobs.StatusPending})
	j.SetStatus(gitlabjobs.StatusManual)
	tag := w.get(w.path(j, "")).header.Get("ETag")
	assert.Regexp(t, `^W/"[0-9a-f]{32}"$`, tag)
	again := w.and("If-None-Match", tag).get(w.path(j, ""))
	assert.Equal(t, 304, again.status)
	assert.Empty(t, again.body)
	assert.Equal(t, tag, again.header.Get("ETag"))
	j.SetStatus(gitlabjobs.StatusSuccess)
	assert.Equal(t, 200, w.and("If-None-Match", tag).get(w.path(j, "")).status)
}

func TestJobNotFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bridge := w.pl.AddBridge(jobstest.BridgeSpec{})
	other := w.s.AddProject("group/other").AddPipeline(jobstest.PipelineSpec{}).AddJob(jobstest.JobSpec{})
	for _, path := range []string{"/projects/11/jobs/1", w.path(bridge, ""), w.path(other, ""), w.path(bridge, "/trace"), w.path(bridge, "/artifacts")} {
		got := w.get(path)
		assert.Equal(t, 404, got.status, path)
		assert.JSONEq(t, `{"message":"404 Not found"}`, got.body)
	}
	assert.Equal(t, 404, w.post(w.path(bridge, "/cancel"), "").status)
	assert.Equal(t, 404, w.post(w.path(bridge, "/erase"), "").status)
	got := w.get("/projects/11/jobs/abc")
	assert.Equal(t, 400, got.status)
	assert.JSONEq(t, `{"error":"job_id is invalid"}`, got.body)
	assert.JSONEq(t, `{"message":"404 Project Not Found"}`, w.get("/projects/group%2Fnone/jobs/1").body)
}

func TestUnknownRoutes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, path := range []string{"/nothing", "/projects/11/jobs/7/nothing", "/projects/group/app/jobs", ""} {
		got := w.get(path)
		assert.Equal(t, 404, got.status, path)
		assert.JSONEq(t, `{"error":"404 Not Found"}`, got.body)
	}
	got := w.delete("/projects/11/jobs")
	assert.Equal(t, 405, got.status)
	assert.JSONEq(t, `{"error":"405 Not Allowed"}`, got.body)
	assert.Equal(t, "GET", got.header.Get("Allow"))

	old := newWorld(t, jobstest.WithVersion(jobstest.V12_3))
	for _, path := range []string{"/job", "/job/allowed_agents", "/projects/11/pipelines/101/bridges"} {
		assert.Equal(t, 404, old.get(path).status, path)
	}
	assert.Equal(t, 404, old.delete("/projects/11/artifacts").status)
}

func TestScope(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, status := range []gitlabjobs.Status{gitlabjobs.StatusPending, gitlabjobs.StatusRunning, gitlabjobs.StatusFailed} {
		w.pl.AddJob(jobstest.JobSpec{Status: status})
	}
	for query, want := range map[string]int{
		"": 3, "?scope=pending": 1, "?scope[]=pending&scope[]=failed": 2, "?scope%5B%5D=running": 1, "?scope[]=canceling": 0,
	} {
		assert.Len(t, w.get("/projects/11/jobs"+query).list(t), want, query)
		assert.Len(t, w.get("/projects/11/pipelines/101/jobs"+query).list(t), want, query)
	}
	for _, query := range []string{"?scope=nothing", "?scope=pending,failed", "?scope[]=pending&scope[]=bad"} {
		for _, list := range []string{"jobs", "pipelines/101/jobs", "pipelines/101/bridges"} {
			got := w.get("/projects/11/" + list + query)
			assert.Equal(t, 400, got.status)
			assert.JSONEq(t, `{"error":"scope does not have a valid value"}`, got.body)
		}
	}
	old := newWorld(t, jobstest.WithVersion(jobstest.V12_3))
	assert.Equal(t, 400, old.get("/projects/11/jobs?scope=canceling").status)
	assert.Equal(t, 200, old.get("/projects/11/jobs?scope=running").status)
}

func names(list []map[string]any) (names []string) {
	for _, item := range list {
		names = append(names, item["name"].(string))
	}
	return names
}

func TestPipelineJobs(t *testing.T) {
	t.Parallel()
	for _, version := range []jobstest.Version{jobstest.Newest, jobstest.V12_3} {
		w := newWorld(t, jobstest.WithVersion(version))
		w.pl.AddJob(jobstest.JobSpec{Name: "a", Retried: true})
		w.pl.AddJob(jobstest.JobSpec{Name: "a"})
		w.pl.AddJob(jobstest.JobSpec{Name: "b"})
		w.pl.AddBridge(jobstest.BridgeSpec{Name: "c"})
		got := w.get("/projects/11/pipelines/101/jobs")
		withRetried := w.get("/projects/11/pipelines/101/jobs?include_retried=true")
		if version == jobstest.V12_3 {
			assert.Equal(t, []string{"a", "b"}, names(got.list(t)))
			assert.Equal(t, []string{"a", "b"}, names(withRetried.list(t)))
		} else {
			assert.Equal(t, []string{"b", "a"}, names(got.list(t)))
			assert.Equal(t, []string{"b", "a", "a"}, names(withRetried.list(t)))
		}
		assert.Equal(t, withRetried.body, w.get("/projects/11/pipelines/101/jobs?include_retried=True").body, "as Python spells it")
		assert.Equal(t, "2", got.header.Get("X-Total"))
		assert.Equal(t, []string{"b", "a", "a"}, names(w.get("/projects/11/jobs").list(t)))
		assert.Equal(t, 404, w.get("/projects/11/pipelines/7/jobs").status)
	}
}

func TestBridges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	down := w.s.AddProject("group/down").AddPipeline(jobstest.PipelineSpec{Source: "pipeline"})
	w.pl.AddBridge(jobstest.BridgeSpec{Name: "first", Downstream: down})
	second := w.pl.AddBridge(jobstest.BridgeSpec{Name: "second", Status: gitlabjobs.StatusManual})
	for _, list := range []string{"bridges", "trigger_jobs"} {
		bridges := w.get("/projects/11/pipelines/101/" + list).list(t)
		require.Equal(t, []string{"second", "first"}, names(bridges))
		assert.Contains(t, bridges[0], "downstream_pipeline")
		assert.Nil(t, bridges[0]["downstream_pipeline"])
		assert.InDelta(t, float64(down.ID()), bridges[1]["downstream_pipeline"].(map[string]any)["id"], 0)
		assert.NotContains(t, bridges[0], "artifacts")
	}
	played := w.post(w.path(second, "/play"), "")
	assert.Equal(t, 200, played.status)
	assert.Contains(t, played.object(t), "downstream_pipeline")
	second.SetDownstream(down)
	second.SetStatus(gitlabjobs.StatusFailed)
	retried := w.post(w.path(second, "/retry"), "")
	assert.Equal(t, 201, retried.status)
	assert.Equal(t, "pending", retried.object(t)["status"])
	assert.Len(t, w.get("/projects/11/pipelines/101/bridges?scope=success").list(t), 1)
}

func TestCourse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	j := w.pl.AddJob(jobstest.JobSpec{
		Archive: jobstest.Zip(nil), ArtifactsExpireIn: time.Minute,
		Course: []jobstest.Step{
			{After: 2 * time.Second, Status: gitlabjobs.StatusRunning, Log: "one\n"},
			{After: 4 * time.Second, Log: "two\n", LogAt: func(at time.Time) string { return at.Format(time.TimeOnly) + "\n" }},
			{After: 7 * time.Second, Status: gitlabjobs.StatusFailed, FailureReason: gitlabjobs.ReasonJobExecutionTimeout, Log: "end\n"},
		},
	})
	assert.Equal(t, gitlabjobs.StatusPending, j.Snapshot().Status)
	assert.Equal(t, gitlabjobs.StatusPending, w.pl.Status())
	w.clock.Advance(5 * time.Second)
	snapshot := j.Snapshot()
	assert.Equal(t, gitlabjobs.StatusRunning, snapshot.Status)
	assert.Equal(t, clockStart.Add(2*time.Second), snapshot.StartedAt)
	assert.InDelta(t, 3, *snapshot.Duration, 0)
	assert.Nil(t, snapshot.ArtifactsFile)
	assert.Equal(t, "one\ntwo\n07:08:13\n", j.Log())
	w.clock.Advance(time.Hour)
	snapshot = j.Snapshot()
	assert.Equal(t, gitlabjobs.StatusFailed, snapshot.Status)
	assert.Equal(t, gitlabjobs.ReasonJobExecutionTimeout, snapshot.FailureReason)
	assert.Equal(t, clockStart.Add(7*time.Second), snapshot.FinishedAt)
	assert.InDelta(t, 5, *snapshot.Duration, 0)
	assert.Equal(t, clockStart.Add(time.Minute+7*time.Second), snapshot.ArtifactsExpireAt)
	assert.Nil(t, snapshot.ArtifactsFile, "expired")
	assert.Equal(t, gitlabjobs.StatusFailed, w.pl.Status())
}

func TestCancel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	running := w.pl.AddJob(jobstest.JobSpec{Status: gitlabjobs.StatusRunning, Course: []jobstest.Step{{After: time.Minute, Status: gitlabjobs.StatusSuccess}}})
	got := w.post(w.path(running, "/cancel"), "")
	assert.Equal(t, 201, got.status)
	assert.Equal(t, "canceled", got.object(t)["status"])
	w.clock.Advance(time.Hour)
	assert.Equal(t, gitlabjobs.StatusCanceled, running.Snapshot().Status, "the course has ended")

	finished := w.pl.AddJob(jobstest.JobSpec{})
	got = w.post(w.path(finished, "/cancel"), "")
	assert.Equal(t, 201, got.status)
	assert.Equal(t, "success", got.object(t)["status"])

	spec := jobstest.JobSpec{Status: gitlabjobs.StatusRunning, CancelCourse: []jobstest.Step{{After: 10 * time.Second, Status: gitlabjobs.StatusCanceled, Log: "cleaned up\n"}}}
	slow := w.pl.AddJob(spec)
	assert.Equal(t, "canceling", w.post(w.path(slow, "/cancel"), "").object(t)["status"])
	assert.Equal(t, "canceling", w.post(w.path(slow, "/cancel"), "").object(t)["status"])
	w.clock.Advance(10 * time.Second)
	assert.Equal(t, gitlabjobs.StatusCanceled, slow.Snapshot().Status)
	assert.Equal(t, "cleaned up\n", slow.Log())

	forced := w.pl.AddJob(spec)
	assert.Equal(t, "canceling", w.post(w.path(forced, "/cancel"), "").object(t)["status"])
	developer := w.s.AddToken(jobstest.Token{User: "dev", Role: jobstest.Developer})
	assert.Equal(t, 403, w.with("PRIVATE-TOKEN", developer).post(w.path(forced, "/cancel"), "force=true").status)
	assert.Equal(t, "canceled", w.post(w.path(forced, "/cancel?force=true"), "").object(t)["status"])
	assert.Equal(t, 400, w.post(w.path(forced, "/cancel"), `{"force":"perhaps"}`).status)
}

func TestRetry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	flaky := func(reason gitlabjobs.FailureReason) []jobstest.Step {
		return []jobstest.Step{{After: time.Second, Status: gitlabjobs.StatusFailed, FailureReason: reason}}
	}
	j := w.pl.AddJob(jobstest.JobSpec{
		Name: "e2e", Status: gitlabjobs.StatusFailed, Log: "old\n", Archive: jobstest.Zip(nil),
		Course:       flaky(gitlabjobs.ReasonScriptFailure),
		RetryCourses: [][]jobstest.Step{flaky(gitlabjobs.ReasonAPIFailure), flaky(gitlabjobs.ReasonStaleSchedule)},
	})
	for _, want := range []gitlabjobs.FailureReason{gitlabjobs.ReasonAPIFailure, gitlabjobs.ReasonStaleSchedule, gitlabjobs.ReasonStaleSchedule} {
		got := w.post(w.path(j, "/retry"), `{"job_inputs":{"level":3}}`)
		require.Equal(t, 201, got.status, got.body)
		again := got.object(t)
		assert.Equal(t, "pending", again["status"])
		assert.Equal(t, "e2e", again["name"])
		assert.NotContains(t, again, "artifacts_file")
		assert.Nil(t, again["started_at"])
		twice := w.post(w.path(j, "/retry"), "")
		assert.Equal(t, 403, twice.status)
		assert.JSONEq(t, `{"message":"403 Forbidden - Job is not retryable"}`, twice.body)
		list := w.get("/projects/11/pipelines/101/jobs").list(t)
		require.Len(t, list, 1)
		assert.Equal(t, again["id"], list[0]["id"])
		assert.NotEqual(t, float64(j.ID()), again["id"])
		j = w.s.Job(int64(again["id"].(float64)))
		assert.Equal(t, map[string]any{"level": 3.0}, j.Inputs())
		w.clock.Advance(time.Second)
		assert.Equal(t, want, j.Snapshot().FailureReason)
	}
	for _, spec := range []jobstest.JobSpec{
		{Status: gitlabjobs.StatusRunning}, {Status: gitlabjobs.StatusManual}, {Status: gitlabjobs.StatusSkipped}, {Archived: true},
	} {
		assert.Equal(t, 403, w.post(w.path(w.pl.AddJob(spec), "/retry"), "").status, spec.Status)
	}
	assert.Equal(t, 400, w.post(w.path(j, "/retry"), `{"job_inputs":"x"}`).status)
}

func TestPlay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	spec := jobstest.JobSpec{Status: gitlabjobs.StatusManual, Course: []jobstest.Step{
		{After: time.Second, Status: gitlabjobs.StatusRunning}, {After: 2 * time.Second, Status: gitlabjobs.StatusSuccess},
	}}
	j := w.pl.AddJob(spec)
	w.clock.Advance(time.Hour)
	assert.Equal(t, gitlabjobs.StatusManual, j.Snapshot().Status, "waits for a person")
	got := w.post(w.path(j, "/play"), `{"job_variables_attributes":[{"key":"A","value":"1"},{"key":"B","value":"2"}],"job_inputs":{"x":true}}`)
	require.Equal(t, 200, got.status, got.body)
	assert.Equal(t, "pending", got.object(t)["status"])
	assert.Equal(t, []jobstest.Variable{{Key: "A", Value: "1"}, {Key: "B", Value: "2"}}, j.Variables())
	assert.Equal(t, map[string]any{"x": true}, j.Inputs())
	again := w.post(w.path(j, "/play"), "")
	assert.Equal(t, 400, again.status)
	assert.JSONEq(t, `{"message":"400 Bad request - Unplayable Job"}`, again.body)
	w.clock.Advance(2 * time.Second)
	assert.Equal(t, gitlabjobs.StatusSuccess, j.Snapshot().Status)
	rerun := w.post(w.path(j, "/play"), "")
	assert.Equal(t, 200, rerun.status, "a manual job can be played again")
	assert.NotEqual(t, float64(j.ID()), rerun.object(t)["id"])

	form := w.pl.AddJob(spec)
	assert.Equal(t, 200, w.post(w.path(form, "/play"), "job_variables_attributes[][key]=A&job_variables_attributes[][value]=1").status)
	assert.Equal(t, []jobstest.Variable{{Key: "A", Value: "1"}}, form.Variables())
	bad := w.pl.AddJob(spec)
	for body, want := range map[string]string{
		`{"job_variables_attributes":[{"value":"1"}]}`:                       `{"error":"job_variables_attributes[0][key] is missing"}`,
		`{"job_variables_attributes":[{"key":"A","value":"1"},{"key":"B"}]}`: `{"error":"job_variables_attributes[1][value] is missing"}`,
		"job_variables_attributes[0][key]=A":                                 `{"error":"job_variables_attributes[0][value] is missing"}`,
		`{"job_variables_attributes":"A=1"}`:                                 `{"error":"job_variables_attributes is invalid"}`,
		"job_variables_attributes=key&job_variables_attributes=value":        `{"error":"job_variables_attributes is invalid"}`,
	} {
		got := w.post(w.path(bad, "/play"), body)
		assert.Equal(t, 400, got.status, body)
		assert.JSONEq(t, want, got.body)
	}
	assert.Equal(t, 400, w.post(w.path(bad, "/play"), `{"job_variables`).status)
	assert.Equal(t, 400, w.post(w.path(w.pl.AddJob(jobstest.JobSpec{}), "/play"), "").status)
}

func TestPlayOfVersion12(t *testing.T) {
	t.Parallel()
	w := newWorld(t, jobstest.WithVersion(jobstest.V12_3))
	j := w.pl.AddJob(jobstest.JobSpec{Status: gitlabjobs.StatusManual})
	assert.Equal(t, "started", w.post(w.path(j, "/play"), "").object(t)["status"])
	assert.Equal(t, "pending", w.get(w.path(j, "")).object(t)["status"])
	assert.JSONEq(t, `{"message":"400 (Bad request) \"Unplayable Job\" not given"}`, w.post(w.path(j, "/play"), "").body)
}

func TestErase(t *testing.T) {
	t.Parallel()
	for _, version := range []jobstest.Version{jobstest.Newest, jobstest.V12_3} {
		w := newWorld(t, jobstest.WithVersion(version))
		j := w.pl.AddJob(jobstest.JobSpec{Log: "log\n", Archive: jobstest.Zip(nil)})
		got := w.post(w.path(j, "/erase"), "")
		require.Equal(t, 201, got.status)
		job := got.object(t)
		assert.Equal(t, []any{}, job["artifacts"])
		if version == jobstest.V12_3 {
			assert.Contains(t, job, "download_url")
			assert.NotContains(t, job, "erased_at")
			assert.Equal(t, 404, w.get(w.path(j, "/trace")).status)
		} else {
			assert.NotContains(t, job, "download_url")
			assert.Equal(t, "2025-05-06T07:08:09.000Z", job["erased_at"])
			trace := w.get(w.path(j, "/trace"))
			assert.Equal(t, 200, trace.status)
			assert.Empty(t, trace.body)
		}
		assert.Equal(t, 404, w.get(w.path(j, "/artifacts")).status)
		again := w.post(w.path(j, "/erase"), "")
		assert.Equal(t, 403, again.status)
		assert.JSONEq(t, `{"message":"403 Forbidden - Job is not erasable!"}`, again.body)
		running := w.pl.AddJob(jobstest.JobSpec{Status: gitlabjobs.StatusRunning, Log: "log\n"})
		assert.Equal(t, 403, w.post(w.path(running, "/erase"), "").status)
	}
	w := newWorld(t)
	developer := w.with("PRIVATE-TOKEN", w.s.AddToken(jobstest.Token{User: "dev", Role: jobstest.Developer}))
	own := w.pl.AddJob(jobstest.JobSpec{Log: "log\n", User: "dev"})
	other := w.pl.AddJob(jobstest.JobSpec{Log: "log\n"})
	assert.Equal(t, 403, developer.post(w.path(other, "/erase"), "").status)
	assert.Equal(t, 201, developer.post(w.path(own, "/erase"), "").status)
	w.p.SetStatsRefresh(true)
	got := w.post(w.path(other, "/erase"), "")
	assert.Equal(t, 409, got.status)
	assert.Contains(t, got.body, "undergoing stats refresh")
}

func TestTrace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	j := w.pl.AddJob(jobstest.JobSpec{Status: gitlabjobs.StatusRunning})
	got := w.get(w.path(j, "/trace"))
	assert.Equal(t, 200, got.status)
	assert.Empty(t, got.body)
	j.AppendLog("one\n")
	j.AppendLog("\x1b[31mtwo\xff\r\n")
	got = w.get(w.path(j, "/trace"))
	assert.Equal(t, "one\n\x1b[31mtwo\xff\r\n", got.body)
	assert.Equal(t, "text/plain", got.header.Get("Content-Type"))
	assert.Equal(t, `infile; filename="`+id(j)+`.log"`, got.header.Get("Content-Disposition"))
	assert.Empty(t, got.header.Get("ETag"))
	ranged := w.and("Range", "bytes=4-").get(w.path(j, "/trace"))
	assert.Equal(t, 200, ranged.status)
	assert.Equal(t, got.body, ranged.body)
	j.SetLog("new")
	assert.Equal(t, "new", w.get(w.path(j, "/trace")).body)

	debug := w.pl.AddJob(jobstest.JobSpec{Log: "secret", DebugTrace: true})
	guest := w.with("PRIVATE-TOKEN", w.s.AddToken(jobstest.Token{User: "guest", Role: jobstest.Guest}))
	assert.Equal(t, 403, guest.get(w.path(debug, "/trace")).status)
	assert.Equal(t, 200, guest.get(w.path(j, "/trace")).status)
	assert.Equal(t, 200, w.get(w.path(debug, "/trace")).status)
}

func TestTraceServing(t *testing.T) {
	t.Parallel()
	for _, serving := range []jobstest.TraceServing{jobstest.TraceETag, jobstest.TraceRanges} {
		w := newWorld(t, jobstest.WithTrace(serving))
		j := w.pl.AddJob(jobstest.JobSpec{Status: gitlabjobs.StatusRunning, Log: "0123456789"})
		got := w.get(w.path(j, "/trace"))
		tag := got.header.Get("ETag")
		require.NotEmpty(t, tag)
		assert.Equal(t, 304, w.and("If-None-Match", tag).get(w.path(j, "/trace")).status)
		j.AppendLog("abc")
		assert.Equal(t, 200, w.and("If-None-Match", tag).get(w.path(j, "/trace")).status)
		ranged := w.and("Range", "bytes=10-").get(w.path(j, "/trace"))
		beyond := w.and("Range", "bytes=13-").get(w.path(j, "/trace"))
		if serving == jobstest.TraceETag {
			assert.Equal(t, 200, ranged.status)
			continue
		}
		assert.Equal(t, 206, ranged.status)
		assert.Equal(t, "abc", ranged.body)
		assert.Equal(t, "bytes 10-12/13", ranged.header.Get("Content-Range"))
		assert.Equal(t, 416, beyond.status)
		live := w.get(w.path(j, "/trace")).header.Get("ETag")
		j.SetStatus(gitlabjobs.StatusSuccess)
		archived := w.get(w.path(j, "/trace")).header
		assert.NotEqual(t, live, archived.Get("ETag"), "the log has moved to its archive")
		assert.Equal(t, "Tue, 06 May 2025 07:08:09 GMT", archived.Get("Last-Modified"))
		assert.Equal(t, "bytes */13", beyond.header.Get("Content-Range"))
	}
}

func TestPipelineStatus(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := s.AddProject("app")
	type jobs []jobstest.JobSpec
	allowed := func(status gitlabjobs.Status) jobstest.JobSpec {
		return jobstest.JobSpec{Status: status, AllowFailure: true}
	}
	of := func(statuses ...gitlabjobs.Status) (list jobs) {
		for _, status := range statuses {
			list = append(list, jobstest.JobSpec{Status: status})
		}
		return list
	}
	for _, test := range []struct {
		jobs jobs
		want gitlabjobs.Status
	}{
		{of(), "created"},
		{of("created", "created"), "created"},
		{of("skipped"), "skipped"},
		{of("success", "skipped"), "success"},
		{of("success", "running"), "running"},
		{of("running", "canceling"), "canceling"},
		{of("pending", "created"), "pending"},
		{of("success", "pending"), "running"},
		{of("success", "created"), "running"},
		{of("success", "manual", "created"), "manual"},
		{of("success", "scheduled"), "scheduled"},
		{of("success", "failed"), "failed"},
		{of("success", "canceled"), "canceled"},
		{of("waiting_for_resource", "success"), "waiting_for_resource"},
		{append(of("success"), allowed("failed")), "success"},
		{append(of("success"), allowed("manual")), "success"},
		{append(of("success"), jobstest.JobSpec{Status: "failed", Retried: true}), "success"},
	} {
		pl := p.AddPipeline(jobstest.PipelineSpec{})
		for _, spec := range test.jobs {
			pl.AddJob(spec)
		}
		assert.Equal(t, test.want, pl.Status(), "%+v", test.jobs)
	}
}

func TestPipelinesAndTheRest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.pl.AddJob(jobstest.JobSpec{})
	branch := w.p.AddPipeline(jobstest.PipelineSpec{Ref: "feature/x", SHA: "0ff3ae198f8601a285adcf5c0fff204ee6fba5fd"})
	assert.Len(t, w.get("/projects/11/pipelines").list(t), 2)
	assert.InDelta(t, float64(branch.ID()), w.get("/projects/11/pipelines?per_page=1").list(t)[0]["id"], 0)
	assert.Len(t, w.get("/projects/11/pipelines?ref=feature/x").list(t), 1)
	assert.Len(t, w.get("/projects/11/pipelines?status=success").list(t), 1)
	assert.InDelta(t, float64(w.pl.ID()), w.get("/projects/11/pipelines?sort=asc").list(t)[0]["id"], 0)
	assert.InDelta(t, float64(branch.ID()), w.get("/projects/11/pipelines/latest?ref=feature/x").object(t)["id"], 0)
	assert.InDelta(t, 10, w.get("/projects/11/pipelines/101").object(t)["duration"], 0)
	assert.Equal(t, 404, w.get("/projects/11/pipelines/latest?ref=none").status)
	assert.Equal(t, "group/app", w.get("/projects/11").object(t)["path_with_namespace"])
	assert.Equal(t, "root", w.get("/user").object(t)["username"])
	assert.Equal(t, "19.1.0", w.get("/version").object(t)["version"])
	login := w.get(w.s.URL() + "/group/app")
	assert.Equal(t, 302, login.status)
	assert.Contains(t, w.get(login.header.Get("Location")).body, "Sign in")
}

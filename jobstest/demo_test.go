package jobstest_test

import (
	"archive/zip"
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs"
	"github.com/gitlabjobs/gitlabjobs/jobstest"
)

func TestDemo(t *testing.T) {
	t.Parallel()
	clock := jobstest.NewClock(clockStart)
	s := start(t, jobstest.WithClock(clock))
	d := s.AddDemo()
	c := newClient(t, s)

	assert.Equal(t, gitlabjobs.StatusSuccess, d.Previous.Status())
	assert.Equal(t, gitlabjobs.StatusRunning, d.Pipeline.Status())
	names := make(map[string]string)
	for _, j := range c.get("/projects/acme%2Frocket/pipelines/102/jobs").list(t) {
		names[j["name"].(string)] = j["status"].(string)
	}
	assert.Equal(t, map[string]string{
		"compile": "success", "assets": "success", "lint": "failed", "unit": "success",
		"integration": "failed", "browser": "failed", "docs": "running", "package": "manual",
	}, names)
	assert.Len(t, c.get("/projects/acme%2Frocket/pipelines/102/jobs?include_retried=true").list(t), len(names)+1)
	bridges := c.get("/projects/acme%2Frocket/pipelines/102/bridges").list(t)
	require.Len(t, bridges, 1)
	assert.Equal(t, "success", bridges[0]["downstream_pipeline"].(map[string]any)["status"])

	assert.Equal(t, gitlabjobs.ReasonScriptFailure, d.Failed.Snapshot().FailureReason)
	assert.Contains(t, d.Failed.Log(), "expected: 05:45 UTC")
	assert.Equal(t, gitlabjobs.ReasonRunnerSystemFailure, d.Interrupted.Snapshot().FailureReason)

	const wholeCourse = 3 * time.Second
	assert.Equal(t, 200, c.post("/projects/acme%2Frocket/jobs/"+id(d.Manual)+"/play", "").status)
	clock.Advance(wholeCourse)
	assert.Equal(t, gitlabjobs.StatusSuccess, d.Manual.Snapshot().Status)
	assert.Equal(t, gitlabjobs.StatusSuccess, d.Running.Snapshot().Status)
	assert.Equal(t, gitlabjobs.StatusFailed, d.Pipeline.Status())
	data := c.get("/projects/acme%2Frocket/jobs/" + id(d.Manual) + "/artifacts").body
	z, err := zip.NewReader(bytes.NewReader([]byte(data)), int64(len(data)))
	require.NoError(t, err)
	assert.Len(t, z.File, 5)
	assert.Contains(t, c.get("/projects/acme%2Frocket/jobs/artifacts/main/raw/dist/README.md?job=package").body, "v1.41.0")

	first := c.post("/projects/acme%2Frocket/jobs/"+id(d.Interrupted)+"/retry", "").object(t)
	clock.Advance(wholeCourse)
	retried := s.Job(int64(first["id"].(float64)))
	assert.Equal(t, gitlabjobs.ReasonRunnerSystemFailure, retried.Snapshot().FailureReason)
	second := c.post("/projects/acme%2Frocket/jobs/"+id(retried)+"/retry", "").object(t)
	clock.Advance(wholeCourse)
	assert.Equal(t, gitlabjobs.StatusSuccess, s.Job(int64(second["id"].(float64))).Snapshot().Status)
}

// The logs of the demo are what a runner writes: each line begins with a time
// that doesn't go back, and sections end.
func TestDemoLogs(t *testing.T) {
	t.Parallel()
	clock := jobstest.NewClock(clockStart)
	s := start(t, jobstest.WithClock(clock))
	d := s.AddDemo()
	newClient(t, s).post("/projects/acme%2Frocket/jobs/"+id(d.Manual)+"/play", "")
	clock.Advance(time.Minute)
	stamp := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z 01[EO] `)
	for _, j := range d.Project.Jobs() {
		log := j.Log()
		require.NotEmpty(t, log, j.Name())
		snapshot := j.Snapshot()
		previous := snapshot.StartedAt.UTC().Format(time.RFC3339)
		for line := range strings.Lines(log) {
			assert.Regexp(t, stamp, line)
			assert.LessOrEqual(t, previous[:19], line[:19], j.Name())
			previous = line
		}
		assert.LessOrEqual(t, previous[:19], snapshot.FinishedAt.Format(time.RFC3339)[:19], j.Name())
		assert.Equal(t, strings.Count(log, "section_start:"), strings.Count(log, "section_end:"), j.Name())
	}
}

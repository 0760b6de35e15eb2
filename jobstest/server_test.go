package jobstest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs"
	"github.com/gitlabjobs/gitlabjobs/jobstest"
)

// A response is an answer that has been read.
type response struct {
	status int
	header http.Header
	body   string
}

// json decodes the body.
func (r response) json(t *testing.T) any {
	t.Helper()
	var v any
	require.NoError(t, json.Unmarshal([]byte(r.body), &v), r.body)
	return v
}

func (r response) object(t *testing.T) map[string]any {
	t.Helper()
	v, ok := r.json(t).(map[string]any)
	require.True(t, ok, r.body)
	return v
}

func (r response) list(t *testing.T) []map[string]any {
	t.Helper()
	var v []map[string]any
	require.NoError(t, json.Unmarshal([]byte(r.body), &v), r.body)
	return v
}

// A client calls a server's API as root, unless told otherwise.
type client struct {
	t *testing.T
	s *jobstest.Server
	// header is sent with every request.
	header http.Header
}

func newClient(t *testing.T, s *jobstest.Server) client {
	return client{t: t, s: s, header: http.Header{"Private-Token": {s.Token()}}}
}

// with returns a client that sends other headers instead.
func (c client) with(pairs ...string) client {
	c.header = make(http.Header)
	for i := 0; i < len(pairs); i += 2 {
		c.header.Set(pairs[i], pairs[i+1])
	}
	return c
}

// and returns a client that sends more headers.
func (c client) and(pairs ...string) client {
	c.header = c.header.Clone()
	for i := 0; i < len(pairs); i += 2 {
		c.header.Set(pairs[i], pairs[i+1])
	}
	return c
}

func (c client) send(method, path, body string) (*http.Response, error) {
	c.t.Helper()
	url := path
	if !strings.HasPrefix(path, "http") {
		url = c.s.URL() + "/api/v4" + path
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, url, strings.NewReader(body))
	require.NoError(c.t, err)
	req.Header = c.header.Clone()
	if strings.HasPrefix(body, "{") {
		req.Header.Set("Content-Type", "application/json")
	} else if body != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	hc := c.s.HTTPClient()
	hc.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return hc.Do(req)
}

func (c client) do(method, path, body string) response {
	c.t.Helper()
	resp, err := c.send(method, path, body)
	require.NoError(c.t, err)
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	require.NoError(c.t, err)
	return response{status: resp.StatusCode, header: resp.Header, body: string(data)}
}

func (c client) get(path string) response        { c.t.Helper(); return c.do("GET", path, "") }
func (c client) post(path, body string) response { c.t.Helper(); return c.do("POST", path, body) }
func (c client) delete(path string) response     { c.t.Helper(); return c.do("DELETE", path, "") }

// id is a job's ID as a path has it.
func id(j interface{ ID() int64 }) string { return strconv.FormatInt(j.ID(), 10) }

func start(t *testing.T, opts ...jobstest.Option) *jobstest.Server {
	s := jobstest.NewServer(opts...)
	t.Cleanup(s.Close)
	return s
}

var clockStart = time.Date(2025, time.May, 6, 7, 8, 9, 0, time.UTC)

func TestServerSmoke(t *testing.T) {
	t.Parallel()
	clock := jobstest.NewClock(clockStart)
	s := start(t, jobstest.WithClock(clock), jobstest.WithBasePath("/gitlab"))
	p := s.AddProject("group/sub/app")
	pl := p.AddPipeline(jobstest.PipelineSpec{})
	j := pl.AddJob(jobstest.JobSpec{
		Name: "build", Log: "hello\n", Archive: jobstest.Zip(map[string]string{"a/b.txt": "content", "c.html": "<p>"}),
		Course: []jobstest.Step{
			{After: time.Second, Status: gitlabjobs.StatusRunning, Log: "more\n"},
			{After: 3 * time.Second, Status: gitlabjobs.StatusSuccess},
		},
	})
	c := newClient(t, s)
	got := c.get("/projects/group%2Fsub%2Fapp/jobs/1001")
	require.Equal(t, 200, got.status, got.body)
	assert.Equal(t, "pending", got.object(t)["status"])
	clock.Advance(2 * time.Second)
	assert.Equal(t, gitlabjobs.StatusRunning, j.Snapshot().Status)
	assert.Equal(t, "hello\nmore\n", c.get("/projects/11/jobs/1001/trace").body)
	assert.Equal(t, 404, c.get("/projects/11/jobs/1001/artifacts").status)
	clock.Advance(time.Second)
	assert.Equal(t, 200, c.get("/projects/11/jobs/1001/artifacts").status)
	assert.Equal(t, "content", c.get("/projects/11/jobs/1001/artifacts/a/b.txt").body)
	got = c.get("/projects/11/jobs/1001")
	assert.InDelta(t, 2.0, got.object(t)["duration"], 0)
	assert.InDelta(t, 1.0, got.object(t)["queued_duration"], 0)
	require.Len(t, s.Requests(), 6)
	assert.Equal(t, "GET /projects/:id/jobs/:job_id", s.Requests()[0].Endpoint)
}

func TestInMemoryInABubble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := jobstest.NewServer(jobstest.WithInMemory())
		defer s.Close()
		j := s.AddProject("group/app").AddPipeline(jobstest.PipelineSpec{}).AddJob(jobstest.JobSpec{Course: []jobstest.Step{
			{After: time.Minute, Status: gitlabjobs.StatusRunning},
			{After: time.Hour, Status: gitlabjobs.StatusSuccess},
		}})
		began := time.Now()
		polls := 0
		c := newClient(t, s)
		for c.get("/projects/11/jobs/1001").object(t)["status"] != "success" {
			polls++
			time.Sleep(10 * time.Second)
		}
		assert.Equal(t, time.Hour, time.Since(began))
		assert.Equal(t, 360, polls)
		assert.InDelta(t, (time.Hour - time.Minute).Seconds(), *j.Snapshot().Duration, 0)
	})
}

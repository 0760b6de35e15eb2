package jobstest_test

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs"
	"github.com/gitlabjobs/gitlabjobs/jobstest"
)

func TestRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t, jobstest.WithBasePath("gitlab/"))
	assert.True(t, strings.HasSuffix(w.s.URL(), "/gitlab"))
	j := w.pl.AddJob(jobstest.JobSpec{Status: gitlabjobs.StatusManual})
	w.and("X-Mine", "1").post(w.path(j, "/play?a=b%20c&a=d"), `{"job_inputs":{}}`)
	w.do("HEAD", "/projects/11/jobs", "")
	w.get("/nothing")
	requests := w.s.Requests()
	require.Len(t, requests, 3)
	got := requests[0]
	assert.Equal(t, "POST", got.Method)
	assert.Equal(t, "POST /projects/:id/jobs/:job_id/play", got.Endpoint)
	assert.Equal(t, "/gitlab/api/v4/projects/group%2Fapp/jobs/"+id(j)+"/play", got.RawPath)
	assert.Equal(t, "a=b%20c&a=d", got.RawQuery)
	assert.Equal(t, url.Values{"a": {"b c", "d"}}, got.Query)
	assert.Equal(t, "1", got.Header.Get("X-Mine"))
	assert.JSONEq(t, `{"job_inputs":{}}`, string(got.Body))
	assert.Equal(t, "gitlab", got.Origin)
	assert.Equal(t, 200, got.Status)
	assert.Positive(t, got.BytesSent)
	assert.Equal(t, "HEAD /projects/:id/jobs", requests[1].Endpoint)
	assert.Zero(t, requests[1].BytesSent)
	assert.Empty(t, requests[2].Endpoint)
	assert.Equal(t, 404, requests[2].Status)
	assert.Equal(t, requests[0].BytesSent+requests[2].BytesSent, w.s.BytesSent())
	w.s.ResetRequests()
	assert.Empty(t, w.s.Requests())
	assert.Zero(t, w.s.BytesSent())
}

func TestLargeBodiesAreRecordedInPart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	j := w.pl.AddJob(jobstest.JobSpec{Status: gitlabjobs.StatusManual})
	body := `{"job_inputs":{"x":"` + strings.Repeat("x", 2<<20) + `"}}`
	assert.Equal(t, 200, w.post(w.path(j, "/play"), body).status)
	assert.Len(t, w.s.Requests()[0].Body, 1<<20)
	assert.Len(t, j.Inputs()["x"], 2<<20)
}

func TestTLSAndHTTP2(t *testing.T) {
	t.Parallel()
	w := newWorld(t, jobstest.WithTLS())
	assert.True(t, strings.HasPrefix(w.s.URL(), "https://127.0.0.1:"))
	resp, err := w.send("GET", "/projects/11/jobs", "")
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	assert.Equal(t, 200, resp.StatusCode)
	assert.Equal(t, 2, resp.ProtoMajor)
	require.NotNil(t, w.s.Certificate())
	require.NoError(t, w.s.Certificate().VerifyHostname("127.0.0.1"))

	req, err := http.NewRequestWithContext(t.Context(), "GET", w.s.URL(), nil)
	require.NoError(t, err)
	distrusted, err := http.DefaultClient.Do(req)
	if err == nil {
		_ = distrusted.Body.Close()
	}
	require.Error(t, err, "nobody else trusts it")
	assert.Nil(t, newWorld(t).s.Certificate())
}

func TestListener(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := start(t, jobstest.WithListener(l))
	assert.Equal(t, "http://"+l.Addr().String(), s.URL())
	assert.Equal(t, 200, newClient(t, s).get("/version").status)
	s.Close()
	_, err = l.Accept()
	assert.ErrorIs(t, err, net.ErrClosed)
}

// Everything may be seeded, read and served at once.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	j := w.pl.AddJob(jobstest.JobSpec{Status: gitlabjobs.StatusRunning})
	const rounds = 30
	var wg sync.WaitGroup
	for _, work := range []func(){
		func() { j.AppendLog("line\n") },
		func() { w.get(w.path(j, "/trace")) },
		func() { w.pl.AddJob(jobstest.JobSpec{Archive: jobstest.Zip(nil)}) },
		func() { w.get("/projects/11/jobs") },
		func() { w.s.Fail(jobstest.Fault{Endpoint: "nothing"})() },
		func() { w.s.Requests(); w.s.BytesSent() },
		func() { w.clock.Advance(1); j.Snapshot() },
		func() { w.s.AddToken(jobstest.Token{}); w.pl.Status() },
	} {
		wg.Go(func() {
			for range rounds {
				work()
			}
		})
	}
	wg.Wait()
	assert.Equal(t, strings.Repeat("line\n", rounds), j.Log())
}

func BenchmarkServeArchive(b *testing.B) {
	s := jobstest.NewServer()
	defer s.Close()
	const size = 256 << 20
	r, _ := jobstest.SyntheticZip(size, 100)
	s.AddProject("app").AddPipeline(jobstest.PipelineSpec{}).AddJob(jobstest.JobSpec{ArchiveReader: r, ArchiveSize: size, NoChecksum: true})
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		req, err := http.NewRequestWithContext(b.Context(), "GET", s.URL()+"/api/v4/projects/11/jobs/1001/artifacts", nil)
		require.NoError(b, err)
		req.Header.Set("PRIVATE-TOKEN", s.Token())
		resp, err := s.HTTPClient().Do(req)
		require.NoError(b, err)
		n, err := io.Copy(io.Discard, resp.Body)
		require.NoError(b, err)
		require.Equal(b, int64(size), n)
		_ = resp.Body.Close()
	}
}

func BenchmarkListJobs(b *testing.B) {
	s := jobstest.NewServer()
	defer s.Close()
	pl := s.AddProject("app").AddPipeline(jobstest.PipelineSpec{})
	for range 10_000 {
		pl.AddJob(jobstest.JobSpec{})
	}
	for b.Loop() {
		req, err := http.NewRequestWithContext(b.Context(), "GET", s.URL()+"/api/v4/projects/11/jobs?per_page=100", nil)
		require.NoError(b, err)
		req.Header.Set("PRIVATE-TOKEN", s.Token())
		resp, err := s.HTTPClient().Do(req)
		require.NoError(b, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(b, err)
		_ = resp.Body.Close()
	}
}

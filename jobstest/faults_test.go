package jobstest_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs"
	"github.com/gitlabjobs/gitlabjobs/jobstest"
)

const getJob = "GET /projects/:id/jobs/:job_id"
const getArchive = "GET /projects/:id/jobs/:job_id/artifacts"

func TestFaultAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	j := w.pl.AddJob(jobstest.JobSpec{})
	remove := w.s.Fail(jobstest.Fault{
		Endpoint: getJob, Skip: 1, Times: 2, Status: 503, Body: "<h1>Busy</h1>", RetryAfter: "7", Header: http.Header{"x-test": {"1"}},
	})
	statuses := []int{}
	for range 4 {
		statuses = append(statuses, w.get(w.path(j, "")).status)
		assert.Equal(t, 200, w.get("/projects/11/jobs").status, "another endpoint")
	}
	assert.Equal(t, []int{200, 503, 503, 200}, statuses)
	remove()
	remove()

	remove = w.s.Fail(jobstest.Fault{Status: 429, Body: `{"message":"slow down"}`, RetryAfter: "7", Header: http.Header{"x-test": {"1"}}})
	got := w.get("/anything")
	assert.Equal(t, 429, got.status)
	assert.Equal(t, "application/json", got.header.Get("Content-Type"))
	assert.Equal(t, "7", got.header.Get("Retry-After"))
	assert.Equal(t, "1", got.header.Get("X-Test"))
	remove()
	w.s.Fail(jobstest.Fault{Endpoint: getJob, Status: 502, Body: "<h1>Bad Gateway</h1>"})
	assert.Equal(t, "text/html", w.get(w.path(j, "")).header.Get("Content-Type"))
	w.s.Fail(jobstest.Fault{Endpoint: "GET /projects/:id/jobs", HTMLLogin: true})
	got = w.get("/projects/11/jobs")
	assert.Equal(t, 200, got.status)
	assert.Contains(t, got.header.Get("Content-Type"), "text/html")
	assert.Contains(t, got.body, "Sign in")
}

func TestFaultsCombine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.s.Fail(jobstest.Fault{Status: 500, Times: 1})
	w.s.Fail(jobstest.Fault{Status: 502, RetryAfter: "3"})
	got := w.get("/projects/11/jobs")
	assert.Equal(t, 500, got.status)
	assert.Equal(t, "3", got.header.Get("Retry-After"))
	assert.Equal(t, 502, w.get("/projects/11/jobs").status)
}

func TestFaultTakesEffect(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, test := range []struct {
		fault jobstest.Fault
		want  gitlabjobs.Status
	}{
		{jobstest.Fault{Status: 502}, "manual"},
		{jobstest.Fault{Status: 502, TakesEffect: true}, "pending"},
		{jobstest.Fault{ResetBeforeAnswer: true}, "manual"},
		{jobstest.Fault{ResetBeforeAnswer: true, TakesEffect: true}, "pending"},
	} {
		j := w.pl.AddJob(jobstest.JobSpec{Status: gitlabjobs.StatusManual})
		test.fault.Times = 1
		w.s.Fail(test.fault)
		if resp, err := w.send("POST", w.path(j, "/play"), ""); err == nil {
			assert.Equal(t, test.fault.Status, resp.StatusCode)
			_ = resp.Body.Close()
		}
		assert.Equal(t, test.want, j.Snapshot().Status)
	}
}

func TestBrokenConnections(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]jobstest.Option{
		"tcp": nil, "memory": {jobstest.WithInMemory()}, "h2": {jobstest.WithTLS()}, "memory h2": {jobstest.WithInMemory(), jobstest.WithTLS()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, opts...)
			j := w.pl.AddJob(jobstest.JobSpec{Log: "log"})
			h2 := strings.HasSuffix(name, "h2")
			for _, fault := range []jobstest.Fault{{CloseBeforeAnswer: true}, {ResetBeforeAnswer: true}} {
				// A POST, since transports repeat a GET whose connection was broken.
				fault.Endpoint, fault.Times = "POST /projects/:id/jobs/:job_id/erase", 1
				w.s.Fail(fault)
				resp, err := w.send("POST", w.path(j, "/erase"), "")
				if err == nil {
					_ = resp.Body.Close()
				}
				require.Error(t, err)
				if !h2 {
					assert.Equal(t, fault.ResetBeforeAnswer, errors.Is(err, syscall.ECONNRESET), err)
				}
			}
			assert.Equal(t, "log", j.Log())
			assert.Equal(t, 200, w.get(w.path(j, "")).status)
		})
	}
}

// read returns how long an answer's body is to be, and what of it arrives.
func (c client) read(path string) (promised int64, body []byte, err error) {
	c.t.Helper()
	resp, err := c.send("GET", path, "")
	require.NoError(c.t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err = io.ReadAll(resp.Body)
	return resp.ContentLength, body, err
}

func TestBrokenBodies(t *testing.T) {
	t.Parallel()
	r, size := jobstest.SyntheticZip(3<<20, 1)
	whole := make([]byte, size)
	_, err := r.ReadAt(whole, 0)
	require.NoError(t, err)
	const cut = 2<<20 + 77
	for name, opts := range map[string][]jobstest.Option{
		"tcp": nil, "memory": {jobstest.WithInMemory()}, "h2": {jobstest.WithTLS()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, opts...)
			j := w.pl.AddJob(jobstest.JobSpec{ArchiveReader: r, ArchiveSize: size})
			for _, fault := range []jobstest.Fault{{ResetAfter: cut}, {TruncateAfter: cut}} {
				fault.Endpoint, fault.Times = getArchive, 1
				w.s.Fail(fault)
				w.s.ResetRequests()
				promised, body, err := w.read(w.path(j, "/artifacts"))
				assert.Equal(t, size, promised)
				require.Error(t, err)
				switch {
				case name == "h2":
				case fault.ResetAfter > 0:
					require.ErrorIs(t, err, syscall.ECONNRESET)
				default:
					require.ErrorIs(t, err, io.ErrUnexpectedEOF)
				}
				assert.Equal(t, whole[:cut], body, "every byte before the break arrives")
				assert.Equal(t, int64(cut), w.s.BytesSent())
				assert.Equal(t, int64(cut), w.s.Requests()[0].BytesSent)
			}
			_, body, err := w.read(w.path(j, "/artifacts"))
			require.NoError(t, err)
			assert.True(t, bytes.Equal(whole, body))
		})
	}
}

func TestStall(t *testing.T) {
	t.Parallel()
	for _, after := range []int64{0, 4} {
		synctest.Test(t, func(t *testing.T) {
			s := jobstest.NewServer(jobstest.WithInMemory())
			defer s.Close()
			j := s.AddProject("group/app").AddPipeline(jobstest.PipelineSpec{}).AddJob(jobstest.JobSpec{Log: "0123456789"})
			s.Fail(jobstest.Fault{Endpoint: "GET /projects/:id/jobs/:job_id/trace", Stall: true, StallAfter: after})
			resp, err := newClient(t, s).send("GET", "/projects/11/jobs/"+id(j)+"/trace", "")
			require.NoError(t, err)
			defer func() { _ = resp.Body.Close() }()
			body := make(chan []byte)
			go func() {
				read, _ := io.ReadAll(resp.Body)
				body <- read
			}()
			time.Sleep(time.Hour)
			synctest.Wait()
			select {
			case <-body:
				t.Fatal("the body ended")
			default:
			}
			s.Close()
			assert.Len(t, <-body, int(after))
		})
	}
}

func TestRequestTimes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := jobstest.NewServer(jobstest.WithInMemory())
		defer s.Close()
		c := newClient(t, s)
		c.get("/version")
		time.Sleep(time.Minute)
		c.get("/version")
		requests := s.Requests()
		assert.Equal(t, time.Minute, requests[1].Time.Sub(requests[0].Time))
	})
}

func TestDelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := jobstest.NewServer(jobstest.WithInMemory())
		defer s.Close()
		s.AddProject("group/app")
		s.Fail(jobstest.Fault{Delay: time.Minute})
		c := newClient(t, s)
		began := time.Now()
		assert.Equal(t, 200, c.get("/projects/11/jobs").status)
		assert.Equal(t, time.Minute, time.Since(began))

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, "GET", s.URL(), nil)
		require.NoError(t, err)
		resp, err := s.HTTPClient().Do(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestThrottle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := jobstest.NewServer(jobstest.WithInMemory())
		defer s.Close()
		const size, rate = 1 << 20, 100 << 10
		r, _ := jobstest.SyntheticZip(size, 1)
		j := s.AddProject("group/app").AddPipeline(jobstest.PipelineSpec{}).AddJob(jobstest.JobSpec{ArchiveReader: r, ArchiveSize: size, NoChecksum: true})
		s.Fail(jobstest.Fault{Endpoint: getArchive, BytesPerSecond: rate})
		began := time.Now()
		assert.Len(t, newClient(t, s).get("/projects/11/jobs/"+id(j)+"/artifacts").body, size)
		assert.InDelta(t, float64(size)/rate, time.Since(began).Seconds(), 0.05)
	})
}

func TestFaultyRanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	data := jobstest.Zip(map[string]string{"f.txt": "x"})
	path := w.path(w.pl.AddJob(jobstest.JobSpec{Archive: data}), "/artifacts")
	ranged := func(fault jobstest.Fault, start int) response {
		remove := w.s.Fail(fault)
		defer remove()
		return w.and("Range", "bytes="+strconv.Itoa(start)+"-").get(path)
	}
	total := strconv.Itoa(len(data))
	last := strconv.Itoa(len(data) - 1)

	got := ranged(jobstest.Fault{NoRanges: true}, 5)
	assert.Equal(t, 200, got.status)
	assert.Equal(t, string(data), got.body)
	assert.NotContains(t, got.header, "Accept-Ranges")

	got = ranged(jobstest.Fault{WrongRange: true}, 5)
	assert.Equal(t, 206, got.status)
	assert.Equal(t, "bytes 4-"+last+"/"+total, got.header.Get("Content-Range"))
	assert.Equal(t, string(data[4:]), got.body)
	assert.Equal(t, "bytes 1-"+last+"/"+total, ranged(jobstest.Fault{WrongRange: true}, 0).header.Get("Content-Range"))

	got = ranged(jobstest.Fault{WrongTotal: true}, 5)
	assert.Equal(t, "bytes 5-"+last+"/"+strconv.Itoa(len(data)+1), got.header.Get("Content-Range"))
	assert.Equal(t, string(data[5:]), got.body)
}

func TestFaultyValidators(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	j := w.pl.AddJob(jobstest.JobSpec{Archive: jobstest.Zip(map[string]string{"f.txt": "x"})})
	strong := w.get(w.path(j, "/artifacts")).header.Get("ETag")
	for _, fault := range []jobstest.Fault{{WeakETag: true}, {NoETag: true}, {NoLastModified: true}} {
		remove := w.s.Fail(fault)
		got := w.get(w.path(j, "/artifacts"))
		want := strong
		switch {
		case fault.WeakETag:
			want = "W/" + strong
		case fault.NoETag:
			want = ""
		}
		assert.Equal(t, want, got.header.Get("ETag"))
		assert.Equal(t, fault.NoLastModified, got.header.Get("Last-Modified") == "")
		ranged := w.and("Range", "bytes=1-", "If-Range", strong).get(w.path(j, "/artifacts"))
		assert.Equal(t, fault.NoLastModified, ranged.status == 206, "a weak or missing ETag doesn't match")
		remove()
	}
	w.s.Fail(jobstest.Fault{NoETag: true})
	assert.Empty(t, w.get(w.path(j, "")).header.Get("ETag"))
}

func TestChangedContent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, jobstest.WithObjectStore(jobstest.ObjectStore{}))
	data := jobstest.Zip(map[string]string{"f.txt": "x"})
	j := w.pl.AddJob(jobstest.JobSpec{Archive: data, Log: "log"})
	link := w.get(w.path(j, "/artifacts")).header.Get("Location")
	inStore := w.with()
	stored := inStore.get(link).header.Get("ETag")
	w.s.SetObjectStoreInUse(false)
	former := w.get(w.path(j, "/artifacts")).header
	for _, same := range []bool{false, true} {
		remove := w.s.Fail(jobstest.Fault{ChangedContent: []byte("changed"), SameValidator: same})
		got := w.get(w.path(j, "/artifacts"))
		assert.Equal(t, "changed", got.body)
		assert.Equal(t, same, got.header.Get("ETag") == former.Get("ETag"))
		assert.Equal(t, same, got.header.Get("Last-Modified") == former.Get("Last-Modified"))
		assert.Equal(t, same, inStore.get(link).header.Get("ETag") == stored)
		assert.Equal(t, "changed", w.get(w.path(j, "/artifacts/f.txt")).body)
		assert.Equal(t, "changed", w.get(w.path(j, "/trace")).body)
		remove()
	}
	assert.Equal(t, string(data), w.get(w.path(j, "/artifacts")).body)
}

func TestForcedGzip(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	data := jobstest.Zip(map[string]string{"f.txt": "x"})
	path := w.path(w.pl.AddJob(jobstest.JobSpec{Archive: data}), "/artifacts")
	w.s.Fail(jobstest.Fault{Endpoint: getArchive, Gzip: true})
	got := w.and("Accept-Encoding", "identity", "Range", "bytes=3-").get(path)
	assert.Equal(t, 200, got.status)
	assert.Equal(t, "gzip", got.header.Get("Content-Encoding"))
	r, err := gzip.NewReader(strings.NewReader(got.body))
	require.NoError(t, err)
	content, err := io.ReadAll(r)
	require.NoError(t, err)
	assert.Equal(t, data, content)
}

func TestFaultsOfTheStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, jobstest.WithObjectStore(jobstest.ObjectStore{}))
	j := w.pl.AddJob(jobstest.JobSpec{Archive: jobstest.Zip(nil)})
	w.s.Fail(jobstest.Fault{Endpoint: "store", Times: 1, Status: 503, Body: "<Error/>", ContentType: "application/xml"})
	got := w.get(w.path(j, "/artifacts"))
	require.Equal(t, 302, got.status)
	link := got.header.Get("Location")
	bare := w.with()
	refused := bare.get(link)
	assert.Equal(t, 503, refused.status)
	assert.Equal(t, "application/xml", refused.header.Get("Content-Type"))
	assert.Equal(t, 200, bare.get(link).status)
}

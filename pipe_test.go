package gitlabjobs_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitlabjobs/gitlabjobs"
)

// A pipeGitLab is a server behind connections in memory. Unlike sockets they
// let the time of a testing/synctest bubble go on.
type pipeGitLab struct {
	start time.Time

	mu   sync.Mutex
	hits []hit
}

// A hit is one request that a pipeGitLab answered.
type hit struct {
	at     time.Duration // since the start
	path   string        // below the project
	query  string
	header http.Header
	status int
	sent   int // bytes of the body
}

// newPipeGitLab starts a server, and a client of it that doesn't retry unless
// opts say otherwise.
func newPipeGitLab(t *testing.T, handler http.HandlerFunc, opts ...gitlabjobs.Option) (*pipeGitLab, *gitlabjobs.JobsService) {
	t.Helper()
	g := &pipeGitLab{start: time.Now()}
	listener := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: g.record(handler)}
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(listener) }) //nolint:errcheck // it ends with the test
	transport := &http.Transport{DialContext: listener.dial}
	t.Cleanup(func() {
		server.Close()
		transport.CloseIdleConnections()
		serving.Wait()
	})
	opts = append([]gitlabjobs.Option{
		gitlabjobs.WithBaseURL("http://gitlab.test"),
		gitlabjobs.WithHTTPClient(&http.Client{Transport: transport}),
		gitlabjobs.WithRetry(gitlabjobs.RetryPolicy{MaxRetries: -1}),
	}, opts...)
	return g, gitlabjobs.RecordedClient(t, opts...).Jobs
}

func (g *pipeGitLab) record(handler http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		recorder := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
		at := time.Since(g.start)
		defer func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			path := strings.TrimPrefix(r.URL.Path, "/api/v4/projects/42")
			g.hits = append(g.hits, hit{at, path, r.URL.RawQuery, r.Header.Clone(), recorder.status, recorder.sent})
		}()
		handler(recorder, r)
	})
}

// of returns the requests for a path, in their order.
func (g *pipeGitLab) of(path string) []hit {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(g.hits), func(h hit) bool { return h.path != path })
}

// seconds returns the moments of the requests for a path.
func (g *pipeGitLab) seconds(path string) []float64 {
	var moments []float64
	for _, h := range g.of(path) {
		moments = append(moments, h.at.Seconds())
	}
	return moments
}

// statuses returns what the requests for a path were answered.
func (g *pipeGitLab) statuses(path string) []int {
	var statuses []int
	for _, h := range g.of(path) {
		statuses = append(statuses, h.status)
	}
	return statuses
}

type statusRecorder struct {
	http.ResponseWriter
	status, sent int
}

func (r *statusRecorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *statusRecorder) Write(p []byte) (int, error) {
	n, err := r.ResponseWriter.Write(p)
	r.sent += n
	return n, err
}

type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// serveJSON answers as GitLab does: with a weak ETag, on which it can be asked
// for conditionally.
func serveJSON(w http.ResponseWriter, r *http.Request, body string) {
	w.Header().Set("Content-Type", "application/json")
	serveETag(w, r, "W/"+digestTag(body), body)
}

func serveETag(w http.ResponseWriter, r *http.Request, etag, body string) {
	w.Header().Set("ETag", etag)
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	fmt.Fprint(w, body)
}

func digestTag(body string) string {
	digest := sha256.Sum256([]byte(body))
	return `"` + hex.EncodeToString(digest[:8]) + `"`
}

// A course says what a job and its log are at a moment.
type course struct {
	status func(at time.Duration) string
	log    func(at time.Duration) string
	serve  func(w http.ResponseWriter, r *http.Request, log string) // the log; the default is serveWhole
	// fault answers instead, where it returns true. It is told which request
	// for the job, or the log, it is, from 1 on.
	fault func(w http.ResponseWriter, r *http.Request, n int) bool
}

const (
	jobPath = "/jobs/7"
	logPath = "/jobs/7/trace"
)

// newCourse starts a pipeGitLab with job 7.
func newCourse(t *testing.T, c course, opts ...gitlabjobs.Option) (*pipeGitLab, *gitlabjobs.JobsService) {
	t.Helper()
	start := time.Now()
	var mu sync.Mutex
	requests := make(map[string]int)
	return newPipeGitLab(t, func(w http.ResponseWriter, r *http.Request) {
		at := time.Since(start)
		mu.Lock()
		requests[r.URL.Path]++
		n := requests[r.URL.Path]
		mu.Unlock()
		isLog := strings.HasSuffix(r.URL.Path, "/trace")
		switch {
		case c.fault != nil && c.fault(w, r, n):
		case !isLog:
			serveJSON(w, r, fmt.Sprintf(`{"id":7,"name":"build","status":%q}`, c.status(at)))
		case c.serve != nil:
			c.serve(w, r, c.log(at))
		default:
			serveWhole(w, r, c.log(at))
		}
	}, opts...)
}

// until returns a status that lasts until a moment, and then is another.
func until(moment time.Duration, status, then string) func(time.Duration) string {
	return func(at time.Duration) string {
		if at < moment {
			return status
		}
		return then
	}
}

func always(value string) func(time.Duration) string {
	return func(time.Duration) string { return value }
}

// failing returns a fault that answers the requests from first to last for a
// path with a status.
func failing(path string, status, first, last int) func(http.ResponseWriter, *http.Request, int) bool {
	return func(w http.ResponseWriter, r *http.Request, n int) bool {
		if !strings.HasSuffix(r.URL.Path, path) || n < first || n > last {
			return false
		}
		http.Error(w, `{"message":"scripted"}`, status)
		return true
	}
}

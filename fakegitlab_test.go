package gitlabjobs

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// relativeRoot is the path under which test servers mount the API, so that a
// request by an absolute path is caught.
const relativeRoot = "/gitlab"

// A fakeGitLab is a server below a relative root that records what arrives.
type fakeGitLab struct {
	*httptest.Server
	conns atomic.Int64 // connections accepted

	mu       sync.Mutex
	requests []arrival
}

// An arrival is one request as a server got it.
type arrival struct {
	Method string
	Path   string // escaped, below the API's root
	Query  string
	Body   string
	Header http.Header
}

// serveGitLab starts a server whose requests handler answers.
func serveGitLab(t testing.TB, handler http.HandlerFunc) *fakeGitLab {
	t.Helper()
	g := newFakeGitLab(t, handler)
	g.Start()
	t.Cleanup(g.Close)
	return g
}

// newFakeGitLab returns a server that isn't started.
func newFakeGitLab(t testing.TB, handler http.HandlerFunc) *fakeGitLab {
	g := &fakeGitLab{}
	g.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		path, found := strings.CutPrefix(r.URL.EscapedPath(), relativeRoot+apiRoot)
		if !found {
			t.Errorf("%s %s is not below the API's root", r.Method, r.URL.EscapedPath())
		}
		g.mu.Lock()
		g.requests = append(g.requests, arrival{r.Method, path, r.URL.RawQuery, string(body), r.Header.Clone()})
		g.mu.Unlock()
		handler(w, r)
	}))
	g.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			g.conns.Add(1)
		}
	}
	return g
}

// arrivals returns the requests that have come so far.
func (g *fakeGitLab) arrivals() []arrival {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.requests)
}

// base returns what WithBaseURL takes.
func (g *fakeGitLab) base() string { return g.URL + relativeRoot }

// client returns a client of the server.
func (g *fakeGitLab) client(t testing.TB, opts ...Option) *Client {
	t.Helper()
	return recordedClient(t, append([]Option{WithBaseURL(g.base())}, opts...)...)
}

// hurried is a retry policy whose waits take no time worth mentioning.
func hurried() Option { return WithRetry(RetryPolicy{MinWait: 1, MaxWait: 1}) }

// answer returns a handler that always answers the same.
func answer(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		io.WriteString(w, body) //nolint:errcheck // the client may be gone
	}
}

// answerJSON returns a handler that always answers 200 and a JSON text.
func answerJSON(body string) http.HandlerFunc {
	return answer(http.StatusOK, "application/json", body)
}

// testdata returns a file of the directory testdata.
func testdata(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return string(data)
}

// A memoryNetwork carries HTTP over connections in memory, for tests within a
// bubble of testing/synctest, where no real network may be waited for.
type memoryNetwork struct {
	listener  memoryListener
	transport *http.Transport
	start     time.Time

	mu    sync.Mutex
	times []time.Duration // at which requests came, since the start
}

// serveMemory starts a server in memory whose requests handler answers.
func serveMemory(t testing.TB, handler http.HandlerFunc) *memoryNetwork {
	t.Helper()
	m := &memoryNetwork{listener: memoryListener{conns: make(chan net.Conn), closed: make(chan struct{})}, start: time.Now()}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		m.times = append(m.times, time.Since(m.start))
		m.mu.Unlock()
		io.Copy(io.Discard, r.Body) //nolint:errcheck // until then the server doesn't notice that the client has gone
		handler(w, r)
	})}
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(m.listener) }) //nolint:errcheck // it ends when closed
	m.transport = &http.Transport{DialContext: m.listener.dial}
	t.Cleanup(func() {
		m.transport.CloseIdleConnections()
		assert.NoError(t, server.Close())
		serving.Wait()
	})
	return m
}

// client returns a client of the server.
func (m *memoryNetwork) client(t testing.TB, opts ...Option) *Client {
	t.Helper()
	mine := []Option{WithBaseURL("http://gitlab.test" + relativeRoot), WithHTTPClient(&http.Client{Transport: m.transport})}
	return recordedClient(t, append(mine, opts...)...)
}

// arrived returns the times at which requests came, since the start.
func (m *memoryNetwork) arrived() []time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.times)
}

// A memoryListener accepts the connections that are dialed in memory.
type memoryListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l memoryListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
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

func (l memoryListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l memoryListener) Close() error {
	close(l.closed)
	return nil
}

func (l memoryListener) Addr() net.Addr { return memoryAddr{} }

type memoryAddr struct{}

func (memoryAddr) Network() string { return "memory" }
func (memoryAddr) String() string  { return "memory" }

// jobJSON returns a small job as JSON.
func jobJSON(id int) string { return fmt.Sprintf(`{"id":%d,"status":"running"}`, id) }

// silentLog returns a log for servers whose clients misbehave on purpose.
func silentLog() *log.Logger { return log.New(io.Discard, "", 0) }

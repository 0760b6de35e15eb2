package gitlabjobs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A fault is something that goes wrong with every attempt of a call.
type fault struct {
	name    string
	answer  http.HandlerFunc                      // of a server that is reached
	options func(t testing.TB, f *fault) []Option // of a client, where answer alone doesn't do it
	waits   bool                                  // needs the fake clock, and a network in memory

	attempts [3]int // by retryClass
	arrive   bool   // whether attempts reach the server
	unknown  bool   // whether the outcome of a once request is open
	is       []error
	back     string // part of the error's text
	after    time.Duration
}

var everyTime, onceOnly, noRetry = [3]int{5, 5, 5}, [3]int{5, 5, 1}, [3]int{1, 1, 1}

// faults are those of the matrix.
var faults = []fault{
	{name: "dial refused", options: dialRefused, attempts: everyTime, is: []error{syscall.ECONNREFUSED}, back: "connection refused"},
	{name: "DNS failure", options: dnsFails, attempts: everyTime, back: "lookup gitlab.test"},
	{name: "TLS untrusted", options: untrusted, attempts: noRetry, back: "certificate signed by unknown authority"},
	{name: "TLS handshake breaks off", options: brokenHandshake, attempts: everyTime, back: "EOF"},
	{name: "never gets a connection", options: neverDials, waits: true, attempts: everyTime, is: []error{ErrStalled}, back: "no byte for 1m0s"},
	{name: "reset before the answer", answer: reset(""), attempts: onceOnly, arrive: true, unknown: true, is: []error{syscall.ECONNRESET}, back: "reset by peer"},
	{name: "reset within the header", answer: reset("HTTP/1.1 200 OK\r\nContent-Ty"), attempts: onceOnly, arrive: true, unknown: true, back: "connection broken"},
	{name: "reset within the answer", answer: reset("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"id\":"), attempts: onceOnly, arrive: true, unknown: true, back: "reset by peer"},
	{name: "EOF", answer: hangUp(""), attempts: onceOnly, arrive: true, unknown: true, back: "EOF"},
	{name: "EOF within the answer", answer: hangUp("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"id\":"), attempts: onceOnly, arrive: true, unknown: true, back: "unexpected EOF"},
	{name: "JSON breaks off", answer: answerJSON(`{"id":1,"name":"ru`), attempts: onceOnly, arrive: true, unknown: true, back: "the JSON breaks off"},
	{name: "not HTTP", answer: hangUp("SSH-2.0-OpenSSH_9.9\r\n"), attempts: onceOnly, arrive: true, unknown: true, back: "malformed HTTP"},
	{name: "200 with a login page", answer: answer(200, "text/html", "<!DOCTYPE html><html>Sign in</html>"), attempts: noRetry, arrive: true, unknown: true, is: []error{ErrUnexpectedContent}, back: "an HTML page"},
	{name: "401", answer: answer(401, "application/json", `{"message":"401 Unauthorized"}`), attempts: noRetry, arrive: true, is: []error{ErrUnauthorized}, back: "401 Unauthorized"},
	{name: "404", answer: answer(404, "application/json", `{"message":"404 Project Not Found"}`), attempts: noRetry, arrive: true, is: []error{ErrNotFound}, back: "404 Not Found: Project Not Found"},
	{name: "408", answer: answer(408, "text/plain", ""), attempts: onceOnly, arrive: true, unknown: true, back: "408 Request Timeout"},
	{name: "409", answer: answer(409, "application/json", `{"message":"409 Conflict: Resource lock"}`), attempts: noRetry, arrive: true, is: []error{ErrConflict}, back: "409 Conflict: Resource lock"},
	{name: "429", answer: answer(429, "text/plain", "Retry later"), attempts: everyTime, arrive: true, is: []error{ErrRateLimited}, back: "429 Too Many Requests: Retry later"},
	{name: "429, Retry-After: 7", answer: retryAfter(429, "7"), waits: true, attempts: everyTime, arrive: true, is: []error{ErrRateLimited}, back: "(retry after 7s)", after: 7 * time.Second},
	{name: "429, Retry-After: 121", answer: retryAfter(429, "121"), waits: true, attempts: noRetry, arrive: true, is: []error{ErrRateLimited}, back: "(retry after 2m1s)", after: 121 * time.Second},
	{name: "500", answer: answer(500, "application/json", `{"message":"500 Internal Server Error"}`), attempts: onceOnly, arrive: true, unknown: true, back: "500 Internal Server Error"},
	{name: "501", answer: answer(501, "text/plain", ""), attempts: noRetry, arrive: true, back: "501 Not Implemented"},
	{name: "502 HTML", answer: answer(502, "text/html", "<html><h1>GitLab is not responding</h1></html>"), attempts: onceOnly, arrive: true, unknown: true, back: "502 Bad Gateway"},
	{name: "503", answer: answer(503, "text/plain", "maintenance"), attempts: onceOnly, arrive: true, unknown: true, back: "503 Service Unavailable: maintenance"},
	{name: "503, Retry-After: 7", answer: retryAfter(503, "7"), waits: true, attempts: onceOnly, arrive: true, unknown: true, back: "(retry after 7s)", after: 7 * time.Second},
	{name: "504", answer: answer(504, "text/html", "<html></html>"), attempts: onceOnly, arrive: true, unknown: true, back: "504 Gateway Timeout"},
	{name: "never answers", answer: neverAnswers, waits: true, attempts: onceOnly, arrive: true, unknown: true, is: []error{ErrStalled}, back: "no byte for 1m0s"},
	{name: "stops within the answer", answer: stopsWithin, waits: true, attempts: onceOnly, arrive: true, unknown: true, is: []error{ErrStalled}, back: "no byte for 1m0s"},
}

// The classes of endpoints, each by one of its methods.
var classes = []struct {
	name string
	call func(context.Context, *JobsService) (*Job, error)
}{
	safe:       {"safe", func(ctx context.Context, s *JobsService) (*Job, error) { return s.Get(ctx, "group/app", 42) }},
	repeatable: {"repeatable", func(ctx context.Context, s *JobsService) (*Job, error) { return s.Cancel(ctx, "group/app", 42, nil) }},
	once:       {"once", func(ctx context.Context, s *JobsService) (*Job, error) { return s.Play(ctx, "group/app", 42, nil) }},
}

func TestFaultMatrix(t *testing.T) {
	rows := make([]string, len(classes)*len(faults))
	for class := range classes {
		for i, fault := range faults {
			t.Run(classes[class].name+"/"+fault.name, func(t *testing.T) {
				bubble := func(t *testing.T, test func(*testing.T)) { test(t) }
				if fault.waits {
					bubble = synctest.Test
				}
				bubble(t, func(t *testing.T) {
					rows[class*len(faults)+i] = fault.check(t, retryClass(class))
				})
			})
		}
	}
	t.Log("what came back of 1 + 4 attempts:\n| class | fault | attempts | reached the server | error |\n|---|---|---|---|---|\n" + strings.Join(rows, "\n"))
}

// check makes a call of a class meet the fault, and returns a row of the matrix.
func (f fault) check(t *testing.T, class retryClass) string {
	attempts := 0
	opts := []Option{WithPrivateToken(plantedPrivateToken), hurried(), WithObserver(func(a Attempt) {
		attempts++
		assert.Equal(t, attempts, a.Number)
		requireNoSecret(t, a, a.Err)
	})}
	var client *Client
	arrived := func() int { return 0 }
	switch {
	case f.options != nil:
		client = recordedClient(t, append(opts, f.options(t, &f)...)...)
	case f.waits:
		m := serveMemory(t, f.answer)
		client = m.client(t, opts...)
		arrived = func() int { return len(m.arrived()) }
	default:
		g := serveGitLab(t, f.answer)
		client = g.client(t, opts...)
		arrived = func() int { return len(g.arrivals()) }
	}
	job, err := classes[class].call(t.Context(), client.Jobs)
	assert.Nil(t, job)
	require.ErrorContains(t, fails(t, err), f.back)
	for _, target := range f.is {
		require.ErrorIs(t, fails(t, err), target)
	}
	unknown := errors.Is(err, ErrOutcomeUnknown)
	assert.Equal(t, f.unknown && class == once, unknown, "whether the outcome is unknown")
	assert.Equal(t, unknown, strings.Contains(err.Error(), "outcome unknown"), "and whether the text says so")
	assert.Equal(t, f.attempts[class], attempts, "attempts")
	assert.Equal(t, f.arrive, arrived() > 0)
	if f.arrive {
		assert.Equal(t, f.attempts[class], arrived(), "requests that reached the server")
	}
	var refusal *Error
	if errors.As(err, &refusal) {
		assert.Equal(t, f.after, refusal.RetryAfter)
	}
	shown := f.back
	if unknown {
		shown += "; ErrOutcomeUnknown"
	}
	return fmt.Sprintf("| %s | %s | %d | %d | %s |", classes[class].name, f.name, attempts, arrived(), shown)
}

// reset returns a handler that writes the beginning of an answer and resets
// the connection.
func reset(beginning string) http.HandlerFunc { return cutOff(beginning, true) }

// hangUp is like reset, but ends the connection in an orderly way.
func hangUp(beginning string) http.HandlerFunc { return cutOff(beginning, false) }

func cutOff(beginning string, reset bool) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		buffered.WriteString(beginning) //nolint:errcheck // Flush returns it
		if err := buffered.Flush(); err != nil {
			panic(err)
		}
		if tcp, ok := conn.(*net.TCPConn); ok && reset {
			tcp.SetLinger(0) //nolint:errcheck // the test would notice
		}
		conn.Close()
	}
}

func retryAfter(status int, value string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", value)
		answer(status, "text/plain", "Retry later")(w, r)
	}
}

func neverAnswers(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func stopsWithin(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Length", "100")
	w.Write([]byte(`{"id":`)) //nolint:errcheck // the client may be gone
	w.(http.Flusher).Flush()
	<-r.Context().Done()
}

func dialRefused(t testing.TB, _ *fault) []Option {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return []Option{WithBaseURL("http://" + listener.Addr().String())}
}

func dnsFails(testing.TB, *fault) []Option {
	resolver := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no name server")
	}}
	transport := &http.Transport{DialContext: (&net.Dialer{Resolver: resolver}).DialContext}
	return []Option{WithBaseURL("http://gitlab.test"), WithHTTPClient(&http.Client{Transport: transport})}
}

func untrusted(t testing.TB, _ *fault) []Option {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = silentLog()
	server.StartTLS()
	t.Cleanup(server.Close)
	return []Option{WithBaseURL(server.URL)}
}

func brokenHandshake(t testing.TB, _ *fault) []Option {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Read(make([]byte, 1)) //nolint:errcheck // the greeting has begun
			conn.Close()
		}
	})
	t.Cleanup(func() {
		assert.NoError(t, listener.Close())
		serving.Wait()
	})
	// The rest of the greeting is unread, which may reset the connection.
	return []Option{WithBaseURL("https://" + listener.Addr().String()), WithHTTPClient(&http.Client{Transport: &http.Transport{
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(ctx, network, address)
			if errors.Is(err, syscall.ECONNRESET) {
				err = fmt.Errorf("EOF: %w", err)
			}
			return conn, err
		},
	}})}
}

func neverDials(t testing.TB, _ *fault) []Option {
	// net/http goes on dialing for the next request when this one has ended.
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		<-t.Context().Done()
		return nil, t.Context().Err()
	}}
	return []Option{WithBaseURL("http://gitlab.test"), WithHTTPClient(&http.Client{Transport: transport})}
}

// Every endpoint has the class that the design gives it, and a permanent
// failure costs exactly 1 + MaxRetries requests, downloads too.
func TestRequestsOfAPermanentFailure(t *testing.T) {
	t.Parallel()
	for _, test := range endpointCases(t) {
		for _, retries := range []int{-1, 1, 4} {
			t.Run(fmt.Sprint(test.name, "/", retries), func(t *testing.T) {
				t.Parallel()
				for name, handler := range map[string]http.HandlerFunc{
					"503":   answer(503, "text/plain", ""),
					"reset": reset(""),
				} {
					g := serveGitLab(t, handler)
					client := g.client(t, WithPrivateToken(plantedPrivateToken), WithRetry(RetryPolicy{MaxRetries: retries, MinWait: 1, MaxWait: 1}))
					_, err := test.call(t.Context(), client.Jobs, "group/app")
					assert.Equal(t, test.class == once, errors.Is(fails(t, err), ErrOutcomeUnknown), name)
					want := 1 + max(retries, 0)
					if test.class == once {
						want = 1
					}
					assert.Len(t, g.arrivals(), want, name)
				}
			})
		}
	}
}

// A failure that passes is not seen, and the request is the same each time.
func TestFailureThatPasses(t *testing.T) {
	t.Parallel()
	for class := range classes {
		for name, failure := range map[string]http.HandlerFunc{
			"429": answer(429, "", ""), "503": answer(503, "", ""), "reset": reset(""),
			"cut off": hangUp("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"),
		} {
			if retryClass(class) == once && name != "429" {
				continue
			}
			t.Run(classes[class].name+"/"+name, func(t *testing.T) {
				t.Parallel()
				var requests atomic.Int64
				g := serveGitLab(t, func(w http.ResponseWriter, r *http.Request) {
					if requests.Add(1) < 5 {
						failure(w, r)
						return
					}
					answerJSON(jobJSON(42))(w, r)
				})
				job, err := classes[class].call(t.Context(), g.client(t, hurried(), WithPrivateToken(plantedPrivateToken)).Jobs)
				require.NoError(t, err)
				assert.Equal(t, int64(42), job.ID)
				arrivals := g.arrivals()
				require.Len(t, arrivals, 5)
				for _, arrival := range arrivals[1:] {
					assert.Equal(t, arrivals[0], arrival)
				}
			})
		}
	}
}

// A once request that finds its reused connection dead before anything of it
// was written may be sent; one that was written isn't sent again.
func TestOnceOverReusedConnections(t *testing.T) {
	t.Parallel()
	for name, protocols := range map[string]func(*http.Protocols){
		"HTTP/1.1": func(p *http.Protocols) { p.SetHTTP1(true) },
		"HTTP/2":   func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var plays atomic.Int64
			g := newFakeGitLab(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					plays.Add(1)
					panic(http.ErrAbortHandler) // breaks the connection, or the stream
				}
				answerJSON(jobJSON(42))(w, r)
			})
			g.Config.Protocols = new(http.Protocols)
			protocols(g.Config.Protocols)
			g.Start()
			t.Cleanup(g.Close)
			transport := &http.Transport{Protocols: g.Config.Protocols}
			t.Cleanup(transport.CloseIdleConnections)
			client := g.client(t, hurried(), WithHTTPClient(&http.Client{Transport: transport}))
			for i := range 3 {
				_, err := client.Jobs.Get(t.Context(), "1", 42)
				require.NoError(t, err)
				_, err = client.Jobs.Play(t.Context(), "1", 42, nil)
				require.ErrorIs(t, fails(t, err), ErrOutcomeUnknown)
				assert.EqualValues(t, i+1, plays.Load())
			}
		})
	}
}

// A context that ends while a connection is being made leaves nothing open;
// one that ends while the answer is awaited does.
func TestOnceCanceled(t *testing.T) {
	t.Run("before the connection", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			reason := errors.New("shutdown")
			ctx, cancel := context.WithCancelCause(t.Context())
			client := recordedClient(t, neverDials(t, nil)...)
			time.AfterFunc(time.Second, func() { cancel(reason) })
			_, err := client.Jobs.Play(ctx, "1", 1, nil)
			require.ErrorIs(t, fails(t, err), context.Canceled)
			require.ErrorIs(t, fails(t, err), reason)
			assert.NotErrorIs(t, fails(t, err), ErrOutcomeUnknown)
		})
	})
	t.Run("after the request", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			m := serveMemory(t, neverAnswers)
			_, err := m.client(t).Jobs.Play(ctx, "1", 1, nil)
			require.ErrorIs(t, fails(t, err), context.DeadlineExceeded)
			require.ErrorIs(t, fails(t, err), ErrOutcomeUnknown)
			assert.Len(t, m.arrived(), 1)
		})
	})
}

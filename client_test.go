package gitlabjobs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Everything at once on one client, and nothing of it stays.
func TestManyGoroutinesOnOneClient(t *testing.T) {
	const goroutines = 200
	before := runtime.NumGoroutine()
	g := newFakeGitLab(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("RateLimit-Remaining", "1")
		switch {
		case strings.HasSuffix(r.URL.Path, "/jobs"):
			(&jobList{newest: 150, keyset: true}).ServeHTTP(w, r)
		case strings.HasSuffix(r.URL.Path, "/artifacts"):
			answer(200, "application/zip", "PK"+strings.Repeat("x", 1<<16))(w, r)
		case strings.HasSuffix(r.URL.Path, "/play"):
			answer(400, jsonType, `{"message":"400 Bad request - Unplayable Job"}`)(w, r)
		default:
			answerJSON(jobJSON(1))(w, r)
		}
	})
	g.Start()
	transport := &http.Transport{MaxIdleConnsPerHost: goroutines}
	var attempts atomic.Int64
	client := g.client(t, WithPrivateToken(plantedPrivateToken), WithHTTPClient(&http.Client{Transport: transport}),
		WithRateLimit(1e9, 1000), WithObserver(func(Attempt) { attempts.Add(1) }))
	var calls sync.WaitGroup
	for i := range goroutines {
		calls.Go(func() {
			ctx := t.Context()
			switch i % 5 {
			case 0:
				_, err := client.Jobs.Get(ctx, "1", 1)
				assert.NoError(t, err)
			case 1:
				ids, errs := collect(client.Jobs.All(ctx, "1", nil))
				assert.Len(t, ids, 150)
				assert.Empty(t, errs)
			case 2:
				_, err := client.Jobs.Play(ctx, "1", 1, &PlayOptions{Variables: []Variable{{"A", "b"}}})
				assert.ErrorIs(t, fails(t, err), ErrNotPlayable)
			case 3:
				_, err := client.Jobs.DownloadArtifacts(ctx, "1", FromJob(1), io.Discard, nil)
				assert.NoError(t, err)
			case 4:
				for _, err := range client.Jobs.All(ctx, "1", nil) {
					assert.NoError(t, err)
					break
				}
			}
		})
	}
	calls.Wait()
	assert.EqualValues(t, len(g.arrivals()), attempts.Load())
	assert.LessOrEqual(t, g.conns.Load(), int64(2*goroutines), "connections are reused")
	transport.CloseIdleConnections()
	g.Close()
	for range 100_000 { // goroutines of net/http take their time to end
		if runtime.NumGoroutine() <= before {
			return
		}
		runtime.Gosched()
	}
	assert.LessOrEqual(t, runtime.NumGoroutine(), before)
}

func TestConnectionsAreReused(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]http.HandlerFunc{
		"success": answerJSON(jobJSON(1)),
		"chunked success": func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			io.WriteString(w, jobJSON(1)) //nolint:errcheck // the client would notice
		},
		"404":                answer(404, jsonType, `{"message":"404 Not found"}`),
		"500 HTML":           answer(500, htmlType, "<html>"+strings.Repeat("x", 32<<10)+"</html>"),
		"429":                answer(429, "text/plain", "Retry later"),
		"login page":         answer(200, htmlType, "<html>"+strings.Repeat("x", 32<<10)+"</html>"),
		"wrong JSON":         answerJSON(`{"id":"x"}`),
		"error, not flushed": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := serveGitLab(t, handler)
			client := g.client(t, hurried())
			for range 3 {
				for _, test := range endpointCases(t) {
					if !test.download {
						test.call(t.Context(), client.Jobs, "1") //nolint:errcheck // connections are what is tested
					}
				}
			}
			assert.EqualValues(t, 1, g.conns.Load())
		})
	}
}

func TestHTTP2(t *testing.T) {
	t.Parallel()
	var protocols sync.Map
	g := newFakeGitLab(t, func(w http.ResponseWriter, r *http.Request) {
		protocols.Store(r.Proto, true)
		if strings.HasSuffix(r.URL.Path, "/artifacts") {
			answer(200, "application/zip", "PK"+strings.Repeat("x", 1<<20))(w, r)
			return
		}
		answerJSON(jobJSON(1))(w, r)
	})
	g.EnableHTTP2 = true
	g.StartTLS()
	t.Cleanup(g.Close)
	// The client's own transport, but for whom it trusts.
	transport := newTransport().(*http.Transport)
	transport.TLSClientConfig = g.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	client := g.client(t, WithPrivateToken(plantedPrivateToken), WithHTTPClient(&http.Client{Transport: transport}))
	_, err := client.Jobs.Get(t.Context(), "1", 1)
	require.NoError(t, err)
	var calls sync.WaitGroup
	for range 20 {
		calls.Go(func() {
			_, err := client.Jobs.Play(t.Context(), "1", 1, nil)
			assert.NoError(t, err)
			download, err := client.Jobs.DownloadArtifacts(t.Context(), "1", FromJob(1), io.Discard, nil)
			assert.NoError(t, err)
			assert.EqualValues(t, 2+1<<20, download.Size)
		})
	}
	calls.Wait()
	assert.EqualValues(t, 1, g.conns.Load())
	_, isHTTP2 := protocols.Load("HTTP/2.0")
	assert.True(t, isHTTP2)
	_, isHTTP1 := protocols.Load("HTTP/1.1")
	assert.False(t, isHTTP1)
}

// repeat writes a text as often as it takes to make size bytes, or until the
// client has gone.
func repeat(w io.Writer, text string, size int64) {
	block := []byte(strings.Repeat(text, 1+(64<<10)/len(text)))
	for size > 0 {
		n, err := w.Write(block[:min(int64(len(block)), size)])
		if err != nil {
			return
		}
		size -= int64(n)
	}
}

func TestAnswersAreBounded(t *testing.T) {
	for name, declared := range map[string]bool{"declared": true, "not declared": false} {
		t.Run(name, func(t *testing.T) {
			if !declared && (testing.Short() || raceEnabled) {
				t.Skip("reads 64 MiB")
			}
			g := serveGitLab(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", jsonType)
				if declared {
					w.Header().Set("Content-Length", strconv.Itoa(maxJSONBody+1))
				}
				repeat(w, " ", maxJSONBody+1)
			})
			_, err := g.client(t, hurried()).Jobs.Get(t.Context(), "1", 1)
			require.ErrorIs(t, fails(t, err), ErrTooLarge)
			require.ErrorContains(t, fails(t, err), "the answer exceeds 64 MiB")
			assert.Len(t, g.arrivals(), 1, "another answer wouldn't be shorter")
		})
	}
}

func TestErrorBodiesAreBounded(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		size int64
		want string
	}{
		"at the bound":   {maxErrorBody, strings.Repeat("x", maxErrorMessage) + "..."},
		"above it":       {maxErrorBody + 1, "Bad Request (its body exceeds 64 KiB)"},
		"without an end": {1 << 40, "Bad Request (its body exceeds 64 KiB)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := serveGitLab(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/plain")
				w.WriteHeader(400)
				repeat(w, "x", test.size)
			})
			_, err := g.client(t).Jobs.Get(t.Context(), "1", 1)
			var refusal *Error
			require.ErrorAs(t, fails(t, err), &refusal)
			assert.Equal(t, test.want, refusal.Message)
			assert.Equal(t, test.size > maxErrorBody, strings.Contains(fmt.Sprint(err), "exceeds 64 KiB"))
			if test.size > maxErrorBody {
				require.ErrorIs(t, fails(t, err), ErrTooLarge)
			}
		})
	}
}

// A page for browsers is no success, not even where no answer is expected.
func TestLoginWall(t *testing.T) {
	t.Parallel()
	for _, test := range endpointCases(t) {
		g := serveGitLab(t, answer(200, htmlType, "<!DOCTYPE html><html><title>Sign in</title></html>"))
		_, err := test.call(t.Context(), g.client(t, hurried()).Jobs, "1")
		require.ErrorIs(t, fails(t, err), ErrUnexpectedContent, test.name)
		assert.Equal(t, test.class == once, errors.Is(err, ErrOutcomeUnknown), test.name)
		assert.Len(t, g.arrivals(), 1, test.name)
	}
}

// Without options a client is silent, and works.
func TestClientWithoutOptions(t *testing.T) {
	t.Parallel()
	g := serveGitLab(t, answerJSON(jobJSON(1)))
	client, err := NewClient(WithBaseURL(g.base()), WithStallTimeout(time.Minute))
	require.NoError(t, err)
	job, err := client.Jobs.Get(t.Context(), "1", 1)
	require.NoError(t, err)
	assert.Equal(t, int64(1), job.ID)
}

// A client holds nothing back between calls: no goroutine, no timer. The
// bubble fails the test if a goroutine is left.
func TestNoGoroutineOutlivesItsCall(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"success":    answerJSON(jobJSON(1)),
		"refusal":    answer(404, "", ""),
		"failures":   answer(500, "", ""),
		"limit":      retryAfter(429, "9"),
		"stall":      neverAnswers,
		"break":      hangUp("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"),
		"login page": answer(200, htmlType, "<html>"),
		"redirect":   http.RedirectHandler("http://gitlab.test/elsewhere", http.StatusFound).ServeHTTP,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := serveMemory(t, handler)
				client := m.client(t)
				client.Jobs.Get(t.Context(), "1", 1)                                              //nolint:errcheck // goroutines are what is tested
				client.Jobs.Play(t.Context(), "1", 1, nil)                                        //nolint:errcheck // likewise
				client.Jobs.DownloadArtifacts(t.Context(), "1", FromJob(1), &bytes.Buffer{}, nil) //nolint:errcheck // likewise
			})
		})
	}
}

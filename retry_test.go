package gitlabjobs

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBackoffIsFullJitter(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	policy := RetryPolicy{}.withDefaults()
	for failures, bound := range map[int]time.Duration{
		0: 250 * ms, 1: 250 * ms, 2: 500 * ms, 3: 1000 * ms, 4: 2000 * ms, 7: 16 * time.Second, 8: 30 * time.Second, 1000: 30 * time.Second,
	} {
		least, most := time.Duration(math.MaxInt64), time.Duration(0)
		for range 1000 {
			wait := policy.backoff(failures)
			least, most = min(least, wait), max(most, wait)
		}
		assert.GreaterOrEqual(t, least, time.Duration(0), failures)
		assert.LessOrEqual(t, most, bound, failures)
		assert.Less(t, least, bound/10, "%d: waits are spread down to 0", failures)
		assert.Greater(t, most, bound*9/10, "%d: and up to the bound", failures)
	}
	for _, extreme := range []RetryPolicy{{MinWait: 1, MaxWait: 1}, {MinWait: math.MaxInt64, MaxWait: math.MaxInt64}, {MinWait: 1, MaxWait: math.MaxInt64}} {
		for _, failures := range []int{1, 63, 64, 100} {
			assert.GreaterOrEqual(t, extreme.backoff(failures), time.Duration(0))
		}
	}
}

// attemptsOf collects the attempts of a client.
func attemptsOf(attempts *[]Attempt) Option {
	var mu sync.Mutex
	return WithObserver(func(a Attempt) {
		mu.Lock()
		defer mu.Unlock()
		*attempts = append(*attempts, a)
	})
}

func TestWaitsBetweenAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := serveMemory(t, answer(500, "", ""))
		var attempts []Attempt
		_, err := m.client(t, attemptsOf(&attempts)).Jobs.Get(t.Context(), "1", 1)
		require.Error(t, fails(t, err))
		require.Len(t, attempts, 5)
		arrived := m.arrived()
		assert.Zero(t, arrived[0])
		assert.Zero(t, attempts[0].Wait)
		for i, bound := range []time.Duration{250, 500, 1000, 2000} {
			gap := arrived[i+1] - arrived[i]
			assert.LessOrEqual(t, gap, bound*time.Millisecond)
			assert.Equal(t, gap, attempts[i+1].Wait, "what an attempt says of its wait")
		}
	})
}

// A limit is one way in which a server asks to wait.
type limit struct {
	name   string
	status int
	header func() http.Header
	wait   time.Duration
}

func limits() []limit {
	header := func(pairs ...string) func() http.Header {
		return func() http.Header {
			h := make(http.Header)
			for i := 0; i < len(pairs); i += 2 {
				h.Set(pairs[i], pairs[i+1])
			}
			return h
		}
	}
	in := func(name string, wait time.Duration, more ...string) func() http.Header {
		return func() http.Header {
			h := header(more...)()
			h.Set("Date", time.Now().UTC().Format(http.TimeFormat))
			h.Set(name, time.Now().Add(wait).UTC().Format(http.TimeFormat))
			return h
		}
	}
	reset := func(wait time.Duration, more ...string) func() http.Header {
		return func() http.Header {
			h := header(more...)()
			h.Set("RateLimit-Reset", strconv.FormatInt(time.Now().Add(wait).Unix(), 10))
			return h
		}
	}
	skewed := func() http.Header { // the server's clock is an hour behind
		h := make(http.Header)
		h.Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
		h.Set("Retry-After", time.Now().Add(-time.Hour+9*time.Second).UTC().Format(http.TimeFormat))
		return h
	}
	return []limit{
		{"429 in seconds", 429, header("Retry-After", "9"), 9 * time.Second},
		{"429 in fractions of seconds", 429, header("Retry-After", " 1.5 "), 1500 * time.Millisecond},
		{"429 by date", 429, in("Retry-After", 9*time.Second), 9 * time.Second},
		{"429 by date, clocks differ", 429, skewed, 9 * time.Second},
		{"429 by reset", 429, reset(9 * time.Second), 9 * time.Second},
		{"429 by reset in seconds from now", 429, header("RateLimit-Reset", "9"), 9 * time.Second},
		{"429, Retry-After before reset", 429, reset(90*time.Second, "Retry-After", "9"), 9 * time.Second},
		{"503 in seconds", 503, header("Retry-After", "9"), 9 * time.Second},
		{"503 by date", 503, in("Retry-After", 9*time.Second), 9 * time.Second},
		{"500 that used the limit up", 500, reset(9*time.Second, "RateLimit-Remaining", "0"), 9 * time.Second},
	}
}

func TestServersLimitsAreObeyed(t *testing.T) {
	for _, limit := range limits() {
		t.Run(limit.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var requests atomic.Int64
				m := serveMemory(t, func(w http.ResponseWriter, r *http.Request) {
					if requests.Add(1) > 1 {
						answerJSON(jobJSON(1))(w, r)
						return
					}
					maps.Copy(w.Header(), limit.header())
					w.WriteHeader(limit.status)
				})
				var attempts []Attempt
				client := m.client(t, attemptsOf(&attempts))
				_, err := client.Jobs.Get(t.Context(), "1", 1)
				require.NoError(t, err)
				assert.Equal(t, []time.Duration{0, limit.wait}, m.arrived())
				assert.Equal(t, limit.wait, attempts[1].Wait)
			})
		})
	}
}

// One request's limit holds all of the client's others back.
func TestServersLimitsHoldAllRequests(t *testing.T) {
	for _, limit := range append(limits(),
		limit{"success that used the limit up", 200, func() http.Header {
			return http.Header{"Ratelimit-Remaining": {"0"}, "Ratelimit-Reset": {"9"}}
		}, 9 * time.Second},
		limit{"404 that used the limit up", 404, func() http.Header {
			return http.Header{"Ratelimit-Remaining": {"0"}, "Ratelimit-Reset": {"9"}}
		}, 9 * time.Second}) {
		t.Run(limit.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var requests atomic.Int64
				m := serveMemory(t, func(w http.ResponseWriter, r *http.Request) {
					if requests.Add(1) > 1 {
						answerJSON(jobJSON(1))(w, r)
						return
					}
					maps.Copy(w.Header(), limit.header())
					answer(limit.status, "application/json", jobJSON(1))(w, r)
				})
				client := m.client(t)
				var calls sync.WaitGroup
				calls.Go(func() { client.Jobs.Get(t.Context(), "1", 1) }) //nolint:errcheck // it only shuts the gate
				synctest.Wait()
				for range 10 {
					calls.Go(func() {
						_, err := client.Jobs.Play(t.Context(), "1", 1, nil)
						assert.NoError(t, err)
					})
				}
				calls.Wait()
				arrived := m.arrived()
				assert.GreaterOrEqual(t, len(arrived), 11)
				for _, at := range arrived[1:] {
					assert.Equal(t, limit.wait, at)
				}
			})
		})
	}
}

// A wait that is too long isn't begun: neither the server's nor our own.
func TestWaitsThatAreNotBegun(t *testing.T) {
	in := func(d time.Duration) func(*testing.T) context.Context {
		return func(t *testing.T) context.Context {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			t.Cleanup(cancel)
			return ctx
		}
	}
	forever := func(t *testing.T) context.Context { return t.Context() }
	policy := func(longest time.Duration) Option { return WithRetry(RetryPolicy{MaxRetryAfter: longest}) }
	for name, test := range map[string]struct {
		ctx    func(*testing.T) context.Context
		opts   []Option
		status int
		header http.Header
		after  time.Duration
	}{
		"429 past the deadline":          {ctx: in(5 * time.Second), status: 429, header: http.Header{"Retry-After": {"9"}}, after: 9 * time.Second},
		"503 past the deadline":          {ctx: in(5 * time.Second), status: 503, header: http.Header{"Retry-After": {"9"}}, after: 9 * time.Second},
		"429 past MaxRetryAfter":         {ctx: forever, opts: []Option{policy(time.Second)}, status: 429, header: http.Header{"Retry-After": {"9"}}, after: 9 * time.Second},
		"503 past the default":           {ctx: forever, status: 503, header: http.Header{"Retry-After": {"3600"}}, after: time.Hour},
		"429 absurdly long":              {ctx: forever, status: 429, header: http.Header{"Retry-After": {"99999999999999999999"}}, after: maxServerWait},
		"429 reset in the far future":    {ctx: forever, status: 429, header: http.Header{"Ratelimit-Reset": {"9223372036854775807"}}, after: maxServerWait},
		"our own wait past the deadline": {ctx: in(time.Nanosecond * 2), opts: []Option{WithRetry(RetryPolicy{MinWait: time.Hour, MaxWait: time.Hour})}, status: 500},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := serveMemory(t, func(w http.ResponseWriter, _ *http.Request) {
					maps.Copy(w.Header(), test.header)
					w.WriteHeader(test.status)
				})
				client := m.client(t, test.opts...)
				_, err := client.Jobs.Get(test.ctx(t), "1", 1)
				var refusal *Error
				require.ErrorAs(t, fails(t, err), &refusal)
				assert.Equal(t, test.status, refusal.StatusCode)
				assert.Equal(t, test.after, refusal.RetryAfter)
				assert.Equal(t, []time.Duration{0}, m.arrived())
				assert.Zero(t, time.Since(m.start), "nothing was waited for")
				if test.after == 0 {
					return
				}
				// The next request isn't sent at all, as long as that holds.
				_, err = client.Jobs.Play(test.ctx(t), "1", 2, nil)
				require.ErrorAs(t, fails(t, err), &refusal)
				assert.Equal(t, test.status, refusal.StatusCode)
				assert.Equal(t, test.after, refusal.RetryAfter)
				assert.Equal(t, "http://gitlab.test/gitlab/api/v4/projects/1/jobs/2/play", refusal.URL)
				assert.Contains(t, err.Error(), "(not sent)")
				require.NotErrorIs(t, fails(t, err), ErrOutcomeUnknown)
				assert.Len(t, m.arrived(), 1)
			})
		})
	}
}

// What a gate refuses is told by why it is shut, not by the answer that
// happened to use the limit up.
func TestGateRefusalIsNoNotFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := serveMemory(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("RateLimit-Remaining", "0")
			w.Header().Set("RateLimit-Reset", "60")
			answer(404, "application/json", `{"message":"404 Not found"}`)(w, r)
		})
		client := m.client(t)
		_, err := client.Jobs.Get(t.Context(), "1", 1)
		require.ErrorIs(t, fails(t, err), ErrNotFound)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = client.Jobs.Get(ctx, "1", 2)
		require.ErrorIs(t, fails(t, err), ErrRateLimited)
		require.NotErrorIs(t, fails(t, err), ErrNotFound)
		assert.ErrorContains(t, fails(t, err), "the rate limit is used up (not sent) (retry after 1m0s)")
	})
}

func TestLimitsOfOtherServersAreTheirs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var requests atomic.Int64
		m := serveMemory(t, func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Host == "store.test" && requests.Add(1) == 1:
				retryAfter(503, "7")(w, r)
			case r.Host == "store.test":
				answer(200, "application/zip", "PK")(w, r)
			case r.URL.Path == "/gitlab/api/v4/projects/1/jobs/2/artifacts":
				http.Redirect(w, r, "http://store.test/archive?signature=x", http.StatusFound)
			default:
				answerJSON(jobJSON(1))(w, r)
			}
		})
		client := m.client(t)
		var download sync.WaitGroup
		download.Go(func() {
			_, err := client.Jobs.DownloadArtifacts(t.Context(), "1", FromJob(2), new(bytes.Buffer), nil)
			assert.NoError(t, err)
		})
		synctest.Wait()
		_, err := client.Jobs.Get(t.Context(), "1", 1)
		require.NoError(t, err)
		download.Wait()
		assert.Equal(t, []time.Duration{0, 0, 0, 7 * time.Second, 7 * time.Second}, m.arrived())
	})
}

func TestContextEndsAWait(t *testing.T) {
	reason := errors.New("shutdown")
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		opts    []Option
		before  int // calls made before the one that is canceled
	}{
		"server's limit": {handler: retryAfter(429, "60")},
		"backoff":        {handler: answer(500, "", ""), opts: []Option{WithRetry(RetryPolicy{MinWait: time.Hour, MaxWait: 2 * time.Hour})}},
		"limiter":        {handler: answerJSON(jobJSON(1)), opts: []Option{WithRateLimit(0.001, 1)}, before: 1},
		"another's limit": {handler: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("RateLimit-Remaining", "0")
			w.Header().Set("RateLimit-Reset", "60")
			answerJSON(jobJSON(1))(w, r)
		}, before: 1},
		"an answer's beginning": {handler: neverAnswers},
		"an answer's rest":      {handler: stopsWithin},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := serveMemory(t, test.handler)
				client := m.client(t, test.opts...)
				for range test.before {
					_, err := client.Jobs.Get(t.Context(), "1", 1)
					require.NoError(t, err)
				}
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(time.Second, func() { cancel(reason) })
				_, err := client.Jobs.Get(ctx, "1", 1)
				require.ErrorIs(t, fails(t, err), context.Canceled)
				require.ErrorIs(t, fails(t, err), reason)
				assert.Contains(t, err.Error(), "context canceled: shutdown")
				assert.Equal(t, time.Second, time.Since(m.start))
				assert.Len(t, m.arrived(), 1)
			})
		})
	}
}

func TestContextCauseShowsNoSecret(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("gave up on https://user:" + plantedPrivateToken + "@vault.example/?token=" + plantedPrivateToken)
	cancel(cause)
	_, err := recordedClient(t).Jobs.Get(ctx, "1", 1)
	require.ErrorIs(t, fails(t, err), cause, "though it isn't shown, it matches")
}

func TestRateLimitSpacesAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := serveMemory(t, answer(500, "", ""))
		var attempts []Attempt
		client := m.client(t, hurried(), WithRateLimit(2, 3), attemptsOf(&attempts))
		_, err := client.Jobs.Get(t.Context(), "1", 1) // five attempts
		require.Error(t, fails(t, err))
		arrived := m.arrived()
		round := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
		want := []time.Duration{0, 0, 0, 500 * time.Millisecond, time.Second}
		for i := range want {
			assert.Equal(t, want[i], round(arrived[i]))
		}
		assert.Equal(t, 500*time.Millisecond, round(attempts[4].Wait), "the wait for the limit is part of it")
		time.Sleep(time.Hour) // the burst is full again, and no fuller
		_, err = client.Jobs.Get(t.Context(), "1", 1)
		require.Error(t, fails(t, err))
		again := m.arrived()[5:]
		for i := range want {
			assert.Equal(t, want[i], round(again[i]-again[0]))
		}
	})
}

// A place that is given up in the middle of the queue stays empty: the bound
// holds for those behind it.
func TestRateLimitGivesUpPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := serveMemory(t, answerJSON(jobJSON(1)))
		client := m.client(t, WithRateLimit(1, 1))
		var calls sync.WaitGroup
		call := func(ctx context.Context, ok bool) {
			calls.Go(func() {
				_, err := client.Jobs.Get(ctx, "1", 1)
				assert.Equal(t, ok, err == nil, "%v", err)
			})
			synctest.Wait()
		}
		canceled, cancel := context.WithCancel(t.Context())
		call(t.Context(), true) // at once
		call(canceled, false)   // would go after 1 s
		call(t.Context(), true) // after 2 s
		cancel()
		synctest.Wait()
		call(t.Context(), true) // after 3 s
		last, cancelLast := context.WithCancel(t.Context())
		call(last, false) // would go after 4 s
		cancelLast()
		synctest.Wait()
		call(t.Context(), true) // takes its place
		short, cancelShort := context.WithTimeout(t.Context(), time.Second)
		defer cancelShort()
		call(short, false) // takes none
		call(t.Context(), true)
		calls.Wait()
		want := []time.Duration{0, 2 * time.Second, 3 * time.Second, 4 * time.Second, 5 * time.Second}
		assert.Equal(t, want, m.arrived())
	})
}

func TestRateLimitPastTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := serveMemory(t, answerJSON(jobJSON(1)))
		client := m.client(t, WithRateLimit(0.1, 1))
		_, err := client.Jobs.Get(t.Context(), "1", 1)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = client.Jobs.Get(ctx, "1", 1)
		require.ErrorIs(t, fails(t, err), context.DeadlineExceeded)
		assert.Zero(t, time.Since(m.start))
		assert.Len(t, m.arrived(), 1)
	})
}

func TestRotatedToken(t *testing.T) {
	t.Parallel()
	for class, test := range []struct{ requests, asked int }{safe: {2, 2}, repeatable: {2, 2}, once: {1, 1}} {
		t.Run(classes[class].name, func(t *testing.T) {
			t.Parallel()
			g := serveGitLab(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get(headerPrivateToken) != plantedPrivateToken+"-2" {
					answer(401, "application/json", `{"message":"401 Unauthorized: `+r.Header.Get(headerPrivateToken)+`"}`)(w, r)
					return
				}
				answerJSON(jobJSON(42))(w, r)
			})
			asked := 0
			client := g.client(t, WithRetry(RetryPolicy{MaxRetries: -1}), WithTokenSource(func(context.Context) (Token, error) {
				asked++
				return Token{PrivateToken, plantedPrivateToken + "-" + strconv.Itoa(asked)}, nil
			}))
			job, err := classes[class].call(t.Context(), client.Jobs)
			if retryClass(class) == once {
				require.ErrorIs(t, fails(t, err), ErrUnauthorized)
				require.NotErrorIs(t, fails(t, err), ErrOutcomeUnknown)
			} else {
				require.NoError(t, err)
				assert.Equal(t, int64(42), job.ID)
			}
			assert.Len(t, g.arrivals(), test.requests)
			assert.Equal(t, test.asked, asked)
		})
	}
	t.Run("revoked for good", func(t *testing.T) {
		t.Parallel()
		g := serveGitLab(t, answer(401, "", ""))
		asked := 0
		client := g.client(t, hurried(), WithTokenSource(func(context.Context) (Token, error) {
			asked++
			return Token{OAuthToken, plantedOAuthToken}, nil
		}))
		_, err := client.Jobs.Get(t.Context(), "1", 1)
		require.ErrorIs(t, fails(t, err), ErrUnauthorized)
		assert.Equal(t, 2, asked)
		assert.Len(t, g.arrivals(), 2)
	})
	t.Run("another server's 401", func(t *testing.T) {
		t.Parallel()
		store := httptest.NewServer(answer(401, "", ""))
		t.Cleanup(store.Close)
		g := serveGitLab(t, http.RedirectHandler(store.URL, http.StatusFound).ServeHTTP)
		client := g.client(t, hurried(), WithTokenSource(func(context.Context) (Token, error) { return Token{PrivateToken, plantedPrivateToken}, nil }))
		_, err := client.Jobs.Get(t.Context(), "1", 1)
		require.ErrorIs(t, fails(t, err), ErrUnauthorized)
		assert.Contains(t, err.Error(), "credentials stayed behind")
		assert.Len(t, g.arrivals(), 1, "a new token would have stayed behind, too")
	})
	t.Run("a static token", func(t *testing.T) {
		t.Parallel()
		g := serveGitLab(t, answer(401, "", ""))
		_, err := g.client(t, hurried(), WithPrivateToken(plantedPrivateToken)).Jobs.Get(t.Context(), "1", 1)
		require.ErrorIs(t, fails(t, err), ErrUnauthorized)
		assert.Len(t, g.arrivals(), 1)
	})
}

func TestTokenSourceIsAskedBeforeEachAttempt(t *testing.T) {
	t.Parallel()
	g := serveGitLab(t, answer(500, "", ""))
	asked := 0
	client := g.client(t, hurried(), WithTokenSource(func(context.Context) (Token, error) {
		asked++
		return Token{JobToken, plantedJobToken + strconv.Itoa(asked)}, nil
	}))
	_, err := client.Jobs.Get(t.Context(), "1", 1)
	fails(t, err) //nolint:errcheck // the count is what is tested
	for i, arrival := range g.arrivals() {
		assert.Equal(t, plantedJobToken+strconv.Itoa(i+1), arrival.Header.Get(headerJobToken))
	}
	assert.Equal(t, 5, asked)
}

// The stall timeout bounds the wait for each byte, and nothing else.
func TestStallTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := serveMemory(t, func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(59 * time.Second)
			w.Header().Set("Content-Length", "8")
			w.(http.Flusher).Flush()
			for _, c := range []byte(`{"id":1}`) {
				time.Sleep(59 * time.Second)
				w.Write([]byte{c}) //nolint:errcheck // the client would notice
				w.(http.Flusher).Flush()
			}
		})
		job, err := m.client(t).Jobs.Get(t.Context(), "1", 1)
		require.NoError(t, err)
		assert.Equal(t, int64(1), job.ID)
		assert.Len(t, m.arrived(), 1)
	})
}

// net/http sends a GET again by itself where its reused connection is dead.
// That counts as a retry.
func TestRetriesOfNetHTTPCount(t *testing.T) {
	t.Parallel()
	var requests atomic.Int64
	g := serveGitLab(t, func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) > 1 {
			hangUp("")(w, r)
			return
		}
		answerJSON(jobJSON(1))(w, r)
	})
	client := g.client(t, hurried())
	_, err := client.Jobs.Get(t.Context(), "1", 1)
	require.NoError(t, err)
	_, err = client.Jobs.Get(t.Context(), "1", 1)
	require.ErrorContains(t, fails(t, err), "EOF")
	assert.Len(t, g.arrivals(), 1+5)
}

func TestObserverSeesAttempts(t *testing.T) {
	t.Parallel()
	var requests atomic.Int64
	g := serveGitLab(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", "01HX\t"+strconv.FormatInt(requests.Add(1), 10))
		w.Header().Set("RateLimit-Limit", "600")
		w.Header().Set("RateLimit-Remaining", "599")
		w.Header().Set("RateLimit-Reset", "1893456000")
		switch requests.Load() {
		case 1: // on a new connection: net/http itself sends again what fails on a reused one
			hangUp("")(w, r)
		case 2:
			answer(503, "", "")(w, r)
		case 3:
			answerJSON(`{"id":`)(w, r)
		case 4:
			http.Redirect(w, r, relativeRoot+apiRoot+"/projects/2/jobs/42?private_token="+plantedPrivateToken, http.StatusFound)
		default:
			answerJSON(jobJSON(42))(w, r)
		}
	})
	var attempts []Attempt
	var log bytes.Buffer
	client := g.client(t, hurried(), WithPrivateToken(plantedPrivateToken), attemptsOf(&attempts),
		WithLogger(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: withoutTimes}))))
	_, err := client.Jobs.Get(t.Context(), "1", 42)
	require.NoError(t, err)
	require.Len(t, attempts, 4)
	url := g.base() + "/api/v4/projects/1/jobs/42"
	limit := RateLimit{Limit: 600, Remaining: 599, Reset: time.Unix(1893456000, 0)}
	for i, want := range []Attempt{
		{Number: 1},
		{Number: 2, StatusCode: 503, RequestID: "01HX 2", RateLimit: limit},
		{Number: 3, StatusCode: 200, RequestID: "01HX 3", RateLimit: limit},
		{Number: 4, StatusCode: 200, RequestID: "01HX 5", RateLimit: limit},
	} {
		got := attempts[i]
		requireNoSecret(t, got)
		assert.Equal(t, i == 0 || i == 2, got.Err != nil)
		assert.Positive(t, got.Duration)
		want.Method, want.Endpoint, want.URL = "GET", "GET /projects/:id/jobs/:job_id", url
		got.Duration, got.Wait, got.Err = 0, 0, nil
		assert.Equal(t, want, got)
	}
	requireNoSecret(t, log.String())
	line := func(level, rest string) string {
		return `level=` + level + ` msg="gitlab request" method=GET endpoint="GET /projects/:id/jobs/:job_id" url=` + url + rest + "\n"
	}
	assert.Equal(t, line("WARN", ` attempt=1 error=EOF`)+
		line("WARN", ` attempt=2 status=503 request_id="01HX 2"`)+
		line("WARN", ` attempt=3 status=200 request_id="01HX 3" error="the JSON breaks off: unexpected EOF"`)+
		line("DEBUG", ` attempt=4 status=200 request_id="01HX 5"`), log.String())
}

func withoutTimes(_ []string, attr slog.Attr) slog.Attr {
	if slices.Contains([]string{"time", "duration", "wait"}, attr.Key) {
		return slog.Attr{}
	}
	return attr
}

func TestParseRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"0": 0, "120": 2 * time.Minute, " 3 ": 3 * time.Second, "0.25": 250 * time.Millisecond,
		"Mon, 04 May 2026 12:00:30 GMT":  30 * time.Second,
		"Monday, 04-May-26 12:00:30 GMT": 30 * time.Second,
		"Mon May  4 12:00:30 2026":       30 * time.Second,
		"Mon, 04 May 2026 11:00:00 GMT":  0,
		"Fri, 31 Dec 9999 23:59:59 GMT":  maxServerWait,
		"1e300":                          maxServerWait,
	} {
		got, ok := parseRetryAfter(value, now)
		assert.True(t, ok, value)
		assert.Equal(t, want, got, value)
	}
	for _, value := range []string{"", "-1", "soon", "NaN", "12 s", "2026-05-04T12:00:30Z"} {
		_, ok := parseRetryAfter(value, now)
		assert.False(t, ok, value)
	}
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("120", "0", "1893456000", "Mon, 04 May 2026 12:00:30 GMT", 429)
	f.Add("Mon, 04 May 2026 12:00:30 GMT", "1", "-1", "", 503)
	f.Add("1e999", "", "9223372036854775807", "x", 200)
	f.Add("inf", "0", "", "Fri, 31 Dec 9999 23:59:59 GMT", 429)
	f.Fuzz(func(t *testing.T, after, remaining, reset, date string, status int) {
		header := http.Header{"Retry-After": {after}, "Ratelimit-Remaining": {remaining}, "Ratelimit-Reset": {reset}, "Date": {date}}
		wait := serverWait(&http.Response{StatusCode: status, Header: header})
		assert.GreaterOrEqual(t, wait, time.Duration(0))
		assert.LessOrEqual(t, wait, maxServerWait)
		assert.False(t, time.Now().Add(wait).Before(time.Now().Add(-time.Second)), "the end of the wait overflows")
		limit := parseRateLimit(header)
		assert.False(t, limit.Reset.Before(time.Time{}))
	})
}

package gitlabjobs_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gitlabjobs/gitlabjobs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func followEverySecond() *gitlabjobs.FollowOptions {
	return &gitlabjobs.FollowOptions{MinInterval: time.Second, MaxInterval: time.Second}
}

// serveWhole knows no ranges and no conditions.
func serveWhole(w http.ResponseWriter, _ *http.Request, log string) {
	w.Header().Set("Content-Type", "text/plain")
	fmt.Fprint(w, log)
}

// serveConditional does as GitLab does.
func serveConditional(w http.ResponseWriter, r *http.Request, log string) {
	w.Header().Set("Content-Type", "text/plain")
	serveETag(w, r, "W/"+digestTag(log), log)
}

// serveRanges does all that HTTP knows, by a strong ETag of the whole content.
func serveRanges(w http.ResponseWriter, r *http.Request, log string) {
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("ETag", digestTag(log))
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(log))
}

// serveAppended does ranges of a log whose ETag stays while it grows.
func serveAppended(w http.ResponseWriter, r *http.Request, log string) {
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("ETag", `"log-7"`)
	r.Header.Del("If-None-Match")
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(log))
}

// serveCareless does ranges without a look at If-Range.
func serveCareless(w http.ResponseWriter, r *http.Request, log string) {
	r.Header.Del("If-Range")
	serveRanges(w, r, log)
}

// serveGzip encodes whatever was asked for.
func serveGzip(w http.ResponseWriter, r *http.Request, log string) {
	var encoded bytes.Buffer
	z := gzip.NewWriter(&encoded)
	fmt.Fprint(z, log)
	z.Close()
	w.Header().Set("Content-Encoding", "gzip")
	serveConditional(w, r, encoded.String())
}

// A log of a line a second, the last of which comes after the job's finish at
// five seconds.
func growingLog(at time.Duration) string {
	var b strings.Builder
	for i := range min(int(at.Seconds()), 6) {
		fmt.Fprintf(&b, "line %d\n", i)
	}
	return b.String()
}

func TestFollowTraceWritesEachByteOnce(t *testing.T) {
	for _, test := range []struct {
		name     string
		serve    func(http.ResponseWriter, *http.Request, string)
		statuses []int
		sent     int // bytes
	}{
		{"whole logs only", serveWhole, []int{200, 200, 200, 200, 200, 200, 200, 200}, 7*(0+1+2+3+4+5+6) + 7*6},
		{"conditional requests", serveConditional, []int{200, 200, 200, 200, 200, 200, 200, 304}, 7 * (0 + 1 + 2 + 3 + 4 + 5 + 6)},
		{"ranges by ETags of the whole", serveRanges, []int{200, 200, 200, 200, 200, 200, 200, 304}, 7 * (0 + 1 + 2 + 3 + 4 + 5 + 6)},
		{"ranges by one ETag", serveAppended, []int{200, 200, 206, 206, 206, 206, 206, 416}, 7 * 6},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, jobs := newCourse(t, course{status: until(5*time.Second, "running", "success"), log: growingLog, serve: test.serve})
				var w strings.Builder
				job, err := jobs.FollowTrace(t.Context(), "42", 7, &w, followEverySecond())
				require.NoError(t, err)
				assert.Equal(t, gitlabjobs.StatusSuccess, job.Status)
				assert.Equal(t, growingLog(time.Minute), w.String())
				assert.Equal(t, []float64{0, 1, 2, 3, 4, 5}, g.seconds(jobPath), "a finished job isn't asked for again")
				assert.Equal(t, []float64{0, 1, 2, 3, 4, 5, 6, 7}, g.seconds(logPath))
				assert.Equal(t, test.statuses, g.statuses(logPath))
				sent := 0
				for _, h := range g.of(logPath) {
					if h.status != http.StatusRequestedRangeNotSatisfiable {
						sent += h.sent
					}
				}
				assert.Equal(t, test.sent, sent)
			})
		})
	}
}

// Without If-Range, a server sends the end of another log as readily: nothing
// of it is written, and ranges are asked for no more.
func TestFollowTraceDoesNotTrustCarelessRanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, jobs := newCourse(t, course{status: until(5*time.Second, "running", "success"), log: growingLog, serve: serveCareless},
			gitlabjobs.WithRetry(gitlabjobs.RetryPolicy{MaxRetries: 1}))
		var w strings.Builder
		_, err := jobs.FollowTrace(t.Context(), "42", 7, &w, followEverySecond())
		require.NoError(t, err)
		assert.Equal(t, growingLog(time.Minute), w.String())
		assert.Equal(t, []int{200, 200, 206, 200, 200, 200, 200, 200, 304}, g.statuses(logPath))
	})
}

func TestFollowTraceReadsEncodedLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, jobs := newCourse(t, course{status: until(5*time.Second, "running", "success"), log: growingLog, serve: serveGzip})
		var w strings.Builder
		_, err := jobs.FollowTrace(t.Context(), "42", 7, &w, followEverySecond())
		require.NoError(t, err)
		assert.Equal(t, growingLog(time.Minute), w.String())
		for _, h := range g.of(logPath) {
			assert.Equal(t, "identity", h.header.Get("Accept-Encoding"))
			assert.Empty(t, h.header.Get("Range"))
		}
	})
}

func TestFollowTraceAsksWithWhatItKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, jobs := newCourse(t, course{status: until(2*time.Second, "running", "success"), log: always("a log\n"), serve: serveRanges})
		_, err := jobs.FollowTrace(t.Context(), "42", 7, new(strings.Builder), followEverySecond())
		require.NoError(t, err)
		hits := g.of(logPath)
		require.Len(t, hits, 3)
		for _, name := range []string{"If-None-Match", "Range", "If-Range"} {
			assert.Empty(t, hits[0].header.Get(name))
		}
		etag := digestTag("a log\n")
		for _, h := range hits[1:] {
			assert.Equal(t, etag, h.header.Get("If-None-Match"))
			assert.Equal(t, "bytes=6-", h.header.Get("Range"))
			assert.Equal(t, etag, h.header.Get("If-Range"))
		}
	})
}

// While bytes come the interval is short; while none do it grows.
func TestFollowTraceAdaptsItsIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, jobs := newCourse(t, course{
			status: until(90*time.Second, "running", "success"),
			log: func(at time.Duration) string {
				switch {
				case at < 10*time.Second:
					return strings.Repeat(".", int(at.Milliseconds()))
				case at < 60*time.Second:
					return strings.Repeat(".", 10_000)
				}
				return strings.Repeat(".", 11_000)
			},
		})
		_, err := jobs.FollowTrace(t.Context(), "42", 7, new(strings.Builder), nil)
		require.NoError(t, err)
		moments := g.seconds(logPath)
		longest := 0.0
		for i := 1; i < len(moments); i++ {
			gap := moments[i] - moments[i-1]
			assert.GreaterOrEqual(t, gap, 1.0)
			assert.LessOrEqual(t, gap, 10.0)
			if moments[i-1] < 10 {
				assert.LessOrEqual(t, gap, 1.2, "while bytes come, at %v s", moments[i-1])
			}
			if longest >= 8 && moments[i-2] < 60 && moments[i-1] >= 60 {
				assert.LessOrEqual(t, gap, 1.2, "after bytes came again, at %v s", moments[i-1])
			}
			longest = max(longest, gap)
		}
		assert.GreaterOrEqual(t, longest, 8.0)
	})
}

// When the job has finished, its log moves from live storage to an archive.
func TestFollowTraceGoesOnInTheArchive(t *testing.T) {
	for name, serve := range map[string]func(w http.ResponseWriter, r *http.Request, log, etag string){
		"whole": func(w http.ResponseWriter, r *http.Request, log, etag string) { serveETag(w, r, etag, log) },
		"by ranges": func(w http.ResponseWriter, r *http.Request, log, etag string) {
			w.Header().Set("ETag", etag)
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(log))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				g, jobs := newCourse(t, course{
					status: until(2*time.Second, "running", "success"),
					log:    until(2*time.Second, "one\n", "one\ntwo\n"),
					serve: func(w http.ResponseWriter, r *http.Request, log string) {
						etag := `"live-` + digestTag(log)[1:]
						if time.Since(start) >= 3*time.Second {
							etag = digestTag(log)
						}
						serve(w, r, log, etag)
					},
				})
				var w strings.Builder
				_, err := jobs.FollowTrace(t.Context(), "42", 7, &w, followEverySecond())
				require.NoError(t, err)
				assert.Equal(t, "one\ntwo\n", w.String())
				assert.Equal(t, []int{200, 304, 200, 200}, g.statuses(logPath))
			})
		})
	}
}

func TestFollowTraceOfAFinishedJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, jobs := newCourse(t, course{status: always("failed"), log: always("all of it\n"), serve: serveConditional})
		var w strings.Builder
		job, err := jobs.FollowTrace(t.Context(), "42", 7, &w, followEverySecond())
		require.NoError(t, err)
		assert.Equal(t, gitlabjobs.StatusFailed, job.Status)
		assert.Equal(t, "all of it\n", w.String())
		assert.Equal(t, []int{200}, g.statuses(jobPath))
		assert.Equal(t, []int{200, 304}, g.statuses(logPath))
	})
}

func TestFollowTraceWithoutALog(t *testing.T) {
	for name, fault := range map[string]func(http.ResponseWriter, *http.Request, int) bool{
		"empty":     nil,
		"not found": failing(logPath, http.StatusNotFound, 1, 100), // GitLab 12
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, jobs := newCourse(t, course{status: until(2*time.Second, "pending", "canceled"), log: always(""), fault: fault})
				var w strings.Builder
				job, err := jobs.FollowTrace(t.Context(), "42", 7, &w, followEverySecond())
				require.NoError(t, err)
				assert.Equal(t, gitlabjobs.StatusCanceled, job.Status)
				assert.Empty(t, w.String())
				assert.Equal(t, []float64{0, 1, 2}, g.seconds(logPath))
			})
		})
	}
	t.Run("not found at first", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, jobs := newCourse(t, course{
				status: until(4*time.Second, "running", "success"), log: growingLog, fault: failing(logPath, http.StatusNotFound, 1, 3),
			})
			var w strings.Builder
			_, err := jobs.FollowTrace(t.Context(), "42", 7, &w, followEverySecond())
			require.NoError(t, err)
			assert.Equal(t, growingLog(time.Minute), w.String())
		})
	})
}

func TestFollowTraceRefusesAnotherLog(t *testing.T) {
	const first = "first line\nsecond line\n"
	servers := map[string]func(http.ResponseWriter, *http.Request, string){
		"whole": serveWhole, "conditional": serveConditional, "content": serveRanges, "careless": serveCareless, "gzip": serveGzip,
	}
	for change, then := range map[string]string{
		"erased":           "",
		"shrunk":           "first line\n",
		"changed":          "FIRST line\nsecond line\n",
		"changed and grew": "FIRST line\nsecond line\nthird line\n",
		"changed and not":  "first line\nsecond lin!",
	} {
		for server, serve := range servers {
			if server == "careless" && len(then) == len(first) {
				continue // it says that there is nothing new
			}
			t.Run(change+", "+server, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					_, jobs := newCourse(t, course{status: always("running"), log: until(2*time.Second, first, then), serve: serve})
					var w strings.Builder
					start := time.Now()
					job, err := jobs.FollowTrace(t.Context(), "42", 7, &w, followEverySecond())
					require.ErrorIs(t, gitlabjobs.Fails(t, err), gitlabjobs.ErrContentChanged)
					assert.Equal(t, gitlabjobs.StatusRunning, job.Status)
					assert.Equal(t, first, w.String())
					assert.LessOrEqual(t, time.Since(start), 3*time.Second)
				})
			})
		}
	}
	t.Run("shrunk, one ETag", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, jobs := newCourse(t, course{status: always("running"), log: until(2*time.Second, first, "first line\n"), serve: serveAppended},
				gitlabjobs.WithRetry(gitlabjobs.RetryPolicy{}))
			var w strings.Builder
			_, err := jobs.FollowTrace(t.Context(), "42", 7, &w, followEverySecond())
			require.ErrorIs(t, gitlabjobs.Fails(t, err), gitlabjobs.ErrContentChanged)
			assert.Equal(t, first, w.String())
		})
	})
	t.Run("gone", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, jobs := newCourse(t, course{status: always("running"), log: always(first), fault: failing(logPath, http.StatusNotFound, 2, 2)})
			_, err := jobs.FollowTrace(t.Context(), "42", 7, new(strings.Builder), followEverySecond())
			require.ErrorIs(t, gitlabjobs.Fails(t, err), gitlabjobs.ErrContentChanged)
		})
	})
}

func TestFollowTraceStopsAtManualJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, jobs := newCourse(t, course{status: until(time.Second, "created", "manual"), log: always("")})
		job, err := jobs.FollowTrace(t.Context(), "42", 7, new(strings.Builder), followEverySecond())
		require.ErrorIs(t, gitlabjobs.Fails(t, err), gitlabjobs.ErrManual)
		assert.Equal(t, gitlabjobs.StatusManual, job.Status)
		assert.Equal(t, []float64{0, 1}, g.seconds(jobPath))
		assert.Equal(t, []float64{0}, g.seconds(logPath))
	})
}

// Five polls in a row may fail, be it at the job or at its log.
func TestFollowTraceSurvivesFiveFailedPolls(t *testing.T) {
	for name, fail := range transients {
		for _, path := range []string{jobPath, logPath} {
			t.Run(name+" of "+path, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					_, jobs := newCourse(t, course{
						status: until(9*time.Second, "running", "success"),
						log:    growingLog,
						fault: func(w http.ResponseWriter, r *http.Request, n int) bool {
							if !strings.HasSuffix(r.URL.Path, path) || n < 3 || n > 7 {
								return false
							}
							fail(w, r)
							return true
						},
					}, gitlabjobs.WithStallTimeout(time.Second))
					var w strings.Builder
					job, err := jobs.FollowTrace(t.Context(), "42", 7, &w, followEverySecond())
					require.NoError(t, err)
					assert.Equal(t, gitlabjobs.StatusSuccess, job.Status)
					assert.Equal(t, growingLog(time.Minute), w.String())
				})
			})
		}
	}
}

func TestFollowTraceEndsWithTheSixthFailedPoll(t *testing.T) {
	for _, path := range []string{jobPath, logPath} {
		t.Run(path, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, jobs := newCourse(t, course{status: always("running"), log: always("log"), fault: failing(path, http.StatusBadGateway, 3, 100)})
				var w strings.Builder
				job, err := jobs.FollowTrace(t.Context(), "42", 7, &w, followEverySecond())
				var refusal *gitlabjobs.Error
				require.ErrorAs(t, gitlabjobs.Fails(t, err), &refusal)
				assert.Equal(t, http.StatusBadGateway, refusal.StatusCode)
				assert.Equal(t, gitlabjobs.StatusRunning, job.Status)
				assert.Equal(t, "log", w.String())
				assert.Equal(t, []float64{0, 1, 2, 3, 4, 5, 6, 7}, g.seconds(path))
			})
		})
	}
}

// A finish that came while the log couldn't be read is one, too.
func TestFollowTraceSeesAFinishBehindFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, jobs := newCourse(t, course{
			status: until(2*time.Second, "running", "failed"), log: growingLog, fault: failing(logPath, http.StatusServiceUnavailable, 2, 5),
		})
		var w strings.Builder
		job, err := jobs.FollowTrace(t.Context(), "42", 7, &w, followEverySecond())
		require.NoError(t, err)
		assert.Equal(t, gitlabjobs.StatusFailed, job.Status)
		assert.Equal(t, growingLog(time.Minute), w.String())
		assert.Equal(t, []float64{0, 1, 2}, g.seconds(jobPath))
		assert.Equal(t, []float64{0, 1, 2, 3, 4, 5, 6, 7}, g.seconds(logPath))
	})
}

func TestFollowTraceReturnsPermanentFailuresAtOnce(t *testing.T) {
	for path, status := range map[string]int{jobPath: http.StatusNotFound, logPath: http.StatusForbidden} {
		t.Run(path, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, jobs := newCourse(t, course{status: always("running"), log: always("log"), fault: failing(path, status, 2, 2)})
				job, err := jobs.FollowTrace(t.Context(), "42", 7, new(strings.Builder), followEverySecond())
				var refusal *gitlabjobs.Error
				require.ErrorAs(t, gitlabjobs.Fails(t, err), &refusal)
				assert.Equal(t, status, refusal.StatusCode)
				assert.Equal(t, gitlabjobs.StatusRunning, job.Status)
				assert.Equal(t, []float64{0, 1}, g.seconds(path))
			})
		})
	}
	t.Run("a login page", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, jobs := newCourse(t, course{status: always("running"), log: always("log"), serve: func(w http.ResponseWriter, _ *http.Request, _ string) {
				w.Header().Set("Content-Type", "text/html")
				fmt.Fprint(w, "<html>")
			}})
			var w strings.Builder
			_, err := jobs.FollowTrace(t.Context(), "42", 7, &w, followEverySecond())
			require.ErrorIs(t, gitlabjobs.Fails(t, err), gitlabjobs.ErrUnexpectedContent)
			assert.Empty(t, w.String())
		})
	})
}

// A connection that breaks in the middle of the log is resumed within the poll.
func TestFollowTraceResumesBrokenConnections(t *testing.T) {
	log := strings.Repeat("a line of the log\n", 10_000)
	for name, serve := range map[string]func(http.ResponseWriter, *http.Request, string){
		"whole": serveWhole, "conditional": serveConditional, "content": serveRanges, "one ETag": serveAppended,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, jobs := newCourse(t, course{
					status: until(2*time.Second, "running", "success"),
					log:    until(time.Second, log[:50_000], log),
					serve: func(w http.ResponseWriter, r *http.Request, log string) {
						serve(&breakingWriter{ResponseWriter: w, left: 60_000}, r, log)
					},
				}, gitlabjobs.WithRetry(gitlabjobs.RetryPolicy{MaxRetries: 1}))
				var w strings.Builder
				_, err := jobs.FollowTrace(t.Context(), "42", 7, &w, followEverySecond())
				if name == "whole" || name == "conditional" {
					// From the start it never comes further, poll after poll.
					require.Error(t, gitlabjobs.Fails(t, err))
					assert.True(t, strings.HasPrefix(log, w.String()))
					assert.Len(t, w.String(), 60_000)
					return
				}
				require.NoError(t, err)
				assert.Equal(t, log, w.String(), "%d bytes of %d", w.Len(), len(log))
			})
		})
	}
	t.Run("once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			broken := false
			_, jobs := newCourse(t, course{
				status: until(2*time.Second, "running", "success"), log: always(log),
				serve: func(w http.ResponseWriter, r *http.Request, log string) {
					if !broken {
						broken = true
						w = &breakingWriter{ResponseWriter: w, left: 60_000}
					}
					serveConditional(w, r, log)
				},
			}, gitlabjobs.WithRetry(gitlabjobs.RetryPolicy{MaxRetries: 1}))
			var w strings.Builder
			_, err := jobs.FollowTrace(t.Context(), "42", 7, &w, followEverySecond())
			require.NoError(t, err)
			assert.Equal(t, log, w.String(), "%d bytes of %d", w.Len(), len(log))
		})
	})
}

// A breakingWriter breaks the connection off after some bytes.
type breakingWriter struct {
	http.ResponseWriter
	left int
}

func (w *breakingWriter) Write(p []byte) (int, error) {
	if len(p) <= w.left {
		w.left -= len(p)
		return w.ResponseWriter.Write(p)
	}
	w.ResponseWriter.Write(p[:w.left]) //nolint:errcheck // the connection ends here
	http.NewResponseController(unwrapped(w)).Flush()
	panic(http.ErrAbortHandler)
}

func unwrapped(w *breakingWriter) http.ResponseWriter {
	return w.ResponseWriter.(*statusRecorder).ResponseWriter
}

func TestFollowTraceReturnsTheWritersErrorAsItIs(t *testing.T) {
	transient := &gitlabjobs.Error{StatusCode: http.StatusBadGateway}
	for name, full := range map[string]error{"plain": errors.New("the disk is full"), "like the server's": transient, "like a missing log": &gitlabjobs.Error{StatusCode: http.StatusNotFound}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, jobs := newCourse(t, course{status: always("running"), log: growingLog})
				w := &fullWriter{room: 10, err: full}
				job, err := jobs.FollowTrace(t.Context(), "42", 7, w, followEverySecond())
				assert.Same(t, full, err)
				assert.Equal(t, gitlabjobs.StatusRunning, job.Status)
				assert.Equal(t, []float64{0, 1, 2}, g.seconds(logPath))
			})
		})
	}
}

type fullWriter struct {
	room int
	err  error
}

func (w *fullWriter) Write(p []byte) (int, error) {
	if len(p) > w.room {
		return w.room, w.err
	}
	w.room -= len(p)
	return len(p), nil
}

func TestFollowTraceRetriesEachPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, jobs := newCourse(t, course{status: always("running"), log: always("log"), fault: failing(logPath, http.StatusBadGateway, 2, 100)},
			gitlabjobs.WithRetry(gitlabjobs.RetryPolicy{MaxRetries: 2, MinWait: 1, MaxWait: 1}))
		_, err := jobs.FollowTrace(t.Context(), "42", 7, new(strings.Builder), followEverySecond())
		require.Error(t, gitlabjobs.Fails(t, err))
		assert.Len(t, g.of(logPath), 1+6*(1+2))
	})
}

// The log grows with each request, and each connection breaks: what is resumed
// is longer than what broke off.
func TestFollowTraceResumesAGrowingLog(t *testing.T) {
	log := strings.Repeat("a line of the log\n", 20_000)
	synctest.Test(t, func(t *testing.T) {
		requests := 0
		g, jobs := newCourse(t, course{
			status: until(2*time.Second, "running", "success"), log: always(log),
			serve: func(w http.ResponseWriter, r *http.Request, log string) {
				requests++
				serveAppended(&breakingWriter{ResponseWriter: w, left: 60_000}, r, log[:min(100_000*requests, len(log))])
			},
		}, gitlabjobs.WithRetry(gitlabjobs.RetryPolicy{MaxRetries: 1}))
		var w strings.Builder
		_, err := jobs.FollowTrace(t.Context(), "42", 7, &w, followEverySecond())
		require.NoError(t, err)
		assert.Equal(t, log, w.String(), "%d bytes of %d", w.Len(), len(log))
		statuses := g.statuses(logPath)
		assert.NotContains(t, statuses[1:], http.StatusOK, "%v", statuses)
	})
}

// A server behind the others has an older state of the log, and says that
// nothing is new to who has read that: not where more has been read since.
func TestFollowTraceForgetsOldStates(t *testing.T) {
	older, newer := "a line\n", strings.Repeat("a line\n", 10_000)
	synctest.Test(t, func(t *testing.T) {
		requests := 0
		_, jobs := newCourse(t, course{
			status: until(4*time.Second, "running", "success"), log: always(newer),
			serve: func(w http.ResponseWriter, r *http.Request, log string) {
				switch requests++; {
				case requests == 1 || r.Header.Get("If-None-Match") == digestTag(older):
					if requests == 2 {
						serveRanges(&breakingWriter{ResponseWriter: w, left: 50_000}, r, log)
					}
					serveRanges(w, r, older)
				default:
					serveRanges(w, r, log)
				}
			},
		}, gitlabjobs.WithRetry(gitlabjobs.RetryPolicy{MaxRetries: 1}))
		var w strings.Builder
		_, err := jobs.FollowTrace(t.Context(), "42", 7, &w, followEverySecond())
		require.NoError(t, err)
		assert.Len(t, w.String(), len(newer))
	})
}

// A 416 for a log as long as the one that was read is no news, unless it says
// that it is of another.
func TestFollowTraceLooksAtTheETagOfTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, jobs := newCourse(t, course{
			status: always("running"), log: until(time.Second, "one log\n", "another\n"),
			serve: func(w http.ResponseWriter, r *http.Request, log string) {
				w.Header().Set("ETag", digestTag(log))
				if r.Header.Get("Range") == "" {
					fmt.Fprint(w, log)
					return
				}
				w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", len(log)))
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			},
		}, gitlabjobs.WithRetry(gitlabjobs.RetryPolicy{MaxRetries: 1}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var w strings.Builder
		_, err := jobs.FollowTrace(ctx, "42", 7, &w, followEverySecond())
		require.ErrorIs(t, gitlabjobs.Fails(t, err), gitlabjobs.ErrContentChanged)
		assert.Equal(t, "one log\n", w.String())
	})
}

package gitlabjobs_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gitlabjobs/gitlabjobs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// everySecond makes polls come at whole seconds: there is no room for jitter.
func everySecond() *gitlabjobs.WaitOptions {
	return &gitlabjobs.WaitOptions{MinInterval: time.Second, MaxInterval: time.Second}
}

func TestWaitReturnsEveryOutcome(t *testing.T) {
	for _, outcome := range []gitlabjobs.Status{"success", "failed", "canceled", "skipped"} {
		t.Run(string(outcome), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, jobs := newCourse(t, course{status: until(2500*time.Millisecond, "running", string(outcome))})
				job, err := jobs.Wait(t.Context(), "42", 7, everySecond())
				require.NoError(t, err)
				assert.Equal(t, outcome, job.Status)
				assert.Equal(t, "build", job.Name)
				assert.Equal(t, []float64{0, 1, 2, 3}, g.seconds(jobPath))
			})
		})
	}
}

func TestWaitPollsConditionally(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, jobs := newCourse(t, course{status: until(3*time.Second, "running", "success")})
		_, err := jobs.Wait(t.Context(), "42", 7, everySecond())
		require.NoError(t, err)
		assert.Equal(t, []int{200, 304, 304, 200}, g.statuses(jobPath))
		assert.Empty(t, g.of(jobPath)[0].header.Get("If-None-Match"))
		assert.Equal(t, "W/"+digestTag(`{"id":7,"name":"build","status":"running"}`), g.of(jobPath)[1].header.Get("If-None-Match"))
	})
}

func TestWaitTellsEveryChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, jobs := newCourse(t, course{status: func(at time.Duration) string {
			return []string{"created", "pending", "pending", "running", "running", "canceling", "canceled"}[int(at.Seconds())]
		}})
		var seen []gitlabjobs.Status
		opts := everySecond()
		opts.OnChange = func(job *gitlabjobs.Job) { seen = append(seen, job.Status) }
		_, err := jobs.Wait(t.Context(), "42", 7, opts)
		require.NoError(t, err)
		assert.Equal(t, []gitlabjobs.Status{"created", "pending", "running", "canceling", "canceled"}, seen)
	})
}

func TestWaitStopsAtManualJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, jobs := newCourse(t, course{status: until(time.Second, "created", "manual")})
		var seen []gitlabjobs.Status
		opts := everySecond()
		opts.OnChange = func(job *gitlabjobs.Job) { seen = append(seen, job.Status) }
		job, err := jobs.Wait(t.Context(), "42", 7, opts)
		require.ErrorIs(t, gitlabjobs.Fails(t, err), gitlabjobs.ErrManual)
		assert.Equal(t, gitlabjobs.StatusManual, job.Status)
		assert.Equal(t, []float64{0, 1}, g.seconds(jobPath))
		assert.Equal(t, []gitlabjobs.Status{"created", "manual"}, seen)
	})
}

func TestWaitGoesThroughManual(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, jobs := newCourse(t, course{status: until(3*time.Second, "manual", "success")})
		opts := everySecond()
		opts.ThroughManual = true
		job, err := jobs.Wait(t.Context(), "42", 7, opts)
		require.NoError(t, err)
		assert.Equal(t, gitlabjobs.StatusSuccess, job.Status)
		assert.Equal(t, []float64{0, 1, 2, 3}, g.seconds(jobPath))
	})
}

// The interval starts short, grows by a half while nothing changes, and starts
// anew with a change.
func TestWaitAdaptsItsIntervals(t *testing.T) {
	const jitter = 0.2
	for _, test := range []struct {
		name     string
		opts     *gitlabjobs.WaitOptions
		min, max float64 // seconds
	}{
		{"by default", nil, 2, 30},
		{"as told", &gitlabjobs.WaitOptions{MinInterval: 4 * time.Second, MaxInterval: 9 * time.Second}, 4, 9},
		{"a longer MinInterval alone", &gitlabjobs.WaitOptions{MinInterval: time.Minute}, 60, 60},
		{"a shorter MaxInterval alone", &gitlabjobs.WaitOptions{MaxInterval: time.Second}, 1, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				changes := 0
				g, jobs := newCourse(t, course{status: func(at time.Duration) string {
					switch {
					case at < 100*time.Second:
						return "pending"
					case at < 200*time.Second:
						return "running"
					}
					return "success"
				}})
				var opts gitlabjobs.WaitOptions
				if test.opts != nil {
					opts = *test.opts
				}
				var restart float64
				opts.OnChange = func(job *gitlabjobs.Job) {
					if changes++; job.Status == gitlabjobs.StatusRunning {
						restart = time.Since(g.start).Seconds()
					}
				}
				_, err := jobs.Wait(t.Context(), "42", 7, &opts)
				require.NoError(t, err)
				require.Equal(t, 3, changes)
				moments := g.seconds(jobPath)
				interval, jittered := test.min, false
				for i := 1; i < len(moments); i++ {
					if moments[i-1] == restart || i == 1 {
						interval = test.min
					}
					gap := moments[i] - moments[i-1]
					low, high := max(interval*(1-jitter), test.min), min(interval*(1+jitter), test.max)
					assert.InDelta(t, (low+high)/2, gap, (high-low)/2+1e-6, "poll %d of %v", i, moments)
					jittered = jittered || gap != interval
					interval = min(interval*1.5, test.max)
				}
				assert.Equal(t, test.min < test.max, jittered, "%v", moments)
			})
		})
	}
}

func TestPollingRefusesBadInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, jobs := newCourse(t, course{status: always("success")})
		calls := map[string]func(project gitlabjobs.ProjectID, id int64, shortest, longest time.Duration) error{
			"Wait": func(project gitlabjobs.ProjectID, id int64, shortest, longest time.Duration) error {
				job, err := jobs.Wait(t.Context(), project, id, &gitlabjobs.WaitOptions{MinInterval: shortest, MaxInterval: longest})
				assert.Nil(t, job)
				return err
			},
			"FollowTrace": func(project gitlabjobs.ProjectID, id int64, shortest, longest time.Duration) error {
				job, err := jobs.FollowTrace(t.Context(), project, id, new(strings.Builder), &gitlabjobs.FollowOptions{MinInterval: shortest, MaxInterval: longest})
				assert.Nil(t, job)
				return err
			},
			"WatchPipeline": func(project gitlabjobs.ProjectID, id int64, shortest, longest time.Duration) error {
				events, err := watch(jobs.WatchPipeline(t.Context(), project, id, &gitlabjobs.WatchOptions{MinInterval: shortest, MaxInterval: longest}))
				assert.Empty(t, events)
				return err
			},
		}
		for name, call := range calls {
			for _, test := range []struct {
				project           gitlabjobs.ProjectID
				id                int64
				shortest, longest time.Duration
				says              string
			}{
				{"42", 7, -1, 0, "MinInterval or MaxInterval is negative"},
				{"42", 7, 0, -1, "MinInterval or MaxInterval is negative"},
				{"42", 7, 2, 1, "MinInterval is longer than MaxInterval"},
				{"", 7, 0, 0, "the project is empty"},
				{"42", 0, 0, 0, "an ID is above 0"},
			} {
				require.ErrorContains(t, gitlabjobs.Fails(t, call(test.project, test.id, test.shortest, test.longest)), test.says, name)
			}
		}
		_, err := jobs.FollowTrace(t.Context(), "42", 7, nil, nil)
		require.ErrorContains(t, gitlabjobs.Fails(t, err), "the writer is nil")
		assert.Empty(t, g.hits)
	})
}

// transients are the failures that five polls in a row may have.
var transients = map[string]func(w http.ResponseWriter, r *http.Request){
	"408": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusRequestTimeout) },
	"429": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) },
	"500": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
	"502": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
	"503": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
	"504": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGatewayTimeout) },
	"a broken connection": func(http.ResponseWriter, *http.Request) {
		panic(http.ErrAbortHandler)
	},
	"a truncated body": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "{")
	},
	"a stall": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
}

func TestWaitSurvivesFiveFailedPolls(t *testing.T) {
	for name, fail := range transients {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, jobs := newCourse(t, course{
					status: until(7*time.Second, "running", "success"),
					fault: func(w http.ResponseWriter, r *http.Request, n int) bool {
						if n == 1 || n > 6 {
							return false
						}
						fail(w, r)
						return true
					},
				}, gitlabjobs.WithStallTimeout(time.Second))
				job, err := jobs.Wait(t.Context(), "42", 7, everySecond())
				require.NoError(t, err)
				assert.Equal(t, gitlabjobs.StatusSuccess, job.Status)
				assert.GreaterOrEqual(t, len(g.of(jobPath)), 7)
			})
		})
	}
}

func TestWaitEndsWithTheSixthFailedPoll(t *testing.T) {
	for name, fail := range transients {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, jobs := newCourse(t, course{
					status: always("running"),
					fault: func(w http.ResponseWriter, r *http.Request, n int) bool {
						if n <= 2 {
							return false
						}
						fail(w, r)
						return true
					},
				}, gitlabjobs.WithStallTimeout(time.Second))
				job, err := jobs.Wait(t.Context(), "42", 7, everySecond())
				require.Error(t, gitlabjobs.Fails(t, err))
				require.NotNil(t, job)
				assert.Equal(t, gitlabjobs.StatusRunning, job.Status)
				synctest.Wait()
				// net/http itself sends again on a connection that was in use.
				assert.Len(t, slices.Compact(g.seconds(jobPath)), 2+6)
			})
		})
	}
}

// A poll that succeeds starts the count of failures anew, and a job that was
// never seen is nil.
func TestWaitCountsFailuresInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, jobs := newCourse(t, course{
			status: until(14*time.Second, "running", "success"),
			fault: func(w http.ResponseWriter, r *http.Request, n int) bool {
				return n != 6 && n != 12 && n < 18 && failing(jobPath, http.StatusBadGateway, 1, n)(w, r, n)
			},
		})
		job, err := jobs.Wait(t.Context(), "42", 7, everySecond())
		require.NoError(t, err)
		assert.Equal(t, gitlabjobs.StatusSuccess, job.Status)
		assert.Len(t, g.of(jobPath), 18)

		_, jobs = newCourse(t, course{fault: failing(jobPath, http.StatusBadGateway, 1, 6)})
		job, err = jobs.Wait(t.Context(), "42", 7, everySecond())
		var refusal *gitlabjobs.Error
		require.ErrorAs(t, gitlabjobs.Fails(t, err), &refusal)
		assert.Equal(t, http.StatusBadGateway, refusal.StatusCode)
		assert.Nil(t, job)
	})
}

func TestWaitRetriesEachPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		retry := gitlabjobs.WithRetry(gitlabjobs.RetryPolicy{MaxRetries: 2, MinWait: 1, MaxWait: 1})
		g, jobs := newCourse(t, course{fault: failing(jobPath, http.StatusServiceUnavailable, 1, 100)}, retry)
		_, err := jobs.Wait(t.Context(), "42", 7, everySecond())
		require.Error(t, gitlabjobs.Fails(t, err))
		assert.Len(t, g.of(jobPath), 6*(1+2))
	})
}

func TestWaitObeysRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, jobs := newCourse(t, course{
			status: always("success"),
			fault: func(w http.ResponseWriter, _ *http.Request, n int) bool {
				if n == 1 {
					w.Header().Set("Retry-After", "30")
					w.WriteHeader(http.StatusTooManyRequests)
				}
				return n == 1
			},
		})
		_, err := jobs.Wait(t.Context(), "42", 7, everySecond())
		require.NoError(t, err)
		assert.Equal(t, []float64{0, 30}, g.seconds(jobPath))
	})
}

func TestWaitReturnsPermanentFailuresAtOnce(t *testing.T) {
	for status, sentinel := range map[int]error{
		http.StatusUnauthorized: gitlabjobs.ErrUnauthorized,
		http.StatusForbidden:    gitlabjobs.ErrForbidden,
		http.StatusNotFound:     gitlabjobs.ErrNotFound,
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, jobs := newCourse(t, course{status: always("running"), fault: failing(jobPath, status, 3, 3)})
				job, err := jobs.Wait(t.Context(), "42", 7, everySecond())
				require.ErrorIs(t, gitlabjobs.Fails(t, err), sentinel)
				assert.Equal(t, gitlabjobs.StatusRunning, job.Status)
				assert.Equal(t, []float64{0, 1, 2}, g.seconds(jobPath))
			})
		})
	}
	t.Run("a login page", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g, jobs := newPipeGitLab(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/html")
				fmt.Fprint(w, "<!DOCTYPE html>")
			})
			_, err := jobs.Wait(t.Context(), "42", 7, everySecond())
			require.ErrorIs(t, gitlabjobs.Fails(t, err), gitlabjobs.ErrUnexpectedContent)
			assert.Len(t, g.hits, 1)
		})
	})
	t.Run("a token source that fails", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			vault := errors.New("the vault is sealed")
			g, jobs := newPipeGitLab(t, nil, gitlabjobs.WithTokenSource(func(context.Context) (gitlabjobs.Token, error) {
				return gitlabjobs.Token{}, vault
			}))
			_, err := jobs.Wait(t.Context(), "42", 7, everySecond())
			require.ErrorIs(t, gitlabjobs.Fails(t, err), vault)
			assert.Empty(t, g.hits)
		})
	})
}

// Every finished status ends the wait, also one that came while polls failed.
func TestWaitSeesAFinishBehindFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, jobs := newCourse(t, course{
			status: until(2*time.Second, "running", "canceled"),
			fault:  failing(jobPath, http.StatusInternalServerError, 2, 4),
		})
		job, err := jobs.Wait(t.Context(), "42", 7, everySecond())
		require.NoError(t, err)
		assert.Equal(t, gitlabjobs.StatusCanceled, job.Status)
		assert.Equal(t, []float64{0, 1, 2, 3, 4}, g.seconds(jobPath))
	})
}

func TestPollingEndsWithItsContext(t *testing.T) {
	ways := map[string]func(ctx context.Context, jobs *gitlabjobs.JobsService) (*gitlabjobs.Job, error){
		"Wait": func(ctx context.Context, jobs *gitlabjobs.JobsService) (*gitlabjobs.Job, error) {
			return jobs.Wait(ctx, "42", 7, everySecond())
		},
		"FollowTrace": func(ctx context.Context, jobs *gitlabjobs.JobsService) (*gitlabjobs.Job, error) {
			return jobs.FollowTrace(ctx, "42", 7, new(strings.Builder), &gitlabjobs.FollowOptions{MinInterval: time.Second, MaxInterval: time.Second})
		},
	}
	faults := map[string]func(w http.ResponseWriter, r *http.Request, n int) bool{
		"between two polls": nil,
		"during a request": func(_ http.ResponseWriter, r *http.Request, n int) bool {
			if n < 4 {
				return false
			}
			<-r.Context().Done()
			return true
		},
		"among failures": failing(jobPath, http.StatusBadGateway, 3, 100),
	}
	for way, call := range ways {
		for when, fault := range faults {
			t.Run(way+" "+when, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					_, jobs := newCourse(t, course{status: always("running"), log: always("log"), fault: fault})
					enough := errors.New("enough")
					ctx, cancel := context.WithCancelCause(t.Context())
					time.AfterFunc(3500*time.Millisecond, func() { cancel(enough) })
					start := time.Now()
					job, err := call(ctx, jobs)
					require.ErrorIs(t, gitlabjobs.Fails(t, err), context.Canceled)
					require.ErrorIs(t, gitlabjobs.Fails(t, err), enough)
					assert.Equal(t, gitlabjobs.StatusRunning, job.Status)
					assert.Equal(t, 3500*time.Millisecond, time.Since(start))
				})
			})
		}
	}
	t.Run("at its deadline", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g, jobs := newCourse(t, course{status: always("running")})
			ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
			defer cancel()
			job, err := jobs.Wait(ctx, "42", 7, everySecond())
			require.ErrorIs(t, gitlabjobs.Fails(t, err), context.DeadlineExceeded)
			assert.Equal(t, gitlabjobs.StatusRunning, job.Status)
			assert.Equal(t, []float64{0, 1, 2}, g.seconds(jobPath))
		})
	})
}

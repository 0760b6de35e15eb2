package gitlabjobs_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gitlabjobs/gitlabjobs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const pipelinePath = "/pipelines/3/jobs"

// A listedJob is a job as a pipeline's list shows it.
type listedJob struct {
	id     int64
	status string
}

// newPipeline starts a pipeGitLab with pipeline 3, whose own status is
// pipelineStatus and whose jobs are what list returns for a moment.
func newPipeline(t *testing.T, pipelineStatus string, list func(at time.Duration) []listedJob, opts ...gitlabjobs.Option) (*pipeGitLab, *gitlabjobs.JobsService) {
	t.Helper()
	start := time.Now()
	return newPipeGitLab(t, func(w http.ResponseWriter, r *http.Request) {
		servePage(w, r, pipelineStatus, list(time.Since(start)))
	}, opts...)
}

func servePage(w http.ResponseWriter, r *http.Request, pipelineStatus string, jobs []listedJob) {
	number, _ := strconv.Atoi(r.URL.Query().Get("page"))
	size, _ := strconv.Atoi(r.URL.Query().Get("per_page"))
	from := min((max(number, 1)-1)*size, len(jobs))
	to := min(from+size, len(jobs))
	var page []string
	for _, job := range jobs[from:to] {
		page = append(page, fmt.Sprintf(`{"id":%d,"name":"job %d","status":%q,"pipeline":{"id":3,"status":%q}}`, job.id, job.id, job.status, pipelineStatus))
	}
	w.Header().Set("X-Next-Page", "")
	if to < len(jobs) {
		w.Header().Set("X-Next-Page", strconv.Itoa(max(number, 1)+1))
	}
	serveJSON(w, r, "["+strings.Join(page, ",")+"]")
}

// watch collects events as "ID: previous -> status", up to an error.
func watch(events iter.Seq2[gitlabjobs.JobEvent, error]) ([]string, error) {
	var seen []string
	for event, err := range events {
		if err != nil {
			return seen, err
		}
		seen = append(seen, fmt.Sprintf("%d: %s -> %s", event.Job.ID, event.Previous, event.Job.Status))
	}
	return seen, nil
}

func watchEverySecond() *gitlabjobs.WatchOptions {
	return &gitlabjobs.WatchOptions{MinInterval: time.Second, MaxInterval: time.Second}
}

// A failed job is retried: the new one has a new ID, and the old one stays in
// the list because retried ones are asked for. Another appears late.
func TestWatchPipelineYieldsEveryChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		moments := [][]listedJob{
			{{2, "created"}, {1, "pending"}},
			{{2, "created"}, {1, "running"}},
			{{2, "created"}, {1, "failed"}},
			{{3, "pending"}, {2, "created"}, {1, "failed"}},
			{{4, "created"}, {3, "success"}, {2, "running"}, {1, "failed"}},
			{{4, "running"}, {3, "success"}, {2, "success"}, {1, "failed"}},
			{{4, "canceled"}, {3, "success"}, {2, "success"}, {1, "failed"}},
		}
		g, jobs := newPipeline(t, "running", func(at time.Duration) []listedJob { return moments[int(at.Seconds())] })
		seen, err := watch(jobs.WatchPipeline(t.Context(), "42", 3, watchEverySecond()))
		require.NoError(t, err)
		assert.Equal(t, []string{
			"2:  -> created", "1:  -> pending",
			"1: pending -> running",
			"1: running -> failed",
			"3:  -> pending",
			"4:  -> created", "3: pending -> success", "2: created -> running",
			"4: created -> running", "2: running -> success",
			"4: running -> canceled",
		}, seen)
		assert.Equal(t, []float64{0, 1, 2, 3, 4, 5, 6}, g.seconds(pipelinePath))
		assert.Equal(t, "include_retried=true&per_page=100", g.of(pipelinePath)[0].query)
	})
}

func TestWatchPipelineEnds(t *testing.T) {
	for _, test := range []struct {
		name, pipelineStatus string
		jobs                 []listedJob
		ends                 bool
	}{
		{"without jobs", "", nil, true},
		{"when all have finished", "success", []listedJob{{1, "success"}, {2, "failed"}, {3, "canceled"}, {4, "skipped"}}, true},
		{"when the others wait for a person", "manual", []listedJob{{1, "success"}, {2, "manual"}}, true},
		{"when jobs wait behind one for a person", "manual", []listedJob{{1, "success"}, {2, "manual"}, {3, "created"}}, true},
		{"not while one is created that nothing blocks", "running", []listedJob{{1, "success"}, {2, "manual"}, {3, "created"}}, false},
		{"not while one runs beside a manual one", "manual", []listedJob{{1, "running"}, {2, "manual"}}, false},
		{"not while one waits for its time", "scheduled", []listedJob{{1, "success"}, {2, "scheduled"}}, false},
		{"not while one is canceling", "running", []listedJob{{1, "canceling"}}, false},
		{"not while one has an unknown status", "running", []listedJob{{1, "levitating"}}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, jobs := newPipeline(t, test.pipelineStatus, func(time.Duration) []listedJob { return test.jobs })
				ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
				defer cancel()
				seen, err := watch(jobs.WatchPipeline(ctx, "42", 3, watchEverySecond()))
				assert.Len(t, seen, len(test.jobs))
				if test.ends {
					require.NoError(t, err)
					assert.Len(t, g.hits, 1)
				} else {
					require.ErrorIs(t, gitlabjobs.Fails(t, err), context.DeadlineExceeded)
					assert.Len(t, g.hits, 3)
				}
			})
		})
	}
}

// Of many pages, the server sends again only those on which something changed.
func TestWatchPipelineOfManyJobs(t *testing.T) {
	const count = 250
	synctest.Test(t, func(t *testing.T) {
		g, jobs := newPipeline(t, "running", func(at time.Duration) []listedJob {
			list := make([]listedJob, count)
			for i := range list {
				list[i] = listedJob{int64(count - i), "running"}
				if at >= 2*time.Second || at >= time.Second && i == 150 {
					list[i].status = "success"
				}
			}
			return list
		})
		seen, err := watch(jobs.WatchPipeline(t.Context(), "42", 3, watchEverySecond()))
		require.NoError(t, err)
		assert.Len(t, seen, count+count)
		assert.Equal(t, "100: running -> success", seen[count])
		assert.Equal(t, []float64{0, 0, 0, 1, 1, 1, 2, 2, 2}, g.seconds(pipelinePath))
		assert.Equal(t, []int{200, 200, 200, 304, 200, 304, 200, 200, 200}, g.statuses(pipelinePath))
	})
}

// What a caller does to an event's job doesn't reach what later polls compare.
func TestWatchPipelineKeepsItsJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		moments := []string{"running", "running", "success"}
		_, jobs := newPipeline(t, "running", func(at time.Duration) []listedJob {
			return []listedJob{{1, moments[int(at.Seconds())]}}
		})
		var previous []gitlabjobs.Status
		for event, err := range jobs.WatchPipeline(t.Context(), "42", 3, watchEverySecond()) {
			require.NoError(t, err)
			previous = append(previous, event.Previous)
			event.Job.ID, event.Job.Status = 0, "manual"
		}
		assert.Equal(t, []gitlabjobs.Status{"", "running"}, previous)
	})
}

func TestWatchPipelineIsLazyAndStartsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, jobs := newPipeline(t, "running", func(time.Duration) []listedJob { return []listedJob{{2, "running"}, {1, "running"}} })
		events := jobs.WatchPipeline(t.Context(), "42", 3, nil)
		assert.Empty(t, g.hits)
		for range 2 {
			for event, err := range events {
				require.NoError(t, err)
				assert.Equal(t, int64(2), event.Job.ID)
				assert.Empty(t, event.Previous)
				break
			}
		}
		assert.Equal(t, []int{200, 200}, g.statuses(pipelinePath))
	})
}

// A bubble doesn't end before its goroutines have: none is left behind here.
func TestWatchPipelineBreakCancelsTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		canceled := make(chan struct{})
		_, jobs := newPipeGitLab(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("page") == "2" {
				<-r.Context().Done()
				close(canceled)
				return
			}
			w.Header().Set("X-Next-Page", "2")
			serveJSON(w, r, `[{"id":2,"status":"running"},{"id":1,"status":"running"}]`)
		})
		start := time.Now()
		for event, err := range jobs.WatchPipeline(t.Context(), "42", 3, nil) {
			require.NoError(t, err)
			if event.Job.ID == 1 {
				synctest.Wait() // page 2 is being asked for
				break
			}
		}
		<-canceled
		assert.Zero(t, time.Since(start))
	})
}

func TestWatchPipelineSurvivesFiveFailedPolls(t *testing.T) {
	for failures, survives := range map[int]bool{5: true, 6: false} {
		t.Run(fmt.Sprint(failures), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := 0
				g, jobs := newPipeGitLab(t, func(w http.ResponseWriter, r *http.Request) {
					n++
					switch {
					case n == 1:
						servePage(w, r, "running", []listedJob{{1, "running"}})
					case n <= 1+failures:
						w.WriteHeader(http.StatusBadGateway)
					default:
						servePage(w, r, "running", []listedJob{{1, "success"}})
					}
				})
				seen, err := watch(jobs.WatchPipeline(t.Context(), "42", 3, watchEverySecond()))
				if survives {
					require.NoError(t, err)
					assert.Equal(t, []string{"1:  -> running", "1: running -> success"}, seen)
				} else {
					var refusal *gitlabjobs.Error
					require.ErrorAs(t, gitlabjobs.Fails(t, err), &refusal)
					assert.Equal(t, []string{"1:  -> running"}, seen)
				}
				assert.Equal(t, []float64{0, 1, 2, 3, 4, 5, 6}, g.seconds(pipelinePath)[:7])
			})
		})
	}
}

// A poll that fails on its second page has seen no end, though nothing on the
// first one moves.
func TestWatchPipelineDoesNotEndOnHalfAPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failed := false
		_, jobs := newPipeGitLab(t, func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Query().Get("page") != "2":
				w.Header().Set("X-Next-Page", "2")
				serveJSON(w, r, `[{"id":2,"status":"success"}]`)
			case !failed:
				failed = true
				w.WriteHeader(http.StatusInternalServerError)
			default:
				serveJSON(w, r, `[{"id":1,"status":"failed"}]`)
			}
		})
		seen, err := watch(jobs.WatchPipeline(t.Context(), "42", 3, nil))
		require.NoError(t, err)
		assert.Equal(t, []string{"2:  -> success", "1:  -> failed"}, seen)
	})
}

func TestWatchPipelineEndsAfterOneError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, jobs := newPipeGitLab(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
		var errs []error
		for event, err := range jobs.WatchPipeline(t.Context(), "42", 3, nil) {
			assert.Nil(t, event.Job)
			errs = append(errs, err)
		}
		require.Len(t, errs, 1)
		require.ErrorIs(t, gitlabjobs.Fails(t, errs[0]), gitlabjobs.ErrNotFound)
		assert.Len(t, g.hits, 1)
	})
}

func TestWatchPipelineEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, jobs := newPipeline(t, "running", func(time.Duration) []listedJob { return []listedJob{{1, "running"}} })
		enough := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(1500*time.Millisecond, func() { cancel(enough) })
		start := time.Now()
		_, err := watch(jobs.WatchPipeline(ctx, "42", 3, watchEverySecond()))
		require.ErrorIs(t, gitlabjobs.Fails(t, err), context.Canceled)
		require.ErrorIs(t, gitlabjobs.Fails(t, err), enough)
		assert.Equal(t, 1500*time.Millisecond, time.Since(start))
	})
}

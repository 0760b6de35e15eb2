package gitlabjobs_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gitlabjobs/gitlabjobs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	followPolls    = 100
	maxFollowExtra = 2 << 20 // bytes that following may take, whatever the log's length
)

// A steadyLog is the log of a job that grows by a step with each look at the
// job. Nobody holds it: it is steadyBlock over and over.
type steadyLog struct {
	length, step int64
	kind         string
	now          atomic.Int64 // bytes there are
	sent         atomic.Int64 // bytes of all answers
}

var steadyBlock = bytes.Repeat([]byte("a line of the log, as long as most\n"), 2048)

func (l *steadyLog) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasSuffix(r.URL.Path, "/trace") {
		status := "running"
		if l.now.Add(l.step) >= l.length {
			status = "success"
		}
		fmt.Fprintf(w, `{"id":7,"status":%q}`, status)
		return
	}
	var from int64
	now := min(l.now.Load(), l.length)
	switch l.kind {
	case "200":
	case "304":
		etag := fmt.Sprintf(`W/"%d"`, now)
		w.Header().Set("ETag", etag)
		if r.Header.Get("If-None-Match") == etag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	case "206":
		w.Header().Set("ETag", `"log-7"`)
		if first, found := strings.CutPrefix(r.Header.Get("Range"), "bytes="); found {
			from, _ = strconv.ParseInt(strings.TrimSuffix(first, "-"), 10, 64)
			if from >= now {
				w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", now))
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
				return
			}
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, now-1, now))
			w.Header().Set("Content-Length", strconv.FormatInt(now-from, 10))
			w.WriteHeader(http.StatusPartialContent)
		}
	}
	if from == 0 {
		w.Header().Set("Content-Length", strconv.FormatInt(now, 10))
	}
	for from < now {
		n, err := w.Write(steadyBlock[:min(int64(len(steadyBlock)), now-from)])
		l.sent.Add(int64(n))
		if err != nil {
			return
		}
		from += int64(n)
	}
}

// A heapWriter measures the live heap once in a while.
type heapWriter struct {
	written, next, every int64
	peak                 uint64
}

func (w *heapWriter) Write(p []byte) (int, error) {
	w.written += int64(len(p))
	if w.written >= w.next {
		w.next = w.written + w.every
		w.peak = max(w.peak, liveHeap())
	}
	return len(p), nil
}

func liveHeap() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// followSteadily follows a log of some bytes that grows over followPolls polls,
// and returns the bytes moved and the most memory that was in use meanwhile.
func followSteadily(tb testing.TB, kind string, length int64) (sent int64, extra int64) {
	tb.Helper()
	log := &steadyLog{length: length, step: length / followPolls, kind: kind}
	server := httptest.NewServer(log)
	defer server.Close()
	client := gitlabjobs.RecordedClient(tb, gitlabjobs.WithBaseURL(server.URL))
	before := liveHeap()
	w := &heapWriter{every: length / 10}
	job, err := client.Jobs.FollowTrace(tb.Context(), "42", 7, w, &gitlabjobs.FollowOptions{MinInterval: 1, MaxInterval: time.Microsecond})
	require.NoError(tb, err)
	require.Equal(tb, gitlabjobs.StatusSuccess, job.Status)
	require.Equal(tb, length, w.written)
	return log.sent.Load(), int64(w.peak) - int64(before)
}

// Not parallel: it measures the memory of the whole process.
func TestFollowTraceInConstantMemory(t *testing.T) {
	const length = 6_400_000
	for kind, most := range map[string]int64{"200": length * 52, "304": length * 51, "206": length} {
		t.Run(kind, func(t *testing.T) {
			sent, extra := followSteadily(t, kind, length)
			assert.LessOrEqual(t, sent, most)
			assert.Less(t, extra, int64(maxFollowExtra))
		})
	}
}

// BenchmarkFollowTrace follows a 50 MiB log that grows over 100 polls.
func BenchmarkFollowTrace(b *testing.B) {
	const length = 50 << 20
	for _, kind := range []string{"200", "304", "206"} {
		b.Run("kind="+kind, func(b *testing.B) {
			b.SetBytes(length)
			var sent, extra int64
			for b.Loop() {
				var peak int64
				sent, peak = followSteadily(b, kind, length)
				extra = max(extra, peak)
			}
			if extra >= maxFollowExtra {
				b.Fatalf("%d bytes of memory", extra)
			}
			b.ReportMetric(float64(sent)/(1<<20), "MiB-moved")
			b.ReportMetric(float64(extra)/(1<<10), "KiB-extra")
		})
	}
}

package main

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// A growingLog is a job's log that grows in steps, with each second time that
// it is asked for.
type growingLog struct {
	mu    sync.Mutex
	size  int64 // at its end
	steps int64
	asked int64
	etags bool // answers are conditional
}

const pollsPerStep = 2

func (l *growingLog) start(_ http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.size, _ = strconv.ParseInt(r.FormValue("size"), 10, 64)
	l.steps, _ = strconv.ParseInt(r.FormValue("steps"), 10, 64)
	l.etags = r.FormValue("etags") != ""
	l.asked = 0
}

func (l *growingLog) finished() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked >= l.steps*pollsPerStep
}

// serve sends the log so far, whole, as GitLab does.
func (l *growingLog) serve(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	l.asked++
	step := min((l.asked+pollsPerStep-1)/pollsPerStep, l.steps)
	length, etags := l.size*step/max(l.steps, 1), l.etags
	l.mu.Unlock()
	header := w.Header()
	header.Set("Content-Type", "text/plain")
	if etags {
		etag := fmt.Sprintf(`"log-%d"`, length)
		header.Set("ETag", etag)
		if r.Header.Get("If-None-Match") == etag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	header.Set("Content-Length", strconv.FormatInt(length, 10))
	io.Copy(w, io.NewSectionReader(logText{}, 0, length)) //nolint:errcheck // the client has gone
}

// logText is a log without an end, the same lines again and again.
type logText struct{}

var logBlock = func() string {
	var b strings.Builder
	for i := range 16_384 {
		fmt.Fprintf(&b, "%05d ok  example.com/group/app/internal/package%d 0.123s\n", i, i)
	}
	return b.String()
}()

func (logText) ReadAt(p []byte, off int64) (int, error) {
	for n := 0; n < len(p); {
		n += copy(p[n:], logBlock[(off+int64(n))%int64(len(logBlock)):])
	}
	return len(p), nil
}

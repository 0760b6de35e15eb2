package jobstest

import (
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// serveBufferSize is how much of a body is moved at a time: large, so that
// loopback is kept busy.
const serveBufferSize = 512 << 10

var serveBuffers = sync.Pool{New: func() any { return new([serveBufferSize]byte) }}

// An answer writes a response as its faults will have it, and counts.
type answer struct {
	http.ResponseWriter
	s       *Server
	r       *http.Request
	rec     *record
	fault   Fault
	started time.Time // when the body began
	encoder *gzip.Writer
	wrote   bool
}

// begin starts the answer to a request; end must be called after it.
func (s *Server) begin(w http.ResponseWriter, r *http.Request, origin, endpoint string) *answer {
	s.records.enter()
	rec := s.records.add(r, origin, endpoint)
	return &answer{ResponseWriter: w, s: s, r: r, rec: rec, fault: s.faultFor(origin, endpoint)}
}

func (a *answer) end() {
	if a.encoder != nil {
		_ = a.encoder.Close() // fails where the client is gone
	}
	a.s.records.leave()
}

// answer carries the request out and writes what comes of it, or of the faults.
func (s *Server) answer(a *answer, c *call, handle func() (reply, *failure)) {
	f := a.fault
	if f.Delay > 0 {
		a.sleep(f.Delay)
	}
	replaced := f.Status != 0 || f.HTMLLogin || f.CloseBeforeAnswer || f.ResetBeforeAnswer
	var rep reply
	if !replaced || f.TakesEffect {
		var fail *failure
		if rep, fail = handle(); fail != nil {
			rep = fail
		}
	}
	switch {
	case f.CloseBeforeAnswer, f.ResetBeforeAnswer:
		a.cut(f.ResetBeforeAnswer)
	case f.Status != 0:
		rep = f.reply()
	case f.HTMLLogin:
		rep = loginPage()
	}
	rep.write(a, c)
	if !a.wrote {
		a.WriteHeader(http.StatusOK)
	}
}

// WriteHeader sends the header, changed as the faults will have it.
func (a *answer) WriteHeader(status int) {
	if a.wrote {
		return
	}
	a.wrote = true
	h := a.Header()
	maps.Copy(h, a.fault.Header)
	if a.fault.RetryAfter != "" {
		h.Set("Retry-After", a.fault.RetryAfter)
	}
	if a.fault.NoETag {
		h.Del("ETag")
	}
	if a.fault.WeakETag {
		weaken(h)
	}
	if a.fault.NoLastModified {
		h.Del("Last-Modified")
	}
	if a.fault.NoRanges {
		h.Del("Accept-Ranges")
	}
	if span, total, ok := strings.Cut(h.Get("Content-Range"), "/"); ok && a.fault.WrongTotal && status == http.StatusPartialContent {
		n, _ := strconv.ParseInt(total, 10, 64)
		h.Set("Content-Range", fmt.Sprintf("%s/%d", span, n+1))
	}
	if a.gzips(status) {
		h.Set("Content-Encoding", "gzip")
		h.Set("Vary", "Accept-Encoding")
		h.Del("Content-Length")
		h.Del("Accept-Ranges")
		weaken(h)
		a.encoder = gzip.NewWriter(wire{a})
	}
	a.rec.status.Store(int32(status))
	a.ResponseWriter.WriteHeader(status)
	if a.encoder != nil {
		// Short bodies too are sent in chunks, as nginx does.
		_ = http.NewResponseController(a.ResponseWriter).Flush()
	}
	a.started = time.Now()
	if a.r.Method != http.MethodHead {
		a.checkLimits()
	}
}

// gzips reports whether this answer is to be encoded.
func (a *answer) gzips(status int) bool {
	h := a.Header()
	switch {
	case status != http.StatusOK || a.r.Method == http.MethodHead || h.Get("Content-Encoding") != "":
		return false
	case a.fault.Gzip:
		return true
	}
	kind, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return a.s.gzip && (kind == "application/json" || kind == "text/plain") &&
		strings.Contains(a.r.Header.Get("Accept-Encoding"), "gzip")
}

func (a *answer) Write(b []byte) (int, error) {
	if !a.wrote {
		a.WriteHeader(http.StatusOK)
	}
	if a.encoder != nil {
		return a.encoder.Write(b)
	}
	return wire{a}.Write(b)
}

// ReadFrom lets io.Copy use large buffers.
func (a *answer) ReadFrom(src io.Reader) (int64, error) {
	buf := serveBuffers.Get().(*[serveBufferSize]byte)
	defer serveBuffers.Put(buf)
	return io.CopyBuffer(struct{ io.Writer }{a}, struct{ io.Reader }{src}, buf[:])
}

// A wire is where an answer's bytes leave the server, encoded if they are to be.
type wire struct{ a *answer }

// Write sends b piece by piece, as far as the faults let it.
func (w wire) Write(b []byte) (int, error) {
	a, written := w.a, 0
	if a.r.Method == http.MethodHead {
		return len(b), nil
	}
	for len(b) > 0 {
		piece := b
		for _, limit := range []int64{a.fault.ResetAfter, a.fault.TruncateAfter, a.stallLimit()} {
			if left := limit - a.rec.sent.Load(); limit > 0 && left < int64(len(piece)) {
				piece = piece[:left]
			}
		}
		if rate := a.fault.BytesPerSecond; rate > 0 {
			piece = piece[:min(int64(len(piece)), max(rate/pacesPerSecond, 1))]
		}
		n, err := a.ResponseWriter.Write(piece)
		written += n
		a.rec.sent.Add(int64(n))
		a.s.records.sent.Add(int64(n))
		if err != nil {
			return written, err
		}
		b = b[n:]
		a.checkLimits()
		a.pace()
	}
	return written, nil
}

// pacesPerSecond is how often a throttled response pauses.
const pacesPerSecond = 50

// pace waits until the bytes sent so far may have been sent.
func (a *answer) pace() {
	if rate := a.fault.BytesPerSecond; rate > 0 {
		due := time.Duration(float64(a.rec.sent.Load()) / float64(rate) * float64(time.Second))
		if early := due - time.Since(a.started); early > 0 {
			a.sleep(early)
		}
	}
}

func (a *answer) stallLimit() int64 {
	if a.fault.Stall {
		return a.fault.StallAfter
	}
	return 0
}

// checkLimits interrupts the answer where a fault says so.
func (a *answer) checkLimits() {
	f := a.fault
	if f.ResetAfter > 0 {
		a.interruptAt(f.ResetAfter, func() { a.cut(true) })
	}
	if f.TruncateAfter > 0 {
		a.interruptAt(f.TruncateAfter, func() { a.cut(false) })
	}
	if f.Stall {
		a.interruptAt(f.StallAfter, a.stall)
	}
}

func (a *answer) interruptAt(limit int64, interrupt func()) {
	if a.rec.sent.Load() >= limit {
		interrupt()
	}
}

// stall sends what there is and then nothing, until the client goes away.
func (a *answer) stall() {
	_ = http.NewResponseController(a.ResponseWriter).Flush()
	select {
	case <-a.r.Context().Done():
	case <-a.s.closing:
	}
	panic(http.ErrAbortHandler)
}

// cut breaks the connection, by a reset or by closing it.
func (a *answer) cut(reset bool) {
	control := http.NewResponseController(a.ResponseWriter)
	if a.wrote {
		_ = control.Flush() // fails where the client is gone
	}
	// HTTP/2 can't be hijacked: there, the panic resets the stream.
	if conn, _, err := control.Hijack(); err == nil {
		if reset {
			resetConn(conn)
		} else {
			_ = conn.Close()
		}
	}
	panic(http.ErrAbortHandler)
}

// sleep waits in the time of the process, and gives up with the client.
func (a *answer) sleep(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-a.r.Context().Done():
		panic(http.ErrAbortHandler)
	case <-a.s.closing:
		panic(http.ErrAbortHandler)
	}
}

// weaken makes a strong ETag a weak one.
func weaken(h http.Header) {
	if tag := h.Get("ETag"); tag != "" && !strings.HasPrefix(tag, "W/") {
		h.Set("ETag", "W/"+tag)
	}
}

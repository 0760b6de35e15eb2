package jobstest

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxBody         = 8 << 20 // bytes of a request's body that are read
	maxRecordedBody = 1 << 20 // bytes of it that are recorded
	maxRecords      = 50_000  // requests kept; the older half is dropped then
)

// A Request is a request that the server has got.
type Request struct {
	Time      time.Time // when it came, by the clock of the process
	Method    string
	Endpoint  string // such as "GET /projects/:id/jobs/:job_id"; "" if there is none at this path
	RawPath   string // the path as it came, escaped
	Query     url.Values
	RawQuery  string
	Header    http.Header
	Body      []byte // the first MiB of it
	Origin    string // "gitlab" or "store"
	Status    int    // of the answer; 0 if there has been none
	BytesSent int64  // of the answer's body
}

// Requests returns the requests so far, in the order in which they came, those
// under way too. Of very many, the newest are kept.
func (s *Server) Requests() []Request {
	s.records.mu.Lock()
	defer s.records.mu.Unlock()
	requests := make([]Request, len(s.records.list))
	for i, r := range s.records.list {
		requests[i] = r.Request
		requests[i].Status = int(r.status.Load())
		requests[i].BytesSent = r.sent.Load()
	}
	return requests
}

// ResetRequests forgets the requests so far, and what was sent.
func (s *Server) ResetRequests() {
	s.records.mu.Lock()
	defer s.records.mu.Unlock()
	s.records.list = nil
	s.records.sent.Store(0)
}

// BytesSent returns how many bytes of bodies the server has sent, from both of
// its origins, since it was started or ResetRequests was called.
func (s *Server) BytesSent() int64 { return s.records.sent.Load() }

type recorder struct {
	mu     sync.Mutex
	list   []*record
	active int        // handlers running
	idle   *sync.Cond // signaled when active falls to 0
	sent   atomic.Int64
}

type record struct {
	Request
	status atomic.Int32
	sent   atomic.Int64
}

// add records a request. Its body is read into memory for the handler.
func (rec *recorder) add(r *http.Request, origin, endpoint string) *record {
	body, _ := io.ReadAll(io.LimitReader(r.Body, maxBody)) // a body cut short is recorded as it came
	r.Body = io.NopCloser(bytes.NewReader(body))
	query, _ := url.ParseQuery(r.URL.RawQuery)
	entry := &record{Request: Request{
		Time: time.Now(), Method: r.Method, Endpoint: endpoint, RawPath: r.URL.EscapedPath(), Query: query, RawQuery: r.URL.RawQuery,
		Header: r.Header.Clone(), Body: body[:min(len(body), maxRecordedBody)], Origin: origin,
	}}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if len(rec.list) >= maxRecords {
		rec.list = append([]*record(nil), rec.list[maxRecords/2:]...)
	}
	rec.list = append(rec.list, entry)
	return entry
}

func (rec *recorder) enter() {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.active++
}

func (rec *recorder) leave() {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.active--
	if rec.active == 0 {
		rec.idle.Broadcast()
	}
}

// wait waits until no handler is running.
func (rec *recorder) wait() {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	for rec.active > 0 {
		rec.idle.Wait()
	}
}

package jobstest

import (
	"net/http"
	"time"
)

// A Fault is something that goes wrong with a request, or an answer that the
// server wouldn't give by itself. Its fields can be combined.
type Fault struct {
	// Endpoint is whose requests are hit, as [Request] spells it, such as
	// "GET /projects/:id/jobs/:job_id", or "store" for those to the object
	// store. "" means every request, the store's too.
	Endpoint string
	Times    int // how many requests are hit; 0 means all
	Skip     int // how many pass unharmed before

	// An answer instead of the real one, where Status is set. Nothing is
	// done then, unless TakesEffect says that the request is carried out and
	// only its answer lost.
	Status      int
	Body        string
	ContentType string // default: application/json for a Body that starts with "{" or "[", else text/html
	Header      http.Header
	RetryAfter  string // the Retry-After header
	HTMLLogin   bool   // 200 and a login page in HTML
	TakesEffect bool

	Delay             time.Duration // before the answer begins, in the time of the process
	CloseBeforeAnswer bool          // the connection is closed without an answer
	ResetBeforeAnswer bool          // the same, by a reset

	// What happens to the body of the answer. Each response counts its own
	// bytes; 0 means never.
	ResetAfter     int64 // so many bytes come, then the connection is reset
	TruncateAfter  int64 // so many bytes come, then the connection is closed cleanly
	Stall          bool  // after StallAfter bytes no more come until the client goes away
	StallAfter     int64
	BytesPerSecond int64 // how fast a response is

	// What the server says of what it sends.
	NoRanges       bool // Range is ignored
	WrongRange     bool // a 206 starts at another byte than the one asked for, and says so
	WrongTotal     bool // a 206 speaks of another total
	WeakETag       bool
	NoETag         bool
	NoLastModified bool
	Gzip           bool // encoded, also for clients that refuse it

	// ChangedContent is served instead of the archive, file or log, with
	// validators of its own, or with the former ones where SameValidator is set.
	ChangedContent []byte
	SameValidator  bool
}

type activeFault struct {
	Fault
	seen int
}

// Fail lets requests fail as f says, until remove is called. Faults are asked
// in the order they were added; where several hit one request, they combine,
// the first to set a field having its way.
func (s *Server) Fail(f Fault) (remove func()) {
	added := &activeFault{Fault: f}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, added)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for i, f := range s.faults {
			if f == added {
				s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
				return
			}
		}
	}
}

// faultFor counts a request and combines the faults that hit it.
func (s *Server) faultFor(origin, endpoint string) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	var sum Fault
	for _, f := range s.faults {
		if f.Endpoint != "" && f.Endpoint != endpoint && f.Endpoint != origin {
			continue
		}
		f.seen++
		if f.seen <= f.Skip || f.Times > 0 && f.seen > f.Skip+f.Times {
			continue
		}
		sum.add(&f.Fault)
	}
	return sum
}

// add takes over what f sets and sum doesn't.
func (sum *Fault) add(f *Fault) {
	if sum.Status == 0 && f.Status != 0 {
		sum.Status, sum.Body, sum.ContentType = f.Status, f.Body, f.ContentType
	}
	for key, values := range f.Header {
		if sum.Header == nil {
			sum.Header = make(http.Header)
		}
		sum.Header[http.CanonicalHeaderKey(key)] = values
	}
	if sum.RetryAfter == "" {
		sum.RetryAfter = f.RetryAfter
	}
	if sum.ChangedContent == nil {
		sum.ChangedContent, sum.SameValidator = f.ChangedContent, f.SameValidator
	}
	if !sum.Stall && f.Stall {
		sum.Stall, sum.StallAfter = true, f.StallAfter
	}
	sum.Delay += f.Delay
	sum.ResetAfter = firstSet(sum.ResetAfter, f.ResetAfter)
	sum.TruncateAfter = firstSet(sum.TruncateAfter, f.TruncateAfter)
	sum.BytesPerSecond = firstSet(sum.BytesPerSecond, f.BytesPerSecond)
	sum.HTMLLogin = sum.HTMLLogin || f.HTMLLogin
	sum.TakesEffect = sum.TakesEffect || f.TakesEffect
	sum.CloseBeforeAnswer = sum.CloseBeforeAnswer || f.CloseBeforeAnswer
	sum.ResetBeforeAnswer = sum.ResetBeforeAnswer || f.ResetBeforeAnswer
	sum.NoRanges = sum.NoRanges || f.NoRanges
	sum.WrongRange = sum.WrongRange || f.WrongRange
	sum.WrongTotal = sum.WrongTotal || f.WrongTotal
	sum.WeakETag = sum.WeakETag || f.WeakETag
	sum.NoETag = sum.NoETag || f.NoETag
	sum.NoLastModified = sum.NoLastModified || f.NoLastModified
	sum.Gzip = sum.Gzip || f.Gzip
}

func firstSet(a, b int64) int64 {
	if a != 0 {
		return a
	}
	return b
}

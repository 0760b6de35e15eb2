package jobstest

import (
	"sync"
	"time"
)

// A Clock is what the server's jobs, links and expiries live by. It is safe
// for concurrent use.
type Clock struct {
	mu   sync.Mutex
	now  time.Time     // of a clock driven by hand
	real bool          // whether time.Now is asked instead
	lead time.Duration // how far a real clock was advanced
}

// NewClock returns a clock that stands at start until it is advanced.
func NewClock(start time.Time) *Clock {
	return &Clock{now: start}
}

// RealClock returns a clock that runs by itself. It asks time.Now, so inside
// a testing/synctest bubble it follows the bubble's time.
func RealClock() *Clock {
	return &Clock{real: true}
}

// Now returns the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.real {
		return time.Now().Add(c.lead)
	}
	return c.now
}

// Advance moves the clock forward by d. A real clock goes on from there.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	c.lead += d
}

package gitlabjobs

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A RateLimit is what the server said of its rate limit in one answer. All is
// zero where it said nothing.
type RateLimit struct {
	Limit     int       // requests per period
	Remaining int       // requests left in this one
	Reset     time.Time // when the next one starts
}

const (
	headerRetryAfter   = "Retry-After"
	headerLimit        = "Ratelimit-Limit"
	headerRemaining    = "Ratelimit-Remaining"
	headerReset        = "Ratelimit-Reset"
	maxServerWait      = 365 * 24 * time.Hour // a longer wait is taken for this one
	smallestUnixSecond = 100_000_000          // in 1973; a lower RateLimit-Reset counts seconds from now
	greatestUnixSecond = 253_402_300_799      // a higher one, of the year 10000 or later, is taken for this one
)

// A gate holds all requests of a client back while the server wants them to
// wait.
type gate struct {
	longest time.Duration // MaxRetryAfter: a longer wait isn't begun
	limiter *limiter      // nil: no limit of our own

	mu      sync.Mutex
	until   time.Time // closed until then
	refusal *Error    // the answer that closed it; nil where another one used the limit up
}

// observe closes the gate where the answer asks for it, and returns the wait
// the answer asks for.
func (g *gate) observe(resp *http.Response, refusal *Error) time.Duration {
	wait := serverWait(resp)
	if wait <= 0 {
		return 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if until := time.Now().Add(wait); until.After(g.until) {
		g.until, g.refusal = until, nil
		if refusal != nil && refusesForNow(resp.StatusCode) {
			clone := *refusal // the caller gets the other
			g.refusal = &clone
		}
	}
	return wait
}

// pass waits until the gate is open and the limiter lets a request through,
// and returns how long that took. Where the wait would be longer than allowed
// it returns at once, and the refusal that the request would have met.
func (g *gate) pass(ctx context.Context) (waited time.Duration, refusal *Error, err error) {
	if ctx.Err() != nil {
		return 0, nil, ctx.Err()
	}
	for {
		wait, refusal := g.closed()
		if wait <= 0 {
			break
		}
		if wait > g.longest || outlasts(ctx, wait) {
			return waited, refusal, nil
		}
		if err := sleep(ctx, wait); err != nil {
			return waited, nil, err
		}
		waited += wait
	}
	if g.limiter == nil {
		return waited, nil, nil
	}
	wait, err := g.limiter.wait(ctx)
	return waited + wait, nil, err
}

// closed returns how long the gate stays closed, and the error of a request
// that doesn't wait for it.
func (g *gate) closed() (time.Duration, *Error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.until.IsZero() {
		return 0, nil
	}
	wait := time.Until(g.until)
	if wait <= 0 {
		g.until, g.refusal = time.Time{}, nil
		return 0, nil
	}
	refusal := &Error{StatusCode: http.StatusTooManyRequests, Message: "the rate limit is used up"}
	if g.refusal != nil {
		clone := *g.refusal
		refusal = &clone
	}
	refusal.RetryAfter, refusal.RequestID = wait, ""
	refusal.hint = "not sent"
	return wait, refusal
}

// refusesForNow reports whether a status says to come again later.
func refusesForNow(status int) bool {
	return status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable
}

// serverWait returns how long the server asks to wait after this answer.
func serverWait(resp *http.Response) time.Duration {
	header := resp.Header
	now := time.Now()
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		now = date // the server's clock, by which its dates are meant
	}
	if refusesForNow(resp.StatusCode) {
		if wait, ok := parseRetryAfter(header.Get(headerRetryAfter), now); ok {
			return wait
		}
	}
	usedUp := strings.TrimSpace(header.Get(headerRemaining)) == "0"
	if usedUp || resp.StatusCode == http.StatusTooManyRequests {
		if reset := parseReset(header.Get(headerReset), now); !reset.IsZero() {
			return min(max(reset.Sub(now), 0), maxServerWait)
		}
	}
	return 0
}

// parseRetryAfter reads a Retry-After in seconds or as a date.
func parseRetryAfter(value string, now time.Time) (time.Duration, bool) {
	value = strings.TrimSpace(value)
	if seconds, err := strconv.ParseFloat(value, 64); err == nil {
		if math.IsNaN(seconds) || seconds < 0 {
			return 0, false
		}
		return time.Duration(min(seconds, maxServerWait.Seconds()) * float64(time.Second)), true
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	return min(max(date.Sub(now), 0), maxServerWait), true
}

// parseReset reads a RateLimit-Reset in Unix seconds, or in seconds from now.
func parseReset(value string, now time.Time) time.Time {
	seconds, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
	if err != nil || seconds < 0 {
		return time.Time{}
	}
	if seconds < smallestUnixSecond {
		return now.Add(time.Duration(seconds) * time.Second)
	}
	return time.Unix(min(seconds, greatestUnixSecond), 0)
}

func parseRateLimit(header http.Header) RateLimit {
	number := func(name string) int {
		n, err := strconv.Atoi(strings.TrimSpace(header.Get(name)))
		if err != nil {
			return 0
		}
		return n
	}
	limit := RateLimit{Limit: number(headerLimit), Remaining: number(headerRemaining)}
	if value := header.Get(headerReset); value != "" {
		limit.Reset = parseReset(value, time.Now())
	}
	return limit
}

// A limiter spaces requests out: a token bucket, kept as the time at which it
// would be full again.
type limiter struct {
	interval time.Duration // one request's share of time
	burst    time.Duration // how far requests may run ahead

	mu   sync.Mutex
	full time.Time
}

func newLimiter(requestsPerSecond float64, burst int) *limiter {
	interval := time.Duration(min(float64(time.Second)/requestsPerSecond, float64(maxServerWait)))
	ahead := min(float64(interval)*float64(burst-1), float64(maxServerWait))
	return &limiter{interval: interval, burst: time.Duration(ahead)}
}

// wait takes a place, waits for its turn and returns how long that was. A turn
// after the context's deadline isn't taken.
func (l *limiter) wait(ctx context.Context) (time.Duration, error) {
	l.mu.Lock()
	now := time.Now()
	if l.full.Before(now) {
		l.full = now
	}
	wait := l.full.Sub(now) - l.burst
	if wait > 0 && outlasts(ctx, wait) {
		l.mu.Unlock()
		return 0, fmt.Errorf("the rate limit's wait of %v would outlast the deadline: %w", wait, context.DeadlineExceeded)
	}
	l.full = l.full.Add(l.interval)
	mine := l.full
	l.mu.Unlock()
	if wait <= 0 {
		return 0, nil
	}
	err := sleep(ctx, wait)
	if err != nil {
		l.mu.Lock()
		if l.full.Equal(mine) { // the place is free for another, unless it lies among others
			l.full = l.full.Add(-l.interval)
		}
		l.mu.Unlock()
	}
	return wait, err
}

// outlasts reports whether a wait would end after the context's deadline.
func outlasts(ctx context.Context, wait time.Duration) bool {
	deadline, ok := ctx.Deadline()
	return ok && time.Until(deadline) < wait
}

// sleep waits, or returns the context's error as soon as it is done.
func sleep(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

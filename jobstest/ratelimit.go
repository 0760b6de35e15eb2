package jobstest

import (
	"net/http"
	"strconv"
	"sync"
	"time"
)

// rateWindow is the period of the rate limit.
const rateWindow = time.Minute

// A limiter counts requests by user in windows of the server's clock.
type limiter struct {
	mu     sync.Mutex
	window time.Time
	count  map[string]int
}

// check counts a request and puts the limit's headers on its answer.
func (l *limiter) check(a *answer, c *call) *failure {
	limit := c.s.rateLimit
	if limit == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := c.s.clock.Now()
	if start := now.Truncate(rateWindow); !start.Equal(l.window) {
		l.window, l.count = start, make(map[string]int)
	}
	who := first(c.r.Header.Get("PRIVATE-TOKEN"), c.r.Header.Get("JOB-TOKEN"), c.r.Header.Get("Authorization"))
	l.count[who]++
	observed, reset := l.count[who], l.window.Add(rateWindow)
	h := a.Header()
	h.Set("RateLimit-Limit", strconv.Itoa(limit))
	h.Set("RateLimit-Name", "throttle_authenticated_api")
	h.Set("RateLimit-Observed", strconv.Itoa(observed))
	h.Set("RateLimit-Remaining", strconv.Itoa(max(limit-observed, 0)))
	h.Set("RateLimit-Reset", strconv.FormatInt(reset.Unix(), 10))
	h.Set("RateLimit-ResetTime", reset.UTC().Format(http.TimeFormat))
	if observed <= limit {
		return nil
	}
	wait := int(reset.Sub(now)/time.Second) + 1
	return &failure{
		status: http.StatusTooManyRequests, body: "Retry later\n",
		header: http.Header{"Retry-After": {strconv.Itoa(wait)}},
	}
}

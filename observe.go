package gitlabjobs

import (
	"context"
	"log/slog"
	"net/http"
	"time"
)

// An Attempt is one HTTP request as an observer sees it, with the redirects
// that it led to. It holds no secrets.
type Attempt struct {
	Method     string
	Endpoint   string        // the route, fit for a metric's label: "GET /projects/:id/jobs/:job_id"
	URL        string        // without the values of secret parameters
	Number     int           // of the attempt within its call, from 1
	StatusCode int           // 0 where no answer came
	Duration   time.Duration // from sending it to the answer's header, or for JSON to its end
	Wait       time.Duration // what was waited before it
	Err        error         // why no complete answer came
	RequestID  string        // X-Request-Id
	RateLimit  RateLimit
}

// An attemptLog logs attempts; refused says that the answer wasn't a success.
// It is a function, so that programs that don't log don't link log/slog's handlers.
type attemptLog func(ctx context.Context, event Attempt, refused bool)

// report tells observer and logger of the attempt that has just ended.
func (x *exchange) report(a *attempt, req *http.Request, resp *http.Response, took time.Duration) {
	observer, log := x.client.observer, x.client.log
	if observer == nil && log == nil {
		return
	}
	event := Attempt{
		Method:   x.call.endpoint.method,
		Endpoint: x.call.endpoint.String(),
		URL:      redactURL(req.URL),
		Number:   x.budget.attempts,
		Duration: took,
		Wait:     x.waited,
		Err:      x.failure,
	}
	if resp != nil {
		event.StatusCode = resp.StatusCode
		event.RequestID = a.requestID(resp)
		event.RateLimit = parseRateLimit(resp.Header)
	}
	if observer != nil {
		observer(event)
	}
	if log != nil {
		log(req.Context(), event, x.refusal != nil)
	}
}

func logAttempt(ctx context.Context, logger *slog.Logger, event Attempt, refused bool) {
	level := slog.LevelDebug
	attrs := []slog.Attr{
		slog.String("method", event.Method),
		slog.String("endpoint", event.Endpoint),
		slog.String("url", event.URL),
		slog.Int("attempt", event.Number),
		slog.Duration("duration", event.Duration),
		slog.Duration("wait", event.Wait),
	}
	if event.StatusCode != 0 {
		attrs = append(attrs, slog.Int("status", event.StatusCode), slog.String("request_id", event.RequestID))
	}
	if event.Err != nil {
		attrs = append(attrs, slog.String("error", event.Err.Error()))
	}
	if event.Err != nil || refused {
		level = slog.LevelWarn
	}
	logger.LogAttrs(ctx, level, "gitlab request", attrs...)
}

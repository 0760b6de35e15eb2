package gitlabjobs

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// idleConnsPerHost is how many connections are kept for reuse: enough for
// programs that do much at once.
const idleConnsPerHost = 64

// retriedStatuses are the answers that a later attempt may better.
var retriedStatuses = []int{
	http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
	http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
}

// deadLinkStatuses are what object stores say of an expired link.
var deadLinkStatuses = []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusGone}

// newTransport returns the transport of clients that aren't given one.
func newTransport() http.RoundTripper {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          idleConnsPerHost * 2,
		MaxIdleConnsPerHost:   idleConnsPerHost,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   15 * time.Second,
		ExpectContinueTimeout: time.Second,
		// A connection that has died without a word must not be given to one
		// request after the other.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
	}
}

// A budget counts the attempts of a call, or of a download with all its
// resumes, and the failures in a row that it may still survive.
type budget struct {
	left, used, attempts int
	shared               *sharedBudget // nil: the call is alone
}

// A sharedBudget bounds the failures in a row of calls that go on side by
// side, so that together they try no more often than one.
type sharedBudget struct {
	mu sync.Mutex
	budget
}

func (c *Client) newBudget() *budget { return &budget{left: c.retry.MaxRetries} }

// take uses up n retries and reports whether there were that many.
func (b *budget) take(n int) bool {
	b.left -= n
	b.used += n
	enough := b.left >= 0
	if b.shared != nil {
		b.shared.mu.Lock()
		defer b.shared.mu.Unlock()
		enough = b.shared.take(n) && enough
	}
	return enough
}

// spent reports whether there are no retries left.
func (b *sharedBudget) spent() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.left < 0
}

// renew starts the budget anew after progress.
func (b *budget) renew() {
	b.left, b.used = b.left+b.used, 0
	if b.shared != nil {
		b.shared.mu.Lock()
		defer b.shared.mu.Unlock()
		b.shared.renew()
	}
}

// An exchange is one call under way, and the policy of go-retryablehttp's
// loop. Each turn of the loop is one attempt with all its redirects; the answer
// is read before the policy decides, so that one which breaks off within its
// body is a failed attempt like any other.
type exchange struct {
	ctx    exchangeContext
	client *Client
	call   call
	budget *budget
	own    budget // the budget, unless the call is one of several that share one

	retrying retryablehttp.Client
	request  *http.Request
	attempt  *attempt // under way, or the last one
	first    attempt  // most calls have no other

	waited  time.Duration // before it
	waiting bool          // whether go-retryablehttp is waiting before the next
	reasked bool          // whether a 401 made the token source be asked again

	failure   error         // why the attempt got no complete answer
	refusal   *Error        // what its answer was, if not a success
	foreign   bool          // that answer came from another origin than the client's
	asked     time.Duration // how long the server asks to wait
	final     bool          // another attempt would not help
	deadLink  bool          // an object store has refused its signed link; GitLab gives a new one
	ambiguous bool          // the attempt may have taken effect
}

// An exchangeContext is the context of an exchange's requests, by which all
// that handles them finds it. As part of the exchange it costs no memory.
type exchangeContext struct {
	context.Context
	exchange *exchange
}

type exchangeKey struct{}

func (c *exchangeContext) Value(key any) any {
	if key == (exchangeKey{}) {
		return c.exchange
	}
	return c.Context.Value(key)
}

// Format writes the context below, whatever the verb: fmt would go on to the
// exchange, and its credential.
func (c *exchangeContext) Format(state fmt.State, _ rune) { fmt.Fprint(state, c.Context) }

func exchangeOf(ctx context.Context) *exchange { return ctx.Value(exchangeKey{}).(*exchange) }

// do sends the request until it succeeds or nothing is left to be tried. A
// nil error comes with a success, whose body is read already unless the call streams.
func (x *exchange) do(req *retryablehttp.Request) (*http.Response, error) {
	ctx := req.Context()
	x.request = req.Request
	x.retrying = retryablehttp.Client{
		HTTPClient:   x.client.http,
		RetryMax:     math.MaxInt, // the budget decides
		CheckRetry:   checkRetry,
		Backoff:      chosenWait,
		PrepareRetry: beginAgain,
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
	var resp *http.Response
	err := x.begin(req.Request)
	if err == nil {
		resp, err = x.retrying.Do(req)
	}
	switch {
	case x.waiting && ctx.Err() != nil: // canceled between two attempts
		return nil, x.fail(ctx, req.URL, nil)
	case x.failure != nil:
		return nil, x.fail(ctx, req.URL, x.failure)
	case x.refusal != nil:
		x.refusal.outcomeUnknown = x.ambiguous && x.call.endpoint.class == once
		return nil, x.refusal
	case err != nil: // refused before the first attempt
		return nil, x.fail(ctx, req.URL, err)
	}
	return resp, nil
}

// fail returns the error of a call that got no complete answer.
func (x *exchange) fail(ctx context.Context, target *url.URL, err error) error {
	failed := newRequestError(ctx, x.call.endpoint.method, redactURL(target), err)
	failed.transient = x.failure != nil && !x.final
	if x.ambiguous && x.call.endpoint.class == once {
		failed.errs = append(failed.errs, ErrOutcomeUnknown)
	}
	return failed
}

// What go-retryablehttp calls back: whether another attempt follows, how long
// it waits before that, and what else comes before it.
func checkRetry(ctx context.Context, resp *http.Response, err error) (bool, error) {
	return exchangeOf(ctx).checkRetry(ctx, resp, err)
}

func chosenWait(chosen, _ time.Duration, _ int, _ *http.Response) time.Duration { return chosen }

func beginAgain(req *http.Request) error { return exchangeOf(req.Context()).begin(req) }

// checkRetry ends an attempt, and reports whether another one follows.
func (x *exchange) checkRetry(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if err != nil {
		resp = nil // http.Client returns one beside a redirect that it didn't follow
	}
	x.failure = x.attempt.end(resp, err)
	if resp != nil {
		x.observe(x.attempt, resp)
	}
	x.report(x.attempt, x.request, resp, time.Since(x.attempt.start))
	if ctx.Err() != nil || (x.failure == nil && x.refusal == nil) {
		return false, nil
	}
	if x.rotatedToken() {
		x.reasked, x.asked = true, 0
		x.wait(0)
		return true, nil
	}
	if !x.retryable() || !x.budget.take(1) {
		return false, nil
	}
	wait := x.nextWait()
	if x.deadLink && x.budget.used == 1 {
		wait = 0 // nothing is wrong with the server
	}
	if wait > x.client.gate.longest && x.asked > 0 || outlasts(ctx, wait) {
		return false, nil
	}
	x.wait(wait)
	return true, nil
}

// wait has go-retryablehttp wait before the next attempt.
func (x *exchange) wait(duration time.Duration) {
	x.waiting, x.waited, x.retrying.RetryWaitMin = true, duration, duration
}

// rotatedToken reports whether a 401 may come from a token that has been
// replaced since it was asked for.
func (x *exchange) rotatedToken() bool {
	return x.refusal != nil && x.refusal.StatusCode == http.StatusUnauthorized && !x.foreign &&
		x.client.credential.rotates && !x.reasked && x.call.endpoint.class != once
}

func (x *exchange) retryable() bool {
	class := x.call.endpoint.class
	if x.final {
		return false
	}
	if x.failure != nil {
		return class != once || !x.ambiguous
	}
	if class == once {
		return x.refusal.StatusCode == http.StatusTooManyRequests
	}
	return slices.Contains(retriedStatuses, x.refusal.StatusCode) || x.deadLink
}

// nextWait returns what the server asks for, or else an exponential backoff
// with full jitter.
func (x *exchange) nextWait() time.Duration {
	if x.asked > 0 {
		return x.asked
	}
	return x.client.retry.backoff(x.budget.used)
}

// backoff returns the wait before the next try after so many failures in a
// row: exponential, with full jitter.
func (p RetryPolicy) backoff(failures int) time.Duration {
	bound := p.MinWait
	for range failures - 1 {
		if bound > p.MaxWait/2 {
			bound = p.MaxWait
			break
		}
		bound *= 2
	}
	return rand.N(bound)
}

// begin waits until an attempt may be sent, and gets its credential.
func (x *exchange) begin(req *http.Request) error {
	x.failure, x.refusal, x.asked = nil, nil, 0
	x.waiting, x.final, x.foreign, x.deadLink, x.ambiguous = false, false, false, false, false
	waited, refusal, err := x.client.gate.pass(req.Context())
	x.waited += waited
	if refusal != nil {
		refusal.Method, refusal.URL = req.Method, redactURL(req.URL)
		x.refusal, x.final = refusal, true
		return refusal
	}
	if err != nil {
		return x.stop(err)
	}
	token, err := x.client.credential.current(req.Context())
	if err != nil {
		return x.stop(err)
	}
	x.budget.attempts++
	a := &x.first
	if x.attempt != nil {
		a = new(attempt)
	}
	a.exchange, a.token, a.start = x, token, time.Now()
	a.tokenHeader, a.tokenValue[0] = token.header()
	x.attempt = a
	return nil
}

// stop ends the call before the attempt was sent.
func (x *exchange) stop(err error) error {
	x.failure, x.final = err, true
	return err
}

// observe takes from an answer what it says of waiting. Only the client's own
// origin can close the gate; others are heard for this call alone.
func (x *exchange) observe(a *attempt, resp *http.Response) {
	x.foreign = a.left
	if a.left {
		x.asked = serverWait(resp)
	} else {
		x.asked = x.client.gate.observe(resp, x.refusal)
	}
	if x.refusal == nil || !slices.Contains(retriedStatuses, resp.StatusCode) {
		x.asked = 0
	} else if x.asked > 0 {
		x.refusal.RetryAfter = x.asked
	}
}

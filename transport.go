package gitlabjobs

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

const (
	maxJSONBody      = 64 << 20 // bytes of a JSON answer
	maxPooledBuffer  = 1 << 20  // bytes of a buffer that is kept for reuse
	idleConnsPerHost = 64       // connections kept for reuse, for programs that do much at once
)

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
	}
}

// A budget counts the attempts of a call, or of a download with all its
// resumes, and the failures in a row that it may still survive.
type budget struct{ left, used, attempts int }

func (c *Client) newBudget() *budget { return &budget{left: c.retry.MaxRetries} }

// take uses up n retries and reports whether there were that many.
func (b *budget) take(n int) bool {
	b.left -= n
	b.used += n
	return b.left >= 0
}

// renew starts the budget anew after progress.
func (b *budget) renew() { b.left, b.used = b.left+b.used, 0 }

// An exchange is one call under way. It is the transport that go-retryablehttp
// drives, each of whose round trips is one attempt with all its redirects, and
// it is that package's policy, too.
type exchange struct {
	client *Client
	call   *call
	budget *budget

	waited  time.Duration // before it
	waiting bool          // whether go-retryablehttp is waiting before the next
	reasked bool          // whether a 401 made the token source be asked again

	failure   error         // why the attempt got no complete answer
	refusal   *Error        // what its answer was, if not a success
	asked     time.Duration // how long the server asks to wait
	final     bool          // another attempt would not help
	deadLink  bool          // an object store has refused its signed link; GitLab gives a new one
	ambiguous bool          // the attempt may have taken effect
}

// do sends the request until it succeeds or nothing is left to be tried. A
// nil error comes with a success, whose body is read already unless the call streams.
func (x *exchange) do(req *retryablehttp.Request) (*http.Response, error) {
	ctx := req.Context()
	retrying := retryablehttp.Client{
		HTTPClient:   &http.Client{Transport: x, CheckRedirect: useLastResponse},
		RetryMax:     math.MaxInt, // the budget decides
		CheckRetry:   x.checkRetry,
		Backoff:      x.backoff,
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
	resp, err := retrying.Do(req)
	switch {
	case x.waiting && ctx.Err() != nil: // canceled between two attempts
		return nil, x.fail(ctx, req.URL, nil)
	case x.failure != nil:
		return nil, x.fail(ctx, req.URL, x.failure)
	case err != nil: // refused before the first attempt
		return nil, x.fail(ctx, req.URL, err)
	case x.refusal != nil:
		x.refusal.outcomeUnknown = x.ambiguous && x.call.endpoint.class == once
		return nil, x.refusal
	}
	return resp, nil
}

// fail returns the error of a call that got no complete answer.
func (x *exchange) fail(ctx context.Context, target *url.URL, err error) error {
	var refusal *Error
	if errors.As(err, &refusal) { // the gate's
		refusal.Method, refusal.URL = x.call.endpoint.method, redactURL(target)
		return refusal
	}
	failed := newRequestError(ctx, x.call.endpoint.method, redactURL(target), err)
	if x.ambiguous && x.call.endpoint.class == once {
		failed.errs = append(failed.errs, ErrOutcomeUnknown)
	}
	return failed
}

// checkRetry is go-retryablehttp's policy: whether the attempt that has just
// ended is followed by another.
func (x *exchange) checkRetry(ctx context.Context, _ *http.Response, _ error) (bool, error) {
	if ctx.Err() != nil || (x.failure == nil && x.refusal == nil) {
		return false, nil
	}
	if x.rotatedToken() {
		x.reasked, x.asked = true, 0
		x.waiting, x.waited = true, 0
		return true, nil
	}
	if !x.retryable() || !x.budget.take(1) {
		return false, nil
	}
	x.waited = x.nextWait()
	if x.deadLink && x.budget.used == 1 {
		x.waited = 0 // nothing is wrong with the server
	}
	if x.waited > x.client.gate.longest && x.asked > 0 || outlasts(ctx, x.waited) {
		return false, nil
	}
	x.waiting = true
	return true, nil
}

// rotatedToken reports whether a 401 may come from a token that has been
// replaced since it was asked for.
func (x *exchange) rotatedToken() bool {
	return x.refusal != nil && x.refusal.StatusCode == http.StatusUnauthorized &&
		x.client.credential.rotates && !x.reasked && x.call.endpoint.class != once
}

func (x *exchange) retryable() bool {
	class := x.call.endpoint.class
	if x.failure != nil {
		return !x.final && (class != once || !x.ambiguous)
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

func (x *exchange) backoff(_, _ time.Duration, _ int, _ *http.Response) time.Duration {
	return x.waited
}

// backoff returns the wait before the next try after so many failures in a
// row: exponential, with full jitter.
func (p RetryPolicy) backoff(failures int) time.Duration {
	bound := p.MinWait
	for range failures - 1 {
		if bound *= 2; bound >= p.MaxWait {
			bound = p.MaxWait
			break
		}
	}
	return rand.N(bound + 1)
}

// RoundTrip performs one attempt.
func (x *exchange) RoundTrip(req *http.Request) (*http.Response, error) {
	x.failure, x.refusal, x.asked = nil, nil, 0
	x.waiting, x.final, x.deadLink, x.ambiguous = false, false, false, false
	waited, err := x.client.gate.pass(req.Context())
	x.waited += waited
	if err != nil {
		return nil, x.stop(err)
	}
	token, err := x.client.credential.current(req.Context())
	if err != nil {
		return nil, x.stop(err)
	}
	x.budget.attempts++
	start := time.Now()
	a := &attempt{exchange: x, token: token}
	resp, err := a.send(req)
	x.failure = err
	if resp != nil {
		x.observe(a, resp)
	}
	x.report(req, resp, time.Since(start))
	return resp, err
}

// stop ends the call before the attempt was sent.
func (x *exchange) stop(err error) error {
	x.failure, x.final = err, true
	return err
}

// observe takes from an answer what it says of waiting. Only the client's own
// origin can close the gate; others are heard for this call alone.
func (x *exchange) observe(a *attempt, resp *http.Response) {
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

// An attempt is one HTTP request and the redirects that it leads to.
type attempt struct {
	exchange *exchange
	token    Token
	watchdog *watchdog

	hops int
	left bool // the chain has left the client's origin: credentials stay behind

	refusedRedirect bool
	conns           atomic.Int32 // connections this hop was given
	connectFailed   atomic.Bool  // a connection could not be made
}

// attemptKey is the key of a context's *attempt.
type attemptKey struct{}

// send sends the request and reads the answer, which it leaves to the caller
// only where the call streams.
func (a *attempt) send(req *http.Request) (*http.Response, error) {
	x := a.exchange
	parent := req.Context()
	ctx, cancel := context.WithCancelCause(parent)
	a.watchdog = newWatchdog(x.client.stallTimeout, cancel)
	ctx = context.WithValue(ctx, attemptKey{}, a)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn:          func(httptrace.GotConnInfo) { a.conns.Add(1) },
		ConnectDone:      func(_, _ string, err error) { a.noteConnect(err) },
		TLSHandshakeDone: func(_ tls.ConnectionState, err error) { a.noteConnect(err) },
	})
	resp, err := x.client.http.Do(req.WithContext(ctx))
	a.watchdog.stop()
	if err != nil {
		x.final = a.refusedRedirect || isUntrusted(err)
		x.ambiguous = !a.refusedRedirect && !a.unsent(err)
		cancel(nil)
		return nil, a.explain(parent, ctx, err)
	}
	body := &watchedBody{resp.Body, a, parent, ctx, cancel}
	resp.Body = body
	if x.call.succeeded(resp.StatusCode) && x.call.stream {
		return resp, nil
	}
	err = a.receive(resp)
	body.Close()
	resp.Body = http.NoBody
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// receive reads the answer's body, and decodes it or makes an Error of it.
func (a *attempt) receive(resp *http.Response) error {
	x := a.exchange
	buffer := bufferPool.Get().(*bytes.Buffer)
	defer func() {
		if buffer.Cap() <= maxPooledBuffer {
			buffer.Reset()
			bufferPool.Put(buffer)
		}
	}()
	if !x.call.succeeded(resp.StatusCode) {
		// The status says enough where the body breaks off.
		buffer.ReadFrom(io.LimitReader(resp.Body, maxErrorBody+1)) //nolint:errcheck // see above
		x.refusal = a.newError(resp, buffer.Bytes())
		x.ambiguous = isAmbiguous(resp.StatusCode)
		x.deadLink = a.left && x.call.stream && slices.Contains(deadLinkStatuses, resp.StatusCode)
		return nil
	}
	x.ambiguous = true // until the answer has been understood
	if _, err := buffer.ReadFrom(io.LimitReader(resp.Body, maxJSONBody+1)); err != nil {
		return err
	}
	x.final = true
	if buffer.Len() > maxJSONBody {
		return fmt.Errorf("%w: the answer exceeds %d MiB", ErrTooLarge, maxJSONBody>>20)
	}
	if x.call.into != nil && resp.StatusCode != http.StatusNotModified {
		if isHTML(resp.Header.Get("Content-Type"), buffer.Bytes()) {
			return fmt.Errorf("%w: an HTML page (a login wall?) instead of JSON", ErrUnexpectedContent)
		}
		if err := decodeJSON(buffer.Bytes(), x.call.into); err != nil {
			x.final = !errors.Is(err, io.ErrUnexpectedEOF)
			return err
		}
	}
	x.final, x.ambiguous = false, false
	return nil
}

// newError makes an Error of an answer that isn't a success.
func (a *attempt) newError(resp *http.Response, body []byte) *Error {
	e := &Error{
		StatusCode: resp.StatusCode,
		Method:     resp.Request.Method,
		URL:        redactText(redactURL(resp.Request.URL), a.token.Value),
		RequestID:  oneLine(resp.Header.Get("X-Request-Id"), maxRequestID),
	}
	if e.bodyTooLarge = len(body) > maxErrorBody; e.bodyTooLarge {
		e.Message = fmt.Sprintf("%s (its body exceeds %d KiB)", http.StatusText(e.StatusCode), maxErrorBody>>10)
	} else {
		e.Message = redactText(parseErrorMessage(resp.Header.Get("Content-Type"), body), a.token.Value)
	}
	if e.Message == "" {
		e.Message = http.StatusText(e.StatusCode)
	}
	if a.left && (e.StatusCode == http.StatusUnauthorized || e.StatusCode == http.StatusNotFound) {
		e.hint = "redirected from " + a.exchange.client.base.Scheme + "://" + a.exchange.client.base.Host + ", credentials stayed behind"
	}
	return e
}

const maxRequestID = 128 // bytes kept of it

// noteConnect remembers that no connection could be made.
func (a *attempt) noteConnect(err error) {
	if err != nil {
		a.connectFailed.Store(true)
	}
}

// unsent reports whether it is certain that nothing of the request was written.
func (a *attempt) unsent(err error) bool {
	if a.hops > 1 || a.conns.Load() > 0 {
		return false
	}
	var op *net.OpError
	return a.connectFailed.Load() || errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect")
}

// explain returns why the attempt failed, without what would show a secret.
func (a *attempt) explain(parent, ctx context.Context, err error) error {
	if parent.Err() == nil && errors.Is(context.Cause(ctx), ErrStalled) {
		return context.Cause(ctx)
	}
	return redactError(err, a.token.Value)
}

// isUntrusted reports whether the server's certificate was refused.
func isUntrusted(err error) bool {
	var untrusted *tls.CertificateVerificationError
	return errors.As(err, &untrusted)
}

// isAmbiguous reports whether a status leaves open if the request took effect.
func isAmbiguous(status int) bool {
	return status == http.StatusRequestTimeout || status >= 500 && status != http.StatusNotImplemented
}

// useLastResponse keeps go-retryablehttp's client from following redirects:
// that is done below it, within the attempt.
func useLastResponse(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

var bufferPool = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// A watchdog cancels a request on which no byte comes for the stall timeout.
type watchdog struct {
	timer   *time.Timer
	timeout time.Duration
}

func newWatchdog(timeout time.Duration, cancel context.CancelCauseFunc) *watchdog {
	return &watchdog{
		timer:   time.AfterFunc(timeout, func() { cancel(fmt.Errorf("%w: no byte for %v", ErrStalled, timeout)) }),
		timeout: timeout,
	}
}

func (w *watchdog) start() { w.timer.Reset(w.timeout) }
func (w *watchdog) stop()  { w.timer.Stop() }

// A watchedBody is the body of an answer. Only the time within Read counts
// for the watchdog.
type watchedBody struct {
	io.ReadCloser
	attempt     *attempt
	parent, ctx context.Context
	cancel      context.CancelCauseFunc
}

func (b *watchedBody) Read(p []byte) (int, error) {
	b.attempt.watchdog.start()
	n, err := b.ReadCloser.Read(p)
	b.attempt.watchdog.stop()
	if err != nil && err != io.EOF { //nolint:errorlint // a Reader returns io.EOF itself
		err = b.attempt.explain(b.parent, b.ctx, err)
	}
	return n, err
}

func (b *watchedBody) Close() error {
	b.attempt.watchdog.stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}

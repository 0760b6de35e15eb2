package gitlabjobs

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxJSONBody     = 64 << 20 // bytes of a JSON answer
	maxPooledBuffer = 1 << 20  // bytes of a buffer that is kept for reuse
	maxRequestID    = 128      // bytes kept of it
)

// An attempt is one HTTP request and the redirects that it leads to.
type attempt struct {
	exchange    *exchange
	token       Token
	tokenHeader string    // that it is sent by
	tokenValue  [1]string // of that
	start       time.Time

	ctx      context.Context // of this hop, likewise the others
	cancel   context.CancelCauseFunc
	watchdog watchdog
	trace    httptrace.ClientTrace
	body     watchedBody
	bounded  io.LimitedReader // the body of an answer that is read whole

	hops int
	left bool // the chain has left the client's origin: credentials stay behind

	refusedRedirect bool
	connecting      atomic.Bool  // net/http has set out to get this hop a connection; known of class once
	conns           atomic.Int32 // connections this hop was given
}

// send sends one hop: a request with the guard's touches. Time counts for the
// watchdog until the answer's header is there.
func (a *attempt) send(base http.RoundTripper, hop *http.Request) (*http.Response, error) {
	resp, err := base.RoundTrip(hop)
	a.watchdog.stop()
	if err != nil {
		return nil, err
	}
	a.body = watchedBody{resp.Body, a, a.ctx, a.cancel}
	resp.Body = &a.body
	return resp, nil
}

// prepare returns the context of the next hop.
func (a *attempt) prepare(ctx context.Context) context.Context {
	a.hops++
	a.conns.Store(0)
	a.ctx, a.cancel = context.WithCancelCause(ctx)
	a.watchdog = newWatchdog(a.exchange.client.stallTimeout, a.cancel)
	a.trace.GotConn = func(httptrace.GotConnInfo) { a.conns.Add(1) }
	if a.exchange.call.endpoint.class == once {
		a.trace.GetConn = func(string) { a.connecting.Store(true) }
	}
	return httptrace.WithClientTrace(a.ctx, &a.trace)
}

// end takes what came of the request, and reads the answer, which it leaves to
// the caller only where the call streams. It returns why the attempt failed.
// The header of an answer is right though its body isn't.
func (a *attempt) end(resp *http.Response, err error) error {
	x := a.exchange
	if err != nil {
		x.final = a.refusedRedirect || isUntrusted(err)
		x.ambiguous = !a.refusedRedirect && !a.unsent()
		err = a.explain(a.ctx, err)
		if a.cancel != nil {
			a.cancel(nil)
		}
		return err
	}
	if x.call.succeeded(resp.StatusCode) && x.call.stream {
		return nil
	}
	err = a.receive(resp)
	resp.Body.Close()
	resp.Body = http.NoBody
	if err != nil {
		return redactError(err, a.token.Value) // decoders quote what they don't understand
	}
	return nil
}

var errAnswerTooLarge = fmt.Errorf("%w: the answer exceeds %d MiB", ErrTooLarge, maxJSONBody>>20)

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
		a.bounded = io.LimitedReader{R: resp.Body, N: maxErrorBody + 1}
		if _, err := buffer.ReadFrom(&a.bounded); err != nil {
			buffer.Reset() // the status says enough, and half a text may end within a secret
		}
		x.refusal = a.newError(resp, buffer.Bytes())
		x.ambiguous = isAmbiguous(resp.StatusCode)
		x.deadLink = a.left && x.call.stream && slices.Contains(deadLinkStatuses, resp.StatusCode)
		return nil
	}
	x.ambiguous = true // until the answer has been understood
	if resp.ContentLength > maxJSONBody {
		x.final = true
		return errAnswerTooLarge
	}
	a.bounded = io.LimitedReader{R: resp.Body, N: maxJSONBody + 1}
	if _, err := buffer.ReadFrom(&a.bounded); err != nil {
		return err
	}
	x.final = true
	if buffer.Len() > maxJSONBody {
		return errAnswerTooLarge
	}
	if isHTML(resp.Header.Get("Content-Type"), buffer.Bytes()) {
		return fmt.Errorf("%w: an HTML page (a login wall?) instead of JSON", ErrUnexpectedContent)
	}
	if x.call.into != nil && resp.StatusCode != http.StatusNotModified {
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
		RequestID:  a.requestID(resp),
	}
	if e.bodyTooLarge = len(body) > maxErrorBody; e.bodyTooLarge {
		e.Message = fmt.Sprintf("%s (its body exceeds %d KiB)", http.StatusText(e.StatusCode), maxErrorBody>>10)
	} else {
		e.Message = parseErrorMessage(resp.Header.Get("Content-Type"), body, a.token.Value)
	}
	if e.Message == "" {
		e.Message = http.StatusText(e.StatusCode)
	}
	if a.left && (e.StatusCode == http.StatusUnauthorized || e.StatusCode == http.StatusNotFound) {
		e.hint = "redirected from " + a.exchange.client.base.Scheme + "://" + a.exchange.client.base.Host + ", credentials stayed behind"
	}
	return e
}

// requestID returns the ID by which GitLab's logs know the request.
func (a *attempt) requestID(resp *http.Response) string {
	return oneLine(redactText(resp.Header.Get("X-Request-Id"), a.token.Value), maxRequestID)
}

// unsent reports whether it is certain that nothing of the request was
// written: it was waiting for its first connection and never got one.
func (a *attempt) unsent() bool {
	return a.hops == 1 && a.connecting.Load() && a.conns.Load() == 0
}

// explain returns why the attempt failed, without what would show a secret.
func (a *attempt) explain(ctx context.Context, err error) error {
	if ctx != nil && a.exchange.ctx.Err() == nil && errors.Is(context.Cause(ctx), ErrStalled) {
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

var bufferPool = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// A watchdog cancels a request on which no byte comes for the stall timeout.
type watchdog struct {
	timer   *time.Timer
	timeout time.Duration
}

func newWatchdog(timeout time.Duration, cancel context.CancelCauseFunc) watchdog {
	return watchdog{
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
	attempt *attempt
	ctx     context.Context
	cancel  context.CancelCauseFunc
}

// Format writes no more than that it is a body, whatever the verb: fmt would go
// on to the attempt, and its credential.
func (b *watchedBody) Format(state fmt.State, _ rune) {
	io.WriteString(state, "body") //nolint:errcheck // a Formatter can't report it
}

func (b *watchedBody) Read(p []byte) (int, error) {
	b.attempt.watchdog.start()
	n, err := b.ReadCloser.Read(p)
	b.attempt.watchdog.stop()
	if err != nil && err != io.EOF { //nolint:errorlint // a Reader returns io.EOF itself
		err = b.attempt.explain(b.ctx, err)
	}
	return n, err
}

func (b *watchedBody) Close() error {
	b.attempt.watchdog.stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}

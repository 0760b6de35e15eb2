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
	exchange *exchange
	token    Token
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

// typicalHeaders is how many header fields most requests have.
const typicalHeaders = 4

// attemptKey is the key of a context's *attempt.
type attemptKey struct{}

// send sends the request and reads the answer, which it leaves to the caller
// only where the call streams. An error may come with the answer, whose header
// is right though its body isn't.
func (a *attempt) send(req *http.Request) (*http.Response, error) {
	x := a.exchange
	parent := req.Context()
	ctx, cancel := context.WithCancelCause(parent)
	a.watchdog = newWatchdog(x.client.stallTimeout, cancel)
	ctx = context.WithValue(ctx, attemptKey{}, a)
	a.trace.GotConn = func(httptrace.GotConnInfo) { a.conns.Add(1) }
	if x.call.endpoint.class == once {
		a.trace.GetConn = func(string) { a.connecting.Store(true) }
	}
	req = req.WithContext(httptrace.WithClientTrace(ctx, &a.trace))
	req.Header = make(http.Header, typicalHeaders)
	x.client.setHeader(req.Header, &x.call)
	resp, err := x.client.http.Do(req)
	a.watchdog.stop()
	if err != nil {
		x.final = a.refusedRedirect || isUntrusted(err)
		x.ambiguous = !a.refusedRedirect && !a.unsent()
		cancel(nil)
		return nil, a.explain(parent, ctx, err)
	}
	a.body = watchedBody{resp.Body, a, parent, ctx, cancel}
	resp.Body = &a.body
	if x.call.succeeded(resp.StatusCode) && x.call.stream {
		return resp, nil
	}
	err = a.receive(resp)
	a.body.Close()
	resp.Body = http.NoBody
	if err != nil {
		return resp, redactError(err, a.token.Value) // decoders quote what they don't understand
	}
	return resp, nil
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

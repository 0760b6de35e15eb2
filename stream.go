package gitlabjobs

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// A stream is the content of one download from an offset on. Its Read goes on
// over broken connections by asking for the rest: by range where the server
// does ranges, else from the start, whose bytes are compared with those read.
//
// A stream is for one goroutine.
type stream struct {
	ctx    context.Context
	client *Client
	call   call
	accept func(*http.Response) error // refuses answers that aren't the content
	budget *budget
	url    string // redacted

	offset int64 // of the next byte
	end    int64 // where to stop reading; -1: at the content's end
	total  int64 // of the whole content; -1 where unknown

	validator string // of the content, for If-Range; "" where it has none
	noRanges  bool   // a wrong range was got, so none is asked for
	pinned    bool   // only ranges of the content with this validator will do
	growing   bool   // the content may gain bytes at its end: see renew
	known     string // the ETag of a content that was read to its end, for If-None-Match
	probing   bool   // ask for a range first, to learn whether there are any
	// digest returns the SHA-256 of what was read before offset. It isn't
	// asked of a pinned stream.
	digest func() []byte
	// discard, unless nil, drops what an earlier download has left before
	// offset where the content is no longer the same. It is asked at most once.
	discard func() error

	body    io.ReadCloser
	broken  error       // why the last connection is of no more use
	header  http.Header // of the newest answer
	foreign bool        // some of what it says is from another origin than GitLab's
	encoded bool        // that answer was encoded, and is decoded here
	resumes int
}

var (
	// errRangeRefused says that a pinned stream was not given its range.
	errRangeRefused = errors.New("gitlabjobs: the server doesn't do ranges of this content")
	// errWrongRange says that an answer has another range than was asked for.
	errWrongRange = errors.New("gitlabjobs: the server sent another range than was asked for")
)

// newStream returns the stream of a call. It asks for nothing before the first
// Read, but refuses bad input.
func newStream(ctx context.Context, c *Client, cl call, accept func(*http.Response) error) (*stream, error) {
	req, err := c.build(ctx, &cl)
	if err != nil {
		return nil, err
	}
	return &stream{
		ctx: ctx, client: c, call: cl, accept: accept, url: redactURL(req.URL),
		budget: c.newBudget(), end: -1, total: -1,
	}, nil
}

// start gets the first answer, unless there is one.
func (s *stream) start() error {
	if s.body != nil {
		return nil
	}
	return s.open()
}

// Read reads on, over as many connections as it takes. It returns io.EOF only
// where the content has come to its end.
func (s *stream) Read(p []byte) (int, error) {
	for {
		if s.complete() {
			return 0, io.EOF
		}
		if s.body == nil {
			if err := s.open(); err != nil {
				return 0, err
			}
			continue
		}
		if s.end >= 0 {
			p = p[:min(int64(len(p)), s.end-s.offset)]
		}
		n, err := s.body.Read(p)
		if n > 0 {
			s.offset += int64(n)
			s.budget.renew()
			return n, nil // an error comes again with the next call
		}
		if err == io.EOF && s.total < 0 {
			s.total = s.offset
			continue
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			s.breakOff(err)
		}
	}
}

// Close closes the connection, unless all of its answer has been read. It
// doesn't wait for more.
func (s *stream) Close() error {
	if s.body == nil {
		return nil
	}
	body := s.body
	s.body = nil
	return body.Close()
}

// state returns what is known of the content and the way to it.
func (s *stream) state() sourceState {
	return sourceState{total: s.total, resumes: s.resumes, validator: s.validator}
}

// complete reports whether all has been read.
func (s *stream) complete() bool {
	return s.end >= 0 && s.offset >= s.end || s.total >= 0 && s.offset >= s.total
}

// open gets an answer that goes on at the offset, trying as long as the
// budget lasts.
func (s *stream) open() error {
	for {
		if s.broken != nil {
			if err := s.waitToResume(); err != nil {
				return err
			}
			s.resumes++
		}
		s.broken = nil
		if err := s.ask(); err != nil {
			return err
		}
		if s.broken == nil {
			return nil
		}
	}
}

// waitToResume takes another try from the budget, and waits for its time. The
// first try after progress is made at once.
func (s *stream) waitToResume() error {
	if s.ctx.Err() != nil || !s.budget.take(1) {
		return s.giveUp(s.broken)
	}
	failures := s.budget.used - 1
	if failures == 0 {
		return nil
	}
	wait := s.client.retry.backoff(failures)
	if outlasts(s.ctx, wait) {
		return s.giveUp(s.broken)
	}
	if err := sleep(s.ctx, wait); err != nil {
		return s.giveUp(err)
	}
	s.call.waited = wait
	return nil
}

// ask asks once for the content from the offset on. It returns an error where
// no other try would help, and sets broken where one may.
func (s *stream) ask() error {
	cl := s.call
	cl.stream, cl.budget = true, s.budget
	cl.header = http.Header{"Accept-Encoding": {"identity"}}
	ranged := (s.offset > 0 || s.end >= 0) && s.validator != "" && !s.noRanges
	if ranged || s.probing {
		last := ""
		if s.end >= 0 {
			last = strconv.FormatInt(s.end-1, 10)
		}
		cl.header["Range"] = []string{fmt.Sprintf("bytes=%d-%s", s.offset, last)}
		if ranged {
			cl.header["If-Range"] = []string{s.validator}
		}
		cl.accept = []int{http.StatusRequestedRangeNotSatisfiable}
	}
	if s.known != "" {
		cl.header[headerIfNoneMatch] = []string{s.known}
		cl.accept = append(cl.accept, http.StatusNotModified)
	}
	resp, err := s.client.send(s.ctx, cl)
	s.call.waited = 0
	if err != nil {
		return err
	}
	s.body = resp.Body
	if resp.StatusCode == http.StatusNotModified {
		s.total = s.offset
		return nil
	}
	s.known = ""
	switch {
	case s.probing:
		return s.endProbe(resp)
	case ranged && resp.StatusCode == http.StatusPartialContent:
		return s.goOn(resp)
	case ranged && resp.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		return s.atEnd(resp)
	case resp.StatusCode == http.StatusPartialContent:
		return s.abandon(fmt.Errorf("%w: a range that was not asked for", ErrUnexpectedContent))
	case s.pinned:
		return s.abandon(s.unpinned(resp))
	}
	return s.startOver(resp)
}

// unpinned returns what a whole content in the place of a range means.
func (s *stream) unpinned(resp *http.Response) error {
	if err := s.accept(resp); err != nil {
		return err
	}
	if validatorOf(resp.Header) != s.validator {
		return fmt.Errorf("%w while ranges of it were read", ErrContentChanged)
	}
	return errRangeRefused
}

// goOn takes a 206 whose range, total and validator are the right ones.
func (s *stream) goOn(resp *http.Response) error {
	start, total, ok := parseContentRange(resp.Header.Get("Content-Range"))
	if !ok || start != s.offset || s.total >= 0 && total >= 0 && total != s.total && !s.growing ||
		resp.Header.Get("Content-Encoding") != "" || !s.sameContent(resp.Header) {
		return s.refuseRange()
	}
	if total >= 0 {
		s.total = total
	}
	s.discard = nil
	s.note(resp)
	return nil
}

// atEnd takes a 416: the end, where the content is as long as what was read.
func (s *stream) atEnd(resp *http.Response) error {
	_, total, ok := parseContentRange(resp.Header.Get("Content-Range"))
	if ok && total == s.offset && (s.total < 0 || s.total == total) && s.sameContent(resp.Header) {
		s.total, s.discard = total, nil
		if s.header == nil && strings.HasPrefix(s.validator, `"`) { // an earlier download has read it all
			s.header = http.Header{"Etag": {s.validator}}
			s.foreign = origin(resp.Request.URL) != s.client.origin
		}
		return nil
	}
	return s.refuseRange()
}

// refuseRange gives ranges up: what comes next is read from the start and compared.
func (s *stream) refuseRange() error {
	if s.pinned {
		return s.abandon(fmt.Errorf("%w: %w", ErrContentChanged, errWrongRange))
	}
	s.noRanges = true
	s.breakOff(errWrongRange)
	return nil
}

// startOver takes the content from its start. What was read before is compared
// and left out.
func (s *stream) startOver(resp *http.Response) error {
	if err := s.accept(resp); err != nil {
		return s.abandon(err)
	}
	encoding := strings.ToLower(resp.Header.Get("Content-Encoding"))
	s.encoded = resp.Uncompressed
	total := resp.ContentLength
	switch {
	case encoding == "" || encoding == "identity" || total == 0:
	case encoding == "gzip" || encoding == "x-gzip":
		s.encoded, total = true, -1
		body, err := gzip.NewReader(resp.Body)
		if err == io.EOF { //nolint:errorlint // NewReader returns io.EOF itself
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			s.breakOff(err)
			return nil
		}
		s.body = &decodedBody{body, resp.Body}
	default:
		return s.abandon(fmt.Errorf("%w: encoded in a way that was not asked for", ErrUnexpectedContent))
	}
	if s.offset > 0 && s.discard != nil {
		if err := s.discard(); err != nil {
			s.breakOff(err)
			return err
		}
		s.offset = 0
	}
	s.discard = nil
	if s.offset > 0 {
		if total >= 0 && total < s.offset {
			return s.abandon(fmt.Errorf("%w: it is shorter than what was read of it", ErrContentChanged))
		}
		if err := s.compare(); err != nil || s.broken != nil {
			return err
		}
	}
	s.total = total
	validator := ""
	if !s.encoded {
		validator = validatorOf(resp.Header)
	}
	if validator != s.validator && !s.growing {
		s.noRanges = false // those refused were of another content
	}
	s.validator, s.header = validator, nil
	s.note(resp)
	return nil
}

// compare reads as much as was read before and makes sure that it is the same.
func (s *stream) compare() error {
	hash := sha256.New()
	n, err := io.CopyN(hash, s.body, s.offset)
	switch {
	case err == io.EOF && n < s.offset: //nolint:errorlint // CopyN returns io.EOF itself
		return s.abandon(fmt.Errorf("%w: it is shorter than what was read of it", ErrContentChanged))
	case err != nil:
		s.breakOff(err)
	case !bytes.Equal(hash.Sum(nil), s.digest()):
		return s.abandon(fmt.Errorf("%w: it begins with other bytes than those read of it", ErrContentChanged))
	}
	return nil
}

// note remembers what an answer says of the content. The answer to a range
// needn't say again what an earlier one has said.
func (s *stream) note(resp *http.Response) {
	earlier := s.header
	s.header = resp.Header
	for _, name := range []string{"Content-Disposition", "Content-Type", "ETag"} {
		if s.header.Get(name) == "" && earlier.Get(name) != "" {
			s.header.Set(name, earlier.Get(name))
		}
	}
	foreign := !s.client.isOrigin(resp.Request.URL)
	s.foreign = foreign || earlier != nil && s.foreign
}

// breakOff gives the answer up; another may be better.
func (s *stream) breakOff(err error) {
	s.body.Close()
	s.body, s.broken = nil, err
}

// abandon gives the answer up for good: no other would be better.
func (s *stream) abandon(err error) error {
	s.breakOff(err)
	return s.fail(err)
}

// fail returns the error that ends the download.
func (s *stream) fail(err error) error {
	return newRequestError(s.ctx, s.call.endpoint.method, s.url, err)
}

// giveUp returns the error that ends the download where a later one may do
// better.
func (s *stream) giveUp(err error) error {
	failed := newRequestError(s.ctx, s.call.endpoint.method, s.url, err)
	failed.transient = true
	return failed
}

// A decodedBody is the content of an encoded body.
type decodedBody struct {
	io.Reader
	encoded io.Closer
}

func (b *decodedBody) Close() error { return b.encoded.Close() }

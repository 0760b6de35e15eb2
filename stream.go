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
	noRanges  bool   // a range was asked for and not got
	pinned    bool   // only ranges of the content with this validator will do
	// digest returns the SHA-256 of what was read before offset. It isn't
	// asked of a pinned stream.
	digest func() []byte

	body    io.ReadCloser
	broken  error       // why the last connection is of no more use
	header  http.Header // of the newest answer
	foreign bool        // that answer came from another origin than GitLab's
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

// Close closes the connection, or gives it back where all of it has been read.
func (s *stream) Close() error {
	if s.body == nil {
		return nil
	}
	body := s.body
	s.body = nil
	if s.complete() {
		body.Read(make([]byte, 1)) //nolint:errcheck // meets the end, which frees the connection
	}
	return body.Close()
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
		return s.fail(s.broken)
	}
	failures := s.budget.used - 1
	if failures == 0 {
		return nil
	}
	wait := s.client.retry.backoff(failures)
	if outlasts(s.ctx, wait) {
		return s.fail(s.broken)
	}
	if err := sleep(s.ctx, wait); err != nil {
		return s.fail(err)
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
	if ranged {
		last := ""
		if s.end >= 0 {
			last = strconv.FormatInt(s.end-1, 10)
		}
		cl.header["Range"] = []string{fmt.Sprintf("bytes=%d-%s", s.offset, last)}
		cl.header["If-Range"] = []string{s.validator}
		cl.accept = []int{http.StatusRequestedRangeNotSatisfiable}
	}
	resp, err := s.client.send(s.ctx, cl) //nolint:bodyclose // it becomes the stream's
	s.call.waited = 0
	if err != nil {
		return err
	}
	s.body = resp.Body
	switch {
	case ranged && resp.StatusCode == http.StatusPartialContent:
		return s.goOn(resp)
	case ranged && resp.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		return s.atEnd(resp)
	case resp.StatusCode == http.StatusPartialContent:
		return s.abandon(fmt.Errorf("%w: a range that was not asked for", ErrUnexpectedContent))
	case s.pinned:
		return s.abandon(errRangeRefused)
	}
	return s.startOver(resp)
}

// goOn takes a 206 whose range, total and validator are the right ones.
func (s *stream) goOn(resp *http.Response) error {
	start, total, ok := parseContentRange(resp.Header.Get("Content-Range"))
	if !ok || start != s.offset || s.total >= 0 && total >= 0 && total != s.total ||
		resp.Header.Get("Content-Encoding") != "" || !sameContent(s.validator, resp.Header) {
		return s.refuseRange()
	}
	if total >= 0 {
		s.total = total
	}
	s.note(resp)
	return nil
}

// atEnd takes a 416: the end, where the content is as long as what was read.
func (s *stream) atEnd(resp *http.Response) error {
	_, total, ok := parseContentRange(resp.Header.Get("Content-Range"))
	if ok && total == s.offset && (s.total < 0 || s.total == total) {
		s.total = total
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
	switch encoding {
	case "", "identity":
	case "gzip", "x-gzip":
		s.encoded, total = true, -1
		body, err := gzip.NewReader(resp.Body)
		if err != nil {
			s.breakOff(err)
			return nil
		}
		s.body = &decodedBody{body, resp.Body}
	default:
		return s.abandon(fmt.Errorf("%w: encoded as %q", ErrUnexpectedContent, oneLine(encoding, 32)))
	}
	if s.offset > 0 {
		if total >= 0 && total < s.offset {
			return s.abandon(fmt.Errorf("%w: it is shorter than what was read of it", ErrContentChanged))
		}
		if err := s.compare(); err != nil || s.broken != nil {
			return err
		}
	}
	s.total = total
	s.validator, s.noRanges = "", s.encoded
	if !s.encoded {
		s.validator = validatorOf(resp.Header)
	}
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

// note remembers what an answer says of the content.
func (s *stream) note(resp *http.Response) {
	s.header = resp.Header
	s.foreign = origin(resp.Request.URL) != s.client.origin
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

// validatorOf returns what If-Range can name a content by: a strong ETag, else
// the time of its last change.
func validatorOf(header http.Header) string {
	if etag := header.Get("ETag"); strings.HasPrefix(etag, `"`) {
		return etag
	}
	if modified := header.Get("Last-Modified"); modified != "" {
		if _, err := http.ParseTime(modified); err == nil {
			return modified
		}
	}
	return ""
}

// sameContent reports whether an answer is of the content with this validator.
// Answers needn't repeat it.
func sameContent(validator string, header http.Header) bool {
	name := "Last-Modified"
	if strings.HasPrefix(validator, `"`) {
		name = "ETag"
	}
	value := header.Get(name)
	return value == "" || value == validator
}

// parseContentRange reads "bytes 0-99/1234", where the total may be "*", and
// "bytes */1234", whose start is -1.
func parseContentRange(value string) (start, total int64, ok bool) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(value), "bytes ")
	if !ok {
		return 0, 0, false
	}
	span, size, ok := strings.Cut(rest, "/")
	if !ok {
		return 0, 0, false
	}
	number := func(text string) int64 {
		n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 63)
		if err != nil {
			ok = false
		}
		return int64(n)
	}
	start, total = -1, -1
	if strings.TrimSpace(size) != "*" {
		total = number(size)
	}
	if strings.TrimSpace(span) != "*" {
		first, last, found := strings.Cut(span, "-")
		start = number(first)
		if end := number(last); !found || end < start || total >= 0 && end >= total {
			ok = false
		}
	}
	return start, total, ok && (start >= 0 || total >= 0)
}

// A decodedBody is the content of an encoded body.
type decodedBody struct {
	io.Reader
	encoded io.Closer
}

func (b *decodedBody) Close() error { return b.encoded.Close() }

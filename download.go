package gitlabjobs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// DownloadOptions are the options of downloads.
type DownloadOptions struct {
	Progress func(Progress) // called at most every 100 ms, and once at the end
	SHA256   string         // the digest the content must have, in hex; the default is not to ask
	MaxBytes int64          // more is ErrTooLarge; the default is no limit
	FileType string         // the report artifact to download in the archive's place, e.g. "junit", on servers that have file_type
}

// Progress is how far a download, or an extraction, has come.
type Progress struct {
	Written int64         // bytes
	Total   int64         // bytes; -1 where unknown
	Resumes int           // how often the connection was made anew
	Elapsed time.Duration // since the start
}

// A Download says what was downloaded. Beside an error it says how far it came.
type Download struct {
	Size        int64  // bytes written
	Filename    string // as the server names it, without a path; "" where it doesn't
	ContentType string
	ETag        string
	SHA256      string // of what was written, in hex
	Verified    bool   // whether that was compared with the expected digest or GitLab's own
	Resumes     int    // how often the connection was made anew
}

const (
	progressInterval = 100 * time.Millisecond
	maxFilename      = 255 // bytes
)

// A contentKind is what a download expects.
type contentKind int

const (
	archiveContent contentKind = iota // a zip archive
	reportContent                     // a report artifact, of any type
	fileContent                       // one file of an archive, of any type
	logContent                        // the log of a job
)

// archiveKind returns what a download of a job's archive, or of a report
// artifact in its place, expects.
func archiveKind(fileType string) contentKind {
	if fileType != "" {
		return reportContent
	}
	return archiveContent
}

func (o *DownloadOptions) validate() error {
	if o.MaxBytes < 0 {
		return errors.New("gitlabjobs: MaxBytes is negative")
	}
	if digest, err := hex.DecodeString(o.SHA256); err != nil || len(digest) != 0 && len(digest) != sha256.Size {
		return errors.New("gitlabjobs: SHA256 is not a SHA-256 digest in hex")
	}
	return nil
}

// download streams the content of a call to w.
func (c *Client) download(ctx context.Context, cl call, kind contentKind, w io.Writer, opts *DownloadOptions) (*Download, error) {
	o := valueOf(opts)
	if w == nil {
		return nil, errors.New("gitlabjobs: the writer is nil")
	}
	if err := o.validate(); err != nil {
		return nil, err
	}
	s, err := newStream(ctx, c, cl, kind.check)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	t := newTransfer(s, kind, o)
	defer t.digester.close()
	return t.end(t.run(s, w))
}

// A source is what a transfer reads: a stream, or ranges that come side by side.
type source interface {
	io.Reader
	state() sourceState
}

type sourceState struct {
	total     int64 // of the whole content; -1 where unknown
	resumes   int
	validator string // of the content; "" where it has none
}

// A transfer copies content to a writer, and hashes it on the way.
type transfer struct {
	stream   *stream
	kind     contentKind
	digester *digester
	written  int64
	limit    int64  // 0: none
	expected string // the digest to be had, in hex; "" for any
	progress *meter
	// checkpoint, unless nil, is called as the copy goes on.
	checkpoint func(sourceState) error
}

func newTransfer(s *stream, kind contentKind, o DownloadOptions) *transfer {
	t := &transfer{
		stream: s, kind: kind, digester: newDigester(),
		limit: o.MaxBytes, expected: strings.ToLower(o.SHA256), progress: newMeter(o.Progress),
	}
	s.digest = t.digester.sum
	return t
}

// run copies what a source still has to w.
func (t *transfer) run(from source, w io.Writer) error {
	for {
		buffer := t.digester.buffer()
		n, err := from.Read(buffer)
		state := from.state()
		if err != nil {
			t.digester.giveBack(buffer)
			if err == io.EOF { //nolint:errorlint // a wrapped one is a broken connection, not the end
				return t.checkSize(max(t.written, state.total))
			}
			return err
		}
		if err := t.check(buffer[:n], state); err != nil {
			t.digester.giveBack(buffer)
			return err
		}
		chunk := buffer[:n]
		exceeded := t.checkSize(t.written + int64(n))
		if exceeded != nil {
			chunk = chunk[:max(t.limit-t.written, 0)]
		}
		n, err = w.Write(chunk)
		if err == nil && n != len(chunk) {
			err = io.ErrShortWrite
		}
		n = min(max(n, 0), len(chunk))
		t.written += int64(n)
		t.digester.hash(buffer, n)
		if err != nil {
			return err
		}
		if exceeded != nil {
			return exceeded
		}
		t.progress.report(func() Progress { return t.progressOf(state) })
		if t.checkpoint != nil {
			if err := t.checkpoint(state); err != nil {
				return err
			}
		}
	}
}

// check refuses content for what is known of it before it is written.
func (t *transfer) check(chunk []byte, state sourceState) error {
	if t.written == 0 && t.kind == archiveContent && isHTML("", chunk) {
		return t.stream.fail(errHTML)
	}
	return t.checkSize(state.total)
}

func (t *transfer) checkSize(size int64) error {
	if t.limit == 0 || size <= t.limit {
		return nil
	}
	return t.stream.fail(fmt.Errorf("%w: it exceeds MaxBytes, %d", ErrTooLarge, t.limit))
}

// end describes and verifies what was copied. There is nothing to describe
// before the first request.
func (t *transfer) end(err error) (*Download, error) {
	s := t.stream
	if err != nil && s.budget.attempts == 0 {
		return nil, err
	}
	d := &Download{
		Size:        t.written,
		Filename:    filenameOf(s.header.Get("Content-Disposition")),
		ContentType: s.header.Get("Content-Type"),
		ETag:        s.header.Get("ETag"),
		SHA256:      hex.EncodeToString(t.digester.sum()),
		Resumes:     s.resumes,
	}
	if err == nil {
		err = t.verify(d)
	}
	t.progress.end(func() Progress { return t.progressOf(s.state()) })
	return d, err
}

// progressOf returns the progress made; the meter adds the time.
func (t *transfer) progressOf(state sourceState) Progress {
	return Progress{Written: t.written, Total: state.total, Resumes: state.resumes}
}

// verify compares the digest of what was copied with the one that the caller
// expects, and with the one that GitLab states.
func (t *transfer) verify(d *Download) error {
	stated := ""
	if t.kind == archiveContent && !t.stream.foreign && !t.stream.encoded {
		stated = digestOfETag(d.ETag)
	}
	for _, want := range []string{t.expected, stated} {
		if want == "" {
			continue
		}
		if want != d.SHA256 {
			d.Verified = false
			return t.stream.fail(fmt.Errorf("%w: SHA-256 is %s, not %s", ErrChecksumMismatch, d.SHA256, want))
		}
		d.Verified = true
	}
	return nil
}

var errHTML = fmt.Errorf("%w: an HTML page (a login wall?)", ErrUnexpectedContent)

// check refuses pages for a browser where they can't be the content. Files of
// an archive may be HTML, and come as attachments then or by their extension.
func (k contentKind) check(resp *http.Response) error {
	if !isHTML(resp.Header.Get("Content-Type"), nil) {
		return nil
	}
	if k == archiveContent || k == logContent || strings.HasSuffix(resp.Request.URL.Path, "/users/sign_in") {
		return errHTML
	}
	extension := strings.ToLower(path.Ext(resp.Request.URL.Path))
	if resp.Header.Get("Content-Disposition") == "" && extension != ".html" && extension != ".htm" && extension != ".xhtml" {
		return errHTML
	}
	return nil
}

// digestOfETag returns the SHA-256 that is an archive's strong ETag on newer
// servers, or "".
func digestOfETag(etag string) string {
	digest := strings.Trim(etag, `"`)
	if len(digest) != hex.EncodedLen(sha256.Size) || etag != `"`+digest+`"` {
		return ""
	}
	if _, err := hex.DecodeString(digest); err != nil {
		return ""
	}
	return strings.ToLower(digest)
}

// filenameOf returns the name in a Content-Disposition, without any path, or ""
// where it can't be that of a file here.
func filenameOf(disposition string) string {
	_, params, err := mime.ParseMediaType(disposition)
	if err != nil {
		return ""
	}
	name := params["filename"]
	name = name[strings.LastIndexAny(name, `/\`)+1:]
	name = oneLine(name, maxFilename-len("..."))
	if name == "." || !filepath.IsLocal(name) {
		return ""
	}
	return name
}

// A meter calls a progress function, and not too often.
type meter struct {
	call        func(Progress)
	start, last time.Time
}

func newMeter(call func(Progress)) *meter { return &meter{call: call, start: time.Now()} }

func (m *meter) report(state func() Progress) {
	if m.call != nil && time.Since(m.last) >= progressInterval {
		m.end(state)
	}
}

func (m *meter) end(state func() Progress) {
	if m.call == nil {
		return
	}
	m.last = time.Now()
	progress := state()
	progress.Elapsed = m.last.Sub(m.start)
	m.call(progress)
}

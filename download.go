package gitlabjobs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"mime"
	"net/http"
	"path"
	"strings"
	"sync"
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
	copyBufferSize   = 128 << 10 // bytes
	copyBuffers      = 3         // one is read and written, one hashed, one waits
)

// A contentKind is what a download expects.
type contentKind int

const (
	archiveContent contentKind = iota // a zip archive
	reportContent                     // a report artifact, of any type
	fileContent                       // one file of an archive, of any type
	logContent                        // the log of a job
)

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
	t := &transfer{stream: s, kind: kind, digester: newDigester(), w: w, limit: o.MaxBytes, progress: newMeter(o.Progress)}
	defer t.digester.close()
	s.digest = t.digester.sum
	err = t.run()
	return t.end(o.SHA256, err)
}

// A transfer copies a stream to a writer, and hashes it on the way.
type transfer struct {
	stream   *stream
	kind     contentKind
	digester *digester
	w        io.Writer
	written  int64
	limit    int64 // 0: none
	progress *meter
}

func (t *transfer) run() error {
	for {
		buffer := t.digester.buffer()
		n, err := t.stream.Read(buffer)
		if err == io.EOF { //nolint:errorlint // a Reader returns io.EOF itself
			return nil
		}
		if err != nil {
			return err
		}
		chunk := buffer[:n]
		if t.written == 0 && t.kind == archiveContent && isHTML("", chunk) {
			return t.stream.fail(errHTML)
		}
		var exceeded error
		if t.limit > 0 && max(t.stream.total, t.stream.offset) > t.limit {
			exceeded = t.stream.fail(fmt.Errorf("%w: it exceeds MaxBytes, %d", ErrTooLarge, t.limit))
			if t.stream.total > t.limit {
				return exceeded // known before its bytes came
			}
			chunk = chunk[:t.limit-t.written]
		}
		n, err = t.w.Write(chunk)
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
		t.progress.report(t.state)
	}
}

// end describes and verifies what was copied.
func (t *transfer) end(expected string, err error) (*Download, error) {
	s := t.stream
	d := &Download{
		Size:        t.written,
		Filename:    filenameOf(s.header.Get("Content-Disposition")),
		ContentType: s.header.Get("Content-Type"),
		ETag:        s.header.Get("ETag"),
		SHA256:      hex.EncodeToString(t.digester.sum()),
		Resumes:     s.resumes,
	}
	if err == nil {
		err = t.verify(d, expected)
	}
	t.progress.end(t.state)
	return d, err
}

// verify compares the digest of what was copied with the one that the caller
// expects, and with the one that GitLab states.
func (t *transfer) verify(d *Download, expected string) error {
	stated := ""
	if t.kind == archiveContent && !t.stream.foreign && !t.stream.encoded {
		stated = digestOfETag(d.ETag)
	}
	for _, want := range []string{strings.ToLower(expected), stated} {
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

// state returns the progress made; the meter adds the time.
func (t *transfer) state() Progress {
	return Progress{Written: t.written, Total: t.stream.total, Resumes: t.stream.resumes}
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

// filenameOf returns the name in a Content-Disposition, without any path.
func filenameOf(disposition string) string {
	_, params, err := mime.ParseMediaType(disposition)
	if err != nil {
		return ""
	}
	name := params["filename"]
	name = name[strings.LastIndexAny(name, `/\`)+1:]
	name = oneLine(name, maxFilename)
	if name == "." || name == ".." {
		return ""
	}
	return name
}

const maxFilename = 255 // bytes

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

// A digester lends the buffers of a copy, and computes the SHA-256 of what was
// in them: in the background once it is worth it, so that hashing doesn't slow
// the copy down.
type digester struct {
	state   hash.Hash
	hashed  int64
	made    int
	free    chan []byte
	work    chan []byte    // nil while all is hashed in the foreground
	pending sync.WaitGroup // chunks in work
	running sync.WaitGroup
}

func newDigester() *digester {
	return &digester{state: sha256.New(), free: make(chan []byte, copyBuffers)}
}

// buffer returns a buffer that is free. It belongs to the caller until hash.
func (d *digester) buffer() []byte {
	select {
	case buffer := <-d.free:
		return buffer
	default:
	}
	if d.made == copyBuffers {
		return <-d.free
	}
	d.made++
	return copyBufferPool.Get().(*[copyBufferSize]byte)[:]
}

// hash adds the first n bytes of a buffer and takes the buffer back.
func (d *digester) hash(buffer []byte, n int) {
	d.hashed += int64(n)
	if d.work == nil && d.hashed <= copyBufferSize {
		d.state.Write(buffer[:n])
		d.free <- buffer
		return
	}
	if d.work == nil {
		d.work = make(chan []byte, copyBuffers)
		d.running.Go(func() {
			for chunk := range d.work {
				d.state.Write(chunk)
				d.free <- chunk[:cap(chunk)]
				d.pending.Done()
			}
		})
	}
	d.pending.Add(1)
	d.work <- buffer[:n]
}

// sum returns the digest of all that was hashed so far.
func (d *digester) sum() []byte {
	d.pending.Wait()
	return d.state.Sum(nil)
}

func (d *digester) close() {
	if d.work != nil {
		close(d.work)
		d.running.Wait()
	}
	for len(d.free) > 0 {
		copyBufferPool.Put((*[copyBufferSize]byte)(<-d.free))
	}
}

var copyBufferPool = sync.Pool{New: func() any { return new([copyBufferSize]byte) }}

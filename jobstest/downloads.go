package jobstest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"
)

// A fileReply sends a stored file from the local disk: with ranges, and with
// an ETag on newer versions.
type fileReply struct{ *archive }

func (f fileReply) write(a *answer, c *call) {
	setAPIHeaders(a.Header(), c)
	file := f.changedBy(a.fault)
	h := a.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s"; filename*=UTF-8''%s`, f.name, escapeName(f.name)))
	tag := ""
	if c.s.version == Newest && !f.noChecksum {
		tag = `"` + file.sha256() + `"`
		if a.fault.SameValidator {
			tag = `"` + f.sha256() + `"`
		}
	}
	serveContent(a, tag, file.modified, file.section())
}

// changedBy returns the archive that a fault puts in this one's place, or
// this one.
func (f fileReply) changedBy(fault Fault) *archive {
	if fault.ChangedContent == nil {
		return f.archive
	}
	changed := &archive{
		reader: bytes.NewReader(fault.ChangedContent), size: int64(len(fault.ChangedContent)),
		name: f.name, modified: f.modified.Add(time.Second), serial: -f.serial,
	}
	if fault.SameValidator {
		changed.modified, changed.serial = f.modified, f.serial
	}
	return changed
}

// serveContent serves ranges and conditions as http.ServeContent does, as far
// as the faults let it.
func serveContent(a *answer, tag string, modified time.Time, content io.ReadSeeker) {
	f := a.fault
	switch {
	case tag == "" || f.NoETag:
	case f.WeakETag:
		a.Header().Set("ETag", "W/"+strings.TrimPrefix(tag, "W/"))
	default:
		a.Header().Set("ETag", tag)
	}
	if f.NoLastModified {
		modified = time.Time{}
	}
	r := a.r
	if f.NoRanges || f.Gzip {
		r = r.Clone(r.Context())
		r.Header.Del("Range")
		r.Header.Del("If-Range")
	}
	if f.WrongRange {
		r = r.Clone(r.Context())
		r.Header.Set("Range", shiftRange(r.Header.Get("Range")))
	}
	http.ServeContent(a, r, "", modified, content)
}

// shiftRange moves the start of a range to the byte before, or after the
// first.
func shiftRange(header string) string {
	start, end, ok := strings.Cut(strings.TrimPrefix(header, "bytes="), "-")
	n, err := strconv.ParseInt(start, 10, 64)
	if !ok || err != nil {
		return header
	}
	if n--; n < 0 {
		n = 1
	}
	return fmt.Sprintf("bytes=%d-%s", n, end)
}

// An entryReply sends one file of an archive, inflated on the way: always
// whole, with status 200.
type entryReply struct {
	*archive
	path string
}

func (e entryReply) write(a *answer, c *call) {
	setAPIHeaders(a.Header(), c)
	file := e.file(e.path)
	if file == nil {
		textReply{status: http.StatusNotFound, contentType: "text/plain; charset=utf-8", body: "Not Found\n"}.write(a, c)
		return
	}
	h := a.Header()
	name := path.Base(e.path)
	h.Set("Content-Type", typeOf(name))
	h.Set("Content-Disposition", `attachment; filename="`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name)+`"`)
	if c.s.version == Newest && !e.noChecksum {
		sum := sha256.Sum256([]byte(e.sha256() + ":" + e.path))
		h.Set("ETag", `"`+hex.EncodeToString(sum[:])+`"`)
	}
	if changed := a.fault.ChangedContent; changed != nil {
		h.Set("Content-Length", strconv.Itoa(len(changed)))
		if !a.fault.SameValidator {
			h.Del("ETag")
		}
		a.WriteHeader(http.StatusOK)
		_, _ = a.Write(changed)
		return
	}
	h.Set("Content-Length", strconv.FormatUint(file.UncompressedSize64, 10))
	a.WriteHeader(http.StatusOK)
	if a.r.Method == http.MethodHead {
		return
	}
	inflated, err := file.Open()
	if err != nil {
		panic(http.ErrAbortHandler) // a broken archive: the answer can't be kept
	}
	defer func() { _ = inflated.Close() }()
	if _, err := io.Copy(a, inflated); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// fileTypes are those of common artifacts, so that they don't depend on the
// machine's own table.
var fileTypes = map[string]string{
	".txt": "text/plain; charset=utf-8", ".log": "text/plain; charset=utf-8", ".md": "text/markdown; charset=utf-8",
	".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".csv": "text/csv; charset=utf-8",
	".xml": "text/xml; charset=utf-8", ".json": "application/json", ".pdf": "application/pdf", ".zip": "application/zip",
	".gz": "application/gzip", ".png": "image/png", ".svg": "image/svg+xml", ".bin": "application/octet-stream",
}

// typeOf is the content type of a file by its name.
func typeOf(name string) string {
	ext := strings.ToLower(path.Ext(name))
	return first(fileTypes[ext], mime.TypeByExtension(ext), "application/octet-stream")
}

// escapeName escapes a file name for filename*.
func escapeName(name string) string {
	var b strings.Builder
	for _, c := range []byte(name) {
		if c < 0x80 && (c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || strings.IndexByte("-._~", c) >= 0) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// A traceReply sends a job's log.
type traceReply struct {
	log      logContent
	jobID    int64
	archived bool // moved from where live logs are kept: with another ETag
}

func (t traceReply) write(a *answer, c *call) {
	setAPIHeaders(a.Header(), c)
	log, version := t.log, t.log.version
	if changed := a.fault.ChangedContent; changed != nil {
		log = logContent{changed: t.log.changed}
		log.append(string(changed), t.log.changed)
		if !a.fault.SameValidator {
			version = -version - 1
		}
	}
	h := a.Header()
	h.Set("Content-Type", "text/plain")
	h.Set("Content-Disposition", fmt.Sprintf(`infile; filename="%d.log"`, t.jobID))
	section := io.NewSectionReader(log, 0, log.size)
	tag := fmt.Sprintf(`"%x-%x-%x-%t"`, t.jobID, uint64(version), log.size, t.archived)
	switch c.s.trace {
	case TraceRanges:
		serveContent(a, tag, log.changed, struct{ io.ReadSeeker }{section})
		return
	case TraceETag:
		h.Set("ETag", "W/"+tag)
		if matchesETag(a.r.Header.Get("If-None-Match"), tag) {
			a.WriteHeader(http.StatusNotModified)
			return
		}
	}
	h.Set("Content-Length", strconv.FormatInt(log.size, 10))
	a.WriteHeader(http.StatusOK)
	_, _ = io.Copy(a, section)
}

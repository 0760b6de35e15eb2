package jobstest

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// An archive is a stored file: bytes that don't change, and their validators.
type archive struct {
	reader   io.ReaderAt
	size     int64
	name     string
	modified time.Time
	serial   int64 // tells this archive from every other one of the server

	noChecksum bool
	digestOnce sync.Once
	digest     string // SHA-256 in hex

	zipOnce sync.Once
	zip     *zip.Reader // nil unless it is a zip
	files   map[string]*zip.File
}

// newArchive makes an archive out of bytes, or of a reader where there are none.
func (j *Job) newArchive(data []byte, reader io.ReaderAt, size int64, digest string) *archive {
	s := j.pl.p.s
	if data != nil {
		reader, size = bytes.NewReader(data), int64(len(data))
	}
	return &archive{
		reader: reader, size: size, name: j.spec.ArchiveName, modified: s.clock.Now(),
		serial: s.nextID(&s.lastArchive), noChecksum: j.spec.NoChecksum, digest: strings.ToLower(digest),
	}
}

// sha256 computes the digest once. It is called without the server's lock,
// since it reads the whole archive.
func (a *archive) sha256() string {
	a.digestOnce.Do(func() {
		if a.digest != "" {
			return
		}
		sum := sha256.New()
		if _, err := io.CopyBuffer(struct{ io.Writer }{sum}, a.section(), make([]byte, serveBufferSize)); err == nil {
			a.digest = hex.EncodeToString(sum.Sum(nil))
		}
	})
	return a.digest
}

// section returns a reader of the whole archive. It hides io.WriterTo and the
// like, so that copies use the buffers they were given.
func (a *archive) section() io.ReadSeeker {
	return struct{ io.ReadSeeker }{io.NewSectionReader(a.reader, 0, a.size)}
}

// open reads the archive's directory once.
func (a *archive) open() *zip.Reader {
	a.zipOnce.Do(func() {
		r, err := zip.NewReader(a.reader, a.size)
		if err != nil {
			return
		}
		a.zip = r
		a.files = make(map[string]*zip.File, len(r.File))
		for _, f := range r.File {
			a.files[f.Name] = f
		}
	})
	return a.zip
}

// file finds a file of the archive, nil if there is none.
func (a *archive) file(name string) *zip.File {
	if a.open() == nil || strings.HasSuffix(name, "/") {
		return nil
	}
	return a.files[name]
}

// A logContent is a log: pieces that are never changed, so that it can be
// read while it grows, and that are shared with the steps they come from.
type logContent struct {
	pieces  []string
	ends    []int64 // where each piece ends
	size    int64
	version int64 // changes with the content
	changed time.Time
}

func (l *logContent) append(text string, at time.Time) {
	if text == "" {
		return
	}
	l.size += int64(len(text))
	l.pieces = append(l.pieces, text)
	l.ends = append(l.ends, l.size)
	l.version++
	l.changed = at
}

func (l *logContent) replace(text string, at time.Time) {
	*l = logContent{version: l.version + 1, changed: at}
	l.append(text, at)
}

func (l logContent) String() string { return strings.Join(l.pieces, "") }

// ReadAt reads the log as it was when l was copied.
func (l logContent) ReadAt(b []byte, off int64) (int, error) {
	n := 0
	i, _ := slices.BinarySearch(l.ends, off+1)
	for ; i < len(l.pieces) && n < len(b); i++ {
		start := l.ends[i] - int64(len(l.pieces[i]))
		n += copy(b[n:], l.pieces[i][off+int64(n)-start:])
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

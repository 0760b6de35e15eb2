package gitlabjobs

import (
	"errors"
	"io"
	"io/fs"
)

// An openFile is a file of an ArtifactsFS that is open. Nothing is fetched
// before the first Read. To seek back is to begin anew.
type openFile struct {
	entryInfo
	fsys   *ArtifactsFS
	offset int64 // of the next Read

	content io.ReadCloser // nil before the first Read
	at      int64         // how far it has been read
	closed  bool
}

var _ io.ReadSeekCloser = (*openFile)(nil)

func (f *openFile) Stat() (fs.FileInfo, error) {
	if f.closed {
		return nil, f.fail("stat", fs.ErrClosed)
	}
	return f.entryInfo, nil
}

func (f *openFile) Read(p []byte) (int, error) {
	if f.closed {
		return 0, f.fail("read", fs.ErrClosed)
	}
	if f.offset >= f.Size() && f.offset != f.at {
		return 0, io.EOF // after a Seek, which needn't read what is before
	}
	if err := f.position(); err != nil {
		return 0, f.fail("read", err)
	}
	n, err := f.content.Read(p)
	f.at += int64(n)
	f.offset = f.at
	if err != nil && err != io.EOF { //nolint:errorlint // a Reader returns io.EOF itself
		err = f.fail("read", err)
	}
	return n, err
}

// position makes the content go on at the offset.
func (f *openFile) position() error {
	if f.at > f.offset {
		f.content.Close() // it can't fail
		f.content = nil
	}
	if f.content == nil {
		content, err := f.fsys.directory.open(f.entry.record)
		if err != nil {
			return err
		}
		f.content, f.at = content, 0
	}
	if f.at == f.offset {
		return nil
	}
	n, err := io.CopyN(io.Discard, f.content, f.offset-f.at)
	f.at += n
	return err
}

func (f *openFile) Seek(offset int64, whence int) (int64, error) {
	if f.closed {
		return 0, f.fail("seek", fs.ErrClosed)
	}
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += f.offset
	case io.SeekEnd:
		offset += f.Size()
	default:
		return 0, f.fail("seek", fs.ErrInvalid)
	}
	if offset < 0 {
		return 0, f.fail("seek", fs.ErrInvalid)
	}
	f.offset = offset
	return offset, nil
}

func (f *openFile) Close() error {
	if f.closed {
		return f.fail("close", fs.ErrClosed)
	}
	f.closed = true
	if f.content == nil {
		return nil
	}
	return f.content.Close()
}

func (f *openFile) fail(op string, err error) error {
	return &fs.PathError{Op: op, Path: f.entry.path, Err: err}
}

// An openDirectory is a directory of an ArtifactsFS that is open.
type openDirectory struct {
	entryInfo
	rest []fs.DirEntry // what ReadDir hasn't returned yet
}

var _ fs.ReadDirFile = (*openDirectory)(nil)

func (d *openDirectory) Stat() (fs.FileInfo, error) { return d.entryInfo, nil }
func (d *openDirectory) Close() error               { return nil }

func (d *openDirectory) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.entry.path, Err: errors.New("is a directory")}
}

// ReadDir returns the next n entries, or all that are left where n is 0 or less.
func (d *openDirectory) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		n = len(d.rest)
	} else if len(d.rest) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.rest))
	list := d.rest[:n:n]
	d.rest = d.rest[n:]
	return list, nil
}

package gitlabjobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"sync"
)

// OpenOptions are the options of [JobsService.OpenArtifacts].
type OpenOptions struct {
	// MaxSpool is how many bytes may go to a temporary file where the server
	// does no ranges. The default is 1 GiB; more is ErrTooLarge.
	MaxSpool int64
}

const (
	defaultMaxSpool = 1 << 30
	maxIndex        = 16 << 20 // bytes that the index of an archive may take
	indexEntrySize  = 56       // bytes that an entry takes besides its path
	maxLinks        = 40       // symlinks followed for one name
	maxLinkTarget   = 4 << 10  // bytes
)

// An ArtifactsFS is an archive on the server as a file system. Its content is
// fetched when it is read, by ranges of the archive, and checked against the
// archive's checksums. It is safe for concurrent use; the files it opens are
// for one goroutine each.
//
// It shows an entry by the path that its name stands for. Entries whose names
// stand for none are not there: absolute ones, those that climb out of the
// archive, and those with a backslash, a NUL or invalid UTF-8. Of entries with
// one name the last is there. Symlinks are followed within the archive.
type ArtifactsFS struct {
	ctx       context.Context
	source    archiveSource
	directory *zipDirectory
	entries   []archiveEntry // by directory, then by name
	close     func() error
}

var (
	_ fs.FS         = (*ArtifactsFS)(nil)
	_ fs.ReadDirFS  = (*ArtifactsFS)(nil)
	_ fs.StatFS     = (*ArtifactsFS)(nil)
	_ fs.ReadFileFS = (*ArtifactsFS)(nil)
	_ fs.ReadLinkFS = (*ArtifactsFS)(nil)
	_ io.Closer     = (*ArtifactsFS)(nil)
)

// OpenArtifacts opens an archive as a file system, without downloading it: to
// list an archive, or to read one file of it, takes a few requests and few of
// its bytes. Where the server does no ranges, or names no version of the
// content by ETag or Last-Modified, the archive is downloaded to a file in
// [os.TempDir]. The context governs all reads until Close, which must be called.
//
// The content is pinned: reads fail with [ErrContentChanged] once the server
// has another. Other errors are [ErrUnexpectedContent] for what is no zip
// archive, [ErrChecksumMismatch] for a file that isn't what the archive says,
// and [ErrTooLarge]: beyond MaxSpool, and where the list of entries would take
// more than 16 MiB of memory, which is about 200,000 entries.
//
// Endpoints: GET /projects/:id/jobs/:job_id/artifacts,
// GET /projects/:id/jobs/artifacts/:ref_name/download
//
// GitLab docs: https://docs.gitlab.com/api/job_artifacts/
func (s *JobsService) OpenArtifacts(ctx context.Context, project ProjectID, from ArtifactsSource, opts *OpenOptions) (*ArtifactsFS, error) {
	limit := valueOf(opts).MaxSpool
	if limit < 0 {
		return nil, errors.New("gitlabjobs: MaxSpool is negative")
	}
	if limit == 0 {
		limit = defaultMaxSpool
	}
	cl, err := from.archive(project, "")
	if err != nil {
		return nil, err
	}
	content, err := newStream(ctx, s.client, cl, archiveContent.check)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	content.ctx = ctx
	f := &ArtifactsFS{ctx: ctx}
	var size int64
	f.source, size, err = openSource(content, limit)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	f.close = sync.OnceValue(func() error {
		cancel(fs.ErrClosed)
		return f.source.close()
	})
	if err := f.index(size); err != nil {
		f.Close() // the first error is the one to tell
		return nil, err
	}
	return f, nil
}

// Close ends all reads, and removes the temporary file where there is one.
func (f *ArtifactsFS) Close() error { return f.close() }

// Open opens a file or a directory. What it returns for a file can seek.
func (f *ArtifactsFS) Open(name string) (fs.File, error) {
	e, err := f.resolve("open", name, true)
	if err != nil {
		return nil, err
	}
	info := entryInfo{e, path.Base(name)}
	if e.mode.IsDir() {
		return &openDirectory{info, f.list(e.path)}, nil
	}
	return &openFile{entryInfo: info, fsys: f}, nil
}

// ReadDir returns what is in a directory, in the order of names.
func (f *ArtifactsFS) ReadDir(name string) ([]fs.DirEntry, error) {
	e, err := f.resolve("readdir", name, true)
	if err != nil {
		return nil, err
	}
	if !e.mode.IsDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("not a directory")}
	}
	return f.list(e.path), nil
}

// Stat describes a file or a directory, of which the archive's list of entries
// says enough: it fetches nothing.
func (f *ArtifactsFS) Stat(name string) (fs.FileInfo, error) {
	e, err := f.resolve("stat", name, true)
	if err != nil {
		return nil, err
	}
	return entryInfo{e, path.Base(name)}, nil
}

// Lstat is Stat, but describes a symlink itself.
func (f *ArtifactsFS) Lstat(name string) (fs.FileInfo, error) {
	e, err := f.resolve("lstat", name, false)
	if err != nil {
		return nil, err
	}
	return entryInfo{e, path.Base(name)}, nil
}

// ReadLink returns where a symlink leads to.
func (f *ArtifactsFS) ReadLink(name string) (string, error) {
	e, err := f.resolve("readlink", name, false)
	if err != nil {
		return "", err
	}
	if e.mode.Type() != fs.ModeSymlink {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	target, err := f.target(e)
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: err}
	}
	return target, nil
}

// ReadFile returns the content of a file, all of which it fetches at once.
func (f *ArtifactsFS) ReadFile(name string) ([]byte, error) {
	e, err := f.resolve("read", name, true)
	if err != nil {
		return nil, err
	}
	if e.mode.IsDir() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("is a directory")}
	}
	content, err := f.readAll(e)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return content, nil
}

func (f *ArtifactsFS) readAll(e *archiveEntry) ([]byte, error) {
	file, err := f.directory.file(e.record)
	if err != nil {
		return nil, err
	}
	if from, err := file.DataOffset(); err == nil && file.CompressedSize64 <= uint64(f.directory.start) {
		f.source.expect(from, from+int64(file.CompressedSize64))
	}
	content, err := openZipFile(file)
	if err != nil {
		return nil, err
	}
	defer content.Close() // it can't fail
	// The size is what the archive says, so memory follows what comes.
	buffer := make([]byte, 0, min(e.size, blockSize)+1)
	for {
		n, err := content.Read(buffer[len(buffer):cap(buffer)])
		buffer = buffer[:len(buffer)+n]
		if err == io.EOF { // a Reader returns io.EOF itself
			return buffer, nil
		}
		if err != nil {
			return nil, err
		}
		if len(buffer) == cap(buffer) {
			buffer = slices.Grow(buffer, len(buffer))
		}
	}
}

// resolve finds the entry that a name means, through the symlinks on the way,
// and through the last one where it is to be followed.
func (f *ArtifactsFS) resolve(op, name string, follow bool) (*archiveEntry, error) {
	fail := func(err error) (*archiveEntry, error) {
		return nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	if !fs.ValidPath(name) {
		return fail(fs.ErrInvalid)
	}
	if cause := context.Cause(f.ctx); cause != nil {
		if !errors.Is(cause, fs.ErrClosed) && !errors.Is(cause, f.ctx.Err()) {
			cause = fmt.Errorf("%w: %w", f.ctx.Err(), cause)
		}
		return fail(cause)
	}
	at := name
	for range maxLinks {
		e := f.find(at)
		if e != nil && (!follow || e.mode.Type() != fs.ModeSymlink) {
			return e, nil
		}
		link, rest := f.firstLink(at)
		if link == nil {
			return fail(fs.ErrNotExist)
		}
		target, err := f.target(link)
		if err != nil {
			return fail(err)
		}
		at = path.Join(path.Dir(link.path), target, rest)
		if path.IsAbs(target) || !fs.ValidPath(at) {
			return fail(fmt.Errorf("%w: a symlink leads out of the archive", fs.ErrNotExist))
		}
	}
	return fail(fmt.Errorf("%w: too many symlinks", fs.ErrInvalid))
}

// firstLink returns the first symlink on a path, and what of the path is after it.
func (f *ArtifactsFS) firstLink(name string) (link *archiveEntry, rest string) {
	for i := range len(name) + 1 {
		if i < len(name) && name[i] != '/' {
			continue
		}
		e := f.find(name[:i])
		if e == nil {
			return nil, ""
		}
		if e.mode.Type() == fs.ModeSymlink {
			return e, name[i:]
		}
	}
	return nil, ""
}

// target returns where a symlink leads to.
func (f *ArtifactsFS) target(e *archiveEntry) (string, error) {
	content, err := f.directory.open(e.record)
	if err != nil {
		return "", err
	}
	defer content.Close() // it can't fail
	return readTarget(content)
}

// readTarget reads where a symlink leads to: the content of its entry.
func readTarget(content io.Reader) (string, error) {
	target, err := io.ReadAll(io.LimitReader(content, maxLinkTarget+1))
	if err == nil && len(target) > maxLinkTarget {
		err = fmt.Errorf("%w: a symlink's target exceeds %d bytes", ErrUnsafePath, maxLinkTarget)
	}
	return string(target), err
}

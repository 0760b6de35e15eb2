package gitlabjobs

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

const (
	maxWorkers     = 8
	newFileMode    = 0o666 // where the archive says none; the umask applies
	newDirMode     = 0o777
	ownerDirMode   = 0o700 // which extraction itself needs
	temporaryStart = ".gitlabjobs-"
)

// extract does what is planned: first the directories, then the files side by
// side, then the symlinks, so that nothing is written through them.
func (x *extractor) extract(dir string) error {
	if err := os.MkdirAll(dir, newDirMode); err != nil {
		return fmt.Errorf("gitlabjobs: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("gitlabjobs: %w", err)
	}
	defer root.Close() // nothing was written to it
	x.each(root, directoryEntry, 1)
	x.each(root, fileEntry, min(maxWorkers, runtime.GOMAXPROCS(0)))
	x.each(root, linkEntry, 1)
	x.filling.Wait()
	if x.failure == nil && x.ctx.Err() != nil {
		return x.content.fail(x.ctx.Err())
	}
	return x.failure
}

// each makes the entries of a kind, by some workers, in the order of the archive.
func (x *extractor) each(root *os.Root, kind entryKind, workers int) {
	var next atomic.Int64
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			p := &placer{root: root, at: root, path: "."}
			defer p.leave()
			for x.ctx.Err() == nil {
				i := next.Add(1) - 1
				if i >= int64(len(x.plan.entries)) {
					return
				}
				if e := x.plan.entries[i]; e.kind() == kind {
					if err := x.make(p, e); err != nil {
						x.fail(err)
					}
				}
			}
		})
	}
	running.Wait()
}

func (x *extractor) make(p *placer, e plannedEntry) error {
	file, err := x.directory.file(e.record())
	if err != nil {
		return err
	}
	// The list of entries is what it was when this was looked at.
	name := path.Clean(file.Name)
	switch e.kind() {
	case directoryEntry:
		perm := file.Mode().Perm()
		if perm == 0 {
			perm = newDirMode
		}
		_, err = p.enter(name, perm|ownerDirMode)
	case linkEntry:
		err = x.makeLink(p, name, file)
	default:
		err = x.makeFile(p, name, file)
	}
	if err != nil {
		return extractionError(file.Name, err)
	}
	if e.kind() != directoryEntry {
		x.files.Add(1)
	}
	x.report()
	return nil
}

// makeFile writes a file under another name, and renames it once it is whole.
func (x *extractor) makeFile(p *placer, name string, file *zip.File) error {
	dir, base := splitPath(name)
	at, err := p.enter(dir, newDirMode)
	if err != nil {
		return err
	}
	content, err := openZipFile(file)
	if err != nil {
		return err
	}
	defer content.Close() // it can't fail
	perm := file.Mode().Perm()
	if perm == 0 {
		perm = newFileMode
	}
	temporary := temporaryStart + strconv.FormatUint(rand.Uint64(), 36)
	out, err := at.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	err = x.inflate(out, content, int64(file.CompressedSize64))
	if closed := out.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = publish(at, temporary, base, x.options.Overwrite)
	}
	if err != nil {
		at.Remove(temporary) //nolint:errcheck // the first error is the one to tell
	}
	return err
}

// inflate copies the content of a file as long as it keeps within the limits.
func (x *extractor) inflate(w io.Writer, content io.Reader, compressed int64) error {
	buffer := copyBufferPool.Get().(*[copyBufferSize]byte)
	defer copyBufferPool.Put(buffer)
	for size := int64(0); ; {
		if x.ctx.Err() != nil {
			return x.content.fail(x.ctx.Err())
		}
		n, err := content.Read(buffer[:])
		size += int64(n)
		total := x.inflated.Add(int64(n))
		switch {
		case total > x.options.MaxBytes:
			return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, x.options.MaxBytes)
		case float64(size) > x.options.MaxRatio*float64(compressed):
			return fmt.Errorf("%w: more than %v times its compressed size", ErrTooLarge, x.options.MaxRatio)
		case float64(total) > x.options.MaxRatio*float64(x.size):
			return fmt.Errorf("%w: more than %v times the archive's size", ErrTooLarge, x.options.MaxRatio)
		}
		if _, failed := w.Write(buffer[:n]); failed != nil {
			return failed
		}
		if err == io.EOF { // a Reader returns io.EOF itself
			return nil
		}
		if err != nil {
			return err
		}
		x.report()
	}
}

// publish gives a file its name.
func publish(at *os.Root, temporary, name string, overwrite bool) error {
	if overwrite {
		return at.Rename(temporary, name)
	}
	err := at.Link(temporary, name)
	if err == nil {
		return at.Remove(temporary)
	}
	if errors.Is(err, fs.ErrExist) {
		return err
	}
	// Not all file systems have links.
	if _, err := at.Lstat(name); err == nil {
		return &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	return at.Rename(temporary, name)
}

// makeLink makes a symlink that stays inside. Where it leads is asked of the
// root, too, for it may pass through other symlinks.
func (x *extractor) makeLink(p *placer, name string, file *zip.File) error {
	content, err := openZipFile(file)
	if err != nil {
		return err
	}
	defer content.Close() // it can't fail
	target, err := readTarget(content)
	if err != nil {
		return err
	}
	dir, base := splitPath(name)
	if !staysInside(dir, target) {
		return fmt.Errorf("%w: a symlink that leads out of the directory", ErrUnsafePath)
	}
	at, err := p.enter(dir, newDirMode)
	if err != nil {
		return err
	}
	if info, err := at.Lstat(base); err == nil && x.options.Overwrite && !info.IsDir() {
		if err := at.Remove(base); err != nil {
			return err
		}
	}
	if err := at.Symlink(target, base); err != nil {
		return err
	}
	if _, err := p.root.Stat(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		at.Remove(base) //nolint:errcheck // the first error is the one to tell
		return fmt.Errorf("%w: a symlink that leads out of the directory, or in circles", ErrUnsafePath)
	}
	return nil
}

// staysInside reports whether a symlink in dir can't lead out of the root: it
// may climb at its start, where all it passes are directories, and no further
// than the root.
func staysInside(dir, target string) bool {
	slashed := strings.ReplaceAll(target, `\`, "/")
	if slashed == "" || slashed[0] == '/' || len(slashed) > 1 && slashed[1] == ':' || strings.Contains(slashed, "\x00") {
		return false
	}
	depth, climbing := 0, true
	if dir != "." {
		depth = strings.Count(dir, "/") + 1
	}
	for segment := range strings.SplitSeq(slashed, "/") {
		switch segment {
		case "", ".":
		case "..":
			depth--
			if !climbing || depth < 0 {
				return false
			}
		default:
			climbing = false
		}
	}
	return true
}

// A placer makes the directories on the way to entries and opens them. It
// follows no symlinks.
type placer struct {
	root *os.Root
	at   *os.Root // the directory entered last
	path string   // its path
}

// enter opens a directory. If it must be made, it gets the mode.
func (p *placer) enter(dir string, perm fs.FileMode) (*os.Root, error) {
	if dir == p.path {
		return p.at, nil
	}
	rest, below := strings.CutPrefix(dir, p.path+"/")
	if !below {
		p.leave()
		rest = dir
	}
	if rest == "." {
		return p.at, nil
	}
	for rest != "" {
		name, after, more := strings.Cut(rest, "/")
		mode := fs.FileMode(newDirMode)
		if !more {
			mode = perm
		}
		next, err := openDir(p.at, name, mode)
		if err != nil {
			return nil, err
		}
		entered := path.Join(p.path, name)
		p.leave()
		p.at, p.path, rest = next, entered, after
	}
	return p.at, nil
}

// leave goes back to the root.
func (p *placer) leave() {
	if p.at != p.root {
		p.at.Close() // nothing was written to it
	}
	p.at, p.path = p.root, "."
}

// openDir opens a directory right below another, which it makes if it must.
func openDir(at *os.Root, name string, perm fs.FileMode) (*os.Root, error) {
	info, err := at.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		if err := at.Mkdir(name, perm); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		info, err = at.Lstat(name)
	}
	switch {
	case err != nil:
		return nil, err
	case info.Mode().Type() == fs.ModeSymlink:
		return nil, fmt.Errorf("%w: %q is a symlink", ErrUnsafePath, name)
	case !info.IsDir():
		return nil, &fs.PathError{Op: "mkdir", Path: name, Err: fs.ErrExist}
	}
	return at.OpenRoot(name)
}

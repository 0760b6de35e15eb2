package gitlabjobs

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

const (
	partSuffix         = ".part"
	recordSuffix       = ".part.json"
	newRecordSuffix    = ".part.json.new"
	maxRecord          = 16 << 10               // bytes read of a record
	checkpointInterval = 200 * time.Millisecond // after which what has come is recorded
	checkpointSize     = 8 << 20                // bytes after which it is recorded earlier
	syncSize           = 32 << 20               // bytes after which they are written to the disk
	maxClaims          = 10                     // tries to get hold of a part that others are done with
)

// A partial is the file that a download is saved to until it is whole: one
// that only this save knows, or a part that a later one goes on with. A part
// is locked, so that it is written by one save at a time.
type partial struct {
	target string
	path   string
	file   *os.File
	kept   bool // it is a part
	source string

	recorded time.Time
	size     int64 // of what is recorded

	synced  int64 // of what has been given to the disk
	syncing atomic.Bool
	syncs   sync.WaitGroup
	syncErr error // of a sync that has ended
}

// A record says what of a part is good: that many bytes, which have this
// digest, of the content with this validator. Whatever else is in the part
// doesn't count.
type record struct {
	Source    string `json:"source"`
	Validator string `json:"validator"`
	Total     int64  `json:"total"` // -1 where unknown
	Kept      int64  `json:"kept"`
	SHA256    string `json:"sha256"`
}

// newPartial opens the file that is to become target. With keep that is the
// part that an earlier save has left, unless another save is at it just now.
func newPartial(target, source string, mode fs.FileMode, keep bool) (*partial, error) {
	if err := checkTarget(target); err != nil {
		return nil, err
	}
	permissions := fs.FileMode(0o666) // less the umask, as of os.Create
	if mode != 0 {
		permissions = 0o600 // until it is whole
	}
	p := &partial{target: target, source: source}
	if keep {
		if err := p.claim(permissions); err != nil || p.file != nil {
			return p, err
		}
	}
	p.path = filepath.Join(filepath.Dir(target), ".gitlabjobs-"+rand.Text()+".tmp")
	file, err := os.OpenFile(p.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, permissions)
	p.file = file
	return p, p.explain(err)
}

// checkTarget refuses to save over what isn't a file.
func checkTarget(target string) error {
	info, err := os.Stat(target)
	switch {
	case target == "":
		return errors.New("gitlabjobs: the filename is empty")
	case os.IsPathSeparator(target[len(target)-1]) || err == nil && info.IsDir():
		return fmt.Errorf("gitlabjobs: save %s: it is a directory", target)
	case err == nil && !info.Mode().IsRegular():
		return fmt.Errorf("gitlabjobs: save %s: it is not a regular file", target)
	}
	return nil
}

// claim opens and locks the part. It leaves file nil where another save has it.
func (p *partial) claim(permissions fs.FileMode) error {
	path := p.target + partSuffix
	for range maxClaims {
		file, err := openLocked(path, permissions)
		if err != nil || file == nil {
			return p.explain(err)
		}
		opened, err := file.Stat()
		if err != nil {
			file.Close()
			return p.explain(err)
		}
		// The one who had the lock may have moved the part to the target.
		if named, err := os.Lstat(path); err == nil && os.SameFile(named, opened) {
			p.path, p.file, p.kept = path, file, true
			return nil
		}
		file.Close()
		if !opened.Mode().IsRegular() {
			break
		}
	}
	return fmt.Errorf("gitlabjobs: save %s: %s is not a regular file", p.target, path)
}

// load returns the record of the part, if its digest is that of the part's
// bytes. Those are given to the digester.
func (p *partial) load(d *digester, interrupted func() error) (record, bool, error) {
	r, ok := p.readRecord()
	if !ok {
		return record{}, false, nil
	}
	kept := io.NewSectionReader(p.file, 0, r.Kept)
	for d.hashed < r.Kept {
		if err := interrupted(); err != nil {
			return record{}, false, err
		}
		buffer := d.buffer()
		n, err := io.ReadFull(kept, buffer[:min(int64(len(buffer)), r.Kept-d.hashed)])
		d.hash(buffer, n)
		if err != nil {
			return record{}, false, p.explain(err)
		}
	}
	p.size = r.Kept
	return r, hex.EncodeToString(d.sum()) == r.SHA256, nil
}

func (p *partial) readRecord() (record, bool) {
	var r record
	file, err := os.Open(p.target + recordSuffix)
	if err != nil {
		return r, false
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxRecord))
	if err != nil || json.Unmarshal(text, &r) != nil {
		return r, false
	}
	info, err := p.file.Stat()
	ok := err == nil && r.Source == p.source && isValidator(r.Validator) &&
		r.Kept > 0 && r.Kept <= info.Size() && (r.Total == -1 || r.Kept <= r.Total)
	return r, ok
}

// due reports whether it is time for a record of that many good bytes.
func (p *partial) due(good int64) bool {
	return good-p.size >= checkpointSize || good > p.size && time.Since(p.recorded) >= checkpointInterval
}

// keep records what of the part is good.
func (p *partial) keep(r record) error {
	r.Source = p.source
	text, err := json.Marshal(r)
	if err != nil {
		return p.explain(err)
	}
	fresh := p.target + newRecordSuffix
	if err := os.WriteFile(fresh, text, 0o600); err != nil {
		return p.explain(err)
	}
	p.recorded, p.size = time.Now(), r.Kept
	return p.explain(os.Rename(fresh, p.target+recordSuffix))
}

// clear empties the part. Its record goes first, or is of no use.
func (p *partial) clear() error {
	if p.kept {
		p.removeRecord()
	}
	p.size = 0
	return p.explain(p.file.Truncate(0))
}

func (p *partial) removeRecord() {
	os.Remove(p.target + newRecordSuffix)
	os.Remove(p.target + recordSuffix)
}

// syncAhead writes what has come to the disk, in the background, so that little
// of it is left for the end.
func (p *partial) syncAhead(good int64) {
	if good-p.synced < syncSize || !p.syncing.CompareAndSwap(false, true) {
		return
	}
	p.synced = good
	p.syncs.Go(func() {
		// Systems tell of an error once: the last sync may not see it.
		if err := p.file.Sync(); err != nil && p.syncErr == nil {
			p.syncErr = err
		}
		p.syncing.Store(false)
	})
}

// publish makes the file, whose content is whole, the target.
func (p *partial) publish(size int64, mode fs.FileMode) error {
	p.syncs.Wait()
	err := cmp.Or(p.syncErr, p.file.Truncate(size)) // what ranges of an older try have left
	if err == nil && mode != 0 {
		err = p.file.Chmod(mode)
	}
	if err == nil {
		err = p.file.Sync()
	}
	if err == nil {
		if p.kept {
			p.removeRecord() // as long as the lock is ours
		}
		err = moveAndClose(p.file, p.path, p.target)
	}
	if err != nil {
		p.remove()
		return p.explain(err)
	}
	syncDirectory(filepath.Dir(p.target))
	return nil
}

// remove leaves nothing behind.
func (p *partial) remove() {
	if p.kept {
		p.removeRecord()
	}
	err := os.Remove(p.path) // under the lock
	p.close()
	if err != nil { // some systems don't remove open files
		os.Remove(p.path)
	}
}

// close gives the lock back.
func (p *partial) close() {
	p.syncs.Wait()
	p.file.Close()
}

// explain names the target in an error of the file system.
func (p *partial) explain(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("gitlabjobs: save %s: %w", p.target, err)
}

// syncDirectory makes a rename in it last, where the system can do that.
func syncDirectory(path string) {
	if directory, err := os.Open(path); err == nil {
		directory.Sync() //nolint:errcheck // not every file system can, and the file is whole anyway
		directory.Close()
	}
}

// A partWriter writes to a partial from an offset on.
type partWriter struct {
	*partial
	offset int64
}

func (w *partWriter) Write(p []byte) (int, error) {
	n, err := w.file.WriteAt(p, w.offset)
	w.offset += int64(n)
	return n, w.explain(err)
}

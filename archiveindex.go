package gitlabjobs

import (
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// An archiveSource is the bytes of a remote archive.
type archiveSource interface {
	io.ReaderAt
	// expect says that the bytes between two offsets will be read in order.
	expect(from, to int64)
	close() error
}

// openSource asks for an archive, by ranges where the server does them, else
// into a temporary file of at most so many bytes.
func openSource(content *stream, maxSpool int64) (source archiveSource, size int64, err error) {
	defer func() {
		if err != nil {
			content.Close() // it can't fail
		}
	}()
	first, err := content.probe(blockSize)
	if err != nil {
		return nil, 0, err
	}
	if first != nil {
		return newRangeReader(content, first), content.total, nil
	}
	spool, err := newSpool(content, nil)
	if err != nil {
		return nil, 0, err
	}
	if err := spool.fill(maxSpool); err != nil {
		spool.close() // the first error is the one to tell
		return nil, 0, err
	}
	return spool, spool.written, nil
}

// An archiveEntry is a file, directory or symlink of an archive.
type archiveEntry struct {
	path     string
	size     int64
	modified int64  // Unix seconds
	record   uint32 // where its record is, from the directory's start; none for a directory that only paths mention
	mode     fs.FileMode
}

const (
	noRecord      = math.MaxUint32
	impliedDir    = fs.ModeDir | 0o555
	shownModeBits = fs.ModeType | fs.ModePerm
)

var rootEntry = &archiveEntry{path: ".", record: noRecord, modified: time.Time{}.Unix(), mode: impliedDir}

// index reads the archive's list of entries.
func (f *ArtifactsFS) index(size int64) error {
	directory, err := findZipDirectory(f.source, size)
	if err != nil {
		return err
	}
	f.directory = directory
	used := int64(0)
	add := func(e archiveEntry, bytes int) error {
		if used += indexEntrySize + int64(bytes); used > maxIndex {
			return fmt.Errorf("%w: the archive has too many entries to list", ErrTooLarge)
		}
		f.entries = append(f.entries, e)
		return nil
	}
	if directory.records > maxIndex/indexEntrySize {
		used = maxIndex
		return add(archiveEntry{}, 0)
	}
	parents := map[string]struct{}{".": {}}
	for file, err := range directory.files() {
		if err != nil {
			return err
		}
		name, ok := entryPath(file.Name)
		if !ok || name == "." || strings.Contains(name, `\`) || !utf8.ValidString(name) {
			continue
		}
		e := archiveEntry{
			path: name, record: file.record, modified: file.Modified.Unix(), mode: file.Mode() & shownModeBits,
			size: int64(min(file.UncompressedSize64, math.MaxInt64)),
		}
		if e.mode.IsDir() {
			e.size, e.mode = 0, fs.ModeDir|e.mode.Perm()
		}
		if err := add(e, len(name)); err != nil {
			return err
		}
		for dir := path.Dir(name); ; dir = path.Dir(dir) {
			if _, known := parents[dir]; known {
				break
			}
			parents[dir] = struct{}{}
			implied := *rootEntry
			implied.path = dir
			if err := add(implied, 0); err != nil { // its path is part of another
				return err
			}
		}
	}
	slices.SortFunc(f.entries, compareEntries)
	f.entries = slices.CompactFunc(f.entries, func(a, b archiveEntry) bool { return a.path == b.path })
	f.entries = slices.Clip(f.entries)
	return nil
}

// compareEntries sorts by directory, then by name. Of entries with one path
// the one that is shown comes first: a directory, else the last.
func compareEntries(a, b archiveEntry) int {
	if order := comparePaths(a.path, b.path); order != 0 {
		return order
	}
	if a.mode.IsDir() != b.mode.IsDir() {
		if a.mode.IsDir() {
			return -1
		}
		return 1
	}
	return cmp.Compare(b.record+1, a.record+1) // noRecord is the least so
}

func comparePaths(a, b string) int {
	dirA, baseA := splitPath(a)
	dirB, baseB := splitPath(b)
	return cmp.Or(strings.Compare(dirA, dirB), strings.Compare(baseA, baseB))
}

func splitPath(name string) (dir, base string) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return ".", name
	}
	return name[:i], name[i+1:]
}

// find returns the entry with a path, or nil.
func (f *ArtifactsFS) find(name string) *archiveEntry {
	if name == "." {
		return rootEntry
	}
	i, found := slices.BinarySearchFunc(f.entries, name, func(e archiveEntry, name string) int {
		return comparePaths(e.path, name)
	})
	if !found {
		return nil
	}
	return &f.entries[i]
}

// list returns what is in a directory.
func (f *ArtifactsFS) list(directory string) []fs.DirEntry {
	from, _ := slices.BinarySearchFunc(f.entries, directory, func(e archiveEntry, directory string) int {
		dir, _ := splitPath(e.path)
		return cmp.Or(strings.Compare(dir, directory), 1) // before the first of them
	})
	var list []fs.DirEntry
	for i := range f.entries[from:] {
		e := &f.entries[from+i]
		dir, base := splitPath(e.path)
		if dir != directory {
			break
		}
		list = append(list, entryInfo{e, base})
	}
	return list
}

// An entryInfo describes an entry, under the name by which it was found.
type entryInfo struct {
	entry *archiveEntry
	name  string
}

var (
	_ fs.FileInfo = entryInfo{}
	_ fs.DirEntry = entryInfo{}
)

func (i entryInfo) Name() string               { return i.name }
func (i entryInfo) Size() int64                { return i.entry.size }
func (i entryInfo) Mode() fs.FileMode          { return i.entry.mode }
func (i entryInfo) Type() fs.FileMode          { return i.entry.mode.Type() }
func (i entryInfo) ModTime() time.Time         { return time.Unix(i.entry.modified, 0).UTC() }
func (i entryInfo) IsDir() bool                { return i.entry.mode.IsDir() }
func (i entryInfo) Info() (fs.FileInfo, error) { return i, nil }
func (i entryInfo) Sys() any                   { return nil }
func (i entryInfo) String() string             { return fs.FormatFileInfo(i) }

package gitlabjobs

import (
	"archive/zip"
	"cmp"
	"fmt"
	"hash/maphash"
	"io/fs"
	"math"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

const (
	maxDepth         = 256     // directories in each other
	spareDirectories = 4 << 10 // directories that may be made beyond MaxFiles
	maxSkippedNames  = 4 << 20 // bytes
)

// An extractPlan is what there is to extract. It holds no names, but their
// hashes: an archive may have very many.
type extractPlan struct {
	entries  []plannedEntry
	skipped  []string
	declared int64 // bytes that the files have, as the archive says
}

type plannedEntry struct {
	offset     int64  // in the archive, from its base
	hash       uint64 // of the path
	compressed uint32 // bytes; 4 GiB and more are all the same here
	recordKind uint32
}

// Where an entry's record is, from the directory's start, and its kind share a
// number: there is one for every entry of an archive.
const kindBits = 2

func (e plannedEntry) record() uint32  { return e.recordKind >> kindBits }
func (e plannedEntry) kind() entryKind { return entryKind(e.recordKind & (1<<kindBits - 1)) }

// An entryKind says what is made of an entry.
type entryKind uint8

const (
	fileEntry entryKind = iota
	directoryEntry
	linkEntry
	deviceEntry
)

func kindOf(mode fs.FileMode) entryKind {
	switch {
	case mode.IsDir():
		return directoryEntry
	case mode.Type() == fs.ModeSymlink:
		return linkEntry
	case mode.IsRegular():
		return fileEntry
	}
	return deviceEntry
}

// makePlan reads the list of entries, and refuses what it gives away.
func (x *extractor) makePlan() error {
	err := x.planEntries()
	if err == nil {
		err = x.checkPlan()
	}
	if err != nil {
		x.plan.entries = nil
	}
	return err
}

func (x *extractor) planEntries() error {
	if err := x.checkCount(x.directory.records); err != nil {
		return err
	}
	p := &x.plan
	p.entries = make([]plannedEntry, 0, min(x.directory.records, (x.directory.end-x.directory.start)/zipRecordSize))
	seed := maphash.MakeSeed()
	directories := map[uint64]struct{}{} // by the hashes of their paths
	skippedNames := 0
	count := int64(0)
	for file, err := range x.directory.files() {
		if err != nil {
			return err
		}
		count++
		if err := x.checkCount(count); err != nil {
			return err
		}
		name, err := extractedPath(file.Name)
		if err != nil {
			return extractionError(file.Name, err)
		}
		kind := kindOf(file.Mode())
		if name == "." && kind != directoryEntry {
			return extractionError(file.Name, ErrUnsafePath)
		}
		switch kind {
		case deviceEntry:
			p.skipped = append(p.skipped, file.Name)
			if skippedNames += len(file.Name); skippedNames > maxSkippedNames {
				return extractionError(file.Name, fmt.Errorf("%w: too many devices, sockets and pipes", ErrTooLarge))
			}
			continue
		case fileEntry:
			if err := x.declare(file); err != nil {
				return extractionError(file.Name, err)
			}
		}
		if file.offset < 0 || file.CompressedSize64 > uint64(max(0, x.directory.start-x.directory.base-file.offset)) {
			return extractionError(file.Name, brokenZip(zip.ErrFormat))
		}
		p.entries = append(p.entries, plannedEntry{
			offset: file.offset, hash: maphash.String(seed, name),
			compressed: uint32(min(file.CompressedSize64, math.MaxUint32)), recordKind: file.record<<kindBits | uint32(kind),
		})
		dir := name
		if kind != directoryEntry {
			dir, _ = splitPath(name)
		}
		for ; dir != "."; dir, _ = splitPath(dir) {
			hash := maphash.String(seed, dir)
			if _, known := directories[hash]; known {
				break
			}
			directories[hash] = struct{}{}
		}
		if len(directories) > x.options.MaxFiles+spareDirectories {
			return extractionError(file.Name, fmt.Errorf("%w: too many directories", ErrTooLarge))
		}
	}
	return p.checkPaths(directories, x.options.Overwrite)
}

// declare counts what a file has, as the archive says.
func (x *extractor) declare(file zipFile) error {
	size, compressed := file.UncompressedSize64, file.CompressedSize64
	if size > uint64(x.options.MaxBytes-x.plan.declared) {
		return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, x.options.MaxBytes)
	}
	x.plan.declared += int64(size)
	if float64(size) > x.options.MaxRatio*float64(compressed) {
		return fmt.Errorf("%w: more than %v times its compressed size", ErrTooLarge, x.options.MaxRatio)
	}
	return nil
}

// checkPaths refuses a path that is both a file's or a symlink's and a
// directory's. Of files with one path the last stays where it may overwrite
// the others.
func (p *extractPlan) checkPaths(directories map[uint64]struct{}, overwrite bool) error {
	for _, e := range p.entries {
		if _, both := directories[e.hash]; !both {
			continue
		}
		switch e.kind() {
		case linkEntry:
			return fmt.Errorf("gitlabjobs: extracting: %w: a path passes through a symlink of the archive", ErrUnsafePath)
		case fileEntry:
			return fmt.Errorf("gitlabjobs: extracting: %w: a path is a file's and a directory's", ErrUnexpectedContent)
		}
	}
	slices.SortFunc(p.entries, func(a, b plannedEntry) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(b.recordKind, a.recordKind))
	})
	unique := slices.CompactFunc(p.entries, func(a, b plannedEntry) bool { return a.hash == b.hash && a.kind() != directoryEntry })
	if len(unique) < len(p.entries) && !overwrite {
		return fmt.Errorf("gitlabjobs: extracting: the archive has one path twice: %w", fs.ErrExist)
	}
	p.entries = unique
	return nil
}

// checkPlan puts the entries in the order of the archive, and refuses those
// that share bytes: they are how a small archive pretends to have a lot.
func (x *extractor) checkPlan() error {
	if float64(x.plan.declared) > x.options.MaxRatio*float64(x.size) {
		return fmt.Errorf("gitlabjobs: extracting: %w: more than %v times the archive's size", ErrTooLarge, x.options.MaxRatio)
	}
	entries := x.plan.entries
	slices.SortFunc(entries, func(a, b plannedEntry) int { return cmp.Compare(a.offset, b.offset) })
	end := int64(0)
	for _, e := range entries {
		if e.offset < end {
			return fmt.Errorf("gitlabjobs: extracting: %w: entries of the archive overlap", ErrUnexpectedContent)
		}
		end = e.offset + zipLocalHeaderSize + int64(e.compressed)
	}
	return nil
}

// extractedPath returns where an entry goes.
func extractedPath(name string) (string, error) {
	extracted, ok := entryPath(name)
	if !ok || !filepath.IsLocal(extracted) || runtime.GOOS == "windows" && strings.ContainsAny(extracted, `\:`) {
		return "", ErrUnsafePath
	}
	if strings.Count(extracted, "/") >= maxDepth {
		return "", fmt.Errorf("%w: more than %d directories in each other", ErrTooLarge, maxDepth)
	}
	return extracted, nil
}

const maxShownName = 256 // bytes

func extractionError(name string, err error) error {
	return fmt.Errorf("gitlabjobs: extracting %q: %w", oneLine(name, maxShownName), err)
}

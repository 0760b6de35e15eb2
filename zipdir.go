package gitlabjobs

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"path"
	"strings"
)

// Sizes and signatures of the zip format's records.
const (
	zipLocalHeaderSize = 30
	zipRecordSize      = 46 // of a directory's record, without its name, extra field and comment
	zipEndSize         = 22 // without the comment
	zip64EndSize       = 56
	zip64LocatorSize   = 20
	maxZipField        = 1<<16 - 1 // bytes of a name, an extra field or a comment

	zipRecordSignature    = "PK\x01\x02"
	zipEndSignature       = "PK\x05\x06"
	zip64EndSignature     = "PK\x06\x06"
	zip64LocatorSignature = "PK\x06\x07"
)

const (
	maxZipDirectory = 256 << 20 // bytes of an archive's directory
	zipChunk        = 256 << 10 // bytes of it read at once; every record fits
	maxEntryName    = 4 << 10   // bytes; no system has longer paths
	encryptedFlag   = 1
	zip64Extra      = 1 // the tag of an extra field with numbers that are too long for the record itself
)

// A zipDirectory is the list of entries at the end of an archive. Archives
// may have more entries than fit in memory as archive/zip's Files, so that
// package is given the records in portions.
type zipDirectory struct {
	r       io.ReaderAt // the archive
	base    int64       // where the archive begins: what the offsets in it count from
	start   int64
	end     int64
	records int64 // as the archive says; older writers say it modulo 65,536
}

// findZipDirectory reads the end of an archive of so many bytes. The list of
// entries is what is read next.
func findZipDirectory(r archiveSource, size int64) (*zipDirectory, error) {
	tail := make([]byte, min(size, zipEndSize+maxZipField+zip64EndSize+zip64LocatorSize))
	from := size - int64(len(tail))
	r.expect(from, size)
	if err := readFullAt(r, tail, from); err != nil {
		return nil, brokenZip(err)
	}
	at := lastZipEnd(tail)
	if at < 0 {
		return nil, brokenZip(zip.ErrFormat)
	}
	end := from + int64(at)
	records := int64(binary.LittleEndian.Uint16(tail[at+10:]))
	length := uint64(binary.LittleEndian.Uint32(tail[at+12:]))
	offset := uint64(binary.LittleEndian.Uint32(tail[at+16:]))
	if locator := at - zip64LocatorSize; locator >= 0 && string(tail[locator:locator+4]) == zip64LocatorSignature {
		end = int64(binary.LittleEndian.Uint64(tail[locator+8:]))
		record := make([]byte, zip64EndSize)
		if err := readFullAt(r, record, end); err != nil {
			return nil, brokenZip(err)
		}
		if string(record[:4]) != zip64EndSignature {
			return nil, brokenZip(zip.ErrFormat)
		}
		records = int64(binary.LittleEndian.Uint64(record[32:]))
		length = binary.LittleEndian.Uint64(record[40:])
		offset = binary.LittleEndian.Uint64(record[48:])
	}
	if length > uint64(end) || offset > uint64(end)-length || records < 0 {
		return nil, brokenZip(zip.ErrFormat)
	}
	if length > maxZipDirectory {
		return nil, fmt.Errorf("%w: the archive's list of entries exceeds %d MiB", ErrTooLarge, maxZipDirectory>>20)
	}
	d := &zipDirectory{r: r, start: end - int64(length), end: end, records: records}
	if d.base = d.start - int64(offset); d.base > 0 && d.hasRecord(int64(offset)) {
		// Something stands between the directory and its end, nothing before the archive.
		d.base, d.start, d.end = 0, int64(offset), int64(offset+length)
	}
	r.expect(d.start, d.end)
	return d, nil
}

// lastZipEnd returns where the record that ends an archive begins, or -1.
func lastZipEnd(tail []byte) int {
	for at := len(tail); ; {
		at = bytes.LastIndex(tail[:at], []byte(zipEndSignature))
		if at < 0 {
			return -1
		}
		if rest := len(tail) - at - zipEndSize; rest >= 0 && int(binary.LittleEndian.Uint16(tail[at+20:])) <= rest {
			return at
		}
	}
}

func (d *zipDirectory) hasRecord(at int64) bool {
	signature := make([]byte, len(zipRecordSignature))
	return readFullAt(d.r, signature, at) == nil && string(signature) == zipRecordSignature
}

// A zipFile is an entry with what archive/zip doesn't tell.
type zipFile struct {
	*zip.File
	record uint32 // where its record is, from the directory's start
	offset int64  // of its header and content, from the archive's base
}

// files yields every entry of the archive, in the order of the directory, and
// ends with at most one error.
func (d *zipDirectory) files() iter.Seq2[zipFile, error] {
	return func(yield func(zipFile, error) bool) {
		chunk := make([]byte, min(zipChunk, d.end-d.start))
		at, count := d.start, int64(0)
		for {
			chunk = chunk[:min(int64(len(chunk)), d.end-at)]
			if err := readFullAt(d.r, chunk, at); err != nil {
				yield(zipFile{}, brokenZip(err))
				return
			}
			lengths, total := recordLengths(chunk)
			if total == 0 {
				break
			}
			files, err := d.parse(chunk[:total], len(lengths))
			if err != nil {
				yield(zipFile{}, brokenZip(err))
				return
			}
			rest := chunk
			for i, file := range files {
				if !yield(zipFile{file, uint32(at - d.start), headerOffset(rest[:lengths[i]])}, nil) {
					return
				}
				rest = rest[lengths[i]:]
				at += int64(lengths[i])
			}
			count += int64(len(files))
		}
		if uint16(count) != uint16(d.records) {
			yield(zipFile{}, brokenZip(zip.ErrFormat))
		}
	}
}

// file returns the entry whose record is so far from the directory's start.
func (d *zipDirectory) file(record uint32) (*zip.File, error) {
	at := d.start + int64(record)
	// A record is rarely as long as its fields may be.
	for _, length := range []int64{zipRecordSize + maxEntryName, zipRecordSize + 3*maxZipField} {
		chunk := make([]byte, min(length, d.end-at))
		if err := readFullAt(d.r, chunk, at); err != nil {
			return nil, entryError(err)
		}
		if lengths, _ := recordLengths(chunk); len(lengths) > 0 {
			files, err := d.parse(chunk[:lengths[0]], 1)
			if err != nil {
				return nil, entryError(err)
			}
			return files[0], nil
		}
	}
	return nil, entryError(zip.ErrFormat)
}

// open returns the content of the entry with that record.
func (d *zipDirectory) open(record uint32) (io.ReadCloser, error) {
	file, err := d.file(record)
	if err != nil {
		return nil, err
	}
	return openZipFile(file)
}

// openZipFile returns the content of an entry, whose checksum is compared at its end.
func openZipFile(file *zip.File) (io.ReadCloser, error) {
	if file.Flags&encryptedFlag != 0 {
		return nil, fmt.Errorf("%w: the entry is encrypted", ErrUnexpectedContent)
	}
	content, err := file.Open()
	if err != nil {
		return nil, entryError(err)
	}
	return &entryReader{content}, nil
}

// An entryReader is the content of an entry with errors of this package.
type entryReader struct{ io.ReadCloser }

func (e *entryReader) Read(p []byte) (int, error) {
	n, err := e.ReadCloser.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // a Reader returns io.EOF itself
		err = entryError(err)
	}
	return n, err
}

// parse has archive/zip read records of the directory: as those of an archive
// that has no others.
func (d *zipDirectory) parse(records []byte, count int) ([]*zip.File, error) {
	part := &zipPart{data: io.NewSectionReader(d.r, d.base, d.start-d.base)}
	part.directory = append(make([]byte, zipGap, zipGap+len(records)+zip64EndSize+zip64LocatorSize+zipEndSize), records...)
	little := binary.LittleEndian
	end := part.data.Size() + int64(len(part.directory))
	part.directory = append(part.directory, zip64EndSignature...)
	part.directory = little.AppendUint64(part.directory, zip64EndSize-12)
	part.directory = append(part.directory, make([]byte, 20)...) // versions, disks, entries on this disk
	part.directory = little.AppendUint64(part.directory, uint64(count))
	part.directory = little.AppendUint64(part.directory, uint64(len(records)))
	part.directory = little.AppendUint64(part.directory, uint64(part.data.Size()+zipGap))
	part.directory = append(part.directory, zip64LocatorSignature+"\x00\x00\x00\x00"...)
	part.directory = little.AppendUint64(part.directory, uint64(end))
	part.directory = little.AppendUint32(part.directory, 1)                                                              // disks
	part.directory = append(part.directory, zipEndSignature+"\x00\x00\x00\x00"+strings.Repeat("\xff", 12)+"\x00\x00"...) // see above
	r, err := zip.NewReader(part, part.data.Size()+int64(len(part.directory)))
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // names are looked at in any case
		return nil, err
	}
	if len(r.File) != count {
		return nil, zip.ErrFormat
	}
	r.RegisterDecompressor(zip.Store, func(r io.Reader) io.ReadCloser {
		return io.NopCloser(bufio.NewReader(r)) // which DEFLATE does by itself
	})
	return r.File, nil
}

// zipGap parts an archive's data from the records of a zipPart: as many bytes
// as archive/zip reads at first to find the end, which are to be no data.
const zipGap = 1 << 10

// A zipPart is an archive with its data and some of its records.
type zipPart struct {
	data      *io.SectionReader
	directory []byte
}

func (p *zipPart) ReadAt(b []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, zip.ErrFormat
	}
	n := 0
	if offset < p.data.Size() {
		var err error
		n, err = p.data.ReadAt(b[:min(int64(len(b)), p.data.Size()-offset)], offset)
		if n == len(b) || err != nil && err != io.EOF { // a ReaderAt returns io.EOF itself
			return n, err
		}
		offset += int64(n)
	}
	copied := 0
	if at := offset - p.data.Size(); at < int64(len(p.directory)) {
		copied = copy(b[n:], p.directory[at:])
	}
	if n += copied; n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// recordLengths returns the lengths of the whole records that chunk begins
// with, and their sum.
func recordLengths(chunk []byte) (lengths []int, total int) {
	for rest := chunk; len(rest) >= zipRecordSize && string(rest[:4]) == zipRecordSignature; rest = chunk[total:] {
		length := zipRecordSize
		for _, field := range []int{28, 30, 32} { // the lengths of name, extra field, comment
			length += int(binary.LittleEndian.Uint16(rest[field:]))
		}
		if length > len(rest) {
			break
		}
		lengths, total = append(lengths, length), total+length
	}
	return lengths, total
}

// headerOffset returns where the entry of a record begins.
func headerOffset(record []byte) int64 {
	little := binary.LittleEndian
	offset := little.Uint32(record[42:])
	if offset != math.MaxUint32 {
		return int64(offset)
	}
	place := 0 // among the numbers that are too long for the record itself
	for _, size := range []int{20, 24} {
		if little.Uint32(record[size:]) == math.MaxUint32 {
			place += 8
		}
	}
	extra := record[zipRecordSize+int(little.Uint16(record[28:])):][:little.Uint16(record[30:])]
	for len(extra) >= 4 {
		tag, length := little.Uint16(extra), int(little.Uint16(extra[2:]))
		extra = extra[4:]
		if length > len(extra) {
			break
		}
		if tag == zip64Extra && length >= place+8 {
			return int64(little.Uint64(extra[place:]))
		}
		extra = extra[length:]
	}
	return math.MaxUint32
}

// entryPath returns the path that an entry's name stands for, and whether it
// stands for one: it doesn't where it is absolute or climbs, be it with the
// slashes of another system, and where no system has it.
func entryPath(name string) (string, bool) {
	slashed := strings.ReplaceAll(name, `\`, "/")
	drive := len(slashed) > 2 && slashed[1:3] == ":/"
	if name == "" || len(name) > maxEntryName || slashed[0] == '/' || drive || strings.Contains(name, "\x00") {
		return "", false
	}
	for segment := range strings.SplitSeq(slashed, "/") {
		if segment == ".." {
			return "", false
		}
	}
	return path.Clean(name), true
}

// readFullAt fills p with what is at an offset.
func readFullAt(r io.ReaderAt, p []byte, offset int64) error {
	if offset < 0 {
		return zip.ErrFormat
	}
	n, err := r.ReadAt(p, offset)
	if n == len(p) {
		return nil
	}
	if err == io.EOF { // a ReaderAt returns io.EOF itself
		return io.ErrUnexpectedEOF
	}
	return err
}

// brokenZip returns the error of an archive whose directory can't be read.
func brokenZip(err error) error {
	if !isZipError(err) {
		return err
	}
	return fmt.Errorf("%w: no zip archive, or a broken one: %w", ErrUnexpectedContent, err)
}

// entryError returns the error of an entry that can't be read.
func entryError(err error) error {
	switch {
	case !isZipError(err):
		return err
	case errors.Is(err, zip.ErrChecksum):
		return fmt.Errorf("%w: %w", ErrChecksumMismatch, err)
	}
	return fmt.Errorf("%w: a broken zip entry: %w", ErrUnexpectedContent, err)
}

// isZipError reports whether err is about the bytes of an archive, and not
// about how to get them.
func isZipError(err error) bool {
	var request *requestError
	var refusal *Error
	if errors.As(err, &request) || errors.As(err, &refusal) {
		return false
	}
	var corrupt flate.CorruptInputError
	return errors.As(err, &corrupt) || errors.Is(err, zip.ErrFormat) || errors.Is(err, zip.ErrAlgorithm) ||
		errors.Is(err, zip.ErrChecksum) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}

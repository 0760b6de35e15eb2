package jobstest

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"math/rand/v2"
	"sync"
)

// SyntheticZip returns a zip archive of exactly size bytes with so many
// entries, named file-000000.bin and so on, of about the same length, stored
// and not compressed. Its bytes are computed as they are read: it takes little
// memory and no time however large it is. They don't repeat, so that a piece
// in a wrong place shows, and are the same for the same arguments. It panics
// if size is too small for the entries.
//
// It goes into [JobSpec] as ArchiveReader and ArchiveSize.
func SyntheticZip(size int64, entries int) (io.ReaderAt, int64) {
	z := &syntheticZip{size: size, entries: int64(entries)}
	if size >= math.MaxUint32 || entries >= math.MaxUint16 {
		z.localExtra, z.centralExtra, z.trailer = zip64LocalExtra, zip64CentralExtra, zip64Trailer
	}
	z.header = zipLocalHeader + int64(len(z.name(0))) + z.localExtra
	z.centralSize = z.entries * (zipCentralHeader + int64(len(z.name(0))) + z.centralExtra)
	payload := size - z.entries*z.header - z.centralSize - z.trailer - zipEnd
	if entries < 1 || payload < 0 {
		panic(fmt.Sprintf("jobstest: no zip of %d entries has %d bytes", entries, size))
	}
	z.length, z.longer = payload/z.entries, payload%z.entries
	z.crcs = make([]uint32, entries)
	for i := range z.crcs {
		z.crcs[i] = contentCRC(int64(i), z.lengthOf(int64(i)))
	}
	z.directory = z.makeDirectory()
	return z, size
}

// The sizes of a zip's parts, in bytes, without names.
const (
	zipLocalHeader    = 30
	zipCentralHeader  = 46
	zipEnd            = 22
	zip64LocalExtra   = 20
	zip64CentralExtra = 28
	zip64Trailer      = 56 + 20
)

// A syntheticZip computes an archive. Its entries lie one after the other,
// the first few one byte longer than the others, then the directory.
type syntheticZip struct {
	size, entries         int64
	header                int64 // bytes before each entry's content
	length, longer        int64 // an entry's content, and how many have a byte more
	localExtra            int64
	centralExtra, trailer int64
	centralSize           int64
	crcs                  []uint32
	directory             []byte // everything behind the entries
}

func (z *syntheticZip) name(i int64) string { return fmt.Sprintf("file-%06d.bin", i) }

func (z *syntheticZip) lengthOf(i int64) int64 {
	if i < z.longer {
		return z.length + 1
	}
	return z.length
}

// offsetOf is where entry i begins; that of the one after the last is where
// the directory does.
func (z *syntheticZip) offsetOf(i int64) int64 {
	return i*(z.header+z.length) + min(i, z.longer)
}

// entryAt is the entry that the byte at off belongs to.
func (z *syntheticZip) entryAt(off int64) int64 {
	if i := off / (z.header + z.length + 1); i < z.longer {
		return i
	}
	return min((off-z.longer)/(z.header+z.length), z.entries-1)
}

// ReadAt computes the bytes at off.
func (z *syntheticZip) ReadAt(b []byte, off int64) (int, error) {
	n := 0
	for n < len(b) && off < z.size {
		m := z.read(b[n:], off)
		n, off = n+m, off+int64(m)
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// read computes some of the bytes at off: as far as one part of the archive goes.
func (z *syntheticZip) read(b []byte, off int64) int {
	if start := z.offsetOf(z.entries); off >= start {
		return copy(b, z.directory[off-start:])
	}
	i := z.entryAt(off)
	in := off - z.offsetOf(i)
	if in < z.header {
		return copy(b, z.localHeader(i)[in:])
	}
	in -= z.header
	return readContent(b[:min(int64(len(b)), z.lengthOf(i)-in)], i, in)
}

func (z *syntheticZip) zip64() bool { return z.trailer > 0 }

// localHeader is what stands before an entry's content.
func (z *syntheticZip) localHeader(i int64) []byte {
	le := binary.LittleEndian
	length := uint64(z.lengthOf(i))
	b := le.AppendUint32(nil, 0x04034b50)
	b = z.appendCommon(b, i)
	if z.zip64() {
		b = le.AppendUint16(b, uint16(z.localExtra))
		b = append(b, z.name(i)...)
		b = le.AppendUint16(le.AppendUint16(b, 1), 16)
		return le.AppendUint64(le.AppendUint64(b, length), length)
	}
	b = le.AppendUint16(b, 0)
	return append(b, z.name(i)...)
}

// appendCommon appends the fields that local and central headers share: from
// the version to the length of the name.
func (z *syntheticZip) appendCommon(b []byte, i int64) []byte {
	const (
		version  = 20
		zip64    = 45
		date     = (2024-1980)<<9 | 1<<5 | 2
		clock    = 3<<11 | 4<<5 | 3
		overflow = math.MaxUint32
	)
	le := binary.LittleEndian
	needed, length := uint16(version), uint32(z.lengthOf(i))
	if z.zip64() {
		needed, length = zip64, overflow
	}
	b = le.AppendUint16(b, needed)
	b = le.AppendUint16(b, 0) // flags
	b = le.AppendUint16(b, 0) // stored
	b = le.AppendUint16(le.AppendUint16(b, clock), date)
	b = le.AppendUint32(b, z.crcs[i])
	b = le.AppendUint32(le.AppendUint32(b, length), length)
	return le.AppendUint16(b, uint16(len(z.name(i))))
}

// makeDirectory makes the central directory and the records that end the archive.
func (z *syntheticZip) makeDirectory() []byte {
	const (
		madeByUnix = 3<<8 | 45
		mode       = 0o100644 << 16
	)
	le := binary.LittleEndian
	b := make([]byte, 0, z.centralSize+z.trailer+zipEnd)
	for i := range z.entries {
		b = le.AppendUint32(b, 0x02014b50)
		b = z.appendCommon(le.AppendUint16(b, madeByUnix), i)
		b = le.AppendUint16(b, uint16(z.centralExtra))
		b = append(b, 0, 0, 0, 0, 0, 0) // comment, disk, internal attributes
		b = le.AppendUint32(b, mode)
		offset := z.offsetOf(i)
		b = le.AppendUint32(b, uint32(min(offset, math.MaxUint32)))
		if z.zip64() {
			le.PutUint32(b[len(b)-4:], math.MaxUint32)
		}
		b = append(b, z.name(i)...)
		if z.zip64() {
			length := uint64(z.lengthOf(i))
			b = le.AppendUint16(le.AppendUint16(b, 1), 24)
			b = le.AppendUint64(le.AppendUint64(le.AppendUint64(b, length), length), uint64(offset))
		}
	}
	start := uint64(z.offsetOf(z.entries))
	entries, size32, start32 := uint16(min(z.entries, math.MaxUint16)), uint32(z.centralSize), uint32(start)
	if z.zip64() {
		entries, size32, start32 = math.MaxUint16, math.MaxUint32, math.MaxUint32
		end := start + uint64(z.centralSize)
		b = le.AppendUint64(le.AppendUint32(b, 0x06064b50), 44)
		b = le.AppendUint16(le.AppendUint16(b, madeByUnix), 45)
		b = append(b, 0, 0, 0, 0, 0, 0, 0, 0) // disks
		b = le.AppendUint64(le.AppendUint64(b, uint64(z.entries)), uint64(z.entries))
		b = le.AppendUint64(le.AppendUint64(b, uint64(z.centralSize)), start)
		b = le.AppendUint64(append(le.AppendUint32(b, 0x07064b50), 0, 0, 0, 0), end)
		b = le.AppendUint32(b, 1)
	}
	b = append(le.AppendUint32(b, 0x06054b50), 0, 0, 0, 0)
	b = le.AppendUint16(le.AppendUint16(b, entries), entries)
	b = le.AppendUint32(le.AppendUint32(b, size32), start32)
	return append(b, 0, 0) // comment
}

// The content of entries comes in blocks: the same noise, but for a mark at
// the start that no other block has. That way a CRC of any length follows
// from that of the noise.
const (
	contentBlock = 64 << 10
	contentMark  = 16
)

type contentTables struct {
	noise   [contentBlock]byte
	restCRC uint32         // of noise behind the mark
	shift   [4][256]uint32 // what the rest of a block does to a CRC, by its bytes
}

var contentOnce = sync.OnceValue(func() *contentTables {
	t := &contentTables{}
	source := rand.NewChaCha8([32]byte([]byte("jobstest synthetic archive noise")))
	_, _ = source.Read(t.noise[:]) // never fails
	t.restCRC = crc32.ChecksumIEEE(t.noise[contentMark:])
	for i := range t.shift {
		for bit := range 8 {
			crc := uint32(1) << (8*i + bit)
			for range contentBlock - contentMark {
				crc = crc32.IEEETable[byte(crc)] ^ crc>>8
			}
			for v := range t.shift[i] {
				if v>>bit&1 == 1 {
					t.shift[i][v] ^= crc
				}
			}
		}
	}
	return t
})

// mark is how a block of an entry begins.
func mark(entry, block int64) [contentMark]byte {
	var m [contentMark]byte
	binary.LittleEndian.PutUint64(m[:], scramble(uint64(entry)<<32^uint64(block)))
	binary.LittleEndian.PutUint64(m[8:], scramble(uint64(block)<<32^^uint64(entry)))
	return m
}

// scramble spreads the bits of x (the finalizer of SplitMix64).
func scramble(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// readContent computes some bytes of an entry: as far as its block goes.
func readContent(b []byte, entry, off int64) int {
	block, in := off/contentBlock, off%contentBlock
	n := copy(b, contentOnce().noise[in:])
	if in < contentMark {
		m := mark(entry, block)
		copy(b[:n], m[in:])
	}
	return n
}

// contentCRC is the CRC of an entry of the given length.
func contentCRC(entry, length int64) uint32 {
	t, crc := contentOnce(), uint32(0)
	block := int64(0)
	for ; length >= contentBlock; length -= contentBlock {
		m := mark(entry, block)
		crc = crc32.Update(crc, crc32.IEEETable, m[:])
		crc = t.shift[0][byte(crc)] ^ t.shift[1][byte(crc>>8)] ^ t.shift[2][byte(crc>>16)] ^ t.shift[3][crc>>24] ^ t.restCRC
		block++
	}
	m := mark(entry, block)
	crc = crc32.Update(crc, crc32.IEEETable, m[:min(length, contentMark)])
	if length > contentMark {
		crc = crc32.Update(crc, crc32.IEEETable, t.noise[contentMark:length])
	}
	return crc
}

package gitlabjobs

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func (s *archiveServer) extract(tb testing.TB, dir string, opts *ExtractOptions) (*Extraction, error) {
	tb.Helper()
	return s.client(tb).Jobs.ExtractArtifacts(tb.Context(), "group/app", FromJob(7), dir, opts)
}

// filesIn returns the files, symlinks and directories under dir with what is in them.
func filesIn(tb testing.TB, dir string) map[string]string {
	tb.Helper()
	files := map[string]string{}
	require.NoError(tb, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		switch {
		case d.IsDir():
			files[name+"/"] = ""
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			files[name] = "-> " + target
			return err
		default:
			content, err := os.ReadFile(path)
			files[name] = string(content)
			return err
		}
		return nil
	}))
	return files
}

func TestExtractArtifacts(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"index.html": "<p>{{.}}</p>", "dir/": "", "dir/a.txt": strings.Repeat("a", 1000), "dir/deep/": "",
		"dir/deep/b.bin": noise(300_000), "dir/deep/c.bin": noise(200_000), "dir/empty": "",
		"dir/up": "-> ../dir/deep", "with space/": "", "with space/ü#?%.txt": "x",
	}
	archive := makeZip(t, sampleEntries[:len(sampleEntries)-1]...)
	for name, server := range map[string]*archiveServer{
		"ranges":       newArchiveServer(archive),
		"no ranges":    {content: bytes.NewReader(archive), size: int64(len(archive)), etag: `"v1"`, noRanges: true},
		"no validator": {content: bytes.NewReader(archive), size: int64(len(archive))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "made", "for it")
			var last Progress
			got, err := server.extract(t, dir, &ExtractOptions{Progress: func(p Progress) { last = p }})
			require.NoError(t, err)
			require.Equal(t, &Extraction{Files: 7, Bytes: 501_013}, got)
			require.Equal(t, want, filesIn(t, dir))
			require.Equal(t, int64(501_013), last.Written)
			require.Equal(t, int64(501_013), last.Total)
		})
	}
	t.Run("redirect", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		server := newArchiveServer(archive)
		_, err := clientOf(t, server.redirected(t)).Jobs.ExtractArtifacts(t.Context(), "1", FromRef("main", "build"), dir, nil)
		require.NoError(t, err)
		require.Equal(t, want, filesIn(t, dir))
		require.Equal(t, int64(3), server.requests.Load(), "the beginning, the end, the rest")
	})
}

func TestExtractedModes(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no such modes")
	}
	dir := t.TempDir()
	got, err := newArchiveServer(makeZip(t,
		zipEntry{name: "program", content: "x", mode: fs.ModeSetuid | fs.ModeSetgid | 0o755},
		zipEntry{name: "private", content: "x", mode: 0o600},
		zipEntry{name: "readonly", content: "x", mode: 0o444},
		zipEntry{name: "none", content: "x", header: func(h *zip.FileHeader) { h.CreatorVersion = 3 << 8 }},
		zipEntry{name: "secret/", mode: fs.ModeDir | fs.ModeSticky | 0o500},
		zipEntry{name: "secret/file", content: "x", mode: 0o640},
		zipEntry{name: "device", mode: fs.ModeDevice | 0o666},
		zipEntry{name: "socket", mode: fs.ModeSocket | 0o666},
	)).extract(t, dir, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"device", "socket"}, got.Skipped)
	for name, want := range map[string]fs.FileMode{
		"program": 0o755, "private": 0o600, "readonly": 0o444, "secret": fs.ModeDir | 0o700, "secret/file": 0o640,
	} {
		info, err := os.Lstat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, want, info.Mode(), name)
	}
	content, err := os.ReadFile(filepath.Join(dir, "none"))
	require.NoError(t, err)
	require.Equal(t, "x", string(content))
}

func TestExtractOverwrites(t *testing.T) {
	t.Parallel()
	server := newArchiveServer(makeZip(t,
		zipEntry{name: "a", content: "new"}, zipEntry{name: "link", content: "a", mode: fs.ModeSymlink | 0o777}))
	dir := t.TempDir()
	old := map[string]string{"a": "old", "other": "other"}
	for name, content := range old {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	_, err := server.extract(t, dir, nil)
	require.ErrorIs(t, fails(t, err), fs.ErrExist)
	require.Equal(t, old, filesIn(t, dir))

	for range 2 {
		_, err = server.extract(t, dir, &ExtractOptions{Overwrite: true})
		require.NoError(t, err)
		require.Equal(t, map[string]string{"a": "new", "other": "other", "link": "-> a"}, filesIn(t, dir))
	}
	_, err = server.extract(t, dir, nil)
	require.ErrorIs(t, fails(t, err), fs.ErrExist)

	twice := newArchiveServer(makeZip(t, zipEntry{name: "b", content: "first"}, zipEntry{name: "./b", content: "second"}))
	_, err = twice.extract(t, dir, nil)
	require.ErrorIs(t, fails(t, err), fs.ErrExist)
	require.NotContains(t, filesIn(t, dir), "b")
	_, err = twice.extract(t, dir, &ExtractOptions{Overwrite: true})
	require.NoError(t, err)
	require.Equal(t, "second", filesIn(t, dir)["b"])
}

// hostileArchives are archives that must not be extracted, and why.
func hostileArchives(tb testing.TB) map[string]hostileArchive {
	tb.Helper()
	link := func(name, target string) zipEntry {
		return zipEntry{name: name, content: target, mode: fs.ModeSymlink | 0o777}
	}
	file := zipEntry{name: "ok", content: "fine"}
	archives := map[string]hostileArchive{
		"symlink out":                 {makeZip(tb, file, link("l", "../../outside")), ErrUnsafePath, nil},
		"absolute symlink":            {makeZip(tb, link("l", "/etc")), ErrUnsafePath, nil},
		"drive symlink":               {makeZip(tb, link("l", `C:\outside`)), ErrUnsafePath, nil},
		"empty symlink":               {makeZip(tb, link("l", "")), ErrUnsafePath, nil},
		"long symlink":                {makeZip(tb, link("l", strings.Repeat("a", 5000))), ErrUnsafePath, nil},
		"symlink that climbs later":   {makeZip(tb, link("d/up", ".."), link("x", "d/up/../..")), ErrUnsafePath, nil},
		"file through a symlink":      {makeZip(tb, link("l", ".."), zipEntry{name: "l/evil", content: "evil"}), ErrUnsafePath, nil},
		"file before its symlink":     {makeZip(tb, zipEntry{name: "l/evil", content: "evil"}, link("l", "..")), ErrUnsafePath, nil},
		"symlink through a symlink":   {makeZip(tb, link("l", "."), link("l/m", "..")), ErrUnsafePath, nil},
		"symlink and file":            {makeZip(tb, link("l", "../outside"), zipEntry{name: "l", content: "evil"}), fs.ErrExist, nil},
		"symlink and file, overwrite": {makeZip(tb, zipEntry{name: "l", content: "x"}, link("l", "../outside")), ErrUnsafePath, &ExtractOptions{Overwrite: true}},
		"symlink to itself":           {makeZip(tb, link("l", "l")), ErrUnsafePath, nil},
		"symlink loop":                {makeZip(tb, link("a", "b"), link("b", "c"), link("c", "a")), ErrUnsafePath, nil},
		"file and directory":          {makeZip(tb, zipEntry{name: "a", content: "x"}, zipEntry{name: "a/b", content: "x"}), ErrUnexpectedContent, nil},
		"too deep":                    {makeZip(tb, zipEntry{name: strings.Repeat("d/", maxDepth) + "f"}), ErrTooLarge, nil},
		"broken CRC":                  {makeZip(tb, zipEntry{name: "a", content: "x", header: func(h *zip.FileHeader) { h.CRC32++ }}), ErrChecksumMismatch, nil},
		"size too small":              {makeZip(tb, zipEntry{name: "a", content: noise(1000), header: func(h *zip.FileHeader) { h.UncompressedSize64 = 10 }}), ErrUnexpectedContent, nil},
		"size too large":              {makeZip(tb, zipEntry{name: "a", content: noise(1000), header: func(h *zip.FileHeader) { h.UncompressedSize64 = 2000 }}), ErrUnexpectedContent, nil},
		"size far too large":          {makeZip(tb, zipEntry{name: "a", content: "x", header: func(h *zip.FileHeader) { h.UncompressedSize64 = 1 << 62 }}), ErrTooLarge, nil},
		"size above all":              {makeZip(tb, zipEntry{name: "a", content: "x", header: func(h *zip.FileHeader) { h.UncompressedSize64 = math.MaxUint64 - 1 }}), ErrTooLarge, nil},
		"compressed size too large":   {makeZip(tb, zipEntry{name: "a", content: "x", header: func(h *zip.FileHeader) { h.CompressedSize64 = 1 << 40 }}), ErrUnexpectedContent, nil},
		"compressed size above all":   {makeZip(tb, zipEntry{name: "a", content: "x", header: func(h *zip.FileHeader) { h.CompressedSize64 = math.MaxUint64 - 1 }}), ErrUnexpectedContent, nil},
		"unknown method":              {makeZip(tb, zipEntry{name: "a", content: "x", header: func(h *zip.FileHeader) { h.Method = 99 }}), ErrUnexpectedContent, nil},
		"encrypted":                   {makeZip(tb, zipEntry{name: "a", content: "x", header: func(h *zip.FileHeader) { h.Flags |= encryptedFlag }}), ErrUnexpectedContent, nil},
		"no deflate":                  {makeZip(tb, zipEntry{name: "a", content: noise(1000), store: true, header: func(h *zip.FileHeader) { h.Method = zip.Deflate }}), ErrUnexpectedContent, nil},
		"bytes":                       {makeZip(tb, zipEntry{name: "a", content: noise(1001)}), ErrTooLarge, &ExtractOptions{MaxBytes: 1000}},
		"files":                       {makeZip(tb, file, zipEntry{name: "b"}), ErrTooLarge, &ExtractOptions{MaxFiles: 1}},
		"ratio":                       {makeZip(tb, zipEntry{name: "a", content: strings.Repeat("0", 1<<20)}), ErrTooLarge, &ExtractOptions{MaxRatio: 500}},
		"bomb of overlapping entries": {overlappingZip(tb, 100, 16<<20), ErrTooLarge, nil},
		"overlapping entries":         {overlappingZip(tb, 2, 100), ErrUnexpectedContent, nil},
		"lying bomb":                  {lyingBomb(tb), ErrUnexpectedContent, nil},
		"zip64 with a lying count":    {lyingZip64(tb), ErrTooLarge, nil},
	}
	whole := makeZip(tb, file, zipEntry{name: "b", content: noise(100_000)})
	archives["truncated"] = hostileArchive{whole[:len(whole)/2], ErrUnexpectedContent, nil}
	archives["truncated directory"] = hostileArchive{append(bytes.Clone(whole[:len(whole)-zipEndSize-40]), whole[len(whole)-zipEndSize:]...), ErrUnexpectedContent, nil}
	for _, name := range []string{
		"../evil", "a/../../evil", "..", "a/..", "/evil", "//evil", "/", `..\evil`, `a\..\..\evil`, `\evil`, `\\host\share\evil`,
		`C:\evil`, "C:/evil", `./..\evil`, "./../evil", "a/b/../../../evil", "nul\x00evil", "", ".", strings.Repeat("n", 5000), "../", "a/../",
	} {
		archives["named "+name[:min(len(name), 20)]] = hostileArchive{makeZip(tb, file, zipEntry{name: name, content: ""}), ErrUnsafePath, nil}
	}
	return archives
}

type hostileArchive struct {
	content []byte
	want    error
	options *ExtractOptions
}

// overlappingZip returns an archive with one compressed content that many
// entries claim, each of so many zeros.
func overlappingZip(tb testing.TB, entries, zeros int) []byte {
	tb.Helper()
	one := makeZip(tb, zipEntry{name: "bomb-000", content: strings.Repeat("\x00", zeros)})
	end := len(one) - zipEndSize
	start := int(binary.LittleEndian.Uint32(one[end+16:]))
	record := bytes.Clone(one[start:end])
	archive := bytes.Clone(one[:start])
	for i := range entries {
		copy(record[zipRecordSize:], fmt.Sprintf("bomb-%03d", i))
		archive = append(archive, record...)
	}
	tail := bytes.Clone(one[end:])
	binary.LittleEndian.PutUint16(tail[8:], uint16(entries))
	binary.LittleEndian.PutUint16(tail[10:], uint16(entries))
	binary.LittleEndian.PutUint32(tail[12:], uint32(entries*len(record)))
	return append(archive, tail...)
}

// lyingBomb returns an archive whose file is far longer than it says.
func lyingBomb(tb testing.TB) []byte {
	return makeZip(tb, zipEntry{name: "bomb", content: strings.Repeat("\x00", 8<<20), header: func(h *zip.FileHeader) { h.UncompressedSize64 = 100 }})
}

// lyingZip64 returns an archive that says to have very many entries.
func lyingZip64(tb testing.TB) []byte {
	tb.Helper()
	one := makeZip(tb, zipEntry{name: "a", content: "x"})
	at := len(one) - zipEndSize
	end := make([]byte, zip64EndSize, zip64EndSize+zip64LocatorSize)
	copy(end, zip64EndSignature)
	binary.LittleEndian.PutUint64(end[4:], zip64EndSize-12)
	binary.LittleEndian.PutUint64(end[32:], math.MaxInt64)
	binary.LittleEndian.PutUint64(end[40:], uint64(binary.LittleEndian.Uint32(one[at+12:])))
	binary.LittleEndian.PutUint64(end[48:], uint64(binary.LittleEndian.Uint32(one[at+16:])))
	end = append(end, zip64LocatorSignature+"\x00\x00\x00\x00"...)
	end = binary.LittleEndian.AppendUint64(end, uint64(at))
	end = binary.LittleEndian.AppendUint32(end, 1)
	return append(append(bytes.Clone(one[:at]), end...), one[at:]...)
}

func TestHostileArchivesStayInside(t *testing.T) {
	archives := hostileArchives(t)
	peak := watchHeap()
	for name, hostile := range archives {
		for _, noRanges := range []bool{false, true} {
			server := newArchiveServer(hostile.content)
			server.noRanges = noRanges
			outer := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(outer, "outside"), []byte("outside"), 0o600))
			dir := filepath.Join(outer, "inner", "dir")
			got, err := server.extract(t, dir, hostile.options)
			require.ErrorIs(t, fails(t, err), hostile.want, name)
			require.NotNil(t, got)
			var temporary []string
			for path, content := range filesIn(t, outer) {
				if !strings.HasPrefix(path, "inner/") && path != "outside" || strings.HasPrefix(filepath.Base(path), temporaryStart) {
					temporary = append(temporary, path)
				}
				require.NotContains(t, content, "evil", name)
			}
			require.Empty(t, temporary, name)
			content, err := os.ReadFile(filepath.Join(outer, "outside"))
			require.NoError(t, err)
			require.Equal(t, "outside", string(content))

			// Opened, such an archive shows what it can, and harms nobody.
			if fsys, err := server.client(t).Jobs.OpenArtifacts(t.Context(), "1", FromJob(7), nil); err == nil {
				require.NoError(t, fs.WalkDir(fsys, ".", func(_ string, _ fs.DirEntry, err error) error { return err }), name)
				require.NoError(t, fsys.Close())
			}
		}
	}
	require.Less(t, peak(), uint64(64<<20))
}

// watchHeap returns a function that returns how much the heap has grown at
// most since. The collector runs more often meanwhile, for what it hasn't
// got to on a busy machine isn't what is asked.
func watchHeap() func() uint64 {
	var stats runtime.MemStats
	percent := debug.SetGCPercent(50)
	runtime.GC()
	runtime.ReadMemStats(&stats)
	before, most := stats.HeapAlloc, stats.HeapAlloc
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticks := time.NewTicker(10 * time.Millisecond)
		defer ticks.Stop()
		for done := false; !done; {
			select {
			case <-stop:
				done = true
			case <-ticks.C:
			}
			runtime.ReadMemStats(&stats)
			most = max(most, stats.HeapAlloc)
		}
	}()
	return func() uint64 {
		close(stop)
		<-stopped
		debug.SetGCPercent(percent)
		return most - before
	}
}

func TestSymlinkThatWasThereIsNotPassed(t *testing.T) {
	t.Parallel()
	for name, target := range map[string]string{"out": "../outside", "inside": "real"} {
		outer := t.TempDir()
		dir := filepath.Join(outer, "dir")
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "real"), 0o700))
		require.NoError(t, os.Mkdir(filepath.Join(outer, "outside"), 0o700))
		require.NoError(t, os.Symlink(target, filepath.Join(dir, "l")))
		_, err := newArchiveServer(makeZip(t, zipEntry{name: "l/evil", content: "evil"})).extract(t, dir, &ExtractOptions{Overwrite: true})
		require.ErrorIs(t, fails(t, err), ErrUnsafePath, name)
		_, err = newArchiveServer(makeZip(t, zipEntry{name: "l/"})).extract(t, dir, &ExtractOptions{Overwrite: true})
		require.ErrorIs(t, fails(t, err), ErrUnsafePath, name)
		_, err = newArchiveServer(makeZip(t, zipEntry{name: "m", content: "l/x", mode: fs.ModeSymlink | 0o777})).extract(t, dir, nil)
		if name == "out" {
			require.ErrorIs(t, fails(t, err), ErrUnsafePath)
		} else {
			require.NoError(t, err)
		}
		_, err = newArchiveServer(makeZip(t, zipEntry{name: "l", content: "mine"})).extract(t, dir, &ExtractOptions{Overwrite: true})
		require.NoError(t, err, "a symlink itself is replaced")
		require.Equal(t, "mine", filesIn(t, dir)["l"])
		require.Empty(t, filesIn(t, filepath.Join(outer, "outside")))
	}
}

func TestOddButHarmlessNames(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" || runtime.GOOS == "darwin" {
		t.Skip("such names are refused there")
	}
	dir := t.TempDir()
	_, err := newArchiveServer(makeZip(t,
		zipEntry{name: "./"}, zipEntry{name: "./a//b", content: "1"}, zipEntry{name: `dev-by\x2duuid`, content: "2"},
		zipEntry{name: "latin\xe9", content: "3"}, zipEntry{name: "..a/...", content: "4"}, zipEntry{name: "%2e%2e%2fevil", content: "5"},
		zipEntry{name: "inner.zip", content: string(makeZip(t, zipEntry{name: "../evil", content: "evil"}))},
	)).extract(t, dir, nil)
	require.NoError(t, err)
	got := filesIn(t, dir)
	require.Len(t, got, 8)
	for name, content := range map[string]string{"a/b": "1", `dev-by\x2duuid`: "2", "latin\xe9": "3", "..a/...": "4", "%2e%2e%2fevil": "5"} {
		require.Equal(t, content, got[name])
	}
}

// A millionArchive is an archive of very many empty files, of which only the
// directory can be read.
type millionArchive struct {
	end   []byte // what comes after the directory
	files int64
}

const (
	millionName   = "dir-%03d/file-%07d" // 20 bytes
	millionLocal  = zipLocalHeaderSize + 20
	millionRecord = zipRecordSize + 20
)

func newMillionArchive(files, stated int64) *archiveServer {
	little := binary.LittleEndian
	end := little.AppendUint64([]byte(zip64EndSignature), zip64EndSize-12)
	end = append(end, make([]byte, 20)...)
	end = little.AppendUint64(end, uint64(stated))
	end = little.AppendUint64(end, uint64(files*millionRecord))
	end = little.AppendUint64(end, uint64(files*millionLocal))
	end = append(end, zip64LocatorSignature+"\x00\x00\x00\x00"...)
	end = little.AppendUint64(end, uint64(files*(millionLocal+millionRecord)))
	end = little.AppendUint32(end, 1)
	end = append(end, zipEndSignature+"\x00\x00\x00\x00"+strings.Repeat("\xff", 12)+"\x00\x00"...)
	a := &millionArchive{end, files}
	return &archiveServer{content: a, size: files*(millionLocal+millionRecord) + int64(len(end)), etag: `"million"`}
}

func (a *millionArchive) ReadAt(p []byte, offset int64) (int, error) {
	start, n := a.files*millionLocal, 0
	record := make([]byte, millionRecord)
	for n < len(p) {
		switch at := offset + int64(n) - start; {
		case at < 0:
			zeros := min(int64(len(p)-n), -at)
			clear(p[n : n+int(zeros)])
			n += int(zeros)
		case at < a.files*millionRecord:
			i := at / millionRecord
			copy(record, zipRecordSignature)
			record[28] = 20
			binary.LittleEndian.PutUint32(record[42:], uint32(i*millionLocal))
			copy(record[zipRecordSize:], fmt.Sprintf(millionName, i%1000, i))
			n += copy(p[n:], record[at%millionRecord:])
		case at < a.files*millionRecord+int64(len(a.end)):
			n += copy(p[n:], a.end[at-a.files*millionRecord:])
		default:
			return n, io.EOF
		}
	}
	return n, nil
}

func TestMillionEntries(t *testing.T) {
	const million = 1_000_000
	inTheWay := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(inTheWay, nil, 0o600))
	server := newMillionArchive(million, million)
	// The count of such an archive may be wrong, as older writers' is.
	lying := newMillionArchive(million, million%(1<<16))
	open := func(s *archiveServer) error {
		_, err := s.client(t).Jobs.OpenArtifacts(t.Context(), "1", FromJob(7), nil)
		return err
	}
	for name, refused := range map[string]func() error{
		"extracted":        func() error { return second(server.extract(t, t.TempDir(), nil)) },
		"opened":           func() error { return open(server) },
		"lying, extracted": func() error { return second(lying.extract(t, t.TempDir(), nil)) },
		"lying, opened":    func() error { return open(lying) },
	} {
		peak := watchHeap()
		require.ErrorIs(t, fails(t, refused()), ErrTooLarge, name)
		require.Less(t, peak(), uint64(64<<20), name)
	}
	require.Less(t, server.bytes.Load(), int64(1<<20), "its end gives it away")

	// Where the caller allows as many, there is room for the plan.
	peak := watchHeap()
	_, err := server.extract(t, inTheWay, &ExtractOptions{MaxFiles: million})
	var pathErr *fs.PathError
	require.ErrorAs(t, fails(t, err), &pathErr)
	require.Equal(t, inTheWay, pathErr.Path)
	require.Less(t, peak(), uint64(64<<20))
}

func TestExtractionErrorsLeaveNoPartOfAFile(t *testing.T) {
	t.Parallel()
	content := noise(3 << 20)
	server := newArchiveServer(makeZip(t, zipEntry{name: "a", content: "whole"}, zipEntry{name: "b", content: content, store: true}))
	var broken atomic.Bool
	server.fault = func(w http.ResponseWriter, r *http.Request) bool {
		if broken.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return true
		}
		if strings.HasSuffix(r.Header.Get("Range"), "-") {
			broken.Store(true)
			w.Header().Set("ETag", server.etag)
			http.ServeContent(&brokenWriter{w, 1 << 20}, r, "", time.Time{}, io.NewSectionReader(server.content, 0, server.size))
		}
		return false
	}
	dir := t.TempDir()
	_, err := server.extract(t, dir, nil)
	var refusal *Error
	require.ErrorAs(t, fails(t, err), &refusal)
	left := filesIn(t, dir)
	delete(left, "a") // which had come before
	require.Empty(t, left)
}

func TestExtractionResumes(t *testing.T) {
	t.Parallel()
	content := noise(1 << 20)
	server := newArchiveServer(makeZip(t, zipEntry{name: "b", content: content, store: true}))
	server.fault = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.Header.Get("Range"), "-") {
			w.Header().Set("ETag", server.etag)
			http.ServeContent(&brokenWriter{w, 100_000}, r, "", time.Time{}, io.NewSectionReader(server.content, 0, server.size))
			return true
		}
		return false
	}
	dir := t.TempDir()
	var last Progress
	_, err := server.extract(t, dir, &ExtractOptions{Progress: func(p Progress) { last = p }})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"b": content}, filesIn(t, dir))
	require.Positive(t, last.Resumes)
}

func TestExtractedArchiveIsVerified(t *testing.T) {
	t.Parallel()
	server := newArchiveServer(makeZip(t, sampleEntries[:len(sampleEntries)-1]...)) // its last link is refused
	server.etag = `"` + strings.Repeat("0", 64) + `"`
	_, err := server.extract(t, t.TempDir(), nil)
	require.ErrorIs(t, fails(t, err), ErrChecksumMismatch)
}

func TestExtractionIsCanceled(t *testing.T) {
	t.Parallel()
	server := newArchiveServer(makeZip(t, zipEntry{name: "b", content: noise(4 << 20), store: true}))
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	server.fault = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Range") == fmt.Sprintf("bytes=%d-", blockSize) {
			cancel(enough)
			<-r.Context().Done()
		}
		return false
	}
	dir := t.TempDir()
	_, err := server.client(t).Jobs.ExtractArtifacts(ctx, "1", FromJob(7), dir, nil)
	require.ErrorIs(t, fails(t, err), context.Canceled)
	require.ErrorIs(t, fails(t, err), enough)
	require.Empty(t, filesIn(t, dir))
}

func TestExtractionLeavesNoTemporaryFile(t *testing.T) {
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	dir := t.TempDir()
	server := newArchiveServer(sampleZip(t))
	_, err := server.extract(t, dir, nil)
	require.ErrorIs(t, fails(t, err), ErrUnsafePath)
	_, err = newArchiveServer(makeZip(t, zipEntry{name: "a"})).extract(t, dir, nil)
	require.NoError(t, err)
	left, err := os.ReadDir(temporary)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestExtractArtifactsRefusesBadInput(t *testing.T) {
	t.Parallel()
	server := newArchiveServer(sampleZip(t))
	c := server.client(t)
	for _, opts := range []ExtractOptions{{MaxBytes: -1}, {MaxFiles: -1}, {MaxRatio: -1}, {MaxRatio: math.NaN()}} {
		_, err := c.Jobs.ExtractArtifacts(t.Context(), "1", FromJob(7), t.TempDir(), &opts)
		require.Error(t, fails(t, err))
	}
	_, err := c.Jobs.ExtractArtifacts(t.Context(), "1", FromJob(7), "", nil)
	require.Error(t, fails(t, err))
	_, err = c.Jobs.ExtractArtifacts(t.Context(), "1", FromJob(0), t.TempDir(), nil)
	require.Error(t, fails(t, err))
	_, err = c.Jobs.ExtractArtifacts(nil, "1", FromJob(7), t.TempDir(), nil) //nolint:staticcheck // that is what is tested
	require.Error(t, fails(t, err))
	require.Zero(t, server.requests.Load())
}

func TestManyFilesAreExtractedSideBySide(t *testing.T) {
	t.Parallel()
	var entries []zipEntry
	want := map[string]string{}
	for i := range 40 {
		want[fmt.Sprintf("d%02d/", i)] = ""
		for k := range 10 {
			e := zipEntry{name: fmt.Sprintf("d%02d/f%d", i, k), content: noise(1000 * k)}
			want[e.name] = e.content
			entries = append(entries, e)
		}
	}
	dir := t.TempDir()
	var mu sync.Mutex
	reported := int64(0)
	got, err := newArchiveServer(makeZip(t, entries...)).extract(t, dir, &ExtractOptions{Progress: func(p Progress) {
		mu.Lock()
		defer mu.Unlock()
		assert.GreaterOrEqual(t, p.Written, reported)
		reported = p.Written
	}})
	require.NoError(t, err)
	require.Equal(t, 400, got.Files)
	require.Equal(t, want, filesIn(t, dir))
}

func TestZip64AndPrefixedArchives(t *testing.T) {
	t.Parallel()
	var buffer bytes.Buffer
	w := zip.NewWriter(&buffer)
	for i := range 70_000 { // more than the old format can count
		_, err := w.CreateRaw(&zip.FileHeader{Name: fmt.Sprintf("%05d", i)})
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	list, err := newArchiveServer(buffer.Bytes()).open(t).ReadDir(".")
	require.NoError(t, err)
	require.Len(t, list, 70_000)

	prefixed := append([]byte("#!/bin/sh\nexit 1\n"), sampleZip(t)...)
	content, err := newArchiveServer(prefixed).open(t).ReadFile("dir/a.txt")
	require.NoError(t, err)
	require.Len(t, content, 1000)
}

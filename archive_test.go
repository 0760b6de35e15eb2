package gitlabjobs

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"html/template"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An archiveServer serves one archive as GitLab does, and counts what it sends.
type archiveServer struct {
	content   io.ReaderAt
	size      int64
	etag      string // "" for none
	modified  time.Time
	noRanges  bool
	fault     func(w http.ResponseWriter, r *http.Request) bool // serves the request in the archive's place
	requests  atomic.Int64
	bytes     atomic.Int64
	rangesGot sync.Map // Range headers
}

func newArchiveServer(content []byte) *archiveServer {
	return &archiveServer{
		content: bytes.NewReader(content), size: int64(len(content)),
		etag: fmt.Sprintf(`"%x"`, sha256.Sum256(content)),
	}
}

func (s *archiveServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	s.rangesGot.Store(r.Header.Get("Range"), true)
	counted := &countingWriter{ResponseWriter: w, bytes: &s.bytes}
	if s.fault != nil && s.fault(counted, r) {
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if s.etag != "" {
		w.Header().Set("ETag", s.etag)
	}
	if s.noRanges {
		r.Header.Del("Range")
		w.Header().Set("Content-Length", fmt.Sprint(s.size))
		io.Copy(counted, io.NewSectionReader(s.content, 0, s.size)) //nolint:errcheck // the client may leave
		return
	}
	http.ServeContent(counted, r, "artifacts.zip", s.modified, io.NewSectionReader(s.content, 0, s.size))
}

type countingWriter struct {
	http.ResponseWriter
	bytes *atomic.Int64
}

func (w *countingWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.bytes.Add(int64(n))
	return n, err
}

// client returns a client of the server, which is stopped when the test ends.
func (s *archiveServer) client(tb testing.TB) *Client {
	tb.Helper()
	server := httptest.NewServer(s)
	tb.Cleanup(server.Close)
	return clientOf(tb, server.URL)
}

func clientOf(tb testing.TB, baseURL string) *Client {
	tb.Helper()
	c := recordedClient(tb, WithBaseURL(baseURL+"/relative"), hurried())
	tb.Cleanup(c.http.CloseIdleConnections)
	return c
}

func (s *archiveServer) open(tb testing.TB) *ArtifactsFS {
	tb.Helper()
	fsys, err := s.client(tb).Jobs.OpenArtifacts(tb.Context(), "group/app", FromJob(7), nil)
	require.NoError(tb, err)
	tb.Cleanup(func() {
		assert.NoError(tb, fsys.Close())
		requireNoSecret(tb, fsys)
	})
	return fsys
}

// redirected returns the URL of a GitLab that redirects to the server by links
// that are good for one request each, and that refuse credentials.
func (s *archiveServer) redirected(tb testing.TB) string {
	tb.Helper()
	var mu sync.Mutex
	links := map[string]bool{}
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		signature := r.URL.Query().Get("X-Amz-Signature")
		good := links[signature]
		delete(links, signature)
		mu.Unlock()
		if !good || r.Header.Get("Private-Token") != "" {
			http.Error(w, "<Error><Code>AccessDenied</Code></Error>", http.StatusForbidden)
			return
		}
		s.ServeHTTP(w, r)
	}))
	tb.Cleanup(store.Close)
	gitlab := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		signature := fmt.Sprint(plantedMark, len(links), "-", rand.Uint64())
		links[signature] = true
		mu.Unlock()
		http.Redirect(w, r, store.URL+"/bucket/artifacts.zip?X-Amz-Signature="+signature, http.StatusFound)
	}))
	tb.Cleanup(gitlab.Close)
	return gitlab.URL
}

// A zipEntry is an entry of an archive that a test makes.
type zipEntry struct {
	name    string
	content string
	mode    fs.FileMode
	store   bool
	header  func(*zip.FileHeader) // changes it before it is written
}

var sampleTime = time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC)

func makeZip(tb testing.TB, entries ...zipEntry) []byte {
	tb.Helper()
	var buffer bytes.Buffer
	w := zip.NewWriter(&buffer)
	for _, e := range entries {
		header := &zip.FileHeader{Name: e.name, Method: zip.Deflate, Extra: binary.LittleEndian.AppendUint32([]byte("UT\x05\x00\x01"), uint32(sampleTime.Unix()))}
		if e.store {
			header.Method = zip.Store
		}
		if e.mode != 0 {
			header.SetMode(e.mode)
		}
		content := []byte(e.content)
		var compressed bytes.Buffer
		if header.Method == zip.Deflate && !strings.HasSuffix(e.name, "/") {
			deflater, err := flate.NewWriter(&compressed, flate.BestCompression)
			require.NoError(tb, err)
			_, err = deflater.Write(content)
			require.NoError(tb, err)
			require.NoError(tb, deflater.Close())
		} else {
			compressed.Write(content)
		}
		header.CRC32 = crc32.ChecksumIEEE(content)
		header.UncompressedSize64 = uint64(len(content))
		header.CompressedSize64 = uint64(compressed.Len())
		if e.header != nil {
			e.header(header)
		}
		out, err := w.CreateRaw(header)
		require.NoError(tb, err)
		_, err = out.Write(compressed.Bytes())
		require.NoError(tb, err)
	}
	require.NoError(tb, w.Close())
	return buffer.Bytes()
}

func noise(n int) string {
	b := make([]byte, n)
	random := rand.NewChaCha8([32]byte{1})
	random.Read(b) //nolint:errcheck // it can't fail
	return string(b)
}

var sampleEntries = []zipEntry{
	{name: "index.html", content: "<p>{{.}}</p>"},
	{name: "dir/", mode: fs.ModeDir | 0o750},
	{name: "dir/a.txt", content: strings.Repeat("a", 1000)},
	{name: "dir/deep/b.bin", content: noise(300_000), store: true},
	{name: "dir/deep/c.bin", content: noise(200_000)},
	{name: "dir/empty"},
	{name: "dir/up", content: "../dir/deep", mode: fs.ModeSymlink | 0o777},
	{name: "with space/ü#?%.txt", content: "x"},
	{name: "link", content: "dir/deep/../a.txt", mode: fs.ModeSymlink | 0o777},
}

func sampleZip(tb testing.TB) []byte {
	tb.Helper()
	return makeZip(tb, sampleEntries...)
}

var sampleNames = []string{"index.html", "dir/a.txt", "dir/deep/b.bin", "dir/deep/c.bin", "dir/empty", "link", "dir/up", "with space/ü#?%.txt"}

func TestArtifactsFSIsAFileSystem(t *testing.T) {
	t.Parallel()
	for name, server := range map[string]*archiveServer{
		"local":         newArchiveServer(sampleZip(t)),
		"no ranges":     {content: bytes.NewReader(sampleZip(t)), size: int64(len(sampleZip(t))), etag: `"v1"`, noRanges: true},
		"no validator":  {content: bytes.NewReader(sampleZip(t)), size: int64(len(sampleZip(t)))},
		"last modified": {content: bytes.NewReader(sampleZip(t)), size: int64(len(sampleZip(t))), modified: time.Unix(1e9, 0)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.NoError(t, fstest.TestFS(server.open(t), sampleNames...))
		})
	}
	t.Run("redirect", func(t *testing.T) {
		t.Parallel()
		c := clientOf(t, newArchiveServer(sampleZip(t)).redirected(t))
		fsys, err := c.Jobs.OpenArtifacts(t.Context(), "group/app", FromRef("main", "build"), nil)
		require.NoError(t, err)
		require.NoError(t, fstest.TestFS(fsys, sampleNames...))
		require.NoError(t, fsys.Close())
	})
}

func TestArtifactsFSWorksWithWhatTakesOne(t *testing.T) {
	t.Parallel()
	fsys := newArchiveServer(sampleZip(t)).open(t)

	var walked []string
	require.NoError(t, fs.WalkDir(fsys, ".", func(path string, d fs.DirEntry, err error) error {
		walked = append(walked, path)
		return err
	}))
	require.Equal(t, []string{".", "dir", "dir/a.txt", "dir/deep", "dir/deep/b.bin", "dir/deep/c.bin", "dir/empty", "dir/up",
		"index.html", "link", "with space", "with space/ü#?%.txt"}, walked)

	page, err := template.ParseFS(fsys, "*.html")
	require.NoError(t, err)
	var out strings.Builder
	require.NoError(t, page.Execute(&out, "hi"))
	require.Equal(t, "<p>hi</p>", out.String())

	web := httptest.NewServer(http.FileServer(http.FS(fsys)))
	defer web.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, web.URL+"/dir/deep/c.bin", nil)
	require.NoError(t, err)
	req.Header.Set("Range", "bytes=100000-100009")
	resp, err := web.Client().Do(req)
	require.NoError(t, err)
	defer resp.Body.Close() // read to its end
	require.Equal(t, http.StatusPartialContent, resp.StatusCode)
	got, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, noise(200_000)[100_000:100_010], string(got))

	sub, err := fs.Sub(fsys, "dir/up")
	require.NoError(t, err)
	content, err := fs.ReadFile(sub, "b.bin")
	require.NoError(t, err)
	require.Equal(t, noise(300_000), string(content))
	info, err := fsys.Stat("dir")
	require.NoError(t, err)
	require.Equal(t, fs.ModeDir|0o750, info.Mode())
	require.Equal(t, sampleTime, info.ModTime())
	target, err := fs.ReadLink(fsys, "link")
	require.NoError(t, err)
	require.Equal(t, "dir/deep/../a.txt", target)
}

func TestArtifactsFSShowsWhatIsValid(t *testing.T) {
	t.Parallel()
	server := newArchiveServer(makeZip(t,
		zipEntry{name: "/etc/passwd", content: "no"}, zipEntry{name: "../up", content: "no"}, zipEntry{name: "a/../../up", content: "no"},
		zipEntry{name: `..\up`, content: "no"}, zipEntry{name: `dir\file`, content: "no"}, zipEntry{name: `C:\up`, content: "no"},
		zipEntry{name: "nul\x00", content: "no"}, zipEntry{name: "latin\xe9", content: "no"}, zipEntry{name: "", content: "no"},
		zipEntry{name: "/", content: ""}, zipEntry{name: ".", content: "no"}, zipEntry{name: "./"}, zipEntry{name: "a/b/..", content: "no"},
		zipEntry{name: "twice", content: "first"}, zipEntry{name: "twice", content: "second"},
		zipEntry{name: "./dotted//file", content: "yes"},
		zipEntry{name: "both", content: "no"}, zipEntry{name: "both/file", content: "yes"},
		zipEntry{name: "pipe", mode: fs.ModeNamedPipe | 0o644},
		zipEntry{name: strings.Repeat("long", 2000), content: "no"},
		zipEntry{name: "loop/a", content: "b", mode: fs.ModeSymlink | 0o777}, zipEntry{name: "loop/b", content: "a", mode: fs.ModeSymlink | 0o777},
		zipEntry{name: "loop/out", content: "../../etc/passwd", mode: fs.ModeSymlink | 0o777},
		zipEntry{name: "loop/absolute", content: "/etc/passwd", mode: fs.ModeSymlink | 0o777},
	))
	fsys := server.open(t)
	var shown []string
	require.NoError(t, fs.WalkDir(fsys, ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			shown = append(shown, path)
		}
		return err
	}))
	require.Equal(t, []string{"both/file", "dotted/file", "loop/a", "loop/absolute", "loop/b", "loop/out", "pipe", "twice"}, shown)
	content, err := fsys.ReadFile("twice")
	require.NoError(t, err)
	require.Equal(t, "second", string(content))
	content, err = fsys.ReadFile("dotted/file")
	require.NoError(t, err)
	require.Equal(t, "yes", string(content))
	for _, link := range []string{"loop/a", "loop/b/x", "loop/out", "loop/absolute"} {
		_, err := fsys.Open(link)
		require.Error(t, fails(t, err), link)
	}
	for _, name := range []string{"", "/", "../up", "/etc/passwd", "twice/x", "no"} {
		_, err := fsys.Open(name)
		require.Error(t, fails(t, err), name)
	}
}

func TestListingTakesFewBytesAndRequests(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{64 << 20, 1 << 30} {
		t.Run(fmt.Sprint(size>>20, "MiB"), func(t *testing.T) {
			t.Parallel()
			server := largeArchive(t, size)
			listAndReadOne(t, server.client(t))
			require.Less(t, server.bytes.Load(), size/100)
			require.Less(t, server.requests.Load(), int64(20))
		})
	}
}

func BenchmarkOpenArtifacts(b *testing.B) {
	server := largeArchive(b, 1<<30)
	c := server.client(b)
	for b.Loop() {
		listAndReadOne(b, c)
	}
	b.ReportMetric(float64(server.bytes.Load())/float64(b.N), "moved-B/op")
	b.ReportMetric(float64(server.requests.Load())/float64(b.N), "requests/op")
	b.ReportMetric(100*float64(server.bytes.Load())/float64(b.N)/float64(server.size), "%moved/op")
}

// largeArchive returns the server of an archive of about so many bytes, of
// which it holds those that aren't zero.
func largeArchive(tb testing.TB, size int64) *archiveServer {
	tb.Helper()
	const files = 5000
	sparse := &sparseContent{}
	w := zip.NewWriter(sparse)
	zeros := make([]byte, size/files)
	sum := crc32.ChecksumIEEE(zeros)
	for i := range files {
		header := &zip.FileHeader{
			Name: fmt.Sprintf("module-%02d/target/classes/file-%04d.class", i%50, i), CRC32: sum, Modified: time.Unix(1e9, 0),
			CompressedSize64: uint64(len(zeros)), UncompressedSize64: uint64(len(zeros)),
		}
		content := zeros
		if i == files/2 {
			content = []byte(noise(4 << 10))
			header.Name = "small.bin"
			header.CRC32, header.CompressedSize64, header.UncompressedSize64 = crc32.ChecksumIEEE(content), 4<<10, 4<<10
		}
		out, err := w.CreateRaw(header)
		require.NoError(tb, err)
		_, err = out.Write(content)
		require.NoError(tb, err)
	}
	require.NoError(tb, w.Close())
	return &archiveServer{content: sparse, size: sparse.size, etag: `"large"`}
}

func listAndReadOne(tb testing.TB, c *Client) {
	fsys, err := c.Jobs.OpenArtifacts(tb.Context(), "group/app", FromJob(7), nil)
	require.NoError(tb, err)
	files := 0
	require.NoError(tb, fs.WalkDir(fsys, ".", func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			_, err = d.Info()
			files++
		}
		return err
	}))
	require.Equal(tb, 5000, files)
	content, err := fsys.ReadFile("small.bin")
	require.NoError(tb, err)
	require.Len(tb, content, 4<<10)
	require.NoError(tb, fsys.Close())
}

// A sparseContent keeps what is written to it, but for long runs of zeros.
type sparseContent struct {
	size   int64
	pieces []sparsePiece
}

type sparsePiece struct {
	at    int64
	bytes []byte
}

var someZeros [4 << 10]byte

func (c *sparseContent) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := min(len(rest), len(someZeros))
		if !bytes.Equal(rest[:n], someZeros[:n]) {
			c.pieces = append(c.pieces, sparsePiece{c.size, bytes.Clone(rest[:n])})
		}
		c.size += int64(n)
		rest = rest[n:]
	}
	return len(p), nil
}

func (c *sparseContent) ReadAt(p []byte, offset int64) (int, error) {
	n := int(min(int64(len(p)), c.size-offset))
	clear(p[:n])
	first := 0
	for last := len(c.pieces); first < last; {
		if middle := (first + last) / 2; c.pieces[middle].at+int64(len(c.pieces[middle].bytes)) <= offset {
			first = middle + 1
		} else {
			last = middle
		}
	}
	for _, piece := range c.pieces[first:] {
		if piece.at >= offset+int64(n) {
			break
		}
		skip := max(0, offset-piece.at)
		copy(p[max(0, piece.at-offset):n], piece.bytes[skip:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func TestSequentialReadsTakeFewRequests(t *testing.T) {
	t.Parallel()
	content := noise(16 << 20)
	server := newArchiveServer(makeZip(t, zipEntry{name: "big", content: content, store: true}))
	file, err := server.open(t).Open("big")
	require.NoError(t, err)
	hash := sha256.New()
	n, err := io.Copy(hash, file)
	require.NoError(t, err)
	require.Equal(t, int64(len(content)), n)
	require.Equal(t, sha256.Sum256([]byte(content)), [32]byte(hash.Sum(nil)))
	require.Less(t, server.requests.Load(), int64(20))
	require.Less(t, server.bytes.Load(), int64(len(content))+8*blockSize)
	require.NoError(t, file.Close())
}

func TestConcurrentReaders(t *testing.T) {
	t.Parallel()
	content := noise(8 << 20)
	var entries []zipEntry
	for i := range 16 {
		entries = append(entries, zipEntry{name: fmt.Sprint("f", i), content: content[i<<19 : (i+1)<<19], store: i%2 == 0})
	}
	server := newArchiveServer(makeZip(t, entries...))
	fsys := server.open(t)
	var readers sync.WaitGroup
	for i := range 16 {
		readers.Go(func() {
			got, err := fsys.ReadFile(fmt.Sprint("f", i))
			if assert.NoError(t, err) {
				assert.Equal(t, sha256.Sum256([]byte(content[i<<19:(i+1)<<19])), sha256.Sum256(got))
			}
		})
	}
	readers.Wait()
}

func TestRangedReadsResume(t *testing.T) {
	t.Parallel()
	server := newArchiveServer(makeZip(t, zipEntry{name: "big", content: noise(2 << 20), store: true}))
	var answers atomic.Int64
	server.fault = func(w http.ResponseWriter, r *http.Request) bool {
		if answers.Add(1)%2 == 0 {
			w.Header().Set("ETag", server.etag)
			http.ServeContent(&brokenWriter{w, 50_000}, r, "", time.Time{}, io.NewSectionReader(server.content, 0, server.size))
			panic(http.ErrAbortHandler)
		}
		return false
	}
	got, err := server.open(t).ReadFile("big")
	require.NoError(t, err)
	require.Equal(t, noise(2<<20), string(got))
}

// A brokenWriter breaks off after some bytes of an answer.
type brokenWriter struct {
	http.ResponseWriter
	left int
}

func (w *brokenWriter) Write(p []byte) (int, error) {
	p = p[:min(len(p), w.left)]
	w.left -= len(p)
	n, err := w.ResponseWriter.Write(p)
	if w.left == 0 {
		http.NewResponseController(w.ResponseWriter).Flush() // the answer is lost anyway
		panic(http.ErrAbortHandler)
	}
	return n, err
}

func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func TestChangedContentIsRefused(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(s *archiveServer, w http.ResponseWriter, r *http.Request) bool{
		"another version": func(s *archiveServer, w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("ETag", `"v2"`)
			http.ServeContent(w, r, "", time.Time{}, io.NewSectionReader(s.content, 0, s.size))
			return true
		},
		"If-Range ignored": func(s *archiveServer, w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("ETag", `"v2"`)
			r.Header.Del("If-Range")
			http.ServeContent(w, r, "", time.Time{}, io.NewSectionReader(s.content, 0, s.size))
			return true
		},
		"another size": func(s *archiveServer, w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("ETag", s.etag)
			http.ServeContent(w, r, "", time.Time{}, io.NewSectionReader(s.content, 0, s.size-1))
			return true
		},
		"gone past its end": func(s *archiveServer, w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("ETag", s.etag)
			http.ServeContent(w, r, "", time.Time{}, io.NewSectionReader(s.content, 0, 10))
			return true
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newArchiveServer(makeZip(t,
				zipEntry{name: "first", content: noise(200_000), store: true}, zipEntry{name: "big", content: noise(200_000), store: true},
				zipEntry{name: "last", content: noise(200_000), store: true}))
			var changed atomic.Bool
			server.fault = func(w http.ResponseWriter, r *http.Request) bool {
				return changed.Load() && change(server, w, r)
			}
			fsys := server.open(t)
			changed.Store(true)
			_, err := fsys.ReadFile("big")
			require.ErrorIs(t, fails(t, err), ErrContentChanged)
			changed.Store(false)
			_, err = fsys.ReadFile("big")
			require.NoError(t, err, "a failed read is not remembered")
		})
	}
}

func TestLoginWallInPlaceOfARange(t *testing.T) {
	t.Parallel()
	server := newArchiveServer(makeZip(t, zipEntry{name: "big", content: noise(400_000), store: true}))
	var walled atomic.Bool
	server.fault = func(w http.ResponseWriter, _ *http.Request) bool {
		if walled.Load() {
			w.Header().Set("Content-Type", "text/html")
			io.WriteString(w, "<html>sign in") //nolint:errcheck // the client may leave
		}
		return walled.Load()
	}
	fsys := server.open(t)
	walled.Store(true)
	_, err := fsys.ReadFile("big")
	require.ErrorIs(t, fails(t, err), ErrUnexpectedContent)

	_, err = server.client(t).Jobs.OpenArtifacts(t.Context(), "1", FromJob(7), nil)
	require.ErrorIs(t, fails(t, err), ErrUnexpectedContent)
}

func TestSpooledArchive(t *testing.T) {
	archive := sampleZip(t)
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	left := func() int {
		entries, err := os.ReadDir(temporary)
		require.NoError(t, err)
		return len(entries)
	}
	server := newArchiveServer(archive)
	server.noRanges = true
	c := server.client(t)

	fsys, err := c.Jobs.OpenArtifacts(t.Context(), "1", FromJob(7), nil)
	require.NoError(t, err)
	require.Equal(t, 1, left())
	require.Equal(t, int64(1), server.requests.Load())
	content, err := fsys.ReadFile("dir/a.txt")
	require.NoError(t, err)
	require.Len(t, content, 1000)
	require.NoError(t, fsys.Close())
	require.NoError(t, fsys.Close())
	require.Zero(t, left())
	_, err = fsys.Open("dir/a.txt")
	require.ErrorIs(t, fails(t, err), fs.ErrClosed)

	_, err = c.Jobs.OpenArtifacts(t.Context(), "1", FromJob(7), &OpenOptions{MaxSpool: int64(len(archive)) - 1})
	require.ErrorIs(t, fails(t, err), ErrTooLarge)
	require.Zero(t, left())

	server.etag = fmt.Sprintf(`"%x"`, sha256.Sum256(nil))
	_, err = c.Jobs.OpenArtifacts(t.Context(), "1", FromJob(7), nil)
	require.ErrorIs(t, fails(t, err), ErrChecksumMismatch)
	require.Zero(t, left())

	// Without a length it is counted as it comes.
	server.fault = func(w http.ResponseWriter, _ *http.Request) bool {
		http.NewResponseController(w).Flush() // it is supported
		w.Write(archive)                      //nolint:errcheck // the client may leave
		return true
	}
	_, err = c.Jobs.OpenArtifacts(t.Context(), "1", FromJob(7), &OpenOptions{MaxSpool: 1000})
	require.ErrorIs(t, fails(t, err), ErrTooLarge)
	require.Zero(t, left())
	_, err = c.Jobs.OpenArtifacts(t.Context(), "1", FromJob(7), &OpenOptions{MaxSpool: -1})
	require.Error(t, fails(t, err))
}

func TestContextGovernsReads(t *testing.T) {
	t.Parallel()
	for _, noRanges := range []bool{false, true} {
		server := newArchiveServer(makeZip(t, zipEntry{name: "big", content: noise(1 << 20), store: true}))
		server.noRanges = noRanges
		ctx, cancel := context.WithCancelCause(t.Context())
		fsys, err := server.client(t).Jobs.OpenArtifacts(ctx, "1", FromJob(7), nil)
		require.NoError(t, err)
		file, err := fsys.Open("big")
		require.NoError(t, err)
		_, err = file.Read(make([]byte, 10))
		require.NoError(t, err)
		enough := errors.New("enough")
		cancel(enough)
		_, err = io.Copy(io.Discard, file)
		require.ErrorIs(t, fails(t, err), context.Canceled)
		require.ErrorIs(t, fails(t, err), enough)
		_, err = fsys.ReadFile("big")
		require.ErrorIs(t, fails(t, err), context.Canceled)
		require.ErrorIs(t, fails(t, err), enough)
		require.NoError(t, fsys.Close())
	}
}

func TestReadsFailAfterClose(t *testing.T) {
	t.Parallel()
	fsys := newArchiveServer(sampleZip(t)).open(t)
	file, err := fsys.Open("dir/deep/b.bin")
	require.NoError(t, err)
	require.NoError(t, fsys.Close())
	_, err = file.Read(make([]byte, 1))
	require.ErrorIs(t, fails(t, err), fs.ErrClosed)
	require.NoError(t, file.Close())
	_, err = file.Stat()
	require.ErrorIs(t, fails(t, err), fs.ErrClosed)
	for _, err := range []error{
		second(fsys.Open("dir")), second(fsys.Stat("dir")), second(fsys.ReadDir("dir")), second(fsys.ReadFile("dir/a.txt")),
	} {
		require.ErrorIs(t, fails(t, err), fs.ErrClosed)
	}
}

func second[T any](_ T, err error) error { return err }

func TestOpenArtifactsRefusesWhatIsNoArchive(t *testing.T) {
	t.Parallel()
	archive := sampleZip(t)
	for name, content := range map[string][]byte{
		"nothing":             {},
		"text":                []byte("hello"),
		"noise":               []byte(noise(200_000)),
		"its first half":      archive[:len(archive)/2],
		"without its end":     archive[:len(archive)-zipEndSize],
		"directory cut short": append(bytes.Clone(archive[:len(archive)-zipEndSize-60]), archive[len(archive)-zipEndSize:]...),
	} {
		for _, noRanges := range []bool{false, true} {
			server := newArchiveServer(content)
			server.noRanges = noRanges
			_, err := server.client(t).Jobs.OpenArtifacts(t.Context(), "1", FromJob(7), nil)
			require.ErrorIs(t, fails(t, err), ErrUnexpectedContent, name)
		}
	}
	empty := newArchiveServer(makeZip(t))
	require.NoError(t, fstest.TestFS(empty.open(t)))
}

func TestOpenArtifactsErrors(t *testing.T) {
	t.Parallel()
	server := newArchiveServer(nil)
	server.fault = func(w http.ResponseWriter, _ *http.Request) bool {
		http.Error(w, `{"message":"404 Not found"}`, http.StatusNotFound)
		return true
	}
	c := server.client(t)
	_, err := c.Jobs.OpenArtifacts(t.Context(), "1", FromJob(7), nil)
	require.ErrorIs(t, fails(t, err), ErrNotFound)
	require.Equal(t, int64(1), server.requests.Load())
	_, err = c.Jobs.OpenArtifacts(t.Context(), "", FromJob(7), nil)
	require.Error(t, fails(t, err))
	_, err = c.Jobs.OpenArtifacts(nil, "1", FromJob(7), nil) //nolint:staticcheck // that is what is tested
	require.Error(t, fails(t, err))
	require.Equal(t, int64(1), server.requests.Load())

	server.requests.Store(0)
	server.fault = func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusBadGateway)
		return true
	}
	_, err = c.Jobs.OpenArtifacts(t.Context(), "1", FromJob(7), nil)
	require.Error(t, fails(t, err))
	require.Equal(t, int64(1+defaultMaxRetries), server.requests.Load())
}

func TestServerWithoutProperRanges(t *testing.T) {
	t.Parallel()
	archive := sampleZip(t)
	for name, answer := range map[string]func(w http.ResponseWriter){
		"416": func(w http.ResponseWriter) { w.WriteHeader(http.StatusRequestedRangeNotSatisfiable) },
		"206 of unknown size": func(w http.ResponseWriter) {
			w.Header().Set("Content-Range", "bytes 0-9/*")
			w.WriteHeader(http.StatusPartialContent)
			w.Write(archive[:10]) //nolint:errcheck // the client may leave
		},
		"206 of another range": func(w http.ResponseWriter) {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 5-9/%d", len(archive)))
			w.WriteHeader(http.StatusPartialContent)
			w.Write(archive[5:10]) //nolint:errcheck // the client may leave
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newArchiveServer(archive)
			server.fault = func(w http.ResponseWriter, r *http.Request) bool {
				if r.Header.Get("Range") != "" {
					w.Header().Set("ETag", server.etag)
					answer(w)
					return true
				}
				return false
			}
			fsys := server.open(t)
			content, err := fsys.ReadFile("dir/a.txt")
			require.NoError(t, err)
			require.Len(t, content, 1000)
			require.Equal(t, int64(2), server.requests.Load())
		})
	}
}

func TestBrokenEntries(t *testing.T) {
	t.Parallel()
	server := newArchiveServer(makeZip(t,
		zipEntry{name: "checksum", content: "content", header: func(h *zip.FileHeader) { h.CRC32++ }},
		zipEntry{name: "longer", content: "content", header: func(h *zip.FileHeader) { h.UncompressedSize64 = 3 }},
		zipEntry{name: "shorter", content: "content", header: func(h *zip.FileHeader) { h.UncompressedSize64 = 1 << 40 }},
		zipEntry{name: "method", content: "content", header: func(h *zip.FileHeader) { h.Method = 99 }},
		zipEntry{name: "encrypted", content: "content", header: func(h *zip.FileHeader) { h.Flags |= encryptedFlag }},
		zipEntry{name: "no deflate", content: "content", store: true, header: func(h *zip.FileHeader) { h.Method = zip.Deflate }},
	))
	fsys := server.open(t)
	for name, want := range map[string]error{
		"checksum": ErrChecksumMismatch, "longer": ErrUnexpectedContent, "shorter": ErrUnexpectedContent,
		"method": ErrUnexpectedContent, "encrypted": ErrUnexpectedContent, "no deflate": ErrUnexpectedContent,
	} {
		_, err := fsys.ReadFile(name)
		require.ErrorIs(t, fails(t, err), want, name)
		file, err := fsys.Open(name)
		require.NoError(t, err)
		_, err = io.ReadAll(file)
		require.ErrorIs(t, fails(t, err), want, name)
		var pathErr *fs.PathError
		require.ErrorAs(t, fails(t, err), &pathErr)
	}
}

func TestOpenArtifactsOfALongNameInAURL(t *testing.T) {
	t.Parallel()
	u, err := url.Parse("http://example.com/artifacts.zip?X-Amz-Signature=abc")
	require.NoError(t, err)
	require.NotContains(t, redactURL(u), "abc")
}

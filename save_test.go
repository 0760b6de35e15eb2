package gitlabjobs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs"
	"github.com/gitlabjobs/gitlabjobs/jobstest"
)

func saveArchive(t testing.TB, client *gitlabjobs.Client, name string, opts *gitlabjobs.SaveOptions) (*gitlabjobs.Download, error) {
	t.Helper()
	return client.Jobs.SaveArtifacts(context.Background(), "1", gitlabjobs.FromJob(1), name, opts)
}

// assertFiles asserts that a directory has these files and no others.
func assertFiles(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	found := []string{}
	for _, entry := range entries {
		found = append(found, entry.Name())
	}
	assert.ElementsMatch(t, names, found)
}

func assertContent(t *testing.T, name string, content []byte) {
	t.Helper()
	got, err := os.ReadFile(name)
	require.NoError(t, err)
	assertBytes(t, content, got)
}

func TestSaveReplacesTheFile(t *testing.T) {
	t.Parallel()
	content := pattern(300_000)
	server, _ := handle(t, func(w http.ResponseWriter, r *http.Request, n int) {
		w.Header().Set("Content-Disposition", `attachment; filename="../build.zip"`)
		serveContent(w, r, content)
	})
	dir := t.TempDir()
	name := filepath.Join(dir, "archive.zip")
	require.NoError(t, os.WriteFile(name, bytes.Repeat([]byte("old"), 200_000), 0o600))
	d, err := saveArchive(t, downloadClient(t, server.URL), name, nil)
	require.NoError(t, err)
	assert.EqualValues(t, len(content), d.Size)
	assert.Equal(t, "build.zip", d.Filename)
	assertContent(t, name, content)
	assertFiles(t, dir, "archive.zip")
}

func TestSaveThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	content := pattern(100_000)
	wrong := strings.Repeat("0", 64)
	broken := func(w http.ResponseWriter, r *http.Request, n int) {
		if n > 0 {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("ETag", `"v1"`)
		sendUpTo(w, content, 50_000)
	}
	unvalidated := func(w http.ResponseWriter, r *http.Request, n int) {
		if n > 0 {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		sendUpTo(w, content, 50_000)
	}
	changing := func(w http.ResponseWriter, r *http.Request, n int) {
		w.Header().Set("ETag", fmt.Sprintf(`"v%d"`, n))
		if n == 0 {
			sendUpTo(w, content, 50_000)
		}
		w.Write(make([]byte, 100_000)) //nolint:errcheck // the client tells
	}
	whole := func(w http.ResponseWriter, r *http.Request, n int) {
		w.Header().Set("ETag", `"v1"`)
		serveContent(w, r, content)
	}
	page := func(w http.ResponseWriter, r *http.Request, n int) {
		w.Header().Set("ETag", `"v1"`)
		io.WriteString(w, "<html>") //nolint:errcheck // the client tells
	}
	for _, c := range []struct {
		name    string
		handler func(w http.ResponseWriter, r *http.Request, n int)
		opts    gitlabjobs.SaveOptions
		err     error
		size    int64
	}{
		{"not kept", broken, gitlabjobs.SaveOptions{}, gitlabjobs.ErrNotFound, 50_000},
		{"without a validator", unvalidated, gitlabjobs.SaveOptions{KeepPartial: true}, gitlabjobs.ErrNotFound, 50_000},
		{"changed", changing, gitlabjobs.SaveOptions{KeepPartial: true}, gitlabjobs.ErrContentChanged, 50_000},
		{"login page", page, gitlabjobs.SaveOptions{KeepPartial: true}, gitlabjobs.ErrUnexpectedContent, 0},
		{"too large", whole, gitlabjobs.SaveOptions{
			KeepPartial: true, DownloadOptions: gitlabjobs.DownloadOptions{MaxBytes: 50_000},
		}, gitlabjobs.ErrTooLarge, 0},
		{"wrong digest", whole, gitlabjobs.SaveOptions{
			KeepPartial: true, DownloadOptions: gitlabjobs.DownloadOptions{SHA256: wrong},
		}, gitlabjobs.ErrChecksumMismatch, 100_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server, _ := handle(t, c.handler)
			dir := t.TempDir()
			name := filepath.Join(dir, "archive.zip")
			require.NoError(t, os.WriteFile(name, []byte("old"), 0o600))
			d, err := saveArchive(t, downloadClient(t, server.URL), name, &c.opts)
			require.ErrorIs(t, gitlabjobs.Fails(t, err), c.err)
			assert.Equal(t, c.size, d.Size)
			assertContent(t, name, []byte("old"))
			assertFiles(t, dir, "archive.zip")
		})
	}
}

func TestSaveOfBadInputAsksForNothing(t *testing.T) {
	t.Parallel()
	server, requests := handle(t, func(w http.ResponseWriter, r *http.Request, n int) {})
	client := downloadClient(t, server.URL)
	dir := t.TempDir()
	name := filepath.Join(dir, "archive.zip")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "directory"), 0o700))
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		what, name, text string
		opts             gitlabjobs.SaveOptions
		is               error
	}{
		{what: "empty filename", text: "the filename is empty"},
		{what: "directory", name: filepath.Join(dir, "directory"), text: "is a directory"},
		{what: "directory to be", name: filepath.Join(dir, "new") + string(filepath.Separator), text: "is a directory"},
		{what: "missing directory", name: filepath.Join(dir, "missing", "archive.zip"), text: "missing", is: fs.ErrNotExist},
		{what: "file for a directory", name: filepath.Join(dir, "file", "archive.zip"), text: "archive.zip"},
		{what: "device", name: os.DevNull, text: "not a regular file"},
		{what: "negative Parallel", name: name, opts: gitlabjobs.SaveOptions{Parallel: -1}, text: "Parallel"},
		{what: "odd Mode", name: name, opts: gitlabjobs.SaveOptions{Mode: fs.ModeDir | 0o600}, text: "Mode"},
		{what: "bad digest", name: name, opts: gitlabjobs.SaveOptions{DownloadOptions: gitlabjobs.DownloadOptions{SHA256: "x"}}, text: "SHA256"},
	} {
		for _, c.opts.KeepPartial = range []bool{false, true} {
			d, err := client.Jobs.SaveArtifacts(t.Context(), "1", gitlabjobs.FromJob(1), c.name, &c.opts)
			require.ErrorContains(t, gitlabjobs.Fails(t, err), c.text, c.what)
			if c.is != nil {
				require.ErrorIs(t, gitlabjobs.Fails(t, err), c.is, c.what)
			}
			assert.Nil(t, d, c.what)
		}
	}
	_, err := client.Jobs.SaveArtifacts(t.Context(), "1", gitlabjobs.FromJob(0), name, nil)
	require.Error(t, gitlabjobs.Fails(t, err))
	_, err = client.Jobs.SaveArtifacts(nil, "1", gitlabjobs.FromJob(1), name, nil) //nolint:staticcheck // that is the point
	require.ErrorContains(t, gitlabjobs.Fails(t, err), "context")
	d, err := client.Jobs.SaveArtifacts(canceled, "1", gitlabjobs.FromJob(1), name, nil)
	require.ErrorIs(t, gitlabjobs.Fails(t, err), context.Canceled)
	assert.Nil(t, d)
	assert.Zero(t, requests.Load())
	assertFiles(t, dir, "file", "directory")
}

func TestSaveMode(t *testing.T) {
	t.Parallel()
	server, _ := handle(t, func(w http.ResponseWriter, r *http.Request, n int) { io.WriteString(w, "content") }) //nolint:errcheck // the client tells
	client := downloadClient(t, server.URL)
	dir := t.TempDir()
	created, err := os.Create(filepath.Join(dir, "created"))
	require.NoError(t, err)
	require.NoError(t, created.Close())
	usual, err := os.Stat(created.Name())
	require.NoError(t, err)
	for mode, want := range map[fs.FileMode]fs.FileMode{0: usual.Mode(), 0o600: 0o600, 0o444: 0o444, 0o777: 0o777} {
		for _, keep := range []bool{false, true} {
			name := filepath.Join(dir, fmt.Sprint(mode, keep))
			_, err := saveArchive(t, client, name, &gitlabjobs.SaveOptions{Mode: mode, KeepPartial: keep})
			require.NoError(t, err)
			info, err := os.Stat(name)
			require.NoError(t, err)
			assert.Equal(t, want, info.Mode())
		}
	}
}

// A halvingServer breaks the first download off at its middle and then fails,
// until it is mended.
type halvingServer struct {
	*httptest.Server
	etag, content atomic.Value
	mended        atomic.Bool
	mu            sync.Mutex
	ranges        []string // that were asked for, "" for none
}

func newHalvingServer(t testing.TB, content []byte) *halvingServer {
	s := new(halvingServer)
	s.etag.Store(`"v1"`)
	s.content.Store(content)
	s.Server, _ = handle(t, func(w http.ResponseWriter, r *http.Request, n int) {
		content := s.content.Load().([]byte)
		w.Header().Set("ETag", s.etag.Load().(string))
		if !s.mended.Load() {
			if n > 0 {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			sendUpTo(w, content, len(content)/2)
		}
		s.mu.Lock()
		s.ranges = append(s.ranges, r.Header.Get("Range"))
		s.mu.Unlock()
		serveContent(w, r, content)
	})
	return s
}

// keepHalf makes a save keep the first half.
func (s *halvingServer) keepHalf(t *testing.T, name string) {
	t.Helper()
	d, err := saveArchive(t, downloadClient(t, s.URL), name, &gitlabjobs.SaveOptions{KeepPartial: true})
	require.ErrorIs(t, gitlabjobs.Fails(t, err), gitlabjobs.ErrForbidden)
	content := s.content.Load().([]byte)
	assert.EqualValues(t, len(content)/2, d.Size)
	assertFiles(t, filepath.Dir(name), "archive.zip.part", "archive.zip.part.json")
	assertContent(t, name+".part", content[:len(content)/2])
}

func TestSaveGoesOnFromWhatWasKept(t *testing.T) {
	t.Parallel()
	content := pattern(1_000_000)
	server := newHalvingServer(t, content)
	dir := t.TempDir()
	name := filepath.Join(dir, "archive.zip")
	server.keepHalf(t, name)
	client := downloadClient(t, server.URL) // as another process would have it

	// A further failure keeps it as it is.
	_, err := saveArchive(t, client, name, &gitlabjobs.SaveOptions{KeepPartial: true})
	require.ErrorIs(t, gitlabjobs.Fails(t, err), gitlabjobs.ErrForbidden)
	assertContent(t, name+".part", content[:500_000])

	server.mended.Store(true)
	var first gitlabjobs.Progress
	d, err := saveArchive(t, client, name, &gitlabjobs.SaveOptions{
		KeepPartial: true,
		DownloadOptions: gitlabjobs.DownloadOptions{
			SHA256:   digestOf(t, bytes.NewReader(content)),
			Progress: func(p gitlabjobs.Progress) { first = min2(first, p) },
		},
	})
	require.NoError(t, err)
	assert.Equal(t, []string{"bytes=500000-"}, server.ranges)
	assert.EqualValues(t, len(content), d.Size)
	assert.True(t, d.Verified)
	assert.Greater(t, first.Written, int64(500_000))
	assertContent(t, name, content)
	assertFiles(t, dir, "archive.zip")
}

// min2 returns the progress that was made first.
func min2(a, b gitlabjobs.Progress) gitlabjobs.Progress {
	if a.Written == 0 {
		return b
	}
	return a
}

func TestSaveDiscardsWhatIsNoLongerGood(t *testing.T) {
	t.Parallel()
	content := pattern(1_000_000)
	other := append([]byte("other"), content...)
	edit := func(t *testing.T, name string, change func(r map[string]any)) {
		text, err := os.ReadFile(name + ".part.json")
		require.NoError(t, err)
		var r map[string]any
		require.NoError(t, json.Unmarshal(text, &r))
		change(r)
		text, err = json.Marshal(r)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(name+".part.json", text, 0o600))
	}
	for _, c := range []struct {
		what   string
		change func(t *testing.T, s *halvingServer, name string)
		want   []byte
		ranges []string
	}{
		{"the content has changed", func(t *testing.T, s *halvingServer, name string) {
			s.etag.Store(`"v2"`)
			s.content.Store(other)
		}, other, []string{"bytes=500000-"}},
		{"the content has shrunk", func(t *testing.T, s *halvingServer, name string) {
			s.etag.Store(`"v2"`)
			s.content.Store(content[:1000])
		}, content[:1000], []string{"bytes=500000-"}},
		{"the part is damaged", func(t *testing.T, s *halvingServer, name string) {
			part, err := os.OpenFile(name+".part", os.O_WRONLY, 0)
			require.NoError(t, err)
			_, err = part.WriteAt([]byte{'x'}, 1000)
			require.NoError(t, err)
			require.NoError(t, part.Close())
		}, content, []string{""}},
		{"the part is too short", func(t *testing.T, s *halvingServer, name string) {
			require.NoError(t, os.Truncate(name+".part", 499_999))
		}, content, []string{""}},
		{"the part is gone", func(t *testing.T, s *halvingServer, name string) {
			require.NoError(t, os.Remove(name+".part"))
		}, content, []string{""}},
		{"the record is gone", func(t *testing.T, s *halvingServer, name string) {
			require.NoError(t, os.Remove(name+".part.json"))
		}, content, []string{""}},
		{"the record is damaged", func(t *testing.T, s *halvingServer, name string) {
			require.NoError(t, os.Truncate(name+".part.json", 10))
		}, content, []string{""}},
		{"the record has a bad validator", func(t *testing.T, s *halvingServer, name string) {
			edit(t, name, func(r map[string]any) { r["validator"] = "\"v1\"\r\nX: y" })
		}, content, []string{""}},
		{"the record is of another source", func(t *testing.T, s *halvingServer, name string) {
			edit(t, name, func(r map[string]any) { r["source"] = strings.Replace(r["source"].(string), "/jobs/1/", "/jobs/2/", 1) })
		}, content, []string{""}},
		{"the record has another total", func(t *testing.T, s *halvingServer, name string) {
			edit(t, name, func(r map[string]any) { r["total"] = 999_999 })
		}, content, []string{"bytes=500000-", ""}},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			server := newHalvingServer(t, content)
			dir := t.TempDir()
			name := filepath.Join(dir, "archive.zip")
			server.keepHalf(t, name)
			c.change(t, server, name)
			server.mended.Store(true)
			d, err := saveArchive(t, downloadClient(t, server.URL), name, &gitlabjobs.SaveOptions{KeepPartial: true})
			require.NoError(t, err)
			assert.Equal(t, c.ranges, server.ranges)
			assert.EqualValues(t, len(c.want), d.Size)
			assertContent(t, name, c.want)
			assertFiles(t, dir, "archive.zip")
		})
	}
}

// All has come, but for the rename.
func TestSaveGoesOnFromAWholePart(t *testing.T) {
	t.Parallel()
	content := pattern(1_000_000)
	etag := `"` + digestOf(t, bytes.NewReader(content)) + `"`
	server, requests := handle(t, func(w http.ResponseWriter, r *http.Request, n int) {
		w.Header().Set("ETag", etag)
		if r.Header.Get("Range") == "" {
			w.Write(content) //nolint:errcheck // the client tells
			breakOff(w)
		}
		if n == 1 {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		serveContent(w, r, content)
	})
	dir := t.TempDir()
	name := filepath.Join(dir, "archive.zip")
	client := downloadClient(t, server.URL)
	_, err := saveArchive(t, client, name, &gitlabjobs.SaveOptions{KeepPartial: true})
	require.ErrorIs(t, gitlabjobs.Fails(t, err), gitlabjobs.ErrForbidden)
	assertContent(t, name+".part", content)
	d, err := saveArchive(t, client, name, &gitlabjobs.SaveOptions{KeepPartial: true, Parallel: 4})
	require.NoError(t, err)
	assert.EqualValues(t, 3, requests.Load())
	assert.EqualValues(t, len(content), d.Size)
	assert.True(t, d.Verified)
	assert.Equal(t, etag, d.ETag)
	assertContent(t, name, content)
	assertFiles(t, dir, "archive.zip")
}

func TestSaveLeavesAForeignPartAlone(t *testing.T) {
	t.Parallel()
	content := pattern(1000)
	server, _ := handle(t, func(w http.ResponseWriter, r *http.Request, n int) { serveContent(w, r, content) })
	dir := t.TempDir()
	name := filepath.Join(dir, "archive.zip")
	precious := filepath.Join(dir, "precious")
	require.NoError(t, os.WriteFile(precious, []byte("precious"), 0o600))
	if err := os.Symlink(precious, name+".part"); err != nil {
		t.Skip("no symbolic links here")
	}
	_, err := saveArchive(t, downloadClient(t, server.URL), name, &gitlabjobs.SaveOptions{KeepPartial: true})
	require.ErrorContains(t, gitlabjobs.Fails(t, err), "not a regular file")
	assertContent(t, precious, []byte("precious"))
	_, err = saveArchive(t, downloadClient(t, server.URL), name, nil)
	require.NoError(t, err)
	assertContent(t, name, content)
}

// Saves of one file at the same time don't mix what they write.
func TestSavesOfOneFile(t *testing.T) {
	t.Parallel()
	const saves = 8
	for _, keep := range []bool{false, true} {
		t.Run(fmt.Sprintf("KeepPartial %v", keep), func(t *testing.T) {
			t.Parallel()
			var halfway sync.WaitGroup // until all are
			halfway.Add(saves)
			contentOf := func(job int) []byte { return bytes.Repeat([]byte(strconv.Itoa(job)), 100_000) }
			server, _ := handle(t, func(w http.ResponseWriter, r *http.Request, n int) {
				var job int
				fmt.Sscanf(r.URL.Path, "/api/v4/projects/1/jobs/%d/artifacts", &job) //nolint:errcheck // the client tells
				content := contentOf(job)
				w.Header().Set("ETag", fmt.Sprintf(`"v%d"`, job))
				w.Header().Set("Content-Length", strconv.Itoa(len(content)))
				w.Write(content[:50_000]) //nolint:errcheck // the client tells
				http.NewResponseController(w).Flush()
				halfway.Done()
				halfway.Wait()
				w.Write(content[50_000:]) //nolint:errcheck // likewise
			})
			client := downloadClient(t, server.URL)
			dir := t.TempDir()
			name := filepath.Join(dir, "archive.zip")
			var group sync.WaitGroup
			for job := 1; job <= saves; job++ {
				group.Go(func() {
					opts := &gitlabjobs.SaveOptions{KeepPartial: keep}
					_, err := client.Jobs.SaveArtifacts(t.Context(), "1", gitlabjobs.FromJob(int64(job)), name, opts)
					assert.NoError(t, err)
				})
			}
			group.Wait()
			got, err := os.ReadFile(name)
			require.NoError(t, err)
			assertBytes(t, contentOf(int(got[0]-'0')), got)
			assertFiles(t, dir, "archive.zip")
		})
	}
}

func TestSaveParallel(t *testing.T) {
	t.Parallel()
	const size = 20 * mebibyte
	for _, c := range []struct {
		name  string
		opts  []jobstest.Option
		fault jobstest.Fault
		check func(t *testing.T, d *gitlabjobs.Download, server *jobstest.Server)
	}{
		{name: "ranges", check: func(t *testing.T, d *gitlabjobs.Download, server *jobstest.Server) {
			assert.True(t, d.Verified)
			assert.Zero(t, d.Resumes)
			assert.GreaterOrEqual(t, len(server.Requests()), 4)
			for i, r := range server.Requests() {
				assert.Equal(t, i > 0, r.Header.Get("Range") != "")
			}
		}},
		{name: "object store", opts: []jobstest.Option{jobstest.WithObjectStore(jobstest.ObjectStore{})}},
		{name: "resets", fault: jobstest.Fault{ResetAfter: mebibyte}, check: func(t *testing.T, d *gitlabjobs.Download, _ *jobstest.Server) {
			assert.GreaterOrEqual(t, d.Resumes, 10)
		}},
		{name: "no ranges", fault: jobstest.Fault{NoRanges: true}, check: func(t *testing.T, d *gitlabjobs.Download, server *jobstest.Server) {
			// One connection finds out, the first goes on all the same.
			assert.Len(t, server.Requests(), 2)
			assert.Zero(t, d.Resumes)
		}},
		{name: "ranges no longer", fault: jobstest.Fault{NoRanges: true, Skip: 4}},
		{name: "wrong ranges", fault: jobstest.Fault{WrongRange: true, Skip: 3}},
		{name: "no validator", fault: jobstest.Fault{NoETag: true, NoLastModified: true}, check: func(t *testing.T, _ *gitlabjobs.Download, server *jobstest.Server) {
			assert.Len(t, server.Requests(), 1)
		}},
		{name: "one fails", fault: jobstest.Fault{Status: http.StatusNotFound, Skip: 3, Times: 1}},
		{name: "all but two fail", fault: jobstest.Fault{Status: http.StatusNotFound, Skip: 2, Times: 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, job, digest := archiveServer(t, size, c.opts...)
			server.Fail(c.fault)
			dir := t.TempDir()
			name := filepath.Join(dir, "archive.zip")
			client := downloadClient(t, server.URL())
			d, err := client.Jobs.SaveArtifacts(t.Context(), "group/app", gitlabjobs.FromJob(job), name, &gitlabjobs.SaveOptions{Parallel: 4})
			require.NoError(t, err)
			assert.Equal(t, digest, d.SHA256)
			assert.EqualValues(t, size, d.Size)
			file, err := os.Open(name)
			require.NoError(t, err)
			defer file.Close()
			assert.Equal(t, digest, digestOf(t, file))
			assertFiles(t, dir, "archive.zip")
			if c.check != nil {
				c.check(t, d, server)
			}
		})
	}
}

// A server that says it does ranges and doesn't costs a request of each
// connection, and the first goes on all the same.
func TestSaveParallelOfRangesThatAreNone(t *testing.T) {
	t.Parallel()
	const size = 24 * mebibyte
	archive, _ := jobstest.SyntheticZip(size, 1)
	server, requests := handle(t, func(w http.ResponseWriter, r *http.Request, n int) {
		r.Header.Del("Range")
		w.Header().Set("ETag", `"v1"`)
		http.ServeContent(w, r, "", time.Time{}, io.NewSectionReader(archive, 0, size))
	})
	name := filepath.Join(t.TempDir(), "archive.zip")
	d, err := saveArchive(t, downloadClient(t, server.URL), name, &gitlabjobs.SaveOptions{Parallel: 4})
	require.NoError(t, err)
	assert.Zero(t, d.Resumes)
	assert.Equal(t, digestOf(t, io.NewSectionReader(archive, 0, size)), d.SHA256)
	assert.LessOrEqual(t, requests.Load(), int32(4))
}

// What a slow connection is at is shared with the others.
func TestSaveParallelHelpsASlowConnection(t *testing.T) {
	t.Parallel()
	const size = 36 * mebibyte
	archive, _ := jobstest.SyntheticZip(size, 1)
	// The first connection is slow; a later one that waits for its token.
	for _, slow := range []int{0, 2} {
		t.Run(fmt.Sprint("connection ", slow), func(t *testing.T) {
			t.Parallel()
			helped, help := context.WithCancel(t.Context())
			defer help()
			server, requests := handle(t, func(w http.ResponseWriter, r *http.Request, n int) {
				w.Header().Set("ETag", `"v1"`)
				if n == 0 && slow == 0 {
					w = &pausingWriter{w, mebibyte, func() { <-helped.Done() }}
				}
				http.ServeContent(w, r, "", time.Time{}, io.NewSectionReader(archive, 0, size))
			})
			var tokens atomic.Int32
			source := gitlabjobs.WithTokenSource(func(context.Context) (gitlabjobs.Token, error) {
				switch n := int(tokens.Add(1)) - 1; {
				case n == 3: // all three have a range already
					help()
				case n == 2 && slow == 2:
					<-helped.Done()
				}
				return gitlabjobs.Token{Kind: gitlabjobs.PrivateToken, Value: gitlabjobs.PlantedToken}, nil
			})
			name := filepath.Join(t.TempDir(), "archive.zip")
			d, err := saveArchive(t, downloadClient(t, server.URL, source), name, &gitlabjobs.SaveOptions{Parallel: 3})
			require.NoError(t, err)
			assert.Zero(t, d.Resumes)
			assert.GreaterOrEqual(t, requests.Load(), int32(4))
			assert.Equal(t, digestOf(t, io.NewSectionReader(archive, 0, size)), d.SHA256)
			file, err := os.Open(name)
			require.NoError(t, err)
			defer file.Close()
			assert.Equal(t, d.SHA256, digestOf(t, file))
		})
	}
}

// There is no network in between, by which the race detector sees more.
func TestSaveParallelWhoseFirstConnectionBreaksAtOnce(t *testing.T) {
	t.Parallel()
	content := pattern(8 * mebibyte)
	var requests atomic.Int32
	transport := gitlabjobs.RoundTripper(func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		w.Header().Set("ETag", `"v1"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
		resp := w.Result()
		resp.Request = r
		if requests.Add(1) == 1 {
			resp.Body = io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF))
		}
		return resp, nil
	})
	client := downloadClient(t, "http://gitlab.test", gitlabjobs.WithHTTPClient(&http.Client{Transport: transport}))
	d, err := saveArchive(t, client, filepath.Join(t.TempDir(), "archive.zip"), &gitlabjobs.SaveOptions{Parallel: 2})
	require.NoError(t, err)
	assert.Equal(t, digestOf(t, bytes.NewReader(content)), d.SHA256)
}

// Ranges that fail for good cost one try of each connection, and the retries of
// one, whatever the first connection gains meanwhile.
func TestSaveParallelOfRangesThatFail(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const parallel, maxRetries = 8, 3
		piece := pattern(mebibyte)
		policy := gitlabjobs.WithRetry(gitlabjobs.RetryPolicy{MaxRetries: maxRetries, MinWait: 20 * time.Millisecond, MaxWait: 50 * time.Millisecond})
		g, jobs := newPipeGitLab(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") != "" {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			w.Header().Set("ETag", `"v1"`)
			w.Header().Set("Accept-Ranges", "bytes")
			w.Header().Set("Content-Length", strconv.Itoa(64*len(piece)))
			for range 64 {
				time.Sleep(5 * time.Millisecond)
				w.Write(piece) //nolint:errcheck // the client tells
			}
		}, policy)
		name := filepath.Join(t.TempDir(), "archive.zip")
		d, err := jobs.SaveArtifacts(t.Context(), "42", gitlabjobs.FromJob(7), name, &gitlabjobs.SaveOptions{Parallel: parallel})
		require.NoError(t, err)
		assert.Zero(t, d.Resumes)
		assert.EqualValues(t, 64*len(piece), d.Size)
		assert.LessOrEqual(t, len(g.of("/jobs/7/artifacts")), 1+parallel-1+maxRetries)
	})
}

func TestSaveParallelOfChangedContent(t *testing.T) {
	t.Parallel()
	server, job, _ := archiveServer(t, 20*mebibyte)
	server.Fail(jobstest.Fault{ResetAfter: 3 * mebibyte, Times: 1}) // else the first connection gets it all
	server.Fail(jobstest.Fault{ChangedContent: bytes.Repeat([]byte("other"), 4*mebibyte), Skip: 2})
	dir := t.TempDir()
	client := downloadClient(t, server.URL())
	opts := &gitlabjobs.SaveOptions{Parallel: 4, KeepPartial: true}
	_, err := client.Jobs.SaveArtifacts(t.Context(), "group/app", gitlabjobs.FromJob(job), filepath.Join(dir, "archive.zip"), opts)
	require.ErrorIs(t, gitlabjobs.Fails(t, err), gitlabjobs.ErrContentChanged)
	assertFiles(t, dir)
}

// Connections that fail together cost no more requests than one that does, and
// what they leave goes on as far as it has no gaps.
func TestSaveParallelFailsAfterItsBudget(t *testing.T) {
	t.Parallel()
	const size, parallel, maxRetries = 24 * mebibyte, 4, 5
	archive, _ := jobstest.SyntheticZip(size, 1)
	var down atomic.Bool
	var ranged, refused atomic.Int32
	var begun sync.WaitGroup
	begun.Add(parallel)
	server, _ := handle(t, func(w http.ResponseWriter, r *http.Request, n int) {
		if down.Load() {
			refused.Add(1)
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("ETag", `"v1"`)
		content := io.NewSectionReader(archive, 0, size)
		if n >= parallel {
			if r.Header.Get("Range") != "" {
				ranged.Add(1)
			}
			http.ServeContent(w, r, "", time.Time{}, content)
			return
		}
		http.ServeContent(&pausingWriter{w, mebibyte, func() {
			begun.Done()
			begun.Wait()
			down.Store(true)
			breakOff(w)
		}}, r, "", time.Time{}, content)
	})
	policy := gitlabjobs.RetryPolicy{MaxRetries: maxRetries, MinWait: 1, MaxWait: 1}
	client := downloadClient(t, server.URL, gitlabjobs.WithRetry(policy))
	dir := t.TempDir()
	name := filepath.Join(dir, "archive.zip")
	opts := &gitlabjobs.SaveOptions{Parallel: parallel, KeepPartial: true}
	d, err := saveArchive(t, client, name, opts)
	require.Error(t, gitlabjobs.Fails(t, err))
	assert.GreaterOrEqual(t, refused.Load(), int32(maxRetries))
	assert.Less(t, d.Size, int64(2*mebibyte))
	assertFiles(t, dir, "archive.zip.part", "archive.zip.part.json")

	down.Store(false)
	kept := d.Size
	d, err = saveArchive(t, client, name, opts)
	require.NoError(t, err)
	assert.EqualValues(t, size, d.Size)
	assert.Equal(t, digestOf(t, io.NewSectionReader(archive, 0, size)), d.SHA256)
	assert.Positive(t, kept)
	assert.Positive(t, ranged.Load())
	file, err := os.Open(name)
	require.NoError(t, err)
	defer file.Close()
	assert.Equal(t, d.SHA256, digestOf(t, file))
	assertFiles(t, dir, "archive.zip")
}

func TestSaveParallelWithoutRetries(t *testing.T) {
	t.Parallel()
	server, job, _ := archiveServer(t, 20*mebibyte)
	server.Fail(jobstest.Fault{ResetAfter: mebibyte})
	client := downloadClient(t, server.URL(),
		gitlabjobs.WithRetry(gitlabjobs.RetryPolicy{MaxRetries: -1}))
	dir := t.TempDir()
	opts := &gitlabjobs.SaveOptions{Parallel: 4}
	_, err := client.Jobs.SaveArtifacts(t.Context(), "group/app", gitlabjobs.FromJob(job), filepath.Join(dir, "archive.zip"), opts)
	require.Error(t, gitlabjobs.Fails(t, err))
	assert.LessOrEqual(t, len(server.Requests()), 4)
	assertFiles(t, dir)
}

func TestSaveParallelCanceled(t *testing.T) {
	t.Parallel()
	server, job, _ := archiveServer(t, 20*mebibyte)
	server.Fail(jobstest.Fault{Stall: true, StallAfter: mebibyte})
	client := downloadClient(t, server.URL())
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	dir := t.TempDir()
	opts := &gitlabjobs.SaveOptions{Parallel: 4}
	opts.Progress = func(p gitlabjobs.Progress) { cancel(cause) }
	_, err := client.Jobs.SaveArtifacts(ctx, "group/app", gitlabjobs.FromJob(job), filepath.Join(dir, "archive.zip"), opts)
	require.ErrorIs(t, gitlabjobs.Fails(t, err), context.Canceled)
	require.ErrorIs(t, gitlabjobs.Fails(t, err), cause)
	assertFiles(t, dir)
}

// A pausingWriter calls a function before the byte after so many.
type pausingWriter struct {
	http.ResponseWriter
	left  int
	pause func()
}

func (w *pausingWriter) Write(p []byte) (int, error) {
	if w.pause == nil || len(p) < w.left {
		w.left -= len(p)
		return w.ResponseWriter.Write(p)
	}
	w.ResponseWriter.Write(p[:w.left]) //nolint:errcheck // the client tells
	http.NewResponseController(w.ResponseWriter).Flush()
	w.pause()
	w.pause = nil
	n, err := w.ResponseWriter.Write(p[w.left:])
	return w.left + n, err
}

// BenchmarkSaveParallel compares one connection with four, where the server
// gives each 50 MB/s.
func BenchmarkSaveParallel(b *testing.B) {
	const size, rate = 256 * mebibyte, 50_000_000 // bytes, bytes per second
	server, job, _ := archiveServer(b, size)
	server.Fail(jobstest.Fault{BytesPerSecond: rate})
	client := downloadClient(b, server.URL())
	save := func(parallel int) {
		name := filepath.Join(b.TempDir(), "archive.zip")
		_, err := client.Jobs.SaveArtifacts(b.Context(), "group/app", gitlabjobs.FromJob(job), name, &gitlabjobs.SaveOptions{Parallel: parallel})
		require.NoError(b, err)
	}
	perSave := map[int]float64{}
	for _, parallel := range []int{1, 4} {
		b.Run(strconv.Itoa(parallel), func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				save(parallel)
			}
			perSave[parallel] = b.Elapsed().Seconds() / float64(b.N)
			if perSave[1] > 0 {
				b.ReportMetric(perSave[1]/perSave[parallel], "times-one")
			}
		})
	}
}

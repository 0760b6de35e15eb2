package gitlabjobs_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs"
	"github.com/gitlabjobs/gitlabjobs/jobstest"
)

const mebibyte = 1 << 20 // bytes

// hurriedRetries never really waits.
var hurriedRetries = gitlabjobs.RetryPolicy{MinWait: 1, MaxWait: 1}

// downloadClient returns a client of the API at baseURL that doesn't wait.
func downloadClient(t testing.TB, baseURL string, opts ...gitlabjobs.Option) *gitlabjobs.Client {
	t.Helper()
	opts = append([]gitlabjobs.Option{gitlabjobs.WithBaseURL(baseURL), gitlabjobs.WithRetry(hurriedRetries)}, opts...)
	return gitlabjobs.RecordedClient(t, opts...)
}

// archiveServer returns a GitLab whose one job, whose number it returns, has
// an archive of size bytes, with its digest.
func archiveServer(t testing.TB, size int64, opts ...jobstest.Option) (*jobstest.Server, int64, string) {
	t.Helper()
	server := jobstest.NewServer(opts...)
	t.Cleanup(server.Close)
	server.AddToken(jobstest.Token{Value: gitlabjobs.PlantedToken})
	archive, size := jobstest.SyntheticZip(size, 8)
	digest := digestOf(t, io.NewSectionReader(archive, 0, size))
	job := server.AddProject("group/app").AddPipeline(jobstest.PipelineSpec{}).AddJob(jobstest.JobSpec{
		ArchiveReader: archive, ArchiveSize: size, ArchiveSHA256: digest,
	})
	return server, job.ID(), digest
}

func digestOf(t testing.TB, r io.Reader) string {
	t.Helper()
	hash := sha256.New()
	_, err := io.Copy(hash, r)
	require.NoError(t, err)
	return hex.EncodeToString(hash.Sum(nil))
}

// pattern returns bytes that tell every place of it from others.
func pattern(size int) []byte {
	content := make([]byte, 0, size+16)
	for i := 0; len(content) < size; i++ {
		content = fmt.Appendf(content, "%d,", i)
	}
	return content[:size]
}

// endsBy checks that err is want, or that there is none.
func endsBy(t testing.TB, err, want error) {
	t.Helper()
	if want == nil {
		require.NoError(t, err)
		return
	}
	require.ErrorIs(t, gitlabjobs.Fails(t, err), want)
}

// assertBytes is assert.Equal for contents too long to be printed.
func assertBytes(t testing.TB, want, got []byte) {
	t.Helper()
	if bytes.Equal(want, got) {
		return
	}
	same := 0
	for same < min(len(want), len(got)) && want[same] == got[same] {
		same++
	}
	assert.Failf(t, "other bytes", "%d bytes instead of %d, the first %d of them right", len(got), len(want), same)
}

// handle serves the archive of job 1 of project 1 by a handler that is told
// how many requests there have been before.
func handle(t testing.TB, handler func(w http.ResponseWriter, r *http.Request, n int)) (*httptest.Server, *atomic.Int32) {
	t.Helper()
	requests := new(atomic.Int32)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler(w, r, int(requests.Add(1))-1)
	}))
	t.Cleanup(server.Close)
	return server, requests
}

// breakOff ends an answer in its middle.
func breakOff(w http.ResponseWriter) {
	http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// sendUpTo sends a content of which the connection breaks off after n bytes.
func sendUpTo(w http.ResponseWriter, content []byte, n int) {
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	w.Write(content[:n]) //nolint:errcheck // the client may be gone
	breakOff(w)
}

func serveContent(w http.ResponseWriter, r *http.Request, content []byte) {
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

func downloadArchive(t testing.TB, client *gitlabjobs.Client, w io.Writer, opts *gitlabjobs.DownloadOptions) (*gitlabjobs.Download, error) {
	t.Helper()
	return client.Jobs.DownloadArtifacts(context.Background(), "1", gitlabjobs.FromJob(1), w, opts)
}

// A connection that is reset every 8 MiB costs few bytes more than the archive
// has, whichever way it comes.
func TestDownloadOverResetsBigArchive(t *testing.T) {
	if testing.Short() {
		t.Skip("it moves 1 GiB")
	}
	const size, piece = 256 * mebibyte, 8 * mebibyte
	for _, way := range []struct {
		name string
		opts []jobstest.Option
	}{
		{name: "server"},
		{name: "redirect", opts: []jobstest.Option{jobstest.WithObjectStore(jobstest.ObjectStore{})}},
	} {
		server, job, digest := archiveServer(t, size, way.opts...)
		server.Fail(jobstest.Fault{ResetAfter: piece})
		client := downloadClient(t, server.URL())
		check := func(t *testing.T, d *gitlabjobs.Download, err error) {
			require.NoError(t, err)
			assert.Equal(t, digest, d.SHA256)
			assert.Equal(t, int64(size), d.Size)
			assert.GreaterOrEqual(t, d.Resumes, size/piece-1)
			assert.Less(t, float64(server.BytesSent()), 1.1*size)
			server.ResetRequests()
		}
		t.Run(way.name+" to a writer", func(t *testing.T) {
			hash := sha256.New()
			d, err := client.Jobs.DownloadArtifacts(t.Context(), "group/app", gitlabjobs.FromJob(job), hash, nil)
			check(t, d, err)
			assert.Equal(t, digest, hex.EncodeToString(hash.Sum(nil)))
		})
		t.Run(way.name+" to a file", func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "archive.zip")
			d, err := client.Jobs.SaveArtifacts(t.Context(), "group/app", gitlabjobs.FromJob(job), name, nil)
			check(t, d, err)
			file, err := os.Open(name)
			require.NoError(t, err)
			defer file.Close()
			assert.Equal(t, digest, digestOf(t, file))
		})
	}
}

func TestDownloadWithoutRangesStartsOverAndCompares(t *testing.T) {
	t.Parallel()
	content := pattern(300_000)
	server, requests := handle(t, func(w http.ResponseWriter, r *http.Request, n int) {
		w.Header().Set("ETag", `"v1"`)
		if n < 4 {
			sendUpTo(w, content, 50_000*(n+1))
		}
		w.Write(content) //nolint:errcheck // the client tells
	})
	var got bytes.Buffer
	d, err := downloadArchive(t, downloadClient(t, server.URL), &got, nil)
	require.NoError(t, err)
	assertBytes(t, content, got.Bytes())
	assert.Equal(t, 4, d.Resumes)
	assert.EqualValues(t, 5, requests.Load())
}

func TestDownloadOfChangedContent(t *testing.T) {
	t.Parallel()
	content := pattern(100_000)
	other := bytes.Clone(content)
	other[100] ^= 1
	for _, c := range []struct {
		name  string
		after func(w http.ResponseWriter, r *http.Request)
	}{
		{"other bytes", func(w http.ResponseWriter, _ *http.Request) { w.Write(other) }},          //nolint:errcheck // the client tells
		{"fewer bytes", func(w http.ResponseWriter, _ *http.Request) { w.Write(content[:1000]) }}, //nolint:errcheck // the client tells
		{"fewer bytes of unknown length", func(w http.ResponseWriter, _ *http.Request) {
			w.Write(content[:1000]) //nolint:errcheck // the client tells
			http.NewResponseController(w).Flush()
		}},
		{"another ETag", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"v2"`)
			serveContent(w, r, other)
		}},
		{"a 206 with another ETag", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"v2"`)
			r.Header.Del("If-Range")
			serveContent(w, r, other)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server, requests := handle(t, func(w http.ResponseWriter, r *http.Request, n int) {
				w.Header().Set("ETag", `"v1"`)
				if n == 0 {
					sendUpTo(w, content, 50_000)
				}
				c.after(w, r)
			})
			var got bytes.Buffer
			d, err := downloadArchive(t, downloadClient(t, server.URL), &got, nil)
			require.ErrorIs(t, gitlabjobs.Fails(t, err), gitlabjobs.ErrContentChanged)
			assertBytes(t, content[:50_000], got.Bytes())
			assert.EqualValues(t, 50_000, d.Size)
			assert.LessOrEqual(t, requests.Load(), int32(3))
		})
	}
}

func TestDownloadGoesOnWithGrownContent(t *testing.T) {
	t.Parallel()
	content := pattern(100_000)
	server, _ := handle(t, func(w http.ResponseWriter, _ *http.Request, n int) {
		w.Header().Set("ETag", fmt.Sprintf(`"v%d"`, n))
		if n == 0 {
			sendUpTo(w, content[:60_000], 50_000)
		}
		w.Write(content) //nolint:errcheck // the client tells
	})
	var got bytes.Buffer
	d, err := downloadArchive(t, downloadClient(t, server.URL), &got, nil)
	require.NoError(t, err)
	assertBytes(t, content, got.Bytes())
	assert.Equal(t, `"v1"`, d.ETag)
}

// A wrong range is never taken. The content is read again, and compared.
func TestDownloadRefusesWrongRanges(t *testing.T) {
	t.Parallel()
	content := pattern(100_000)
	for name, contentRange := range map[string]string{
		"start":   "bytes 49999-99999/100000",
		"total":   "bytes 50000-99999/100001",
		"missing": "",
		"garbage": "bytes fifty-99999/100000",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, requests := handle(t, func(w http.ResponseWriter, r *http.Request, n int) {
				w.Header().Set("ETag", `"v1"`)
				switch {
				case n == 0:
					assert.Empty(t, r.Header.Get("Range"))
					sendUpTo(w, content, 50_000)
				case r.Header.Get("Range") == "":
					sendUpTo(w, content, min(50_000*(n+1), 100_000))
				default:
					assert.Equal(t, "bytes=50000-", r.Header.Get("Range"))
					assert.Equal(t, `"v1"`, r.Header.Get("If-Range"))
					w.Header().Set("Content-Range", contentRange)
					w.WriteHeader(http.StatusPartialContent)
					w.Write(content[49_999:]) //nolint:errcheck // it isn't read
				}
			})
			var got bytes.Buffer
			_, err := downloadArchive(t, downloadClient(t, server.URL), &got, nil)
			require.NoError(t, err)
			assertBytes(t, content, got.Bytes())
			assert.EqualValues(t, 3, requests.Load())
		})
	}
}

// Ranges that were wrong once aren't asked for again.
func TestDownloadStaysAwayFromWrongRanges(t *testing.T) {
	t.Parallel()
	content := pattern(100_000)
	var ranged atomic.Int32
	server, _ := handle(t, func(w http.ResponseWriter, r *http.Request, n int) {
		w.Header().Set("ETag", `"v1"`)
		if r.Header.Get("Range") != "" {
			ranged.Add(1)
			w.WriteHeader(http.StatusPartialContent)
			return
		}
		sendUpTo(w, content, min(10_000*(n+1), 100_000))
	})
	var got bytes.Buffer
	_, err := downloadArchive(t, downloadClient(t, server.URL), &got, nil)
	require.NoError(t, err)
	assertBytes(t, content, got.Bytes())
	assert.EqualValues(t, 1, ranged.Load())
}

func TestDownloadWithoutValidatorAsksForNoRange(t *testing.T) {
	t.Parallel()
	content := pattern(100_000)
	for _, etag := range []string{"", `W/"v1"`} {
		server, _ := handle(t, func(w http.ResponseWriter, r *http.Request, n int) {
			assert.Empty(t, r.Header.Get("Range"))
			if etag != "" {
				w.Header().Set("ETag", etag)
			}
			if n == 0 {
				sendUpTo(w, content, 50_000)
			}
			w.Write(content) //nolint:errcheck // the client tells
		})
		var got bytes.Buffer
		_, err := downloadArchive(t, downloadClient(t, server.URL), &got, nil)
		require.NoError(t, err)
		assertBytes(t, content, got.Bytes())
	}
}

func TestDownloadResumesByTheTimeOfTheLastChange(t *testing.T) {
	t.Parallel()
	const modified = "Wed, 21 Oct 2015 07:28:00 GMT"
	at, err := http.ParseTime(modified)
	require.NoError(t, err)
	content := pattern(100_000)
	server, _ := handle(t, func(w http.ResponseWriter, r *http.Request, n int) {
		w.Header().Set("Last-Modified", modified)
		if n == 0 {
			w.Header().Set("ETag", `W/"v1"`)
			sendUpTo(w, content, 50_000)
		}
		assert.Equal(t, modified, r.Header.Get("If-Range"))
		http.ServeContent(w, r, "", at, bytes.NewReader(content))
	})
	var got bytes.Buffer
	_, err = downloadArchive(t, downloadClient(t, server.URL), &got, nil)
	require.NoError(t, err)
	assertBytes(t, content, got.Bytes())
}

// A content of unknown length whose connection breaks right at its end.
func TestDownloadTakes416AtTheEnd(t *testing.T) {
	t.Parallel()
	content := pattern(100_000)
	for _, c := range []struct {
		name, contentRange string
		err                error
	}{
		{"end", "bytes */100000", nil},
		{"shorter", "bytes */99999", gitlabjobs.ErrContentChanged},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server, _ := handle(t, func(w http.ResponseWriter, r *http.Request, n int) {
				w.Header().Set("ETag", `"v1"`)
				switch {
				case n == 0:
					w.Write(content) //nolint:errcheck // the client tells
					breakOff(w)
				case r.Header.Get("Range") != "":
					w.Header().Set("Content-Range", c.contentRange)
					w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
				default:
					w.Write(content[:99_999]) //nolint:errcheck // the client tells
				}
			})
			var got bytes.Buffer
			d, err := downloadArchive(t, downloadClient(t, server.URL), &got, nil)
			endsBy(t, err, c.err)
			assertBytes(t, content, got.Bytes())
			assert.Equal(t, `"v1"`, d.ETag)
		})
	}
}

func TestDownloadThatEndsEarlyIsNoSuccess(t *testing.T) {
	t.Parallel()
	server, requests := handle(t, func(w http.ResponseWriter, r *http.Request, n int) {
		w.Header().Set("ETag", `"v1"`)
		if n > 0 { // the server has lost the rest, and says that this is all
			w.Header().Set("Content-Range", "bytes */500")
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		sendUpTo(w, pattern(1000), 500)
	})
	var got bytes.Buffer
	d, err := downloadArchive(t, downloadClient(t, server.URL), &got, nil)
	require.Error(t, gitlabjobs.Fails(t, err))
	assert.EqualValues(t, 500, d.Size)
	assert.LessOrEqual(t, requests.Load(), int32(1+5))
}

// The budget of resumes and retries is one, and each byte renews it.
func TestDownloadFailsAfterItsBudget(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		maxRetries int
		requests   int32
		then       func(w http.ResponseWriter)
	}{
		{"break without a byte", 3, 2 + 3, func(w http.ResponseWriter) { breakOff(w) }},
		{"503", 3, 2 + 3, func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) }},
		{"404", 3, 2 + 1, func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) }},
		{"no retries", -1, 1, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			content := pattern(1000)
			server, requests := handle(t, func(w http.ResponseWriter, r *http.Request, n int) {
				w.Header().Set("ETag", `"v1"`)
				if n < 2 {
					w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-999/1000", n*400))
					w.Header().Set("Content-Length", strconv.Itoa(1000-n*400))
					if n > 0 {
						w.WriteHeader(http.StatusPartialContent)
					}
					w.Write(content[n*400 : n*400+400]) //nolint:errcheck // the client tells
					breakOff(w)
				}
				c.then(w)
			})
			policy := gitlabjobs.RetryPolicy{MaxRetries: c.maxRetries, MinWait: 1, MaxWait: 1}
			var got bytes.Buffer
			d, err := downloadArchive(t, downloadClient(t, server.URL, gitlabjobs.WithRetry(policy)), &got, nil)
			require.Error(t, gitlabjobs.Fails(t, err))
			assert.Equal(t, c.requests, requests.Load())
			assertBytes(t, content[:d.Size], got.Bytes())
			assert.Positive(t, d.Size)
		})
	}
}

func TestDownloadThatNeverSucceeds(t *testing.T) {
	t.Parallel()
	server, requests := handle(t, func(w http.ResponseWriter, r *http.Request, n int) {
		w.WriteHeader(http.StatusBadGateway)
	})
	d, err := downloadArchive(t, downloadClient(t, server.URL), io.Discard, nil)
	var refusal *gitlabjobs.Error
	require.ErrorAs(t, gitlabjobs.Fails(t, err), &refusal)
	assert.Equal(t, http.StatusBadGateway, refusal.StatusCode)
	require.NotNil(t, d)
	assert.Zero(t, d.Size)
	assert.EqualValues(t, 1+4, requests.Load())
}

func TestDownloadOfBadInputAsksForNothing(t *testing.T) {
	t.Parallel()
	server, requests := handle(t, func(w http.ResponseWriter, r *http.Request, n int) {})
	client := downloadClient(t, server.URL)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, download := range map[string]func() (*gitlabjobs.Download, error){
		"nil writer": func() (*gitlabjobs.Download, error) {
			return client.Jobs.DownloadArtifacts(t.Context(), "1", gitlabjobs.FromJob(1), nil, nil)
		},
		"bad digest": func() (*gitlabjobs.Download, error) {
			return downloadArchive(t, client, io.Discard, &gitlabjobs.DownloadOptions{SHA256: "abc"})
		},
		"negative limit": func() (*gitlabjobs.Download, error) {
			return downloadArchive(t, client, io.Discard, &gitlabjobs.DownloadOptions{MaxBytes: -1})
		},
		"bad job": func() (*gitlabjobs.Download, error) {
			return client.Jobs.DownloadArtifacts(t.Context(), "1", gitlabjobs.FromJob(0), io.Discard, nil)
		},
		"file type of a log": func() (*gitlabjobs.Download, error) {
			return client.Jobs.DownloadTrace(t.Context(), "1", 1, io.Discard, &gitlabjobs.DownloadOptions{FileType: "junit"})
		},
		"canceled": func() (*gitlabjobs.Download, error) {
			return client.Jobs.DownloadArtifacts(canceled, "1", gitlabjobs.FromJob(1), io.Discard, nil)
		},
	} {
		d, err := download()
		require.Error(t, gitlabjobs.Fails(t, err), name)
		assert.Nil(t, d, name)
	}
	assert.Zero(t, requests.Load())
}

func TestDownloadVerifies(t *testing.T) {
	t.Parallel()
	content := pattern(300_000)
	digest := digestOf(t, bytes.NewReader(content))
	wrong := strings.Repeat("0", 64)
	for _, c := range []struct {
		name, etag, expected string
		verified             bool
		err                  error
	}{
		{"nothing to compare with", `"v1"`, "", false, nil},
		{"GitLab's ETag", `"` + digest + `"`, "", true, nil},
		{"GitLab's ETag, wrong", `"` + wrong + `"`, "", false, gitlabjobs.ErrChecksumMismatch},
		{"a weak ETag, wrong", `W/"` + wrong + `"`, "", false, nil},
		{"the caller's", `"v1"`, strings.ToUpper(digest), true, nil},
		{"the caller's, wrong", `"` + digest + `"`, wrong, false, gitlabjobs.ErrChecksumMismatch},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server, _ := handle(t, func(w http.ResponseWriter, r *http.Request, n int) {
				w.Header().Set("ETag", c.etag)
				serveContent(w, r, content)
			})
			d, err := downloadArchive(t, downloadClient(t, server.URL), io.Discard, &gitlabjobs.DownloadOptions{SHA256: c.expected})
			endsBy(t, err, c.err)
			assert.Equal(t, c.verified, d.Verified)
			assert.Equal(t, digest, d.SHA256)
			assert.EqualValues(t, len(content), d.Size)
		})
	}
}

// Object stores have ETags of their own kinds, and so have single files.
func TestDownloadDoesNotTakeOtherETagsForDigests(t *testing.T) {
	t.Parallel()
	etag := `"` + strings.Repeat("0", 64) + `"`
	store, _ := handle(t, func(w http.ResponseWriter, r *http.Request, n int) {
		assert.Empty(t, r.Header.Get("Private-Token"))
		w.Header().Set("ETag", etag)
		w.Write([]byte("content")) //nolint:errcheck // the client tells
	})
	server, _ := handle(t, func(w http.ResponseWriter, r *http.Request, n int) {
		if strings.HasSuffix(r.URL.Path, "/artifacts") {
			http.Redirect(w, r, store.URL, http.StatusFound)
			return
		}
		w.Header().Set("ETag", etag)
		w.Write([]byte("content")) //nolint:errcheck // the client tells
	})
	client := downloadClient(t, server.URL)
	d, err := downloadArchive(t, client, io.Discard, nil)
	require.NoError(t, err)
	assert.False(t, d.Verified)
	d, err = client.Jobs.DownloadArtifactFile(t.Context(), "1", gitlabjobs.FromJob(1), "file", io.Discard, nil)
	require.NoError(t, err)
	assert.False(t, d.Verified)
}

func TestDownloadLimit(t *testing.T) {
	t.Parallel()
	content := pattern(300_000)
	for _, c := range []struct {
		name    string
		chunked bool
		limit   int64
		size    int64
		err     error
	}{
		{"known before", false, 200_000, 0, gitlabjobs.ErrTooLarge},
		{"seen on the way", true, 200_000, 200_000, gitlabjobs.ErrTooLarge},
		{"just enough", false, 300_000, 300_000, nil},
		{"just enough, seen on the way", true, 300_000, 300_000, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server, _ := handle(t, func(w http.ResponseWriter, r *http.Request, n int) {
				if !c.chunked {
					w.Header().Set("Content-Length", strconv.Itoa(len(content)))
				}
				w.Write(content) //nolint:errcheck // the client may hang up
			})
			var got bytes.Buffer
			d, err := downloadArchive(t, downloadClient(t, server.URL), &got, &gitlabjobs.DownloadOptions{MaxBytes: c.limit})
			endsBy(t, err, c.err)
			assert.Equal(t, c.size, d.Size)
			assertBytes(t, content[:c.size], got.Bytes())
		})
	}
}

func TestDownloadRefusesLoginPages(t *testing.T) {
	t.Parallel()
	const page = "<!DOCTYPE html><html><body>Sign in</body></html>"
	for _, contentType := range []string{"text/html; charset=utf-8", "application/octet-stream"} {
		server, requests := handle(t, func(w http.ResponseWriter, r *http.Request, n int) {
			w.Header().Set("Content-Type", contentType)
			io.WriteString(w, page) //nolint:errcheck // the client tells
		})
		var got bytes.Buffer
		d, err := downloadArchive(t, downloadClient(t, server.URL), &got, nil)
		require.ErrorIs(t, gitlabjobs.Fails(t, err), gitlabjobs.ErrUnexpectedContent)
		assert.Zero(t, d.Size)
		assert.Empty(t, got.Bytes())
		assert.EqualValues(t, 1, requests.Load())
	}
}

func TestDownloadOfAnHTMLFile(t *testing.T) {
	t.Parallel()
	const page = "<!DOCTYPE html><html><body>Coverage</body></html>"
	server, _ := handle(t, func(w http.ResponseWriter, r *http.Request, n int) {
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, page) //nolint:errcheck // the client tells
	})
	client := downloadClient(t, server.URL)
	var got bytes.Buffer
	d, err := client.Jobs.DownloadArtifactFile(t.Context(), "1", gitlabjobs.FromJob(1), "coverage/index.html", &got, nil)
	require.NoError(t, err)
	assert.Equal(t, page, got.String())
	assert.Equal(t, "text/html", d.ContentType)
	_, err = client.Jobs.DownloadArtifactFile(t.Context(), "1", gitlabjobs.FromJob(1), "app.bin", &got, nil)
	require.ErrorIs(t, gitlabjobs.Fails(t, err), gitlabjobs.ErrUnexpectedContent)
}

// gzipped is what some proxies make of a text, whatever the client accepts.
func gzipped(t *testing.T, content []byte) []byte {
	t.Helper()
	var encoded bytes.Buffer
	writer := gzip.NewWriter(&encoded)
	_, err := writer.Write(content)
	require.NoError(t, err)
	require.NoError(t, writer.Close())
	return encoded.Bytes()
}

func TestDownloadDecodesWhatIsEncodedAllTheSame(t *testing.T) {
	t.Parallel()
	content := pattern(500_000)
	encoded := gzipped(t, content)
	server, requests := handle(t, func(w http.ResponseWriter, r *http.Request, n int) {
		assert.Equal(t, "identity", r.Header.Get("Accept-Encoding"))
		assert.Empty(t, r.Header.Get("Range"))
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("ETag", `"v1"`)
		if n == 0 {
			sendUpTo(w, encoded, len(encoded)/2)
		}
		w.Write(encoded) //nolint:errcheck // the client tells
	})
	var got bytes.Buffer
	d, err := downloadClient(t, server.URL).Jobs.DownloadTrace(t.Context(), "1", 1, &got, nil)
	require.NoError(t, err)
	assertBytes(t, content, got.Bytes())
	assert.EqualValues(t, len(content), d.Size)
	assert.EqualValues(t, 2, requests.Load())
}

func TestDownloadOfOddEncodings(t *testing.T) {
	t.Parallel()
	server, _ := handle(t, func(w http.ResponseWriter, r *http.Request, n int) {
		w.Header().Set("Content-Encoding", r.URL.Query().Get("file_type"))
		w.Header().Set("Content-Disposition", "attachment")
	})
	client := downloadClient(t, server.URL)
	for _, encoding := range []string{"gzip", "identity", "br"} { // of nothing
		d, err := downloadArchive(t, client, io.Discard, &gitlabjobs.DownloadOptions{FileType: encoding})
		require.NoError(t, err, encoding)
		assert.Zero(t, d.Size)
	}
	server, _ = handle(t, func(w http.ResponseWriter, r *http.Request, n int) {
		w.Header().Set("Content-Encoding", "br")
		io.WriteString(w, "content") //nolint:errcheck // the client tells
	})
	_, err := downloadArchive(t, downloadClient(t, server.URL), io.Discard, nil)
	require.ErrorIs(t, gitlabjobs.Fails(t, err), gitlabjobs.ErrUnexpectedContent)
}

// Each resume asks GitLab for a new link, and so does a link that has expired
// before it could be used.
func TestDownloadOverExpiringLinks(t *testing.T) {
	t.Parallel()
	content := pattern(100_000)
	var link atomic.Int32
	store, stored := handle(t, func(w http.ResponseWriter, r *http.Request, n int) {
		if r.URL.RawQuery != fmt.Sprintf("X-Amz-Signature=%s-%d", gitlabjobs.PlantedMark, link.Load()) || n == 2 {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		w.Header().Set("ETag", `"v1"`)
		link.Add(1) // a link is good for one use
		if n == 0 {
			sendUpTo(w, content, 40_000)
		}
		serveContent(w, r, content)
	})
	server, asked := handle(t, func(w http.ResponseWriter, r *http.Request, n int) {
		if n == 1 {
			http.Redirect(w, r, store.URL+"?X-Amz-Signature=old-"+gitlabjobs.PlantedMark, http.StatusFound)
			return
		}
		http.Redirect(w, r, fmt.Sprintf("%s?X-Amz-Signature=%s-%d", store.URL, gitlabjobs.PlantedMark, link.Load()), http.StatusFound)
	})
	policy := gitlabjobs.RetryPolicy{MaxRetries: 3, MinWait: 1, MaxWait: 1}
	var got bytes.Buffer
	d, err := downloadArchive(t, downloadClient(t, server.URL, gitlabjobs.WithRetry(policy)), &got, nil)
	require.NoError(t, err)
	assertBytes(t, content, got.Bytes())
	assert.Equal(t, 1, d.Resumes)
	assert.EqualValues(t, 4, asked.Load())
	assert.EqualValues(t, 4, stored.Load())
}

func TestDownloadOfADeadLinkCostsItsBudget(t *testing.T) {
	t.Parallel()
	store, stored := handle(t, func(w http.ResponseWriter, r *http.Request, n int) { w.WriteHeader(http.StatusForbidden) })
	server, asked := handle(t, func(w http.ResponseWriter, r *http.Request, n int) {
		http.Redirect(w, r, store.URL+"?X-Amz-Signature="+gitlabjobs.PlantedMark, http.StatusFound)
	})
	_, err := downloadArchive(t, downloadClient(t, server.URL), io.Discard, nil)
	require.ErrorIs(t, gitlabjobs.Fails(t, err), gitlabjobs.ErrForbidden)
	assert.EqualValues(t, 1+4, asked.Load())
	assert.EqualValues(t, 1+4, stored.Load())
}

type brokenWriter struct {
	room int
	err  error
}

func (w *brokenWriter) Write(p []byte) (int, error) {
	n := min(len(p), w.room)
	w.room -= n
	if n < len(p) {
		return n, w.err
	}
	return n, nil
}

// Errors of the writer are the caller's own, and end the download at once.
func TestDownloadReturnsTheWritersError(t *testing.T) {
	t.Parallel()
	content := pattern(100_000)
	server, requests := handle(t, func(w http.ResponseWriter, r *http.Request, n int) { serveContent(w, r, content) })
	client := downloadClient(t, server.URL)
	full := errors.New("the disk is full")
	d, err := downloadArchive(t, client, &brokenWriter{50_000, full}, nil)
	assert.True(t, err == full, "%v", err) //nolint:errorlint,testifylint // it must be the very same
	assert.EqualValues(t, 50_000, d.Size)
	assert.Equal(t, digestOf(t, bytes.NewReader(content[:50_000])), d.SHA256)
	assert.EqualValues(t, 1, requests.Load())

	_, err = downloadArchive(t, client, &brokenWriter{50_000, nil}, nil)
	require.ErrorIs(t, gitlabjobs.Fails(t, err), io.ErrShortWrite)
}

func TestDownloadHasTheCauseOfItsCancellation(t *testing.T) {
	t.Parallel()
	hangUp := make(chan struct{})
	server, _ := handle(t, func(w http.ResponseWriter, r *http.Request, n int) {
		w.Header().Set("Content-Length", "1000")
		w.Write(pattern(500)) //nolint:errcheck // the client tells
		http.NewResponseController(w).Flush()
		<-hangUp
	})
	defer close(hangUp)
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("the user has changed his mind")
	opts := &gitlabjobs.DownloadOptions{Progress: func(p gitlabjobs.Progress) { cancel(cause) }}
	d, err := downloadClient(t, server.URL).Jobs.DownloadArtifacts(ctx, "1", gitlabjobs.FromJob(1), io.Discard, opts)
	require.ErrorIs(t, gitlabjobs.Fails(t, err), context.Canceled)
	require.ErrorIs(t, gitlabjobs.Fails(t, err), cause)
	assert.EqualValues(t, 500, d.Size)
}

// A connection is good for another request after a download that has ended.
func TestDownloadGivesItsConnectionBack(t *testing.T) {
	t.Parallel()
	content := pattern(1_000_000)
	var mu sync.Mutex
	peers := map[string]bool{}
	server, _ := handle(t, func(w http.ResponseWriter, r *http.Request, n int) {
		mu.Lock()
		peers[r.RemoteAddr] = true
		mu.Unlock()
		serveContent(w, r, content)
	})
	client := downloadClient(t, server.URL)
	for range 5 {
		_, err := downloadArchive(t, client, io.Discard, nil)
		require.NoError(t, err)
	}
	assert.Len(t, peers, 1)
}

// A 206 needn't repeat what the first answer has said.
func TestDownloadKnowsWhatTheFirstAnswerSaid(t *testing.T) {
	t.Parallel()
	content := pattern(1000)
	etag := `"` + digestOf(t, bytes.NewReader(content)) + `"`
	server, _ := handle(t, func(w http.ResponseWriter, r *http.Request, n int) {
		if n == 0 {
			w.Header().Set("ETag", etag)
			w.Header().Set("Content-Type", "application/zip")
			w.Header().Set("Content-Disposition", `attachment; filename="build.zip"`)
			sendUpTo(w, content, 500)
		}
		w.Header()["Content-Type"] = nil
		w.Header().Set("Content-Range", "bytes 500-999/1000")
		w.WriteHeader(http.StatusPartialContent)
		w.Write(content[500:]) //nolint:errcheck // the client tells
	})
	d, err := downloadArchive(t, downloadClient(t, server.URL), io.Discard, nil)
	require.NoError(t, err)
	assert.Equal(t, &gitlabjobs.Download{
		Size: 1000, Filename: "build.zip", ContentType: "application/zip", ETag: etag,
		SHA256: strings.Trim(etag, `"`), Verified: true, Resumes: 1,
	}, d)
}

// stalled runs a test in a bubble, against a server there.
func stalled(t *testing.T, fault jobstest.Fault, test func(t *testing.T, client *gitlabjobs.Client, job int64, archive []byte)) {
	synctest.Test(t, func(t *testing.T) {
		server := jobstest.NewServer(jobstest.WithInMemory())
		defer server.Close()
		archive := pattern(100_000)
		job := server.AddProject("group/app").AddPipeline(jobstest.PipelineSpec{}).AddJob(jobstest.JobSpec{Archive: archive})
		server.Fail(fault)
		server.AddToken(jobstest.Token{Value: gitlabjobs.PlantedToken})
		client := gitlabjobs.RecordedClient(t, gitlabjobs.WithBaseURL(server.URL()),
			gitlabjobs.WithHTTPClient(server.HTTPClient()), gitlabjobs.WithStallTimeout(10*time.Second))
		test(t, client, job.ID(), archive)
	})
}

func TestDownloadResumesAfterAStall(t *testing.T) {
	stalled(t, jobstest.Fault{Times: 1, Stall: true, StallAfter: 40_000}, func(t *testing.T, client *gitlabjobs.Client, job int64, archive []byte) {
		start := time.Now()
		var got bytes.Buffer
		d, err := client.Jobs.DownloadArtifacts(t.Context(), "group/app", gitlabjobs.FromJob(job), &got, nil)
		require.NoError(t, err)
		assertBytes(t, archive, got.Bytes())
		assert.Equal(t, 1, d.Resumes)
		assert.True(t, d.Verified)
		assert.Equal(t, 10*time.Second, time.Since(start))
	})
}

func TestDownloadThatAlwaysStalls(t *testing.T) {
	stalled(t, jobstest.Fault{Stall: true, StallAfter: 0}, func(t *testing.T, client *gitlabjobs.Client, job int64, archive []byte) {
		start := time.Now()
		_, err := client.Jobs.DownloadArtifacts(t.Context(), "group/app", gitlabjobs.FromJob(job), io.Discard, nil)
		require.ErrorIs(t, gitlabjobs.Fails(t, err), gitlabjobs.ErrStalled)
		assert.GreaterOrEqual(t, time.Since(start), 50*time.Second)
		assert.Less(t, time.Since(start), 60*time.Second)
	})
}

// slowWriter takes longer for each write than the stall timeout is.
type slowWriter struct{ bytes.Buffer }

func (w *slowWriter) Write(p []byte) (int, error) {
	time.Sleep(time.Minute)
	return w.Buffer.Write(p)
}

func TestDownloadToASlowWriterIsNoStall(t *testing.T) {
	stalled(t, jobstest.Fault{Times: 1, ResetAfter: 40_000}, func(t *testing.T, client *gitlabjobs.Client, job int64, archive []byte) {
		var w slowWriter
		d, err := client.Jobs.DownloadArtifacts(t.Context(), "group/app", gitlabjobs.FromJob(job), &w, nil)
		require.NoError(t, err)
		assertBytes(t, archive, w.Bytes())
		assert.LessOrEqual(t, d.Resumes, 1)
	})
}

func TestDownloadTellsItsProgress(t *testing.T) {
	stalled(t, jobstest.Fault{BytesPerSecond: 20_000}, func(t *testing.T, client *gitlabjobs.Client, job int64, archive []byte) {
		var told []gitlabjobs.Progress
		opts := &gitlabjobs.DownloadOptions{Progress: func(p gitlabjobs.Progress) { told = append(told, p) }}
		_, err := client.Jobs.DownloadArtifacts(t.Context(), "group/app", gitlabjobs.FromJob(job), io.Discard, opts)
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(told), 3)
		for i, p := range told {
			assert.EqualValues(t, 100_000, p.Total)
			if i > 0 {
				assert.GreaterOrEqual(t, p.Written, told[i-1].Written)
			}
			if i > 0 && i < len(told)-1 {
				assert.GreaterOrEqual(t, p.Elapsed-told[i-1].Elapsed, 100*time.Millisecond)
			}
		}
		assert.EqualValues(t, 100_000, told[len(told)-1].Written)
	})
}

// What a download allocates doesn't depend on how much it moves.
func TestDownloadAllocatesTheSameForEverySize(t *testing.T) {
	if testing.Short() {
		t.Skip("it moves 1 GiB")
	}
	if raceDetector() {
		t.Skip("under it, pools drop buffers at random")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // which would empty the pools
	allocated := func(size int64) float64 {
		client := streamClient(t, size)
		least := math.Inf(1) // how many buffers the pools lend is a matter of timing
		for range 4 {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := downloadArchive(t, client, io.Discard, nil)
			runtime.ReadMemStats(&after)
			require.NoError(t, err)
			least = min(least, float64(after.TotalAlloc-before.TotalAlloc))
		}
		return least
	}
	small, large := allocated(mebibyte), allocated(1024*mebibyte)
	assert.Less(t, large, float64(2*mebibyte))
	assert.InEpsilon(t, small, large, 0.1)
}

// raceDetector reports whether the test was built with it.
func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// streamClient returns a client whose server sends size bytes, allocating
// nothing itself.
func streamClient(t testing.TB, size int64) *gitlabjobs.Client {
	return downloadClient(t, "http://gitlab.invalid", gitlabjobs.WithHTTPClient(&http.Client{Transport: streamTransport(size)}))
}

// A streamTransport answers every request with so many bytes. There is no
// connection under it: a server would count among what is measured.
type streamTransport int64

func (size streamTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	body := &streamBody{left: int64(size)}
	header := http.Header{"Content-Type": {"application/zip"}}
	return &http.Response{StatusCode: http.StatusOK, Header: header, ContentLength: int64(size), Body: body, Request: req}, nil
}

type streamBody struct{ left int64 }

func (b *streamBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), b.left)
	b.left -= n
	return int(n), nil
}

func (*streamBody) Close() error { return nil }

func BenchmarkDownload(b *testing.B) {
	for _, size := range []int64{1, 256, 1024} {
		b.Run(fmt.Sprintf("%dMiB", size), func(b *testing.B) {
			_, err := downloadArchive(b, streamClient(b, 4*mebibyte), io.Discard, nil) // makes the buffers
			require.NoError(b, err)
			client := streamClient(b, size*mebibyte)
			b.SetBytes(size * mebibyte)
			b.ReportAllocs()
			for b.Loop() {
				_, err := downloadArchive(b, client, io.Discard, nil)
				require.NoError(b, err)
			}
		})
	}
}

package gitlabjobs_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs"
)

// A fickleServer serves a content in ever other ways, chosen by a seed. What
// it says of lengths and validators is true, unless no client could believe it.
type fickleServer struct {
	mu       sync.Mutex
	random   *rand.Rand
	versions [][]byte // of the content, which moves on from one to the next
	version  int
	hostile  float64 // the share of requests that something goes wrong with
	ranges   bool
	sized    bool
	validate int // 0: no validator, 1: strong ETag, 2: weak ETag, 3: Last-Modified
}

func newFickleServer(random *rand.Rand) *fickleServer {
	s := &fickleServer{
		random:   random,
		hostile:  []float64{0.3, 0.6, 0.9}[random.IntN(3)],
		ranges:   random.IntN(3) > 0,
		sized:    random.IntN(4) > 0,
		validate: random.IntN(4),
	}
	first := make([]byte, random.IntN(20_000))
	for i := range first {
		first[i] = byte(random.Uint32())
	}
	s.versions = [][]byte{first}
	switch random.IntN(6) {
	case 0: // another content
		other := bytes.Clone(first)
		if len(other) > 0 {
			other[random.IntN(len(other))] ^= 1
		}
		s.versions = append(s.versions, other)
	case 1: // one that has grown
		s.versions = append(s.versions, append(bytes.Clone(first), "and more"...))
	case 2: // one that has shrunk
		s.versions = append(s.versions, first[:len(first)/2])
	}
	return s
}

func (s *fickleServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.version+1 < len(s.versions) && s.random.IntN(3) == 0 {
		s.version++
	}
	content := s.versions[s.version]
	fails := s.random.Float64() < s.hostile
	if fails && s.random.IntN(4) == 0 {
		w.WriteHeader([]int{500, 502, 503, 429, 408}[s.random.IntN(5)])
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	modified := time.Unix(int64(1_500_000_000+s.version), 0)
	switch s.validate {
	case 1:
		w.Header().Set("ETag", fmt.Sprintf(`"v%d"`, s.version))
	case 2:
		w.Header().Set("ETag", fmt.Sprintf(`W/"v%d"`, s.version))
	case 3:
		w.Header().Set("Last-Modified", modified.UTC().Format(http.TimeFormat))
	}
	if fails {
		w = &abortingWriter{ResponseWriter: w, left: s.random.IntN(len(content)/2 + 1)}
	}
	switch lie := s.random.IntN(12); {
	case r.Header.Get("Range") != "" && fails && lie < 4:
		s.answerWrongRange(w, r, content, lie)
	case s.ranges:
		if !s.sized { // which ServeContent knows no way to leave out
			w = &unsizedWriter{w}
		}
		if s.validate != 3 {
			modified = time.Time{}
		}
		http.ServeContent(w, r, "", modified, bytes.NewReader(content))
	default:
		if s.sized {
			w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		}
		w.Write(content) //nolint:errcheck // the client tells
	}
	http.NewResponseController(w).Flush()
}

func (s *fickleServer) answerWrongRange(w http.ResponseWriter, r *http.Request, content []byte, lie int) {
	var start int
	fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &start) //nolint:errcheck // of 0 something can be said, too
	end := max(len(content)-1, start)
	switch lie {
	case 0:
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start+1, end+1, len(content)+1))
	case 1:
		w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", end, end+1))
	case 2:
		w.Header().Set("Content-Range", "bytes */*")
	case 3:
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, end, end+1))
		w.Header().Set("ETag", `"of something else"`)
		w.Header().Set("Last-Modified", "Thu, 01 Jan 1970 00:00:01 GMT")
	}
	w.WriteHeader(http.StatusPartialContent)
	w.Write(bytes.Repeat([]byte("wrong"), 1000)) //nolint:errcheck // nobody should read it
}

// A abortingWriter breaks the connection off.
type abortingWriter struct {
	http.ResponseWriter
	left int
}

func (w *abortingWriter) Write(p []byte) (int, error) {
	if len(p) <= w.left {
		w.left -= len(p)
		return w.ResponseWriter.Write(p)
	}
	w.ResponseWriter.Write(p[:w.left]) //nolint:errcheck // it breaks off anyway
	breakOff(w)
	return 0, nil
}

func (w *abortingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// An unsizedWriter leaves the Content-Length out.
type unsizedWriter struct{ http.ResponseWriter }

func (w *unsizedWriter) WriteHeader(status int) {
	w.Header().Del("Content-Length")
	w.ResponseWriter.WriteHeader(status)
}

func (w *unsizedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// is reports whether got is one of the versions, or with prefix starts one.
func (s *fickleServer) is(got []byte, prefix bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, version := range s.versions {
		if bytes.Equal(got, version) || prefix && bytes.HasPrefix(version, got) {
			return true
		}
	}
	return false
}

// Whatever goes wrong, a success has the right bytes, and a failure has left
// right bytes, as far as it came.
func TestDownloadPropertyUnderRandomFaults(t *testing.T) {
	const cases = 1000
	dir := t.TempDir()
	var current http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { current.ServeHTTP(w, r) }))
	defer server.Close()
	client := downloadClient(t, server.URL)
	succeeded := 0
	for seed := range uint64(cases) {
		fickle := newFickleServer(rand.New(rand.NewPCG(seed, 0)))
		current = fickle
		var got bytes.Buffer
		d, err := downloadArchive(t, client, &got, nil)
		require.NotNil(t, d, "seed %d", seed)
		require.EqualValues(t, got.Len(), d.Size, "seed %d", seed)
		require.True(t, fickle.is(got.Bytes(), err != nil), "seed %d: %d bytes, %v", seed, got.Len(), err)
		if err == nil {
			succeeded++
		}
		if seed%8 == 0 {
			saveOverFaults(t, client, fickle, filepath.Join(dir, strconv.FormatUint(seed, 10)), seed)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	require.NoError(t, err)
	require.Empty(t, left)
	require.Greater(t, succeeded, cases/4, "too hostile for the test to show much")
	require.Less(t, succeeded, cases, "too kind for the test to show much")
}

// saveOverFaults saves until it succeeds, with older failures to go on from.
func saveOverFaults(t *testing.T, client *gitlabjobs.Client, fickle *fickleServer, name string, seed uint64) {
	require.NoError(t, os.WriteFile(name, []byte("before"), 0o600))
	for try := range 100 {
		opts := &gitlabjobs.SaveOptions{KeepPartial: try%10 > 0}
		_, err := client.Jobs.SaveArtifacts(t.Context(), "1", gitlabjobs.FromJob(1), name, opts)
		got, readErr := os.ReadFile(name)
		require.NoError(t, readErr)
		if err == nil {
			require.True(t, fickle.is(got, false), "seed %d: %d bytes", seed, len(got))
			return
		}
		require.Equal(t, "before", string(got), "seed %d", seed)
		fickle.mu.Lock()
		fickle.hostile *= 0.9
		fickle.mu.Unlock()
	}
	require.Fail(t, "it never succeeds", "seed %d", seed)
}

package gitlabjobs

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A handlerTransport answers requests without a network.
type handlerTransport struct{ http.Handler }

func (h handlerTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, req)
	resp := recorder.Result()
	resp.Request = req
	return resp, nil
}

func fuzzedClient(tb testing.TB, content []byte, noRanges bool) *Client {
	server := newArchiveServer(content)
	server.noRanges = noRanges
	return recordedClient(tb, WithBaseURL("http://gitlab.example.com"), WithHTTPClient(&http.Client{Transport: handlerTransport{server}}),
		WithRetry(RetryPolicy{MaxRetries: -1}))
}

func addArchives(f *testing.F) {
	f.Add(sampleZip(f), false)
	f.Add([]byte{}, true)
	for _, hostile := range hostileArchives(f) {
		if len(hostile.content) < 16<<10 {
			f.Add(hostile.content, len(hostile.content)%2 == 0)
		}
	}
}

func FuzzOpenArtifacts(f *testing.F) {
	addArchives(f)
	f.Fuzz(func(t *testing.T, content []byte, noRanges bool) {
		fsys, err := fuzzedClient(t, content, noRanges).Jobs.OpenArtifacts(t.Context(), "1", FromJob(7), nil)
		if err != nil {
			fails(t, err) //nolint:errcheck // it is the same one
			require.True(t, errors.Is(err, ErrUnexpectedContent) || errors.Is(err, ErrTooLarge), err)
			return
		}
		err = fs.WalkDir(fsys, ".", func(path string, d fs.DirEntry, err error) error {
			require.NoError(t, err)
			require.True(t, fs.ValidPath(path), path)
			info, err := d.Info()
			require.NoError(t, err)
			lstat, err := fsys.Lstat(path)
			require.NoError(t, err)
			require.Equal(t, info, lstat)
			file, err := fsys.Open(path)
			if err != nil {
				require.Equal(t, fs.ModeSymlink, d.Type())
				return nil
			}
			defer file.Close() // it was only read
			if d.Type().IsRegular() {
				n, err := io.Copy(io.Discard, io.LimitReader(file, 16<<20))
				require.True(t, err != nil || n == min(info.Size(), 16<<20), path)
			}
			return nil
		})
		require.NoError(t, err)
		require.NoError(t, fsys.Close())
	})
}

func FuzzExtractArtifacts(f *testing.F) {
	addArchives(f)
	f.Fuzz(func(t *testing.T, content []byte, noRanges bool) {
		outer := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(outer, "outside"), []byte("outside"), 0o600))
		dir := filepath.Join(outer, "inner")
		require.NoError(t, os.Mkdir(dir, 0o700))
		opts := &ExtractOptions{MaxBytes: 4 << 20, MaxFiles: 100, Overwrite: len(content)%2 == 0}
		got, err := fuzzedClient(t, content, noRanges).Jobs.ExtractArtifacts(t.Context(), "1", FromJob(7), dir, opts)
		require.NotNil(t, got)
		made, readErr := os.ReadDir(outer)
		require.NoError(t, readErr)
		require.Len(t, made, 2, "something was made outside")
		outside, readErr := os.ReadFile(filepath.Join(outer, "outside"))
		require.NoError(t, readErr)
		require.Equal(t, "outside", string(outside))

		files, size := 0, int64(0)
		root, openErr := os.OpenRoot(dir)
		require.NoError(t, openErr)
		defer root.Close() // it was only read
		for path, content := range filesIn(t, dir) {
			require.NotContains(t, filepath.Base(path), temporaryStart)
			if path[len(path)-1] == '/' {
				continue
			}
			files++
			info, err := root.Lstat(path)
			require.NoError(t, err)
			require.Zero(t, info.Mode()&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky))
			if info.Mode().IsRegular() {
				size += int64(len(content))
			} else if _, err := root.Stat(path); err != nil {
				require.ErrorIs(t, fails(t, err), fs.ErrNotExist, "%s leads out", path)
			}
		}
		require.Equal(t, files, got.Files)
		require.LessOrEqual(t, size, opts.MaxBytes)
		if err == nil {
			require.Equal(t, size, got.Bytes)
		}
	})
}

package integration

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs"
)

// staticServer is a server block that serves an archive and a log as files,
// where GitLab's API has those of job 7 of project 1.
func staticServer(a archive, log, extra string) string {
	return fmt.Sprintf(`
  server {
    listen ADDR;
    %s
    location = /gitlab/api/v4/projects/1/jobs/7/artifacts { alias %s; }
    location = /gitlab/api/v4/projects/1/jobs/7/trace { default_type text/plain; alias %s; }
  }`, extra, a.path, log)
}

// slowAtFirst sets a rate that is fast only for what comes by range: a download
// is sure to be under way when something happens to it.
const slowAtFirst = `map $http_range $rate { "" 2m; default 0; }`

// writeLog writes a log of so many lines to a file, which it names.
func writeLog(t testing.TB, lines int) (filename, text string) {
	t.Helper()
	var content strings.Builder
	for i := range lines {
		fmt.Fprintf(&content, "\x1b[32m%06d\x1b[0;m building\r\n", i)
	}
	filename = filepath.Join(t.TempDir(), "7.log")
	require.NoError(t, os.WriteFile(filename, []byte(content.String()), 0o600))
	return filename, content.String()
}

func TestNginxStaticFilesByRange(t *testing.T) {
	t.Parallel()
	a := newArchive(t, 24*mib, 6)
	log, text := writeLog(t, 20_000)
	n := startNginx(t, staticServer(a, log, "gzip on; gzip_types *; gzip_min_length 1;"))
	client := newClient(t, "http://"+n.addr+"/gitlab", "secret")

	filename := filepath.Join(t.TempDir(), "artifacts.zip")
	d, err := client.Jobs.SaveArtifacts(t.Context(), "1", gitlabjobs.FromJob(7), filename,
		&gitlabjobs.SaveOptions{Parallel: 4, DownloadOptions: gitlabjobs.DownloadOptions{SHA256: a.sha256}})
	require.NoError(t, err)
	assert.True(t, d.Verified)
	assert.Equal(t, a.size, d.Size)
	assert.Equal(t, a.sha256, hashFile(t, filename))

	var trace bytes.Buffer
	_, err = client.Jobs.DownloadTrace(t.Context(), "1", 7, &trace, nil)
	require.NoError(t, err)
	assert.Equal(t, hashText(text), hashText(trace.String()), "the log must come byte for byte though nginx compresses text")

	partial := 0
	for _, line := range n.quit(t) {
		if strings.Contains(line, "] 206 ") {
			partial++
		}
	}
	assert.GreaterOrEqual(t, partial, 2, "parallel ranges were to be had")
}

func TestNginxStaticResumeAcrossSaves(t *testing.T) {
	t.Parallel()
	a := newArchive(t, 16*mib, 4)
	log, _ := writeLog(t, 1)
	n := startNginx(t, slowAtFirst+staticServer(a, log, "limit_rate $rate; limit_rate_after 4m;"))
	client := newClient(t, "http://"+n.addr+"/gitlab", "")
	filename := filepath.Join(t.TempDir(), "artifacts.zip")

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	opts := gitlabjobs.SaveOptions{KeepPartial: true}
	opts.Progress = func(p gitlabjobs.Progress) {
		if p.Written > 2*mib {
			cancel()
		}
	}
	first, err := client.Jobs.SaveArtifacts(ctx, "1", gitlabjobs.FromJob(7), filename, &opts)
	require.ErrorIs(t, err, context.Canceled)
	require.NoFileExists(t, filename)
	require.Less(t, first.Size, a.size)

	opts.Progress, opts.SHA256 = nil, a.sha256
	_, err = client.Jobs.SaveArtifacts(t.Context(), "1", gitlabjobs.FromJob(7), filename, &opts)
	require.NoError(t, err)
	assert.Equal(t, a.sha256, hashFile(t, filename))
	lines := n.quit(t)
	assert.Contains(t, lines[len(lines)-1], fmt.Sprintf("[bytes=%d-] 206 %d", first.Size, a.size-first.Size), "the second save asks for the rest alone")
}

// A reload makes the old worker drop its connections in the middle of what it
// is sending.
func TestNginxReloadMidDownload(t *testing.T) {
	t.Parallel()
	a := newArchive(t, 12*mib, 3)
	log, _ := writeLog(t, 1)
	n := startNginx(t, slowAtFirst+staticServer(a, log, "limit_rate $rate; limit_rate_after 4m;"))
	client := newClient(t, "http://"+n.addr+"/gitlab", "")

	reloads := 0
	w := &writerFunc{}
	w.write = func([]byte) error {
		if w.written >= int64(reloads+1)*3*mib && reloads < 3 {
			reloads++
			return n.reload()
		}
		return nil
	}
	d, err := client.Jobs.DownloadArtifacts(t.Context(), "1", gitlabjobs.FromJob(7), w, &gitlabjobs.DownloadOptions{SHA256: a.sha256})
	require.NoError(t, err)
	assert.True(t, d.Verified)
	assert.Equal(t, 3, reloads)
	assert.Positive(t, d.Resumes, "a reload breaks connections")
	for _, line := range n.quit(t)[1:] {
		assert.Contains(t, line, "] 206 ", "what is left is asked for by range")
	}
}

// A writerFunc is a writer that counts, and does something with every write.
type writerFunc struct {
	written int64
	write   func([]byte) error
}

func (w *writerFunc) Write(p []byte) (int, error) {
	w.written += int64(len(p))
	if err := w.write(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

var _ io.Writer = (*writerFunc)(nil)

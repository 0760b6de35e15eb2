package integration

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs"
)

// digests returns the SHA-256 of every file of an archive, by archive/zip.
func (a archive) digests(t testing.TB) map[string]string {
	t.Helper()
	reader, err := zip.OpenReader(a.path)
	require.NoError(t, err)
	defer reader.Close()
	all, err := digestsOf(reader)
	require.NoError(t, err)
	return all
}

// digestsOf returns the SHA-256 of every file of a file system.
func digestsOf(fsys fs.FS) (map[string]string, error) {
	all := map[string]string{}
	err := fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		file, err := fsys.Open(name)
		if err != nil {
			return err
		}
		defer file.Close()
		hash := sha256.New()
		_, err = io.Copy(hash, file)
		all[name] = hex.EncodeToString(hash.Sum(nil))
		return err
	})
	return all, err
}

// By nginx's own count of bytes, one file of a large archive costs next to
// nothing.
func TestNginxOpenArtifacts(t *testing.T) {
	t.Parallel()
	a := newArchive(t, 64*mib, 1000)
	log, _ := writeLog(t, 1)
	n := startNginx(t, staticServer(a, log, ""))
	client := newClient(t, "http://"+n.addr+"/gitlab", "")
	archive, err := client.Jobs.OpenArtifacts(t.Context(), "1", gitlabjobs.FromJob(7), nil)
	require.NoError(t, err)
	defer archive.Close()
	entries, err := archive.ReadDir(".")
	require.NoError(t, err)
	assert.Len(t, entries, 1000)
	content, err := archive.ReadFile("file-000500.bin")
	require.NoError(t, err)
	assert.Equal(t, a.digests(t)["file-000500.bin"], hashText(string(content)))
	require.NoError(t, archive.Close())

	var sent int64
	for _, line := range n.quit(t) {
		bytes, err := strconv.ParseInt(line[strings.LastIndexByte(line, ' ')+1:], 10, 64)
		require.NoError(t, err)
		sent += bytes
	}
	assert.Less(t, sent, a.size/100, "less than 1% of it moves")
}

// An archive in the store, over connections that break and links that expire.
func TestS3ArchiveFS(t *testing.T) {
	t.Parallel()
	store := startObjectStore(t, 9*mib)
	want := store.archive.digests(t)
	gitlab := store.behindGitLab(t, func(asked int64) bool { return asked%3 == 0 })
	network := newToxicNetwork(t, "http://"+store.addr, inTurn(2),
		[]toxic{{Type: "limit_data", Attributes: map[string]int{"bytes": mib}}}, []toxic{{Type: "limit_data", Attributes: map[string]int{"bytes": 2 * mib}}})
	policy := quickRetry
	policy.MaxRetries = 10
	client := newClient(t, gitlab.URL, "secret", gitlabjobs.WithHTTPClient(network.httpClientFor(t, store.addr)), gitlabjobs.WithRetry(policy))

	archive, err := client.Jobs.OpenArtifacts(t.Context(), "1", gitlabjobs.FromJob(7), nil)
	require.NoError(t, err)
	defer archive.Close()
	read, err := digestsOf(archive)
	require.NoError(t, err)
	assert.Equal(t, want, read)

	dir := filepath.Join(t.TempDir(), "out")
	done, err := client.Jobs.ExtractArtifacts(t.Context(), "1", gitlabjobs.FromJob(7), dir, nil)
	require.NoError(t, err)
	assert.Equal(t, len(want), done.Files)
	extracted, err := digestsOf(os.DirFS(dir))
	require.NoError(t, err)
	assert.Equal(t, want, extracted)
}

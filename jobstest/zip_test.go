package jobstest_test

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs/jobstest"
)

func TestZip(t *testing.T) {
	t.Parallel()
	files := map[string]string{"a/b.txt": "content", "c.txt": "", "empty/": ""}
	data := jobstest.Zip(files)
	assert.Equal(t, data, jobstest.Zip(files))
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	require.Len(t, z.File, 3)
	assert.Equal(t, "a/b.txt", z.File[0].Name)
	assert.True(t, z.File[2].FileInfo().IsDir())
	f, err := z.Open("a/b.txt")
	require.NoError(t, err)
	content, err := io.ReadAll(f)
	require.NoError(t, err)
	assert.Equal(t, "content", string(content))
	assert.Panics(t, func() { jobstest.Zip(map[string]string{"dir/": "content"}) })
}

func TestSyntheticZip(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		size    int64
		entries int
	}{{200, 1}, {1000, 3}, {1 << 20, 1}, {1<<20 + 7, 5}, {3 << 20, 1000}, {12 << 20, 70_000}} {
		r, size := jobstest.SyntheticZip(test.size, test.entries)
		require.Equal(t, test.size, size)
		z, err := zip.NewReader(r, size)
		require.NoError(t, err)
		require.Len(t, z.File, test.entries)
		total := int64(0)
		for i, file := range z.File {
			if i > 100 && i < test.entries-10 {
				continue
			}
			content, err := file.Open()
			require.NoError(t, err)
			n, err := io.Copy(io.Discard, content) // checks the CRC
			require.NoError(t, err, "%d of %d", i, test.entries)
			total += n
		}
		if size >= 1<<20 && test.entries < 100 {
			assert.Greater(t, total, size*99/100)
		}
	}
	assert.Panics(t, func() { jobstest.SyntheticZip(100, 2) })
}

func TestSyntheticZipReadsTheSameAnyhow(t *testing.T) {
	t.Parallel()
	const size = 1<<20 + 13
	whole := make([]byte, size)
	r, _ := jobstest.SyntheticZip(size, 7)
	_, err := r.ReadAt(whole, 0)
	require.NoError(t, err)
	piece := make([]byte, 4099)
	for off := int64(0); off < size; off += 3001 {
		n, err := r.ReadAt(piece, off)
		if off+int64(len(piece)) > size {
			require.ErrorIs(t, err, io.EOF)
		} else {
			require.NoError(t, err)
		}
		require.True(t, bytes.Equal(whole[off:off+int64(n)], piece[:n]), "at %d", off)
	}
	seen := make(map[[32]byte]bool)
	for off := 0; off+64<<10 < size; off += 64 << 10 {
		sum := sha256.Sum256(whole[off : off+64<<10])
		assert.False(t, seen[sum], "the block at %d repeats", off)
		seen[sum] = true
	}
}

func TestSyntheticZipBeyondFourGiB(t *testing.T) {
	t.Parallel()
	const size = 5 << 30
	r, _ := jobstest.SyntheticZip(size, 2000)
	z, err := zip.NewReader(r, size)
	require.NoError(t, err)
	require.Len(t, z.File, 2000)
	content, err := z.File[1999].Open()
	require.NoError(t, err)
	n, err := io.Copy(io.Discard, content)
	require.NoError(t, err)
	assert.Equal(t, int64(z.File[1999].UncompressedSize64), n)
}

func BenchmarkSyntheticZipOpen(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		jobstest.SyntheticZip(1<<30, 1000)
	}
}

func BenchmarkSyntheticZipRead(b *testing.B) {
	const size = 1 << 30
	r, _ := jobstest.SyntheticZip(size, 1000)
	buf := make([]byte, 512<<10)
	b.SetBytes(int64(len(buf)))
	off := int64(0)
	for b.Loop() {
		_, _ = r.ReadAt(buf, off)
		off = (off + int64(len(buf))) % (size - int64(len(buf)))
	}
}

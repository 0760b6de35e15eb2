package jobstest_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs"
	"github.com/gitlabjobs/gitlabjobs/jobstest"
)

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func TestArchive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	data := jobstest.Zip(map[string]string{"a.txt": strings.Repeat("line\n", 1000)})
	j := w.pl.AddJob(jobstest.JobSpec{Archive: data})
	path := w.path(j, "/artifacts")
	got := w.get(path)
	require.Equal(t, 200, got.status)
	assert.Equal(t, string(data), got.body)
	assert.Equal(t, "application/octet-stream", got.header.Get("Content-Type"))
	assert.Equal(t, strconv.Itoa(len(data)), got.header.Get("Content-Length"))
	assert.Equal(t, `attachment; filename="artifacts.zip"; filename*=UTF-8''artifacts.zip`, got.header.Get("Content-Disposition"))
	assert.Equal(t, `"`+digest(data)+`"`, got.header.Get("ETag"))
	assert.Equal(t, "Tue, 06 May 2025 07:08:09 GMT", got.header.Get("Last-Modified"))

	part := w.and("Range", "bytes=10-", "If-Range", got.header.Get("ETag")).get(path)
	assert.Equal(t, 206, part.status)
	assert.Equal(t, string(data[10:]), part.body)
	assert.Equal(t, "bytes 10-"+strconv.Itoa(len(data)-1)+"/"+strconv.Itoa(len(data)), part.header.Get("Content-Range"))
	assert.Equal(t, 206, w.and("Range", "bytes=0-3", "If-Range", got.header.Get("Last-Modified")).get(path).status)
	assert.Equal(t, 200, w.and("Range", "bytes=10-", "If-Range", `"other"`).get(path).status)
	assert.Equal(t, 416, w.and("Range", "bytes="+strconv.Itoa(len(data))+"-").get(path).status)
	assert.Equal(t, 304, w.and("If-Modified-Since", got.header.Get("Last-Modified")).get(path).status)
	head := w.do("HEAD", path, "")
	assert.Equal(t, 200, head.status)
	assert.Equal(t, strconv.Itoa(len(data)), head.header.Get("Content-Length"))

	job := w.get(w.path(j, "")).object(t)
	assert.Equal(t, map[string]any{"filename": "artifacts.zip", "size": float64(len(data))}, job["artifacts_file"])
}

func TestArchiveWithoutChecksum(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	j := w.pl.AddJob(jobstest.JobSpec{Archive: jobstest.Zip(map[string]string{"f": "x"}), NoChecksum: true, ArchiveName: "my ünit.zip"})
	got := w.get(w.path(j, "/artifacts"))
	assert.NotContains(t, got.header, "Etag")
	assert.Equal(t, `attachment; filename="my ünit.zip"; filename*=UTF-8''my%20%C3%BCnit.zip`, got.header.Get("Content-Disposition"))
	assert.NotContains(t, w.get(w.path(j, "/artifacts/f")).header, "Etag")
	old := newWorld(t, jobstest.WithVersion(jobstest.V12_3))
	j = old.pl.AddJob(jobstest.JobSpec{Archive: jobstest.Zip(nil)})
	got = old.get(old.path(j, "/artifacts"))
	assert.NotContains(t, got.header, "Etag")
	assert.NotEmpty(t, got.header.Get("Last-Modified"))
}

func TestArchiveFromAReader(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r, size := jobstest.SyntheticZip(3<<20, 4)
	j := w.pl.AddJob(jobstest.JobSpec{ArchiveReader: r, ArchiveSize: size})
	got := w.get(w.path(j, "/artifacts"))
	assert.Len(t, got.body, int(size))
	assert.Equal(t, `"`+digest([]byte(got.body))+`"`, got.header.Get("ETag"))
	assert.Len(t, w.get(w.path(j, "/artifacts/tree")).list(t), 4)
	file := w.get(w.path(j, "/artifacts/file-000003.bin"))
	assert.Equal(t, 200, file.status)
	assert.Contains(t, got.body, file.body)

	known := strings.Repeat("AB", 32)
	j.SetArchiveReader(r, size, known)
	assert.Equal(t, `"`+strings.ToLower(known)+`"`, w.get(w.path(j, "/artifacts")).header.Get("ETag"))
	j.SetArchive([]byte("not a zip"))
	assert.Equal(t, "not a zip", w.get(w.path(j, "/artifacts")).body)
	assert.Equal(t, 404, w.get(w.path(j, "/artifacts/f")).status)
	j.SetArchive(nil)
	assert.Equal(t, 404, w.get(w.path(j, "/artifacts")).status)
}

func TestSingleFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	files := map[string]string{
		"report.html": "<p>", "dir/a b#c?100%.txt": "odd", "dir/": "", "tree": "a file named tree", "data.unknownext": "?", "raw/download": "deep",
	}
	data := jobstest.Zip(files)
	j := w.pl.AddJob(jobstest.JobSpec{Archive: data, Name: "pack"})
	got := w.get(w.path(j, "/artifacts/dir/a%20b%23c%3F100%25.txt"))
	require.Equal(t, 200, got.status)
	assert.Equal(t, "odd", got.body)
	assert.Equal(t, "3", got.header.Get("Content-Length"))
	assert.Equal(t, "text/plain; charset=utf-8", got.header.Get("Content-Type"))
	assert.Equal(t, `attachment; filename="a b#c?100%.txt"`, got.header.Get("Content-Disposition"))
	assert.Equal(t, `"`+digest([]byte(digest(data)+":dir/a b#c?100%.txt"))+`"`, got.header.Get("ETag"))
	assert.NotContains(t, got.header, "Accept-Ranges")
	again := w.and("Range", "bytes=1-", "If-None-Match", got.header.Get("ETag")).get(w.path(j, "/artifacts/dir/a%20b%23c%3F100%25.txt"))
	assert.Equal(t, 200, again.status)
	assert.Equal(t, "odd", again.body)
	assert.Equal(t, "text/html; charset=utf-8", w.get(w.path(j, "/artifacts/report.html")).header.Get("Content-Type"))
	assert.Equal(t, "application/octet-stream", w.get(w.path(j, "/artifacts/data.unknownext")).header.Get("Content-Type"))
	assert.Equal(t, "deep", w.get("/projects/11/jobs/artifacts/main/raw/raw/download?job=pack").body)

	for _, path := range []string{"none.txt", "dir", "dir/"} {
		missing := w.get(w.path(j, "/artifacts/"+path))
		assert.Equal(t, 404, missing.status)
		assert.Equal(t, "text/plain; charset=utf-8", missing.header.Get("Content-Type"))
		assert.Equal(t, "Not Found\n", missing.body)
	}
	for _, path := range []string{"a%00b", "a%ffb"} {
		bad := w.get(w.path(j, "/artifacts/"+path))
		assert.Equal(t, 400, bad.status)
		assert.JSONEq(t, `{"message":"400 Bad request"}`, bad.body)
	}
	none := w.get(w.path(w.pl.AddJob(jobstest.JobSpec{}), "/artifacts/x"))
	assert.Equal(t, 404, none.status)
	assert.JSONEq(t, `{"message":"404 Not Found"}`, none.body)

	assert.Equal(t, "dir/", w.get(w.path(j, "/artifacts/tree")).list(t)[0]["path"], "the route hides the file")
	old := newWorld(t, jobstest.WithVersion(jobstest.V12_3))
	j = old.pl.AddJob(jobstest.JobSpec{Archive: data})
	assert.Equal(t, "a file named tree", old.get(old.path(j, "/artifacts/tree")).body)
}

func TestTree(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	j := w.pl.AddJob(jobstest.JobSpec{Archive: jobstest.Zip(map[string]string{
		"b.txt": "12345", "a/x.txt": "1", "a/deep/y.txt": "22", "a/deep/er/z.txt": "333", "empty/": "",
	})})
	tree := func(query string) (paths []string) {
		for _, e := range w.get(w.path(j, "/artifacts/tree"+query)).list(t) {
			paths = append(paths, e["path"].(string))
		}
		return paths
	}
	assert.Equal(t, []string{"a/", "empty/", "b.txt"}, tree(""))
	assert.Equal(t, []string{"a/deep/", "a/x.txt"}, tree("?path=a"))
	assert.Equal(t, []string{"a/deep/er/", "a/deep/y.txt"}, tree("?path=a/deep/"))
	assert.Equal(t, []string{"a/", "a/deep/", "a/deep/er/", "empty/", "a/deep/er/z.txt", "a/deep/y.txt", "a/x.txt", "b.txt"}, tree("?recursive=true"))
	assert.Equal(t, []string{"b.txt"}, tree("?per_page=2&page=2"))
	assert.Empty(t, tree("?path=empty"))
	got := w.get(w.path(j, "/artifacts/tree"))
	assert.Equal(t, "3", got.header.Get("X-Total"))
	assert.Equal(t, map[string]any{"name": "a", "path": "a/", "type": "directory", "mode": nil}, got.list(t)[0])
	assert.Equal(t, map[string]any{"name": "b.txt", "path": "b.txt", "type": "file", "size": 5.0, "mode": "100644"}, got.list(t)[2])
	assert.JSONEq(t, `{"message":"404 Path Not Found"}`, w.get(w.path(j, "/artifacts/tree?path=none")).body)
	assert.JSONEq(t, `{"message":"404 Artifacts Not Found"}`, w.get(w.path(w.pl.AddJob(jobstest.JobSpec{}), "/artifacts/tree")).body)
	unlisted := w.pl.AddJob(jobstest.JobSpec{Archive: jobstest.Zip(nil), NoMetadata: true})
	assert.JSONEq(t, `{"message":"404 Artifacts metadata Not Found"}`, w.get(w.path(unlisted, "/artifacts/tree")).body)
}

func TestArtifactsByRef(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	add := func(ref, content string, status gitlabjobs.Status) *jobstest.Job {
		pl := w.p.AddPipeline(jobstest.PipelineSpec{Ref: ref})
		pl.AddJob(jobstest.JobSpec{Name: "gate", Status: status})
		return pl.AddJob(jobstest.JobSpec{Name: "pack it", Archive: jobstest.Zip(map[string]string{"raw/v.txt": content})})
	}
	add("feature/x", "old", gitlabjobs.StatusSuccess)
	add("feature/x", "new", gitlabjobs.StatusSuccess)
	add("feature/x", "failed", gitlabjobs.StatusFailed)
	add("main", "of main", gitlabjobs.StatusSuccess)
	for _, ref := range []string{"feature%2Fx", "feature/x"} {
		assert.Equal(t, "new", w.get("/projects/11/jobs/artifacts/"+ref+"/raw/raw/v.txt?job=pack+it").body)
		assert.Equal(t, 200, w.get("/projects/11/jobs/artifacts/"+ref+"/download?job=pack%20it").status)
	}
	got := w.get("/projects/11/jobs/artifacts/main/download")
	assert.Equal(t, 400, got.status)
	assert.JSONEq(t, `{"error":"job is missing"}`, got.body)
	for _, path := range []string{"main/download?job=none", "other/download?job=pack+it", "HEAD/raw/raw/v.txt?job=pack+it"} {
		assert.Equal(t, 404, w.get("/projects/11/jobs/artifacts/"+path).status)
	}

	w.p.AddPipeline(jobstest.PipelineSpec{Ref: "feature/x"}).AddJob(jobstest.JobSpec{Name: "docs only"})
	path := "/projects/11/jobs/artifacts/feature%2Fx/raw/raw/v.txt?job=pack+it"
	assert.Equal(t, 404, w.get(path).status, "the newest successful pipeline lacks the job")
	assert.Equal(t, "new", w.get(path+"&search_recent_successful_pipelines=true").body)
	assert.Equal(t, 400, w.get(path+"&search_recent_successful_pipelines=x").status)
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	spec := jobstest.JobSpec{Archive: jobstest.Zip(map[string]string{"f": "x"}), ArtifactsExpireIn: time.Hour}
	kept, gone := w.pl.AddJob(spec), w.pl.AddJob(spec)
	spec.ArtifactsLocked = true
	locked := w.pl.AddJob(spec)
	got := w.post(w.path(kept, "/artifacts/keep"), "")
	assert.Equal(t, 200, got.status)
	assert.Nil(t, got.object(t)["artifacts_expire_at"])
	w.clock.Advance(time.Hour)

	assert.Equal(t, 200, w.get(w.path(kept, "/artifacts")).status)
	assert.Equal(t, 404, w.get(w.path(gone, "/artifacts")).status)
	assert.Equal(t, 404, w.get(w.path(gone, "/artifacts/f")).status)
	assert.Equal(t, 404, w.post(w.path(gone, "/artifacts/keep"), "").status)
	assert.Contains(t, w.get(w.path(kept, "")).object(t), "artifacts_file")
	assert.NotContains(t, w.get(w.path(gone, "")).object(t), "artifacts_file")
	assert.NotContains(t, w.get(w.path(locked, "")).object(t), "artifacts_file")
	assert.Equal(t, 200, w.get(w.path(locked, "/artifacts")).status)

	refused := w.post(w.path(w.pl.AddJob(jobstest.JobSpec{}), "/artifacts/keep"), "")
	assert.Equal(t, 404, refused.status)
	assert.Contains(t, refused.body, "#<Ci::Build:")
	old := newWorld(t, jobstest.WithVersion(jobstest.V12_3))
	j := old.pl.AddJob(spec)
	assert.Contains(t, old.post(old.path(j, "/artifacts/keep"), "").object(t), "download_url")
}

func TestDeleteArtifacts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	spec := jobstest.JobSpec{Archive: jobstest.Zip(nil), Log: "log\n"}
	j := w.pl.AddJob(spec)
	got := w.delete(w.path(j, "/artifacts"))
	assert.Equal(t, 204, got.status)
	assert.Empty(t, got.body)
	assert.Equal(t, 404, w.get(w.path(j, "/artifacts")).status)
	assert.Equal(t, "log\n", w.get(w.path(j, "/trace")).body, "the log stays")
	assert.Equal(t, 204, w.delete(w.path(j, "/artifacts")).status)

	other := w.pl.AddJob(spec)
	spec.ArtifactsLocked = true
	locked := w.pl.AddJob(spec)
	got = w.delete("/projects/group%2Fapp/artifacts")
	assert.Equal(t, 202, got.status)
	assert.JSONEq(t, `{"message":"202 Accepted"}`, got.body)
	assert.Equal(t, 404, w.get(w.path(other, "/artifacts")).status)
	assert.Equal(t, 200, w.get(w.path(locked, "/artifacts")).status)
	w.p.SetStatsRefresh(true)
	assert.Equal(t, 409, w.delete("/projects/11/artifacts").status)
	assert.Equal(t, 409, w.delete(w.path(locked, "/artifacts")).status)
}

func TestReports(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	j := w.pl.AddJob(jobstest.JobSpec{Archive: jobstest.Zip(nil), Reports: []jobstest.Report{
		{FileType: "junit", Content: []byte("<testsuites/>")},
		{FileType: "dotenv", Filename: ".env", FileFormat: "raw", Content: []byte("A=1")},
	}})
	got := w.get(w.path(j, "/artifacts?file_type=junit"))
	require.Equal(t, 200, got.status)
	r, err := gzip.NewReader(strings.NewReader(got.body))
	require.NoError(t, err)
	content, err := io.ReadAll(r)
	require.NoError(t, err)
	assert.Equal(t, "<testsuites/>", string(content))
	assert.Contains(t, got.header.Get("Content-Disposition"), "junit.gz")
	assert.Equal(t, "A=1", w.get(w.path(j, "/artifacts?file_type=dotenv")).body)
	assert.Equal(t, 404, w.get(w.path(j, "/artifacts?file_type=sast")).status)
	assert.Equal(t, string(jobstest.Zip(nil)), w.get(w.path(j, "/artifacts?file_type=archive")).body)
}

func TestGzip(t *testing.T) {
	t.Parallel()
	w := newWorld(t, jobstest.WithGzip())
	j := w.pl.AddJob(jobstest.JobSpec{Log: "log\n", Archive: jobstest.Zip(map[string]string{"f.txt": "text", "f.html": "<p>"})})
	accepting := w.and("Accept-Encoding", "gzip")
	for path, want := range map[string]string{"/trace": "log\n", "/artifacts/f.txt": "text"} {
		got := accepting.get(w.path(j, path))
		assert.Equal(t, "gzip", got.header.Get("Content-Encoding"))
		assert.NotContains(t, got.header, "Content-Length")
		r, err := gzip.NewReader(bytes.NewReader([]byte(got.body)))
		require.NoError(t, err)
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		assert.Equal(t, want, string(content))
		plain := w.and("Accept-Encoding", "identity").get(w.path(j, path))
		assert.Equal(t, want, plain.body)
		assert.NotContains(t, plain.header, "Content-Encoding")
	}
	assert.True(t, strings.HasPrefix(accepting.get(w.path(j, "/artifacts/f.txt")).header.Get("ETag"), `W/"`))
	assert.Equal(t, "gzip", accepting.get(w.path(j, "")).header.Get("Content-Encoding"))
	assert.NotContains(t, accepting.get(w.path(j, "/artifacts")).header, "Content-Encoding")
	assert.NotContains(t, accepting.get(w.path(j, "/artifacts/f.html")).header, "Content-Encoding")
}

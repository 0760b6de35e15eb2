package jobstest_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs/jobstest"
)

func TestObjectStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, jobstest.WithObjectStore(jobstest.ObjectStore{TTL: time.Minute}), jobstest.WithBasePath("/gitlab"))
	data := jobstest.Zip(map[string]string{"f.txt": "x"})
	j := w.pl.AddJob(jobstest.JobSpec{Name: "a", Archive: data})
	got := w.get(w.path(j, "/artifacts"))
	require.Equal(t, 302, got.status)
	link := got.header.Get("Location")
	assert.True(t, strings.HasPrefix(link, w.s.StoreURL()+"/"), link)
	assert.Equal(t, 302, w.get("/projects/11/jobs/artifacts/main/download?job=a").status)
	assert.Equal(t, 200, w.get(w.path(j, "/artifacts/f.txt")).status, "single files come from GitLab")

	bare := w.with()
	stored := bare.get(link)
	require.Equal(t, 200, stored.status)
	assert.Equal(t, string(data), stored.body)
	assert.Equal(t, "application/zip", stored.header.Get("Content-Type"))
	assert.Equal(t, `attachment; filename="artifacts.zip"; filename*=UTF-8''artifacts.zip`, stored.header.Get("Content-Disposition"))
	assert.NotEmpty(t, stored.header.Get("Last-Modified"))
	tag := stored.header.Get("ETag")
	assert.Regexp(t, `^"[0-9a-f]{32}-1"$`, tag)
	part := bare.and("Range", "bytes=5-", "If-Range", tag).get(link)
	assert.Equal(t, 206, part.status)
	assert.Equal(t, string(data[5:]), part.body)

	for _, header := range []string{"PRIVATE-TOKEN", "JOB-TOKEN", "Authorization", "Cookie"} {
		refused := w.with(header, "secret").get(link)
		assert.Equal(t, 400, refused.status)
		assert.Equal(t, "application/xml", refused.header.Get("Content-Type"))
		assert.Contains(t, refused.body, "<Code>InvalidArgument</Code><Message>Only one auth mechanism allowed")
	}
	for _, bad := range []string{strings.Replace(link, "X-Amz-Signature=", "X-Amz-Signature=0", 1), strings.Replace(link, "artifacts.zip", "other.zip", 1)} {
		refused := bare.get(bad)
		assert.Equal(t, 403, refused.status)
		assert.Contains(t, refused.body, "<Code>SignatureDoesNotMatch</Code>")
	}
	u, err := url.Parse(link)
	require.NoError(t, err)
	assert.Contains(t, bare.get(w.s.StoreURL()+u.Path).body, "<Code>AccessDenied</Code>")
	assert.Equal(t, 403, bare.do("HEAD", link, "").status)

	w.clock.Advance(time.Minute)
	expired := bare.get(link)
	assert.Equal(t, 403, expired.status)
	assert.Contains(t, expired.body, "Request has expired")
	assert.Equal(t, 200, bare.get(w.get(w.path(j, "/artifacts")).header.Get("Location")).status)

	origins := make(map[string]int)
	for _, r := range w.s.Requests() {
		origins[r.Origin]++
		assert.Equal(t, r.Origin == "store", r.Endpoint == "store")
	}
	assert.Equal(t, map[string]int{"gitlab": 4, "store": 12}, origins)

	w.s.SetObjectStoreInUse(false)
	assert.Equal(t, 200, w.get(w.path(j, "/artifacts")).status)
	w.s.SetObjectStoreInUse(true)
	assert.Equal(t, 302, w.get(w.path(j, "/artifacts")).status)
}

func TestObjectStoreValidators(t *testing.T) {
	t.Parallel()
	for _, store := range []jobstest.ObjectStore{{WeakETag: true}, {NoETag: true}, {NoLastModified: true}} {
		w := newWorld(t, jobstest.WithObjectStore(store))
		j := w.pl.AddJob(jobstest.JobSpec{Archive: jobstest.Zip(nil)})
		got := w.with().get(w.get(w.path(j, "/artifacts")).header.Get("Location"))
		assert.Equal(t, 200, got.status)
		assert.Equal(t, store.WeakETag, strings.HasPrefix(got.header.Get("ETag"), "W/"))
		assert.Equal(t, store.NoETag, got.header.Get("ETag") == "")
		assert.Equal(t, store.NoLastModified, got.header.Get("Last-Modified") == "")
	}
}

func TestObjectStoreBehindGitLab(t *testing.T) {
	t.Parallel()
	w := newWorld(t, jobstest.WithObjectStore(jobstest.ObjectStore{Proxied: true}))
	data := jobstest.Zip(map[string]string{"f.txt": "x"})
	j := w.pl.AddJob(jobstest.JobSpec{Archive: data})
	got := w.get(w.path(j, "/artifacts"))
	assert.Equal(t, 200, got.status)
	assert.Equal(t, string(data), got.body)
	assert.NotContains(t, got.header, "Content-Disposition")
	assert.Regexp(t, `^"[0-9a-f]{32}-1"$`, got.header.Get("ETag"))
	assert.Equal(t, 206, w.and("Range", "bytes=5-").get(w.path(j, "/artifacts")).status)
}

func TestServerWithoutObjectStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.s.SetObjectStoreInUse(true)
	assert.Empty(t, w.s.StoreURL())
	assert.Equal(t, 200, w.get(w.path(w.pl.AddJob(jobstest.JobSpec{Archive: jobstest.Zip(nil)}), "/artifacts")).status)
}

package jobstest_test

import (
	"net/url"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs/jobstest"
)

// links reads a Link header into URLs by their relation.
func links(t *testing.T, header string) map[string]*url.URL {
	found := make(map[string]*url.URL)
	for _, m := range regexp.MustCompile(`<([^>]*)>; rel="(\w+)"`).FindAllStringSubmatch(header, -1) {
		u, err := url.Parse(m[1])
		require.NoError(t, err)
		found[m[2]] = u
	}
	return found
}

func TestOffsetPagination(t *testing.T) {
	t.Parallel()
	w := newWorld(t, jobstest.WithLinkHost("https://gitlab.example.com"), jobstest.WithBasePath("/git"))
	for range 45 {
		w.pl.AddJob(jobstest.JobSpec{})
	}
	first := w.get("/projects/group%2Fapp/pipelines/101/jobs?scope[]=success&private_token=" + w.s.Token())
	assert.Len(t, first.list(t), 20)
	assert.Equal(t, "1", first.header.Get("X-Page"))
	assert.Equal(t, "20", first.header.Get("X-Per-Page"))
	assert.Equal(t, "2", first.header.Get("X-Next-Page"))
	assert.Equal(t, []string{""}, first.header["X-Prev-Page"], "empty, but there")
	assert.Equal(t, "45", first.header.Get("X-Total"))
	assert.Equal(t, "3", first.header.Get("X-Total-Pages"))
	found := links(t, first.header.Get("Link"))
	assert.Equal(t, "gitlab.example.com", found["next"].Host)
	assert.Equal(t, "/git/api/v4/projects/group%2Fapp/pipelines/101/jobs", found["next"].EscapedPath())
	assert.Equal(t, url.Values{
		"id": {"group/app"}, "pipeline_id": {"101"}, "scope[]": {"success"}, "private_token": {w.s.Token()}, "page": {"2"}, "per_page": {"20"},
	}, found["next"].Query())
	assert.NotContains(t, found, "prev")
	assert.Equal(t, "1", found["first"].Query().Get("page"))
	assert.Equal(t, "3", found["last"].Query().Get("page"))

	last := w.get("/projects/11/pipelines/101/jobs?page=3")
	assert.Len(t, last.list(t), 5)
	assert.Equal(t, []string{""}, last.header["X-Next-Page"])
	assert.Equal(t, "2", last.header.Get("X-Prev-Page"))
	assert.NotContains(t, links(t, last.header.Get("Link")), "next")
	assert.Equal(t, "[]", w.get("/projects/11/pipelines/101/jobs?page=9").body)
	assert.Len(t, w.get("/projects/11/pipelines/101/jobs?per_page=1000").list(t), 45)

	project := w.get("/projects/11/jobs?per_page=30&page=2")
	assert.Len(t, project.list(t), 15)
	assert.Equal(t, "30", project.header.Get("X-Per-Page"))
	assert.NotContains(t, project.header, "X-Total")
	assert.NotContains(t, project.header, "X-Total-Pages")
	assert.NotContains(t, links(t, project.header.Get("Link")), "last")

	ascending := w.get("/projects/11/jobs?sort=asc&order_by=id").list(t)
	assert.Less(t, ascending[0]["id"], ascending[1]["id"])

	for query, want := range map[string]string{
		"page=x": "page is invalid", "per_page=x": "per_page is invalid", "per_page=0": "per_page has a value not allowed",
	} {
		got := w.get("/projects/11/jobs?" + query)
		assert.Equal(t, 400, got.status)
		assert.Equal(t, want, got.object(t)["error"])
	}
	assert.Equal(t, "1", w.get("/projects/11/jobs?page=0").header.Get("X-Page"))
}

func TestTotalsOfLongLists(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 10_001 {
		w.pl.AddJob(jobstest.JobSpec{})
	}
	assert.NotContains(t, w.get("/projects/11/pipelines/101/jobs").header, "X-Total")
	assert.Len(t, w.get("/projects/11/pipelines/101/jobs?per_page=100&page=101").list(t), 1)
}

func TestKeysetPagination(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 25 {
		w.pl.AddJob(jobstest.JobSpec{})
	}
	var ids []float64
	query := "pagination=keyset&per_page=10"
	for query != "" {
		got := w.get("/projects/11/jobs?" + query)
		require.Equal(t, 200, got.status)
		assert.NotContains(t, got.header, "X-Page")
		assert.NotContains(t, got.header, "X-Next-Page")
		for _, j := range got.list(t) {
			ids = append(ids, j["id"].(float64))
		}
		found := links(t, got.header.Get("Link"))
		query = ""
		if next := found["next"]; next != nil {
			assert.Len(t, found, 1)
			assert.NotEmpty(t, next.Query().Get("cursor"))
			query = next.RawQuery
			w.pl.AddJob(jobstest.JobSpec{}) // what comes new isn't in the way
		}
	}
	require.Len(t, ids, 25)
	for i, got := range ids {
		assert.InDelta(t, float64(1025-i), got, 0, strconv.Itoa(i))
	}
	for _, query := range []string{"order_by=name", "sort=asc"} {
		got := w.get("/projects/11/jobs?pagination=keyset&" + query)
		assert.Equal(t, 405, got.status)
		assert.JSONEq(t, `{"error":"Keyset pagination is not yet available for this type of request"}`, got.body)
	}
	assert.Equal(t, 400, w.get("/projects/11/jobs?pagination=keyset&cursor=x").status)
	assert.Equal(t, 200, w.get("/projects/11/jobs?pagination=keyset&order_by=id&sort=desc").status)
}

func TestKeysetPaginationOfVersion12(t *testing.T) {
	t.Parallel()
	w := newWorld(t, jobstest.WithVersion(jobstest.V12_3))
	w.pl.AddJob(jobstest.JobSpec{})
	got := w.get("/projects/11/jobs?pagination=keyset")
	assert.Equal(t, 200, got.status)
	assert.Equal(t, "1", got.header.Get("X-Page"))
}

func TestOffsetLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, jobstest.WithOffsetLimit(200))
	assert.Equal(t, 200, w.get("/projects/11/jobs?per_page=100&page=2").status)
	got := w.get("/projects/11/jobs?per_page=100&page=3")
	assert.Equal(t, 405, got.status)
	assert.Equal(t, "Offset pagination has a maximum allowed offset of 200 for requests that return objects of type Ci::Build. "+
		"Remaining records can be retrieved using keyset pagination.", got.object(t)["error"])
	assert.Equal(t, 200, w.get("/projects/11/pipelines/101/jobs?per_page=100&page=3").status)
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, jobstest.WithRateLimitHeaders(2))
	got := w.get("/projects/11/jobs")
	assert.Equal(t, "2", got.header.Get("RateLimit-Limit"))
	assert.Equal(t, "1", got.header.Get("RateLimit-Observed"))
	assert.Equal(t, "1", got.header.Get("RateLimit-Remaining"))
	assert.Equal(t, strconv.FormatInt(clockStart.Truncate(60e9).Unix()+60, 10), got.header.Get("RateLimit-Reset"))
	assert.Equal(t, "0", w.get("/projects/11/jobs").header.Get("RateLimit-Remaining"))
	got = w.get("/projects/11/jobs")
	assert.Equal(t, 429, got.status)
	assert.Equal(t, "Retry later\n", got.body)
	assert.Equal(t, "text/plain", got.header.Get("Content-Type"))
	wait, err := strconv.Atoi(got.header.Get("Retry-After"))
	require.NoError(t, err)
	w.clock.Advance(60e9)
	assert.LessOrEqual(t, wait, 60)
	assert.Equal(t, 200, w.get("/projects/11/jobs").status)
}

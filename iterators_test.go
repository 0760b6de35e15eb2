package gitlabjobs

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A jobList is a server's list of jobs, newest first, that pages can be had of.
type jobList struct {
	mu     sync.Mutex
	newest int // IDs go from here down to 1
	moves  int // jobs that are created after each page

	keyset    bool // knows keyset pagination
	refuses   bool // answers it by 405, where it doesn't know it
	linkOnly  bool // sends no X-Next-Page
	stripped  bool // sends no header at all, as behind some proxies
	failsPage int  // the page that is answered by 500
	pages     int  // answered so far
}

func (l *jobList) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pages++
	if l.pages == l.failsPage {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	query := r.URL.Query()
	perPage, _ := strconv.Atoi(query.Get("per_page"))
	first := l.newest
	page := 0
	isKeyset := query.Get("pagination") == keyset
	switch {
	case isKeyset && l.keyset:
		if cursor := query.Get("cursor"); cursor != "" {
			first, _ = strconv.Atoi(strings.TrimPrefix(cursor, "below="))
			first--
		}
	case isKeyset && l.refuses:
		answer(http.StatusMethodNotAllowed, "application/json", `{"error":"Keyset pagination is not yet available for this type of request"}`)(w, r)
		return
	default:
		isKeyset = false
		if page, _ = strconv.Atoi(query.Get("page")); page == 0 {
			page = 1
		}
		first = l.newest - (page-1)*perPage
	}
	last := max(first-perPage+1, 1)
	var body strings.Builder
	for id := first; id >= last; id-- {
		fmt.Fprintf(&body, `,{"id":%d}`, id)
	}
	// Links name the configured host, and echo the query, tokens too.
	link := func(change map[string]string, relation string) string {
		for key, value := range change {
			query.Set(key, value)
		}
		query.Set("private_token", "echoed")
		target := url.URL{Scheme: "https", Host: "configured.example", Path: "/api/v4/projects/1/jobs", RawQuery: query.Encode()}
		return fmt.Sprintf(`<%s>; rel="%s"`, &target, relation)
	}
	header := w.Header()
	switch {
	case l.stripped:
	case isKeyset && last > 1:
		header.Set("Link", link(map[string]string{"cursor": "below=" + strconv.Itoa(last)}, "next"))
	case isKeyset:
	default:
		next := ""
		links := []string{link(map[string]string{"page": "1"}, "first"), link(map[string]string{"page": "999"}, "last")}
		if last > 1 {
			next = strconv.Itoa(page + 1)
			links = append([]string{link(map[string]string{"page": next}, "next")}, links...)
		}
		header.Set("Link", strings.Join(links, ", "))
		if !l.linkOnly {
			header.Set("X-Next-Page", next)
		}
	}
	l.newest += l.moves
	answerJSON("["+strings.TrimPrefix(body.String(), ",")+"]")(w, r)
}

// collect ranges over jobs to the end, and returns their IDs and the errors.
func collect(jobs iter.Seq2[*Job, error]) (ids []int64, errs []error) {
	for job, err := range jobs {
		if err != nil {
			errs = append(errs, err)
			continue
		}
		ids = append(ids, job.ID)
	}
	return ids, errs
}

// downFrom returns the IDs from the newest to 1.
func downFrom(newest int) []int64 {
	ids := make([]int64, 0, newest)
	for id := newest; id > 0; id-- {
		ids = append(ids, int64(id))
	}
	return ids
}

func TestAllYieldsEveryJobOnce(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		list     *jobList
		opts     *ListOptions
		requests int
	}{
		"keyset":                        {&jobList{newest: 10_000, keyset: true}, nil, 100},
		"keyset, list moves":            {&jobList{newest: 1000, keyset: true, moves: 7}, nil, 10},
		"keyset, asked for":             {&jobList{newest: 250, keyset: true}, &ListOptions{Keyset: true, PerPage: 50}, 5},
		"12.x ignores keyset":           {&jobList{newest: 10_000}, nil, 100},
		"12.x, only Link headers":       {&jobList{newest: 1000, linkOnly: true}, nil, 10},
		"keyset refused":                {&jobList{newest: 10_000, refuses: true}, nil, 101},
		"keyset refused, though asked":  {&jobList{newest: 250, refuses: true}, &ListOptions{Keyset: true}, 4},
		"offset from page 1":            {&jobList{newest: 10_000}, &ListOptions{Page: 1}, 100},
		"offset, list moves":            {&jobList{newest: 1000, moves: 30}, &ListOptions{Page: 1}, 14},
		"offset, moves by whole pages":  {&jobList{newest: 300, moves: 40}, &ListOptions{PerPage: 50, Page: 1}, 26},
		"offset, proxy strips headers":  {&jobList{newest: 250, stripped: true}, &ListOptions{Page: 1}, 3},
		"one page":                      {&jobList{newest: 3, keyset: true}, nil, 1},
		"exactly one page":              {&jobList{newest: 100, keyset: true}, nil, 1},
		"no jobs":                       {&jobList{keyset: true}, nil, 1},
		"no jobs, offset":               {&jobList{}, nil, 1},
		"exactly full and headers gone": {&jobList{newest: 100, stripped: true}, &ListOptions{Page: 1}, 2},
		"later start by cursor":         {&jobList{newest: 100, keyset: true}, &ListOptions{Cursor: "below=51", PerPage: 10}, 5},
		"later start by page and size":  {&jobList{newest: 100}, &ListOptions{Page: 6, PerPage: 10}, 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := downFrom(test.list.newest)
			if strings.HasPrefix(name, "later") {
				want = downFrom(50)
			}
			g := serveGitLab(t, test.list.ServeHTTP)
			jobs := g.client(t, WithPrivateToken(plantedPrivateToken)).Jobs.All(t.Context(), "1", test.opts)
			assert.Empty(t, g.arrivals(), "a request before the first step")
			ids, errs := collect(jobs)
			assert.Empty(t, errs)
			require.Len(t, ids, len(want))
			if len(want) > 0 {
				assert.Equal(t, want, ids)
			}
			arrivals := g.arrivals()
			assert.Equal(t, test.requests, len(arrivals), "requests") //nolint:testifylint // Len prints them all
			for _, arrival := range arrivals {
				assert.NotContains(t, arrival.Query, "private_token", "a Link was followed as it was")
				assert.Equal(t, "/projects/1/jobs", arrival.Path)
			}
		})
	}
}

func TestAllAsksForTheRightPages(t *testing.T) {
	t.Parallel()
	queries := func(list *jobList, opts *ListOptions) (queries []string) {
		g := serveGitLab(t, list.ServeHTTP)
		_, errs := collect(g.client(t).Jobs.All(t.Context(), "1", opts))
		require.Empty(t, errs)
		for _, arrival := range g.arrivals() {
			queries = append(queries, arrival.Query)
		}
		return queries
	}
	assert.Equal(t, []string{
		"pagination=keyset&per_page=100",
		"cursor=below%3D101&pagination=keyset&per_page=100",
	}, queries(&jobList{newest: 200, keyset: true}, nil))
	assert.Equal(t, []string{
		"pagination=keyset&per_page=100&scope%5B%5D=failed&scope%5B%5D=waiting_for_resource",
		"page=2&per_page=100&scope%5B%5D=failed&scope%5B%5D=waiting_for_resource",
	}, queries(&jobList{newest: 200}, &ListOptions{Scope: []Status{StatusFailed, StatusWaitingForResource}}))
	assert.Equal(t, []string{
		"pagination=keyset&per_page=100",
		"per_page=100",
		"page=2&per_page=100",
	}, queries(&jobList{newest: 200, refuses: true}, nil))
	assert.Equal(t, []string{
		"page=3&per_page=40",
		"page=4&per_page=40",
		"page=5&per_page=40",
	}, queries(&jobList{newest: 200, keyset: true}, &ListOptions{Page: 3, PerPage: 40}))
}

func TestAllCanBeRangedOverAgain(t *testing.T) {
	t.Parallel()
	list := &jobList{newest: 250, keyset: true}
	g := serveGitLab(t, list.ServeHTTP)
	opts := &ListOptions{PerPage: 50}
	jobs := g.client(t).Jobs.All(t.Context(), "1", opts)
	opts.PerPage = 1 // options are taken when All is called
	for range 3 {
		ids, errs := collect(jobs)
		assert.Empty(t, errs)
		assert.Equal(t, downFrom(250), ids)
	}
	assert.Len(t, g.arrivals(), 15)
	assert.Equal(t, 1, opts.PerPage, "the caller's options are the caller's")
}

func TestAllEndsWithOneError(t *testing.T) {
	t.Parallel()
	for name, list := range map[string]*jobList{
		"keyset": {newest: 1000, keyset: true, failsPage: 3},
		"offset": {newest: 1000, failsPage: 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := serveGitLab(t, list.ServeHTTP)
			ids, errs := collect(g.client(t, WithRetry(RetryPolicy{MaxRetries: -1})).Jobs.All(t.Context(), "1", nil))
			assert.Equal(t, downFrom(1000)[:200], ids)
			require.Len(t, errs, 1)
			var refusal *Error
			require.ErrorAs(t, fails(t, errs[0]), &refusal)
			assert.Equal(t, http.StatusInternalServerError, refusal.StatusCode)
			assert.Len(t, g.arrivals(), 3)
		})
	}
	t.Run("passing failure", func(t *testing.T) {
		t.Parallel()
		g := serveGitLab(t, (&jobList{newest: 300, keyset: true, failsPage: 2}).ServeHTTP)
		ids, errs := collect(g.client(t, hurried()).Jobs.All(t.Context(), "1", nil))
		assert.Empty(t, errs)
		assert.Equal(t, downFrom(300), ids)
		assert.Len(t, g.arrivals(), 4)
	})
	t.Run("keyset refused behind the first page", func(t *testing.T) {
		t.Parallel()
		list := &jobList{newest: 1000, keyset: true}
		g := serveGitLab(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("cursor") != "" {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return
			}
			list.ServeHTTP(w, r)
		})
		ids, errs := collect(g.client(t).Jobs.All(t.Context(), "1", nil))
		assert.Len(t, ids, 100)
		require.Len(t, errs, 1)
		assert.Contains(t, errs[0].Error(), "405")
	})
}

func TestAllBreakCostsOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := &jobList{newest: 1000, keyset: true}
		m := serveMemory(t, list.ServeHTTP)
		client := m.client(t)
		for range 2 {
			for job, err := range client.Jobs.All(t.Context(), "1", nil) {
				require.NoError(t, err)
				assert.Equal(t, int64(1000), job.ID)
				break
			}
		}
		synctest.Wait()
		assert.Len(t, m.arrived(), 2)
	})
}

func TestAllFetchesAheadFromTheHalf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := &jobList{newest: 30, keyset: true}
		m := serveMemory(t, list.ServeHTTP)
		client := m.client(t)
		var requests []int // seen at each job
		for _, err := range client.Jobs.All(t.Context(), "1", &ListOptions{PerPage: 10}) {
			require.NoError(t, err)
			synctest.Wait()
			requests = append(requests, len(m.arrived()))
		}
		want := []int{1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3}
		assert.Equal(t, want, requests)
	})
}

// The bubble of synctest fails the test if a goroutine is left behind.
func TestAllBreakCancelsTheRequestUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := &jobList{newest: 30, keyset: true}
		canceled := make(chan struct{})
		m := serveMemory(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("cursor") == "" {
				list.ServeHTTP(w, r)
				return
			}
			<-r.Context().Done()
			close(canceled)
		})
		items := 0
		for _, err := range m.client(t).Jobs.All(t.Context(), "1", &ListOptions{PerPage: 10}) {
			require.NoError(t, err)
			if items++; items == 6 {
				synctest.Wait()
				require.Len(t, m.arrived(), 2, "the next page is not under way")
				break
			}
		}
		<-canceled
	})
}

func TestAllContext(t *testing.T) {
	t.Parallel()
	t.Run("canceled before", func(t *testing.T) {
		t.Parallel()
		g := serveGitLab(t, (&jobList{newest: 10}).ServeHTTP)
		reason := errors.New("shutdown")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(reason)
		ids, errs := collect(g.client(t).Jobs.All(ctx, "1", nil))
		assert.Empty(t, ids)
		require.Len(t, errs, 1)
		require.ErrorIs(t, fails(t, errs[0]), context.Canceled)
		require.ErrorIs(t, fails(t, errs[0]), reason)
		assert.Empty(t, g.arrivals())
	})
	t.Run("nil", func(t *testing.T) {
		t.Parallel()
		client := recordedClient(t)
		ids, errs := collect(client.Jobs.All(nil, "1", nil)) //nolint:staticcheck // nil is what is tested
		assert.Empty(t, ids)
		require.Len(t, errs, 1)
		assert.EqualError(t, fails(t, errs[0]), "gitlabjobs: the context is nil")
	})
	t.Run("canceled in the middle", func(t *testing.T) {
		t.Parallel()
		g := serveGitLab(t, (&jobList{newest: 1000, keyset: true}).ServeHTTP)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var errs []error
		items := 0
		for _, err := range g.client(t).Jobs.All(ctx, "1", nil) {
			if err != nil {
				errs = append(errs, err)
				continue
			}
			items++
			cancel()
		}
		assert.Equal(t, 100, items, "the page that was there comes whole")
		require.Len(t, errs, 1)
		assert.ErrorIs(t, fails(t, errs[0]), context.Canceled)
	})
}

// Servers and caches that lead in circles must not be followed for ever.
func TestAllNoticesEndlessLists(t *testing.T) {
	t.Parallel()
	for name, header := range map[string]func(*http.Request) (name, value string){
		"same page":   func(*http.Request) (string, string) { return "X-Next-Page", "2" },
		"same cursor": func(*http.Request) (string, string) { return "Link", `<https://x/?cursor=a>; rel="next"` },
		"cursors in a circle": func(r *http.Request) (string, string) {
			next := map[string]string{"": "a", "a": "b", "b": "c", "c": "a"}[r.URL.Query().Get("cursor")]
			return "Link", `<https://x/?cursor=` + next + `>; rel="next"`
		},
		"pages in a circle": func(r *http.Request) (string, string) {
			next := map[string]string{"": "2", "2": "3", "3": "2"}[r.URL.Query().Get("page")]
			return "X-Next-Page", next
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := serveGitLab(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set(header(r))
				answerJSON(`[{"id":1}]`)(w, r)
			})
			ids, errs := collect(g.client(t).Jobs.All(t.Context(), "1", nil))
			assert.Equal(t, []int64{1}, ids)
			require.Len(t, errs, 1)
			require.ErrorIs(t, fails(t, errs[0]), errEndlessList)
		})
	}
}

func TestAllSkipsNullsAndEmptyPages(t *testing.T) {
	t.Parallel()
	pages := map[string]string{"": `[null,{"id":3},null]`, "2": `[]`, "3": `[null]`, "4": `[{"id":1}]`}
	following := map[string]string{"": "2", "2": "3", "3": "4"}
	g := serveGitLab(t, func(w http.ResponseWriter, r *http.Request) {
		page := r.URL.Query().Get("page")
		w.Header().Set("X-Next-Page", following[page])
		answerJSON(pages[page])(w, r)
	})
	ids, errs := collect(g.client(t).Jobs.All(t.Context(), "1", nil))
	assert.Empty(t, errs)
	assert.Equal(t, []int64{3, 1}, ids)
}

// Without headers a full page may have one behind it, and a server that
// doesn't know pages gives the whole list each time.
func TestAllEndsWhereAGuessBringsNothingNew(t *testing.T) {
	t.Parallel()
	g := serveGitLab(t, answerJSON(`[{"id":3},{"id":2},{"id":1}]`))
	ids, errs := collect(g.client(t).Jobs.All(t.Context(), "1", &ListOptions{Page: 1, PerPage: 3}))
	assert.Empty(t, errs)
	assert.Equal(t, []int64{3, 2, 1}, ids)
	assert.Len(t, g.arrivals(), 2)
}

func TestOtherIterators(t *testing.T) {
	t.Parallel()
	const pages = 3
	g := serveGitLab(t, func(w http.ResponseWriter, r *http.Request) {
		page, _ := strconv.Atoi(r.URL.Query().Get("page"))
		page = max(page, 1)
		w.Header().Set("X-Next-Page", map[bool]string{true: strconv.Itoa(page + 1)}[page < pages])
		// Each page brings the last item of the one before it again.
		fmt.Fprintf(w, `[{"id":%d,"path":"f%[1]d"},{"id":%d,"path":"f%[2]d"}]`, page, page+1)
	})
	jobs := g.client(t).Jobs
	var ids []int64
	for job, err := range jobs.AllInPipeline(t.Context(), "1", 7, &PipelineListOptions{Scope: []Status{StatusManual}, IncludeRetried: true}) {
		require.NoError(t, err)
		ids = append(ids, job.ID)
	}
	assert.Equal(t, []int64{1, 2, 3, 4}, ids)
	ids = nil
	for bridge, err := range jobs.AllBridges(t.Context(), "1", 7, &BridgeListOptions{PerPage: 2}) {
		require.NoError(t, err)
		ids = append(ids, bridge.ID)
	}
	assert.Equal(t, []int64{1, 2, 3, 4}, ids)
	var paths []string
	for entry, err := range jobs.AllArtifactEntries(t.Context(), "1", 8, &EntryListOptions{Path: "dir/", Recursive: true, Page: 2}) {
		require.NoError(t, err)
		paths = append(paths, entry.Path)
	}
	assert.Equal(t, []string{"f2", "f3", "f4"}, paths)
	var asked []string
	for _, arrival := range g.arrivals() {
		asked = append(asked, arrival.Path+"?"+arrival.Query)
	}
	assert.Equal(t, []string{
		"/projects/1/pipelines/7/jobs?include_retried=true&per_page=100&scope%5B%5D=manual",
		"/projects/1/pipelines/7/jobs?include_retried=true&page=2&per_page=100&scope%5B%5D=manual",
		"/projects/1/pipelines/7/jobs?include_retried=true&page=3&per_page=100&scope%5B%5D=manual",
		"/projects/1/pipelines/7/bridges?per_page=2",
		"/projects/1/pipelines/7/bridges?page=2&per_page=2",
		"/projects/1/pipelines/7/bridges?page=3&per_page=2",
		"/projects/1/jobs/8/artifacts/tree?page=2&path=dir%2F&per_page=100&recursive=true",
		"/projects/1/jobs/8/artifacts/tree?page=3&path=dir%2F&per_page=100&recursive=true",
	}, asked)
}

func TestPage(t *testing.T) {
	t.Parallel()
	g := serveGitLab(t, func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		switch query := r.URL.Query(); {
		case query.Get("pagination") == keyset:
			header.Set("Link", `<https://configured.example/api/v4/projects/1/jobs?cursor=abc%3D&pagination=keyset>; rel="next"`)
		case query.Get("page") == "2":
			header.Set("X-Next-Page", "")
			header.Set("Link", `<https://x/?page=1>; rel="prev"`)
		default:
			header.Set("X-Next-Page", "2")
			header.Set("X-Total", "21")
			header.Set("X-Total-Pages", "2")
		}
		answerJSON(`[{"id":1}]`)(w, r)
	})
	jobs := g.client(t).Jobs
	page, err := jobs.List(t.Context(), "1", nil)
	require.NoError(t, err)
	assert.Equal(t, &Page[*Job]{Items: []*Job{{ID: 1}}, NextPage: 2, Total: 21, TotalPages: 2}, page)
	assert.True(t, page.HasNext())
	page, err = jobs.List(t.Context(), "1", &ListOptions{Page: page.NextPage})
	require.NoError(t, err)
	assert.Equal(t, &Page[*Job]{Items: []*Job{{ID: 1}}}, page)
	assert.False(t, page.HasNext())
	page, err = jobs.List(t.Context(), "1", &ListOptions{Keyset: true, PerPage: 1})
	require.NoError(t, err)
	assert.Equal(t, &Page[*Job]{Items: []*Job{{ID: 1}}, NextCursor: "abc="}, page)
	assert.True(t, page.HasNext())
	_, err = jobs.List(t.Context(), "1", &ListOptions{Cursor: page.NextCursor})
	require.NoError(t, err)
	arrivals := g.arrivals()
	assert.Equal(t, []string{"", "page=2", "pagination=keyset&per_page=1", "cursor=abc%3D&pagination=keyset"},
		[]string{arrivals[0].Query, arrivals[1].Query, arrivals[2].Query, arrivals[3].Query})
}

func TestNextLink(t *testing.T) {
	t.Parallel()
	for header, page := range map[string]string{
		``:                                "",
		`<https://x/?page=2>; rel="next"`: "2",
		`<https://x/?page=2>; rel="next", <https://x/?page=9>; rel="last"`:                       "2",
		`<https://x/?page=1>; rel="prev", <https://x/?page=3>; rel="next"`:                       "3",
		`<https://x/?page=1>;rel=prev,<https://x/?page=3>;rel=next,<https://x/?page=9>;rel=last`: "3",
		`<https://x/?page=3>; title="a; b"; REL="Next"`:                                          "3",
		`<https://x/?page=3>; rel="last next"`:                                                   "3",
		`<https://x/?a=1,2;3&page=3> ; rel = "next" `:                                            "3",
		`</projects/1/jobs?page=4>; rel="next"`:                                                  "4",
		`<https://x/?page=2>; rel="last"`:                                                        "",
		`<https://x/?page=2>; rel="nextest"`:                                                     "",
		`<https://x/?page=2>; rel=""`:                                                            "",
		`<https://x/?page=2`:                                                                     "",
		`https://x/?page=2; rel="next"`:                                                          "",
		`<://bad%zz?page=1>; rel="next", <https://x/?page=5>; rel="next"`:                        "5",
	} {
		assert.Equal(t, page, nextLink([]string{header}).Get("page"), header)
	}
	assert.Equal(t, "2", nextLink([]string{`<https://x/?page=1>; rel="prev"`, `<https://x/?page=2>; rel="next"`}).Get("page"), "two headers")
}

func FuzzLinkHeader(f *testing.F) {
	f.Add(`<https://x/?page=2>; rel="next", <https://x/?page=9>; rel="last"`, "", true)
	f.Add(`<https://x/?cursor=abc%3D>; rel=next`, "3", false)
	f.Add(`<<>>;;rel=,"next"<>`, "-1", true)
	f.Fuzz(func(t *testing.T, link, number string, byKeyset bool) {
		at := position{PerPage: 20}
		if byKeyset {
			at.Pagination = keyset
		}
		page, cursor := nextPage(http.Header{"Link": {link}, "X-Next-Page": {number}}, at)
		assert.GreaterOrEqual(t, page, 0)
		assert.False(t, page > 0 && cursor != "", "both a page and a cursor")
		assert.False(t, cursor != "" && !byKeyset, "a cursor that was not asked for")
		assert.NotEqual(t, at, at.after(page+1, cursor))
	})
}

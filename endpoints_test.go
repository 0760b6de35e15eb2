package gitlabjobs

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An endpointCall calls a method, and returns what it got.
type endpointCall func(context.Context, *JobsService, ProjectID) (any, error)

// An endpointCase is one call of one method, the request it makes, and what
// it makes of the answer.
type endpointCase struct {
	name string
	call endpointCall

	method   string
	path     string // PROJECT stands for the escaped project
	query    string
	body     string
	class    retryClass
	download bool
	jobToken bool // takes the attribute job_token

	status int    // of the answer
	answer string // a file of testdata, or a text
	want   any
}

// endpointCases has every endpoint, with and without its options.
func endpointCases(t testing.TB) []endpointCase {
	t.Helper()
	job := documentedAnswers(t)
	page := &Page[*Job]{Items: documentedList(t)}
	download := func(d *Download, err error) (any, error) {
		if err != nil || d == nil {
			return nil, err
		}
		return d.Size, nil
	}
	const content = "PK\x05\x06" + "some bytes"
	const size = int64(len(content))
	return []endpointCase{
		{name: "List", method: "GET", path: "/projects/PROJECT/jobs", answer: "list_project_jobs.json", want: page,
			call: func(ctx context.Context, s *JobsService, p ProjectID) (any, error) { return s.List(ctx, p, nil) }},
		{name: "List with options", method: "GET", path: "/projects/PROJECT/jobs",
			query:  "page=2&per_page=50&scope%5B%5D=pending&scope%5B%5D=running",
			answer: "list_project_jobs.json", want: page,
			call: func(ctx context.Context, s *JobsService, p ProjectID) (any, error) {
				return s.List(ctx, p, &ListOptions{Scope: []Status{StatusPending, StatusRunning}, PerPage: 50, Page: 2})
			}},
		{name: "List by cursor", method: "GET", path: "/projects/PROJECT/jobs", query: "cursor=a%2Bb%3D&pagination=keyset",
			answer: "list_project_jobs.json", want: page,
			call: func(ctx context.Context, s *JobsService, p ProjectID) (any, error) {
				return s.List(ctx, p, &ListOptions{Cursor: "a+b="})
			}},
		{name: "ListInPipeline", method: "GET", path: "/projects/PROJECT/pipelines/6/jobs", answer: "list_pipeline_jobs.json", want: page,
			call: func(ctx context.Context, s *JobsService, p ProjectID) (any, error) {
				return s.ListInPipeline(ctx, p, 6, nil)
			}},
		{name: "ListInPipeline with options", method: "GET", path: "/projects/PROJECT/pipelines/6/jobs",
			query:  "include_retried=true&page=3&per_page=7&scope%5B%5D=failed",
			answer: "list_pipeline_jobs.json", want: page,
			call: func(ctx context.Context, s *JobsService, p ProjectID) (any, error) {
				return s.ListInPipeline(ctx, p, 6, &PipelineListOptions{Scope: []Status{StatusFailed}, IncludeRetried: true, PerPage: 7, Page: 3})
			}},
		{name: "ListBridges", method: "GET", path: "/projects/PROJECT/pipelines/6/bridges", query: "per_page=100&scope%5B%5D=created",
			answer: "newest_bridges.json", want: &Page[*Bridge]{Items: newestBridges(t)},
			call: func(ctx context.Context, s *JobsService, p ProjectID) (any, error) {
				return s.ListBridges(ctx, p, 6, &BridgeListOptions{Scope: []Status{StatusCreated}, PerPage: 100})
			}},
		{name: "Get", method: "GET", path: "/projects/PROJECT/jobs/8", answer: "get_job.json", want: job["get_job.json"],
			call: func(ctx context.Context, s *JobsService, p ProjectID) (any, error) { return s.Get(ctx, p, 8) }},
		{name: "Current", method: "GET", path: "/job", answer: "newest_job.json", want: newestJob(t), jobToken: true,
			call: func(ctx context.Context, s *JobsService, _ ProjectID) (any, error) { return s.Current(ctx) }},
		{name: "AllowedAgents", method: "GET", path: "/job/allowed_agents", answer: "allowed_agents.json", want: allowedAgents(t),
			call: func(ctx context.Context, s *JobsService, _ ProjectID) (any, error) { return s.AllowedAgents(ctx) }},
		{name: "Cancel", method: "POST", path: "/projects/PROJECT/jobs/1/cancel", class: repeatable,
			status: http.StatusCreated, answer: "cancel_job.json", want: job["cancel_job.json"],
			call: func(ctx context.Context, s *JobsService, p ProjectID) (any, error) { return s.Cancel(ctx, p, 1, nil) }},
		{name: "Cancel by force", method: "POST", path: "/projects/PROJECT/jobs/1/cancel", class: repeatable, body: `{"force":true}`,
			status: http.StatusCreated, answer: "cancel_job.json", want: job["cancel_job.json"],
			call: func(ctx context.Context, s *JobsService, p ProjectID) (any, error) {
				return s.Cancel(ctx, p, 1, &CancelOptions{Force: true})
			}},
		{name: "Retry", method: "POST", path: "/projects/PROJECT/jobs/1/retry", class: once,
			status: http.StatusCreated, answer: "retry_job.json", want: job["retry_job.json"],
			call: func(ctx context.Context, s *JobsService, p ProjectID) (any, error) { return s.Retry(ctx, p, 1, nil) }},
		{name: "Retry with inputs", method: "POST", path: "/projects/PROJECT/jobs/1/retry", class: once,
			body:   `{"job_inputs":{"count":3,"target":"eu"}}`,
			status: http.StatusCreated, answer: "retry_job.json", want: job["retry_job.json"],
			call: func(ctx context.Context, s *JobsService, p ProjectID) (any, error) {
				return s.Retry(ctx, p, 1, &RetryOptions{Inputs: map[string]any{"target": "eu", "count": 3}})
			}},
		{name: "Play", method: "POST", path: "/projects/PROJECT/jobs/1/play", class: once, body: `{}`, answer: "play_job.json", want: job["play_job.json"],
			call: func(ctx context.Context, s *JobsService, p ProjectID) (any, error) { return s.Play(ctx, p, 1, nil) }},
		{name: "Play with variables", method: "POST", path: "/projects/PROJECT/jobs/1/play", class: once,
			body:   `{"job_variables_attributes":[{"key":"A","value":"1"},{"key":"B","value":""}],"job_inputs":{"x":true}}`,
			answer: "play_job.json", want: job["play_job.json"],
			call: func(ctx context.Context, s *JobsService, p ProjectID) (any, error) {
				return s.Play(ctx, p, 1, &PlayOptions{Variables: []Variable{{"A", "1"}, {"B", ""}}, Inputs: map[string]any{"x": true}})
			}},
		{name: "Erase", method: "POST", path: "/projects/PROJECT/jobs/1/erase", class: once,
			status: http.StatusCreated, answer: "erase_job.json", want: job["erase_job.json"],
			call: func(ctx context.Context, s *JobsService, p ProjectID) (any, error) { return s.Erase(ctx, p, 1) }},
		{name: "KeepArtifacts", method: "POST", path: "/projects/PROJECT/jobs/1/artifacts/keep", class: repeatable,
			answer: "keep_artifacts.json", want: job["keep_artifacts.json"],
			call: func(ctx context.Context, s *JobsService, p ProjectID) (any, error) { return s.KeepArtifacts(ctx, p, 1) }},
		{name: "DeleteArtifacts", method: "DELETE", path: "/projects/PROJECT/jobs/1/artifacts", class: repeatable, status: http.StatusNoContent,
			call: func(ctx context.Context, s *JobsService, p ProjectID) (any, error) {
				return nil, s.DeleteArtifacts(ctx, p, 1)
			}},
		{name: "DeleteProjectArtifacts", method: "DELETE", path: "/projects/PROJECT/artifacts", class: repeatable,
			status: http.StatusAccepted, answer: `{"message":"202 Accepted"}`,
			call: func(ctx context.Context, s *JobsService, p ProjectID) (any, error) {
				return nil, s.DeleteProjectArtifacts(ctx, p)
			}},
		{name: "ListArtifactEntries", method: "GET", path: "/projects/PROJECT/jobs/1/artifacts/tree",
			answer: "artifact_tree.json", want: &Page[*ArtifactEntry]{Items: artifactTree()},
			call: func(ctx context.Context, s *JobsService, p ProjectID) (any, error) {
				return s.ListArtifactEntries(ctx, p, 1, nil)
			}},
		{name: "ListArtifactEntries with options", method: "GET", path: "/projects/PROJECT/jobs/1/artifacts/tree",
			query:  "page=2&path=dir%2Fa+b%23c%3F100%25&per_page=10&recursive=true",
			answer: "artifact_tree.json", want: &Page[*ArtifactEntry]{Items: artifactTree()},
			call: func(ctx context.Context, s *JobsService, p ProjectID) (any, error) {
				return s.ListArtifactEntries(ctx, p, 1, &EntryListOptions{Path: "dir/a b#c?100%", Recursive: true, PerPage: 10, Page: 2})
			}},
		{name: "DownloadArtifacts", method: "GET", path: "/projects/PROJECT/jobs/42/artifacts", answer: content, want: size, download: true, jobToken: true,
			call: func(ctx context.Context, s *JobsService, p ProjectID) (any, error) {
				return download(s.DownloadArtifacts(ctx, p, FromJob(42), new(bytes.Buffer), nil))
			}},
		{name: "DownloadArtifacts of a report", method: "GET", path: "/projects/PROJECT/jobs/42/artifacts", query: "file_type=junit",
			answer: content, want: size, download: true, jobToken: true,
			call: func(ctx context.Context, s *JobsService, p ProjectID) (any, error) {
				return download(s.DownloadArtifacts(ctx, p, FromJob(42), new(bytes.Buffer), &DownloadOptions{FileType: "junit"}))
			}},
		{name: "DownloadArtifacts by ref", method: "GET", path: "/projects/PROJECT/jobs/artifacts/feature%2Fa%20b%23%3F%25/download",
			query:  "job=build+%261&search_recent_successful_pipelines=true",
			answer: content, want: size, download: true, jobToken: true,
			call: func(ctx context.Context, s *JobsService, p ProjectID) (any, error) {
				return download(s.DownloadArtifacts(ctx, p, FromRef("feature/a b#?%", "build &1").SearchRecent(), new(bytes.Buffer), nil))
			}},
		{name: "DownloadArtifactFile", method: "GET", path: "/projects/PROJECT/jobs/42/artifacts/dir/a%20b%23c%3F100%25.txt",
			answer: content, want: size, download: true, jobToken: true,
			call: func(ctx context.Context, s *JobsService, p ProjectID) (any, error) {
				return download(s.DownloadArtifactFile(ctx, p, FromJob(42), "dir/a b#c?100%.txt", new(bytes.Buffer), nil))
			}},
		{name: "DownloadArtifactFile by ref", method: "GET", path: "/projects/PROJECT/jobs/artifacts/release%2F1.0/raw/some/release/file.pdf",
			query: "job=pdf", answer: content, want: size, download: true, jobToken: true,
			call: func(ctx context.Context, s *JobsService, p ProjectID) (any, error) {
				return download(s.DownloadArtifactFile(ctx, p, FromRef("release/1.0", "pdf"), "some/release/file.pdf", new(bytes.Buffer), nil))
			}},
		{name: "DownloadTrace", method: "GET", path: "/projects/PROJECT/jobs/8/trace", answer: content, want: size, download: true,
			call: func(ctx context.Context, s *JobsService, p ProjectID) (any, error) {
				return download(s.DownloadTrace(ctx, p, 8, new(bytes.Buffer), nil))
			}},
	}
}

// ServeHTTP answers as the endpoint does.
func (c *endpointCase) handler(t testing.TB) http.HandlerFunc {
	status, body, contentType := c.status, c.answer, "application/json"
	if status == 0 {
		status = http.StatusOK
	}
	if strings.HasSuffix(body, ".json") {
		body = testdata(t, body)
	}
	if c.download {
		contentType = "application/octet-stream"
	}
	return answer(status, contentType, body)
}

func TestEndpoints(t *testing.T) {
	t.Parallel()
	projects := map[ProjectID]string{
		"1":                           "1",
		ProjectNumber(278964):         "278964",
		"group/sub/app":               "group%2Fsub%2Fapp",
		"group%2Fsub%2Fapp":           "group%2Fsub%2Fapp",
		"group%2fsub%2Fapp":           "group%2Fsub%2Fapp",
		"gruppe/ä.b_c-d":              "gruppe%2F%C3%A4.b_c-d",
		"odd/a b#c?d":                 "odd%2Fa%20b%23c%3Fd",
		ProjectID("from/environment"): "from%2Fenvironment",
	}
	for _, test := range endpointCases(t) {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			g := serveGitLab(t, test.handler(t))
			client := g.client(t, WithPrivateToken(plantedPrivateToken), WithUserAgent("bot/1.0"))
			for project, escaped := range projects {
				before := len(g.arrivals())
				value, err := test.call(t.Context(), client.Jobs, project)
				require.NoError(t, err)
				assert.Equal(t, test.want, value)
				arrivals := g.arrivals()[before:]
				require.Len(t, arrivals, 1)
				got := arrivals[0]
				assert.Equal(t, test.method, got.Method)
				assert.Equal(t, strings.ReplaceAll(test.path, "PROJECT", escaped), got.Path)
				assert.Equal(t, test.query, got.Query)
				assert.Equal(t, test.body, got.Body)
				want := http.Header{
					"Private-Token": {plantedPrivateToken}, "User-Agent": {"bot/1.0"},
					"Accept": {"application/json"}, "Accept-Encoding": {"gzip"},
				}
				if test.download {
					delete(want, "Accept")
					want.Set("Accept-Encoding", "identity")
				}
				if test.body != "" {
					want.Set("Content-Type", "application/json")
				}
				got.Header.Del("Content-Length")
				assert.Equal(t, want, got.Header)
			}
		})
	}
}

// The documented attribute job_token goes to the endpoints that document it,
// and no other request carries a credential then.
func TestJobTokenParam(t *testing.T) {
	t.Parallel()
	for _, test := range endpointCases(t) {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			g := serveGitLab(t, test.handler(t))
			client := g.client(t, WithJobTokenParam(plantedJobToken+"+&"))
			_, err := test.call(t.Context(), client.Jobs, "1")
			require.NoError(t, err)
			arrivals := g.arrivals()
			require.Len(t, arrivals, 1)
			query := test.query
			if test.jobToken {
				query = strings.TrimPrefix(query+"&job_token="+plantedJobToken+"%2B%26", "&")
			}
			assert.Equal(t, query, arrivals[0].Query)
			for _, name := range []string{headerPrivateToken, headerJobToken, headerAuthorization} {
				assert.Empty(t, arrivals[0].Header.Values(name))
			}
		})
	}
}

func TestCredentialHeaders(t *testing.T) {
	t.Parallel()
	source := func(kind TokenKind, value string) Option {
		return WithTokenSource(func(context.Context) (Token, error) { return Token{kind, value}, nil })
	}
	for name, test := range map[string]struct {
		opts []Option
		want http.Header
	}{
		"anonymous":            {nil, http.Header{}},
		"private token":        {[]Option{WithPrivateToken(plantedPrivateToken)}, http.Header{"Private-Token": {plantedPrivateToken}}},
		"job token":            {[]Option{WithJobToken(plantedJobToken)}, http.Header{"Job-Token": {plantedJobToken}}},
		"OAuth token":          {[]Option{WithOAuthToken(plantedOAuthToken)}, http.Header{"Authorization": {"Bearer " + plantedOAuthToken}}},
		"source, private":      {[]Option{source(PrivateToken, plantedPrivateToken)}, http.Header{"Private-Token": {plantedPrivateToken}}},
		"source, job":          {[]Option{source(JobToken, plantedJobToken)}, http.Header{"Job-Token": {plantedJobToken}}},
		"source, OAuth":        {[]Option{source(OAuthToken, plantedOAuthToken)}, http.Header{"Authorization": {"Bearer " + plantedOAuthToken}}},
		"default user agent":   {nil, http.Header{"User-Agent": {"gitlabjobs/" + version}}},
		"last user agent wins": {[]Option{WithUserAgent("a"), WithUserAgent("b")}, http.Header{"User-Agent": {"b"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := serveGitLab(t, answerJSON(jobJSON(1)))
			client, err := NewClient(append(test.opts, WithBaseURL(g.base()))...)
			require.NoError(t, err)
			_, err = client.Jobs.Get(t.Context(), "1", 1)
			require.NoError(t, err)
			got := g.arrivals()[0].Header
			for _, name := range []string{headerPrivateToken, headerJobToken, headerAuthorization, "User-Agent"} {
				if want := test.want.Values(name); name != "User-Agent" || len(want) > 0 {
					assert.Equal(t, want, got.Values(name), name)
				}
			}
		})
	}
}

// Whatever cannot be meant costs no request.
func TestBadInputMakesNoRequest(t *testing.T) {
	t.Parallel()
	g := serveGitLab(t, answerJSON(jobJSON(1)))
	client := g.client(t)
	s, ctx := client.Jobs, t.Context()
	w := new(bytes.Buffer)
	type try func() error
	first := func(_ any, err error) error { return err }
	tries := map[string]try{
		"nil context":           func() error { return first(s.Get(nil, "1", 1)) },                   //nolint:staticcheck // nil is what is tested
		"nil context, download": func() error { return first(s.DownloadTrace(nil, "1", 1, w, nil)) }, //nolint:staticcheck // likewise
		"job 0":                 func() error { return first(s.Get(ctx, "1", 0)) },
		"job below 0":           func() error { return first(s.Play(ctx, "1", -7, nil)) },
		"pipeline 0":            func() error { return first(s.ListInPipeline(ctx, "1", 0, nil)) },
		"pipeline, bridges":     func() error { return first(s.ListBridges(ctx, "1", -1, nil)) },
		"trace of job 0":        func() error { return first(s.DownloadTrace(ctx, "1", 0, w, nil)) },
		"archive of job 0":      func() error { return first(s.DownloadArtifacts(ctx, "1", FromJob(0), w, nil)) },
		"no source":             func() error { return first(s.DownloadArtifacts(ctx, "1", ArtifactsSource{}, w, nil)) },
		"delete of job 0":       func() error { return s.DeleteArtifacts(ctx, "1", 0) },
		"nil writer":            func() error { return first(s.DownloadArtifacts(ctx, "1", FromJob(1), nil, nil)) },
		"empty ref":             func() error { return first(s.DownloadArtifacts(ctx, "1", FromRef("", "job"), w, nil)) },
		"empty job name":        func() error { return first(s.DownloadArtifacts(ctx, "1", FromRef("main", ""), w, nil)) },
		"recent of a job":       func() error { return first(s.DownloadArtifacts(ctx, "1", FromJob(1).SearchRecent(), w, nil)) },
		"file type of a file": func() error {
			return first(s.DownloadArtifactFile(ctx, "1", FromJob(1), "a", w, &DownloadOptions{FileType: "junit"}))
		},
		"file type of a log": func() error { return first(s.DownloadTrace(ctx, "1", 1, w, &DownloadOptions{FileType: "junit"})) },
		"variable, no key":   func() error { return first(s.Play(ctx, "1", 1, &PlayOptions{Variables: []Variable{{Value: "x"}}})) },
		"input not JSON":     func() error { return first(s.Play(ctx, "1", 1, &PlayOptions{Inputs: map[string]any{"x": func() {}}})) },
		"empty status":       func() error { return first(s.List(ctx, "1", &ListOptions{Scope: []Status{StatusFailed, ""}})) },
		"too many a page":    func() error { return first(s.List(ctx, "1", &ListOptions{PerPage: 101})) },
		"negative a page":    func() error { return first(s.ListBridges(ctx, "1", 1, &BridgeListOptions{PerPage: -1})) },
		"negative page":      func() error { return first(s.ListInPipeline(ctx, "1", 1, &PipelineListOptions{Page: -1})) },
		"page and cursor":    func() error { return first(s.List(ctx, "1", &ListOptions{Page: 1, Cursor: "x"})) },
		"page and keyset":    func() error { return first(s.List(ctx, "1", &ListOptions{Page: 1, Keyset: true})) },
		"iterator":           func() error { _, errs := collect(s.All(ctx, "", nil)); return errs[0] },
		"iterator of page":   func() error { _, errs := collect(s.All(ctx, "1", &ListOptions{Page: 1, Keyset: true})); return errs[0] },
	}
	for _, project := range []ProjectID{
		"", ".", "..", "../1", "group/../app", "group/./app", "group/..", "%2e%2e", "group%2F..%2Fapp", "group%2f%2E%2e", "group/%2e%2e",
		`group\..\app`, "group/%252e%252e", "0", "-1", "00", ProjectNumber(0), ProjectNumber(-5), "/group/app", "group/app/", "group//app", "group%2F%2Fapp",
		"100%", "a%zz", "a\x00b", "a\nb", "a%0ab", "a\xffb",
	} {
		tries["project "+string(project)] = func() error { return first(s.Get(ctx, project, 1)) }
		tries["project of a download "+string(project)] = func() error { return first(s.DownloadArtifacts(ctx, project, FromJob(1), w, nil)) }
	}
	for _, ref := range []string{".", "..", "a/../b", "a/./b", "a/..", "%2e%2e", "a/%2E./b", "a%2f..%2fb", "%252e%252e", `a\..\b`, "/a", "a/", "a//b", "a\x00b", "a\r\nb", "a\xff"} {
		tries["ref "+ref] = func() error { return first(s.DownloadArtifacts(ctx, "1", FromRef(ref, "job"), w, nil)) }
		tries["ref of a file "+ref] = func() error { return first(s.DownloadArtifactFile(ctx, "1", FromRef(ref, "job"), "a", w, nil)) }
	}
	for _, path := range []string{"", ".", "..", "../../../trace", "a/../b", "a/..", "./a", "%2e%2e/a", "a/%2e%2e", "a%2f..", "%25%32%65%252e", `..\a`, `a\..\b`, "/etc/passwd", "a/", "a//b", "a\x00", "a\x7f", "\xff"} {
		tries["path "+path] = func() error { return first(s.DownloadArtifactFile(ctx, "1", FromJob(1), path, w, nil)) }
		if path != "" && path != "a/" {
			tries["tree path "+path] = func() error { return first(s.ListArtifactEntries(ctx, "1", 1, &EntryListOptions{Path: path})) }
		}
	}
	for name, do := range tries {
		err := do()
		if assert.Error(t, fails(t, err), "%q", name) {
			assert.True(t, strings.HasPrefix(err.Error(), "gitlabjobs: "), "%q: %v", name, err)
			requireNoSecret(t, err)
		}
	}
	assert.Empty(t, g.arrivals())
	assert.Zero(t, w.Len())
}

// A file whose name only looks like an escape is a file.
func TestOddButRightNames(t *testing.T) {
	t.Parallel()
	g := serveGitLab(t, answer(http.StatusOK, "application/octet-stream", "content"))
	s := g.client(t).Jobs
	for path, want := range map[string]string{
		"...":        "...",
		"..a/b..":    "..a/b..",
		"a%b":        "a%25b",
		"100%25.txt": "100%2525.txt",
		`a\b`:        "a%5Cb",
		"ü/日本 語":     "%C3%BC/%E6%97%A5%E6%9C%AC%20%E8%AA%9E",
		"a:b@c+d;e":  "a:b@c+d%3Be",
		"tree":       "tree",
	} {
		before := len(g.arrivals())
		_, err := s.DownloadArtifactFile(t.Context(), "1", FromJob(1), path, new(bytes.Buffer), nil)
		require.NoError(t, err)
		assert.Equal(t, "/projects/1/jobs/1/artifacts/"+want, g.arrivals()[before].Path)
	}
}

func FuzzProjectID(f *testing.F) {
	for _, seed := range []string{"1", "group/sub/app", "group%2Fapp", "..", "%2e%2e/a", "a%25b", "-1", "a b#c?d", "\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, id string) {
		escaped, err := ProjectID(id).escape()
		if err != nil {
			return
		}
		assert.NotContains(t, escaped, "/", "it is one segment")
		assert.NotContains(t, escaped, "?")
		assert.NotContains(t, escaped, "#")
		again, err := ProjectID(escaped).escape()
		require.NoError(t, err, "what is escaped is a project, too")
		assert.Equal(t, escaped, again, "nothing is escaped twice")
		assert.NotContains(t, []string{"", ".", "..", "0"}, escaped)
	})
}

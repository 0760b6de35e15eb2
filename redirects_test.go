package gitlabjobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A redirectWorld is a GitLab by http, one by https, and a server that has
// nothing to do with them, all of which redirect as they are told.
type redirectWorld struct {
	gitlab, secure, elsewhere *httptest.Server

	mu       sync.Mutex
	status   int
	leads    map[string]string // from host and path to a Location
	arrivals []redirectArrival
}

type redirectArrival struct {
	host, method, uri string
	header            http.Header
}

// jobPath is where the calls of these tests lead.
const jobPath = relativeRoot + apiRoot + "/projects/1/jobs/42"

func newRedirectWorld(t testing.TB) *redirectWorld {
	t.Helper()
	w := &redirectWorld{}
	w.gitlab, w.secure, w.elsewhere = httptest.NewServer(w), httptest.NewTLSServer(w), httptest.NewServer(w)
	for _, server := range []*httptest.Server{w.gitlab, w.secure, w.elsewhere} {
		t.Cleanup(server.Close)
	}
	return w
}

func (w *redirectWorld) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.arrivals = append(w.arrivals, redirectArrival{r.Host, r.Method, r.RequestURI, r.Header.Clone()})
	if location, ok := w.leads[r.Host+r.URL.Path]; ok {
		rw.Header().Set("Location", location)
		rw.WriteHeader(w.status)
		return
	}
	answer(http.StatusOK, "application/json", jobJSON(42))(rw, r)
}

// lead sets where the world redirects to, and forgets what arrived.
func (w *redirectWorld) lead(status int, leads map[string]string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status, w.arrivals = status, nil
	w.leads = make(map[string]string)
	for from, to := range leads {
		u, err := url.Parse(from)
		if err != nil {
			panic(err)
		}
		w.leads[u.Host+u.Path] = to
	}
}

func (w *redirectWorld) arrived() []redirectArrival {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.arrivals)
}

func hostOf(server *httptest.Server) string {
	return strings.TrimPrefix(strings.TrimPrefix(server.URL, "https://"), "http://")
}

// byName returns a server's URL by another name of the host.
func byName(server *httptest.Server) string {
	return strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
}

// A redirectRoute is one way in which a chain may go.
type redirectRoute struct {
	name  string
	base  func(*redirectWorld) string
	leads func(w *redirectWorld) map[string]string
	stays int  // requests that belong to the client's origin before the chain leaves it
	goes  int  // requests in all, where everything is followed
	loop  bool // it never ends
	plain bool // it goes from https to http
}

func redirectRoutes() []redirectRoute {
	byHTTP := func(w *redirectWorld) string { return w.gitlab.URL }
	byHTTPS := func(w *redirectWorld) string { return w.secure.URL }
	return []redirectRoute{
		{name: "same origin", base: byHTTP, stays: 2, goes: 2, leads: func(w *redirectWorld) map[string]string {
			return map[string]string{w.gitlab.URL + jobPath: w.gitlab.URL + relativeRoot + apiRoot + "/moved"}
		}},
		{name: "same origin, relative", base: byHTTP, stays: 2, goes: 2, leads: func(w *redirectWorld) map[string]string {
			return map[string]string{w.gitlab.URL + jobPath: relativeRoot + apiRoot + "/moved?x=1"}
		}},
		{name: "other port", base: byHTTP, stays: 1, goes: 2, leads: func(w *redirectWorld) map[string]string {
			return map[string]string{w.gitlab.URL + jobPath: w.elsewhere.URL + "/landing"}
		}},
		{name: "other host", base: byHTTP, stays: 1, goes: 2, leads: func(w *redirectWorld) map[string]string {
			return map[string]string{w.gitlab.URL + jobPath: byName(w.elsewhere) + "/landing"}
		}},
		{name: "other name of the same server", base: byHTTP, stays: 1, goes: 2, leads: func(w *redirectWorld) map[string]string {
			return map[string]string{w.gitlab.URL + jobPath: byName(w.gitlab) + relativeRoot + apiRoot + "/landing"}
		}},
		{name: "http to https", base: byHTTP, stays: 1, goes: 2, leads: func(w *redirectWorld) map[string]string {
			return map[string]string{w.gitlab.URL + jobPath: w.secure.URL + jobPath}
		}},
		{name: "https to http", base: byHTTPS, stays: 1, goes: 2, plain: true, leads: func(w *redirectWorld) map[string]string {
			return map[string]string{w.secure.URL + jobPath: w.elsewhere.URL + "/landing"}
		}},
		{name: "there and back", base: byHTTP, stays: 1, goes: 3, leads: func(w *redirectWorld) map[string]string {
			return map[string]string{
				w.gitlab.URL + jobPath:     w.elsewhere.URL + "/there",
				w.elsewhere.URL + "/there": w.gitlab.URL + relativeRoot + apiRoot + "/back",
			}
		}},
		{name: "https, http and back", base: byHTTPS, stays: 1, goes: 3, plain: true, leads: func(w *redirectWorld) map[string]string {
			return map[string]string{
				w.secure.URL + jobPath:     w.elsewhere.URL + "/there",
				w.elsewhere.URL + "/there": w.secure.URL + relativeRoot + apiRoot + "/back",
			}
		}},
		{name: "loop", base: byHTTP, stays: 11, goes: 11, loop: true, leads: func(w *redirectWorld) map[string]string {
			return map[string]string{w.gitlab.URL + jobPath: w.gitlab.URL + jobPath}
		}},
		{name: "loop of two", base: byHTTP, stays: 1, goes: 11, loop: true, leads: func(w *redirectWorld) map[string]string {
			return map[string]string{w.gitlab.URL + jobPath: w.elsewhere.URL + "/there", w.elsewhere.URL + "/there": w.gitlab.URL + jobPath}
		}},
	}
}

// A redirectCredential is one way to be known to the client's origin.
type redirectCredential struct {
	name    string
	opts    []Option
	carries func(a redirectArrival, takesJobToken bool) bool
}

func redirectCredentials() []redirectCredential {
	header := func(name, value string) func(redirectArrival, bool) bool {
		return func(a redirectArrival, _ bool) bool { return a.header.Get(name) == value }
	}
	source := func(context.Context) (Token, error) { return Token{OAuthToken, plantedOAuthToken}, nil }
	return []redirectCredential{
		{"PRIVATE-TOKEN", []Option{WithPrivateToken(plantedPrivateToken)}, header("PRIVATE-TOKEN", plantedPrivateToken)},
		{"JOB-TOKEN", []Option{WithJobToken(plantedJobToken)}, header("JOB-TOKEN", plantedJobToken)},
		{"Bearer", []Option{WithOAuthToken(plantedOAuthToken)}, header("Authorization", "Bearer "+plantedOAuthToken)},
		{"job_token", []Option{WithJobTokenParam(plantedJobToken)}, func(a redirectArrival, takes bool) bool {
			return strings.Contains(a.uri, "job_token="+plantedJobToken) == takes
		}},
		{"token source", []Option{WithTokenSource(source)}, header("Authorization", "Bearer "+plantedOAuthToken)},
		{"cookie", nil, header("Cookie", "_gitlab_session="+plantedMark)},
	}
}

// The calls by which a redirect is met.
var redirectCalls = []struct {
	name, method string
	download     bool
	call         func(context.Context, *JobsService) error
}{
	{"GET", "GET", false, func(ctx context.Context, s *JobsService) error { _, err := s.Get(ctx, "1", 42); return err }},
	{"GET of a download", "GET", true, func(ctx context.Context, s *JobsService) error {
		// The same path as the others: what is downloaded doesn't matter here.
		_, err := s.client.download(ctx, call{endpoint: getArchiveAtJob, params: params{project: "1", job: 42}}, fileContent, new(bytes.Buffer), nil)
		return err
	}},
	{"POST", "POST", false, func(ctx context.Context, s *JobsService) error { return s.postAtJob(ctx, once) }},
	{"repeatable POST", "POST", false, func(ctx context.Context, s *JobsService) error { return s.postAtJob(ctx, repeatable) }},
	{"DELETE", "DELETE", false, func(ctx context.Context, s *JobsService) error {
		_, err := s.client.send(ctx, call{endpoint: endpoint{http.MethodDelete, getJob.route, repeatable, false}, params: params{project: "1", job: 42}})
		return err
	}},
}

var getArchiveAtJob = endpoint{http.MethodGet, getJob.route, safe, true}

// postAtJob posts to the path of a job, so that all calls share one.
func (s *JobsService) postAtJob(ctx context.Context, class retryClass) error {
	_, err := fetch[Job](ctx, s.client, call{
		endpoint: endpoint{http.MethodPost, getJob.route, class, false},
		params:   params{project: "1", job: 42},
		body:     map[string]string{"key": "value"},
	})
	return err
}

func TestRedirectMatrix(t *testing.T) {
	t.Parallel()
	world := newRedirectWorld(t)
	clients := make(map[string]*Client)
	clientFor := func(base string, credential redirectCredential, insecure bool) *Client {
		key := fmt.Sprint(base, credential.name, insecure)
		if clients[key] == nil {
			opts := append(slices.Clone(credential.opts), WithBaseURL(base+relativeRoot), hurried(), WithHTTPClient(world.client(t)))
			if insecure {
				opts = append(opts, WithInsecureRedirects())
			}
			clients[key] = recordedClient(t, opts...)
		}
		return clients[key]
	}
	cases := 0
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, route := range redirectRoutes() {
			for _, redirected := range redirectCalls {
				for _, credential := range redirectCredentials() {
					for _, insecure := range []bool{false, true} {
						if insecure && !route.plain {
							continue
						}
						cases++
						name := fmt.Sprintf("%d %s, %s, %s, insecure %t", status, route.name, redirected.name, credential.name, insecure)
						world.lead(status, route.leads(world))
						client := clientFor(route.base(world), credential, insecure)
						err := redirected.call(t.Context(), client.Jobs)
						arrived := world.arrived()

						want := route.goes
						follows := !route.loop && (!route.plain || redirected.download && insecure)
						switch {
						case redirected.method != http.MethodGet:
							want, follows = 1, false
						case route.plain && !follows:
							want = 1
						}
						if !assert.Len(t, arrived, want, name) {
							continue
						}
						if follows {
							require.NoError(t, err, name)
						} else {
							require.ErrorIs(t, fails(t, err), ErrRedirectRefused, name)
							require.NotErrorIs(t, fails(t, err), ErrOutcomeUnknown, name)
							assert.Contains(t, err.Error(), fmt.Sprint("redirect refused: ", status, " to http"), name)
						}
						for i, a := range arrived {
							assert.Equal(t, redirected.method, a.method, name)
							assert.Empty(t, a.header.Values("Referer"), name)
							if i < route.stays {
								assert.True(t, credential.carries(a, redirected.download), "%s: request %d has no credential", name, i)
								continue
							}
							assert.NotContains(t, fmt.Sprint(a), plantedMark, name)
							assert.NotContains(t, fmt.Sprint(a), url.QueryEscape(plantedOAuthToken), name)
							for _, header := range []string{"Cookie", headerAuthorization, headerPrivateToken, headerJobToken} {
								assert.Empty(t, a.header.Values(header), name)
							}
						}
					}
				}
			}
		}
	}
	t.Logf("%d cases", cases)
}

// client returns an HTTP client that trusts the world, with cookies in its jar.
func (w *redirectWorld) client(t testing.TB) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	for _, raw := range []string{w.gitlab.URL, byName(w.gitlab)} {
		u, err := url.Parse(raw)
		require.NoError(t, err)
		jar.SetCookies(u, []*http.Cookie{{Name: "_gitlab_session", Value: plantedMark, Path: "/"}})
	}
	return &http.Client{Transport: w.secure.Client().Transport, Jar: jar}
}

// What a redirect's error says helps to find the cause.
func TestRedirectErrors(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		call     string
		secure   bool
		location string
		want     string
	}{
		"moved project": {"POST", false, "/gitlab/api/v4/projects/2/jobs/42/play",
			"to http://GITLAB/gitlab/api/v4/projects/2/jobs/42/play: following would not repeat the POST; has the project moved, or is the base URL not the server's own?"},
		"http base URL": {"DELETE", false, "https://gitlab.example.com/api/v4/projects/1/jobs/42",
			"to https://gitlab.example.com/api/v4/projects/1/jobs/42: following would not repeat the DELETE; is the base URL http where it should be https?"},
		"https to http":           {"GET", true, "http://store.test/a", "to http://store.test/a: it leads from https to http"},
		"https to http, download": {"GET of a download", true, "http://store.test/a", "it leads from https to http; WithInsecureRedirects allows that for downloads"},
		"another scheme":          {"GET", false, "ftp://store.test/a", "to ftp://store.test/a: it leads to no HTTP server"},
		"a script":                {"GET", false, "javascript:alert(1)", "it leads to no HTTP server"},
		"no host":                 {"GET", false, "http:///a", "it leads to no HTTP server"},
		"not a URL":               {"GET", false, "http://%zz" + plantedPrivateToken, "redirect refused: 302: its Location cannot be parsed"},
		"a signed URL":            {"POST", false, "http://store.test/a?X-Amz-Signature=" + plantedMark + "&page=2", "to http://store.test/a?X-Amz-Signature=REDACTED&page=2: "},
		"a token in the path":     {"POST", false, "http://store.test/" + plantedPrivateToken + "/a", "to http://store.test/REDACTED/a: "},
		"user information":        {"POST", false, "http://user:" + plantedMark + "@store.test/a#" + plantedMark, "to http://store.test/a: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			world := newRedirectWorld(t)
			base := world.gitlab.URL
			if test.secure {
				base = world.secure.URL
			}
			world.lead(302, map[string]string{base + jobPath: test.location})
			client := recordedClient(t, WithPrivateToken(plantedPrivateToken), WithBaseURL(base+relativeRoot), WithHTTPClient(world.client(t)))
			for _, redirected := range redirectCalls {
				if redirected.name != test.call {
					continue
				}
				err := redirected.call(t.Context(), client.Jobs)
				require.ErrorIs(t, fails(t, err), ErrRedirectRefused)
				assert.Contains(t, err.Error(), strings.ReplaceAll(test.want, "GITLAB", hostOf(world.gitlab)))
				assert.Len(t, world.arrived(), 1)
			}
		})
	}
}

func TestRedirectWithoutLocation(t *testing.T) {
	t.Parallel()
	world := newRedirectWorld(t)
	for _, redirected := range redirectCalls {
		world.lead(301, map[string]string{world.gitlab.URL + jobPath: ""})
		err := redirected.call(t.Context(), recordedClient(t, WithBaseURL(world.gitlab.URL+relativeRoot)).Jobs)
		var refusal *Error
		require.ErrorAs(t, fails(t, err), &refusal, redirected.name)
		assert.Equal(t, 301, refusal.StatusCode)
		require.NotErrorIs(t, fails(t, err), ErrOutcomeUnknown)
		assert.Len(t, world.arrived(), 1)
	}
}

// A server that knows the token may put it where it goes on.
func TestRedirectThatEchoesTheToken(t *testing.T) {
	t.Parallel()
	world := newRedirectWorld(t)
	for _, credential := range redirectCredentials() {
		if credential.opts == nil {
			continue
		}
		for token, location := range map[string]string{
			"query":    "/landing?a=1&job_token=" + url.QueryEscape(plantedJobToken) + "&private_token=" + plantedPrivateToken + "&access_token=" + url.QueryEscape(plantedOAuthToken) + "&b=2",
			"userinfo": "/landing",
		} {
			target := world.elsewhere.URL + location
			if token == "userinfo" {
				target = strings.Replace(target, "://", "://oauth2:"+plantedMark+"@", 1)
			}
			world.lead(302, map[string]string{world.gitlab.URL + jobPath: target})
			opts := append(slices.Clone(credential.opts), WithBaseURL(world.gitlab.URL+relativeRoot))
			_, err := recordedClient(t, opts...).Jobs.Get(t.Context(), "1", 42)
			require.NoError(t, err)
			arrived := world.arrived()
			require.Len(t, arrived, 2)
			own, err := recordedClient(t, opts...).credential.current(t.Context())
			require.NoError(t, err)
			assert.NotContains(t, arrived[1].uri, url.QueryEscape(own.Value), "%s: the client's own token goes along", credential.name)
			assert.Empty(t, arrived[1].header.Values(headerAuthorization))
			if token == "query" {
				assert.Contains(t, arrived[1].uri, "a=1")
				assert.Contains(t, arrived[1].uri, "b=2", "the rest stays as it is")
			}
		}
	}
}

// A caller's CheckRedirect sees no credential, and what it copies or adds
// doesn't leave the origin.
func TestCallersCheckRedirect(t *testing.T) {
	t.Parallel()
	t.Run("copies headers", func(t *testing.T) {
		t.Parallel()
		world := newRedirectWorld(t)
		for _, credential := range redirectCredentials() {
			client := world.client(t)
			client.CheckRedirect = func(req *http.Request, via []*http.Request) error {
				for _, before := range via {
					maps.Copy(req.Header, before.Header)
				}
				req.Header.Set("PRIVATE-TOKEN", plantedPrivateToken)
				req.Header.Set("JOB-TOKEN", plantedJobToken)
				req.Header.Set("Authorization", "Bearer "+plantedOAuthToken)
				req.Header.Set("Cookie", plantedMark)
				req.Header.Set("Referer", "http://x/?"+plantedMark)
				return nil
			}
			world.lead(302, map[string]string{
				world.gitlab.URL + jobPath:     world.elsewhere.URL + "/there",
				world.elsewhere.URL + "/there": world.gitlab.URL + relativeRoot + apiRoot + "/back",
			})
			opts := append(slices.Clone(credential.opts), WithBaseURL(world.gitlab.URL+relativeRoot), WithHTTPClient(client))
			_, err := recordedClient(t, opts...).Jobs.Get(t.Context(), "1", 42)
			require.NoError(t, err)
			arrived := world.arrived()
			require.Len(t, arrived, 3)
			for _, a := range arrived[1:] {
				assert.NotContains(t, fmt.Sprint(a), plantedMark, credential.name)
			}
		}
	})
	t.Run("own token under another name", func(t *testing.T) {
		t.Parallel()
		world := newRedirectWorld(t)
		client := world.client(t)
		client.CheckRedirect = func(req *http.Request, _ []*http.Request) error {
			req.Header.Set("X-Forwarded-Auth", "Bearer "+plantedPrivateToken)
			return nil
		}
		world.lead(307, map[string]string{world.gitlab.URL + jobPath: world.elsewhere.URL + "/there"})
		_, err := recordedClient(t, WithPrivateToken(plantedPrivateToken), WithBaseURL(world.gitlab.URL+relativeRoot), WithHTTPClient(client)).Jobs.Get(t.Context(), "1", 42)
		require.NoError(t, err)
		assert.Empty(t, world.arrived()[1].header.Values("X-Forwarded-Auth"))
	})
	t.Run("refuses", func(t *testing.T) {
		t.Parallel()
		world := newRedirectWorld(t)
		client := world.client(t)
		reason := errors.New("not on my watch")
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return reason }
		world.lead(302, map[string]string{world.gitlab.URL + jobPath: world.elsewhere.URL + "/there?signature=" + plantedMark})
		_, err := recordedClient(t, hurried(), WithBaseURL(world.gitlab.URL+relativeRoot), WithHTTPClient(client)).Jobs.Get(t.Context(), "1", 42)
		require.ErrorIs(t, fails(t, err), ErrRedirectRefused)
		require.ErrorIs(t, fails(t, err), reason)
		assert.Len(t, world.arrived(), 1, "it isn't asked again")
	})
	t.Run("wants the last response", func(t *testing.T) {
		t.Parallel()
		world := newRedirectWorld(t)
		client := world.client(t)
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		world.lead(302, map[string]string{world.gitlab.URL + jobPath: world.elsewhere.URL + "/there"})
		_, err := recordedClient(t, WithBaseURL(world.gitlab.URL+relativeRoot), WithHTTPClient(client)).Jobs.Get(t.Context(), "1", 42)
		var refusal *Error
		require.ErrorAs(t, fails(t, err), &refusal)
		assert.Equal(t, 302, refusal.StatusCode)
	})
	t.Run("leads elsewhere", func(t *testing.T) {
		t.Parallel()
		world := newRedirectWorld(t)
		client := world.client(t)
		client.CheckRedirect = func(req *http.Request, _ []*http.Request) error {
			req.URL.Host = hostOf(world.elsewhere)
			return nil
		}
		world.lead(302, map[string]string{world.gitlab.URL + jobPath: "/gitlab/api/v4/x"})
		_, err := recordedClient(t, WithPrivateToken(plantedPrivateToken), WithBaseURL(world.gitlab.URL+relativeRoot), WithHTTPClient(client)).Jobs.Get(t.Context(), "1", 42)
		require.NoError(t, err)
		assert.Equal(t, hostOf(world.elsewhere), world.arrived()[1].host)
		assert.NotContains(t, fmt.Sprint(world.arrived()[1]), plantedMark)
	})
}

// A signed link of the client's own origin would not survive another
// parameter.
func TestJobTokenParamOnRedirects(t *testing.T) {
	t.Parallel()
	world := newRedirectWorld(t)
	world.lead(302, map[string]string{world.gitlab.URL + jobPath + "/artifacts": "/gitlab/-/signed?signature=x"})
	client := recordedClient(t, WithJobTokenParam(plantedJobToken), WithBaseURL(world.gitlab.URL+relativeRoot))
	_, err := client.Jobs.DownloadArtifacts(t.Context(), "1", FromJob(42), new(bytes.Buffer), nil)
	require.NoError(t, err)
	arrived := world.arrived()
	assert.Equal(t, jobPath+"/artifacts?job_token="+plantedJobToken, arrived[0].uri)
	assert.Equal(t, "/gitlab/-/signed?signature=x", arrived[1].uri)
}

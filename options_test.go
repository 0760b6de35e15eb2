package gitlabjobs

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBaseURL(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"https://gitlab.com":                          "https://gitlab.com/api/v4",
		"https://gitlab.com/":                         "https://gitlab.com/api/v4",
		"https://gitlab.com///":                       "https://gitlab.com/api/v4",
		"https://gitlab.com/api/v4":                   "https://gitlab.com/api/v4",
		"https://gitlab.com/api/v4/":                  "https://gitlab.com/api/v4",
		"https://example.com/gitlab":                  "https://example.com/gitlab/api/v4",
		"https://example.com/gitlab/":                 "https://example.com/gitlab/api/v4",
		"https://example.com/gitlab/api/v4":           "https://example.com/gitlab/api/v4",
		"http://127.0.0.1:8080/a/b":                   "http://127.0.0.1:8080/a/b/api/v4",
		"HTTPS://GitLab.Example.COM":                  "https://gitlab.example.com/api/v4",
		"https://example.com:443":                     "https://example.com:443/api/v4",
		"https://example.com:/x":                      "https://example.com/x/api/v4",
		"https://[::1]:8443/x":                        "https://[::1]:8443/x/api/v4",
		"https://[fe80::1%25eth0]":                    "https://[fe80::1%25eth0]/api/v4",
		"https://example.com/with%20space":            "https://example.com/with%20space/api/v4",
		"https://example.com/with%2Fslash":            "https://example.com/with%2Fslash/api/v4",
		"https://example.com//double":                 "https://example.com/double/api/v4",
		"https://example.com/api/v4/gitlab":           "https://example.com/api/v4/gitlab/api/v4",
		"https://xn--bcher-kva.example/%C3%BCber/cod": "https://xn--bcher-kva.example/%C3%BCber/cod/api/v4",
	} {
		client, err := NewClient(WithBaseURL(raw))
		if assert.NoError(t, err, raw) {
			assert.Equal(t, want, client.base.String(), raw)
			req, err := client.build(t.Context(), &call{endpoint: getCurrentJob})
			require.NoError(t, err, raw)
			assert.Equal(t, want+"/job", req.URL.String(), raw)
			assert.Equal(t, client.origin, origin(req.URL), raw)
			assert.True(t, strings.HasPrefix(req.URL.Path, client.base.Path+"/"), raw)
		}
	}
	client, err := NewClient()
	require.NoError(t, err)
	assert.Equal(t, "https://gitlab.com/api/v4", client.base.String(), "the default")
}

func TestOrigin(t *testing.T) {
	t.Parallel()
	same := [][]string{
		{"https://host", "https://host:443/x", "HTTPS://HOST/", "https://Host:443", "https://host:"},
		{"http://host", "http://host:80"},
		{"https://host:80"},
		{"http://host:443"},
		{"https://host.example"},
		{"https://[::1]", "https://[::1]:443"},
	}
	for i, group := range same {
		for _, raw := range group {
			base, err := parseBaseURL(raw)
			require.NoError(t, err)
			for j, other := range same {
				otherBase, err := parseBaseURL(other[0])
				require.NoError(t, err)
				assert.Equal(t, i == j, origin(base) == origin(otherBase), "%s and %s", raw, other[0])
			}
		}
	}
}

func TestNewClientRefusesBadOptions(t *testing.T) {
	t.Parallel()
	private, job := WithPrivateToken(plantedPrivateToken), WithJobToken(plantedJobToken)
	param, oauth := WithJobTokenParam(plantedJobToken), WithOAuthToken(plantedOAuthToken)
	source := WithTokenSource(func(context.Context) (Token, error) { return Token{}, nil })
	for want, opts := range map[string][]Option{
		"option 2 is nil":                                                         {private, nil},
		"WithBaseURL: the URL is empty":                                           {WithBaseURL("")},
		"WithBaseURL: the URL has no scheme":                                      {WithBaseURL("gitlab.example.com")},
		"WithBaseURL: the URL has no scheme; ":                                    {WithBaseURL("//gitlab.example.com")},
		"WithBaseURL: the URL's scheme is neither":                                {WithBaseURL("ftp://gitlab.example.com")},
		"WithBaseURL: the URL's scheme is neither ht":                             {WithBaseURL("gitlab.example.com:8080/x")},
		"WithBaseURL: the URL has no host":                                        {WithBaseURL("https://")},
		"WithBaseURL: the URL has no hos":                                         {WithBaseURL("https:///path")},
		"WithBaseURL: the URL has no ho":                                          {WithBaseURL("https://:443")},
		"WithBaseURL: the URL has no h":                                           {WithBaseURL("https:gitlab.example.com")},
		"WithBaseURL: the URL's host has a colon":                                 {WithBaseURL("https://::")},
		"WithBaseURL: the URL has user information":                               {WithBaseURL("https://user:" + plantedPrivateToken + "@gitlab.example.com")},
		"WithBaseURL: the URL has user informatio":                                {WithBaseURL("https://" + plantedPrivateToken + "@gitlab.example.com")},
		"WithBaseURL: the URL has a query":                                        {WithBaseURL("https://gitlab.example.com/?private_token=" + plantedPrivateToken)},
		"WithBaseURL: the URL has a quer":                                         {WithBaseURL("https://gitlab.example.com?")},
		"WithBaseURL: the URL has a fragment":                                     {WithBaseURL("https://gitlab.example.com/#" + plantedPrivateToken)},
		"WithBaseURL: the URL has a fragmen":                                      {WithBaseURL("https://gitlab.example.com/#")},
		"WithBaseURL: the URL cannot be parsed":                                   {WithBaseURL("https://gitlab.example.com/%zz" + plantedPrivateToken)},
		"WithBaseURL: the URL cannot be parse":                                    {WithBaseURL("https://git\nlab.example.com/")},
		"WithBaseURL: the URL cannot be pars":                                     {WithBaseURL("https://gitlab.example.com:port")},
		"WithBaseURL: the URL's port is not a port":                               {WithBaseURL("https://gitlab.example.com:65536")},
		"WithBaseURL: the URL's port is not a por":                                {WithBaseURL("https://gitlab.example.com:0")},
		"WithBaseURL: the URL's path has a . or":                                  {WithBaseURL("https://gitlab.example.com/a/../b")},
		"WithBaseURL: the URL's path has a . o":                                   {WithBaseURL("https://gitlab.example.com/a/%2e%2e/b")},
		"WithPrivateToken: the token is empty":                                    {WithPrivateToken("")},
		"WithPrivateToken: the token has a control":                               {WithPrivateToken(plantedPrivateToken + "\n")},
		"WithPrivateToken: the token has a contro":                                {WithPrivateToken("\x00" + plantedPrivateToken)},
		"WithPrivateToken: the token has a contr":                                 {WithPrivateToken(plantedPrivateToken + "\x7f")},
		"WithPrivateToken: the token has a cont":                                  {WithPrivateToken(plantedPrivateToken + "\u0085")},
		"WithPrivateToken: the token has a space":                                 {WithPrivateToken(" " + plantedPrivateToken)},
		"WithJobToken: the token is empty":                                        {WithJobToken("")},
		"WithJobToken: the token has a control":                                   {WithJobToken(plantedJobToken + "\r\nX: y")},
		"WithJobTokenParam: the token is empty":                                   {WithJobTokenParam("")},
		"WithJobTokenParam: the token has a control":                              {WithJobTokenParam(plantedJobToken + "\t")},
		"WithOAuthToken: the token is empty":                                      {WithOAuthToken("")},
		"WithOAuthToken: the token has a control":                                 {WithOAuthToken(plantedOAuthToken + "\n")},
		"WithTokenSource: the source is nil":                                      {WithTokenSource(nil)},
		"WithJobToken: there is a credential already, from WithPrivateToken":      {private, job},
		"WithPrivateToken: there is a credential already, from WithJobTokenParam": {param, private},
		"WithJobTokenParam: there is a credential already, from WithJobToken":     {job, param},
		"WithTokenSource: there is a credential already, from WithOAuthToken":     {oauth, source},
		"WithOAuthToken: there is a credential already, from WithTokenSource":     {source, oauth},
		"WithPrivateToken: there is a credential already, from WithPrivateToken":  {private, private},
		"WithHTTPClient: the client is nil":                                       {WithHTTPClient(nil)},
		"WithRetry: a wait is negative":                                           {WithRetry(RetryPolicy{MinWait: -1})},
		"WithRetry: a wait is negativ":                                            {WithRetry(RetryPolicy{MaxWait: -1})},
		"WithRetry: a wait is negati":                                             {WithRetry(RetryPolicy{MaxRetryAfter: -1})},
		"WithRetry: MinWait 2s is above MaxWait 1s":                               {WithRetry(RetryPolicy{MinWait: 2 * time.Second, MaxWait: time.Second})},
		"WithRateLimit: 0 requests":                                               {WithRateLimit(0, 1)},
		"WithRateLimit: -1 requests":                                              {WithRateLimit(-1, 1)},
		"WithRateLimit: NaN requests":                                             {WithRateLimit(math.NaN(), 1)},
		"WithRateLimit: +Inf requests":                                            {WithRateLimit(math.Inf(1), 1)},
		"WithRateLimit: a burst of 0":                                             {WithRateLimit(1, 0)},
		"WithStallTimeout: 0s is not":                                             {WithStallTimeout(0)},
		"WithStallTimeout: -1s is not":                                            {WithStallTimeout(-time.Second)},
		"WithUserAgent: the user agent is empty":                                  {WithUserAgent("")},
		"WithUserAgent: the user agent has a control":                             {WithUserAgent("a\r\nX: y")},
		"WithLogger: the logger is nil":                                           {WithLogger(nil)},
		"WithObserver: the function is nil":                                       {WithObserver(nil)},
	} {
		client, err := NewClient(opts...)
		assert.Nil(t, client, want)
		if assert.Error(t, fails(t, err), want) {
			assert.Contains(t, err.Error(), "gitlabjobs: "+want)
			requireNoSecret(t, err)
		}
	}
}

func TestRetryPolicyDefaults(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for _, test := range []struct{ given, want RetryPolicy }{
		{RetryPolicy{}, RetryPolicy{4, 250 * ms, 30 * time.Second, 2 * time.Minute}},
		{RetryPolicy{MaxRetries: 9}, RetryPolicy{9, 250 * ms, 30 * time.Second, 2 * time.Minute}},
		{RetryPolicy{MaxRetries: -1}, RetryPolicy{0, 250 * ms, 30 * time.Second, 2 * time.Minute}},
		{RetryPolicy{MinWait: time.Minute}, RetryPolicy{4, time.Minute, time.Minute, 2 * time.Minute}},
		{RetryPolicy{MaxWait: 100 * ms}, RetryPolicy{4, 100 * ms, 100 * ms, 2 * time.Minute}},
		{RetryPolicy{7, 1, 2, 3}, RetryPolicy{7, 1, 2, 3}},
	} {
		config, err := newConfig([]Option{WithRetry(test.given)}, nil)
		require.NoError(t, err)
		assert.Equal(t, test.want, config.retry, "%+v", test.given)
	}
	config, err := newConfig(nil, nil)
	require.NoError(t, err)
	assert.Equal(t, RetryPolicy{4, 250 * ms, 30 * time.Second, 2 * time.Minute}, config.retry)
	assert.Equal(t, time.Minute, config.stallTimeout)
}

func TestFromEnvironment(t *testing.T) {
	t.Parallel()
	type environment = map[string]string
	const ci, server = "https://ci.example/api/v4", "https://ci.example"
	for name, test := range map[string]struct {
		env  environment
		opts []Option
		base string
		by   string // the credential
		kind TokenKind
		err  string
	}{
		"nothing set":                 {base: "https://gitlab.com/api/v4"},
		"GITLAB_URL":                  {env: environment{"GITLAB_URL": "https://a.example/root", "GITLAB_HOST": "b.example"}, base: "https://a.example/root/api/v4"},
		"GITLAB_HOST":                 {env: environment{"GITLAB_HOST": "b.example", "CI_API_V4_URL": ci}, base: "https://b.example/api/v4"},
		"GITLAB_HOST with a port":     {env: environment{"GITLAB_HOST": "b.example:8443"}, base: "https://b.example:8443/api/v4"},
		"GITLAB_HOST with a scheme":   {env: environment{"GITLAB_HOST": "http://b.example"}, base: "http://b.example/api/v4"},
		"GITLAB_HOST with a root":     {env: environment{"GITLAB_HOST": "b.example/gitlab"}, base: "https://b.example/gitlab/api/v4"},
		"CI_API_V4_URL":               {env: environment{"CI_API_V4_URL": ci, "CI_SERVER_URL": "https://other.example"}, base: ci},
		"CI_SERVER_URL":               {env: environment{"CI_SERVER_URL": server}, base: ci},
		"WithBaseURL wins":            {env: environment{"GITLAB_URL": "https://a.example"}, opts: []Option{WithBaseURL("https://opt.example")}, base: "https://opt.example/api/v4"},
		"WithBaseURL hides a bad one": {env: environment{"GITLAB_URL": "ftp://a"}, opts: []Option{WithBaseURL("https://opt.example")}, base: "https://opt.example/api/v4"},

		"GITLAB_TOKEN":                {env: environment{"GITLAB_TOKEN": plantedPrivateToken}, base: "https://gitlab.com/api/v4", by: "GITLAB_TOKEN", kind: PrivateToken},
		"GITLAB_TOKEN before CI's":    {env: environment{"GITLAB_TOKEN": plantedPrivateToken, "CI_JOB_TOKEN": plantedJobToken, "CI_API_V4_URL": ci}, base: ci, by: "GITLAB_TOKEN", kind: PrivateToken},
		"GITLAB_TOKEN, foreign base":  {env: environment{"GITLAB_TOKEN": plantedPrivateToken, "CI_JOB_TOKEN": plantedJobToken, "GITLAB_URL": "https://a.example"}, base: "https://a.example/api/v4", by: "GITLAB_TOKEN", kind: PrivateToken},
		"CI_JOB_TOKEN":                {env: environment{"CI_JOB_TOKEN": plantedJobToken, "CI_API_V4_URL": ci}, base: ci, by: "CI_JOB_TOKEN", kind: JobToken},
		"CI_JOB_TOKEN, server alone":  {env: environment{"CI_JOB_TOKEN": plantedJobToken, "CI_SERVER_URL": server}, base: ci, by: "CI_JOB_TOKEN", kind: JobToken},
		"CI_JOB_TOKEN, same origin":   {env: environment{"CI_JOB_TOKEN": plantedJobToken, "CI_SERVER_URL": server, "GITLAB_HOST": "CI.example:443"}, base: "https://ci.example:443/api/v4", by: "CI_JOB_TOKEN", kind: JobToken},
		"CI_JOB_TOKEN, either origin": {env: environment{"CI_JOB_TOKEN": plantedJobToken, "CI_API_V4_URL": "https://internal/api/v4", "CI_SERVER_URL": server, "GITLAB_URL": server}, base: ci, by: "CI_JOB_TOKEN", kind: JobToken},
		"option's token wins": {env: environment{"GITLAB_TOKEN": plantedPrivateToken, "CI_JOB_TOKEN": plantedJobToken}, opts: []Option{WithOAuthToken(plantedOAuthToken)},
			base: "https://gitlab.com/api/v4", by: "WithOAuthToken", kind: OAuthToken},
		"option's token, elsewhere": {env: environment{"CI_JOB_TOKEN": plantedJobToken, "CI_API_V4_URL": ci}, opts: []Option{WithJobTokenParam(plantedJobToken), WithBaseURL("https://opt.example")},
			base: "https://opt.example/api/v4", by: "WithJobTokenParam", kind: JobToken},

		"job token to another host":   {env: environment{"CI_JOB_TOKEN": plantedJobToken, "CI_API_V4_URL": ci, "GITLAB_URL": "https://a.example"}, err: "CI_JOB_TOKEN is for the origin of"},
		"job token to another port":   {env: environment{"CI_JOB_TOKEN": plantedJobToken, "CI_API_V4_URL": ci, "GITLAB_URL": "https://ci.example:8443"}, err: "CI_JOB_TOKEN is for the origin of"},
		"job token to another scheme": {env: environment{"CI_JOB_TOKEN": plantedJobToken, "CI_API_V4_URL": ci, "GITLAB_URL": "http://ci.example"}, err: "CI_JOB_TOKEN is for the origin of"},
		"job token beside WithBaseURL": {env: environment{"CI_JOB_TOKEN": plantedJobToken, "CI_API_V4_URL": ci}, opts: []Option{WithBaseURL("https://opt.example")},
			err: "CI_JOB_TOKEN is for the origin of"},
		"job token outside CI":    {env: environment{"CI_JOB_TOKEN": plantedJobToken}, err: "CI_JOB_TOKEN is for the origin of"},
		"job token to gitlab.com": {env: environment{"CI_JOB_TOKEN": plantedJobToken, "GITLAB_URL": "https://gitlab.com"}, err: "CI_JOB_TOKEN is for the origin of"},
		"bad GITLAB_URL":          {env: environment{"GITLAB_URL": "https://user:" + plantedPrivateToken + "@a.example"}, err: "GITLAB_URL: the URL has user information"},
		"bad GITLAB_HOST":         {env: environment{"GITLAB_HOST": "//a.example"}, err: "GITLAB_HOST: the URL has no host"},
		"bad CI_API_V4_URL":       {env: environment{"CI_JOB_TOKEN": plantedJobToken, "CI_API_V4_URL": "ftp://a", "GITLAB_URL": "https://a.example"}, err: "CI_API_V4_URL: the URL's scheme"},
		"bad GITLAB_TOKEN":        {env: environment{"GITLAB_TOKEN": plantedPrivateToken + "\n"}, err: "GITLAB_TOKEN: the token has a control character"},
		"bad CI_JOB_TOKEN":        {env: environment{"CI_JOB_TOKEN": plantedJobToken + " x", "CI_SERVER_URL": server}, err: "CI_JOB_TOKEN: the token has a space"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			getenv := func(name string) string { return test.env[name] }
			for _, opts := range [][]Option{append([]Option{FromEnvironment()}, test.opts...), append(slices.Clip(test.opts), FromEnvironment())} {
				config, err := newConfig(opts, getenv)
				if test.err != "" {
					require.ErrorContains(t, fails(t, err), "FromEnvironment: "+test.err)
					continue
				}
				require.NoError(t, err)
				assert.Equal(t, test.base, config.base.String())
				assert.Equal(t, test.by, config.credential.option)
				token, err := config.credential.current(t.Context())
				require.NoError(t, err)
				assert.Equal(t, test.kind, token.Kind)
			}
		})
	}
}

func TestNewClientReadsTheEnvironmentOnlyIfTold(t *testing.T) {
	t.Setenv("GITLAB_URL", "https://env.example")
	t.Setenv("GITLAB_TOKEN", plantedPrivateToken)
	without, err := NewClient()
	require.NoError(t, err)
	assert.Equal(t, "https://gitlab.com/api/v4", without.base.String())
	assert.Nil(t, without.credential.token)
	with, err := NewClient(FromEnvironment())
	require.NoError(t, err)
	assert.Equal(t, "https://env.example/api/v4", with.base.String())
	assert.Equal(t, "GITLAB_TOKEN", with.credential.option)
}

func TestHTTPClientIsCopied(t *testing.T) {
	t.Parallel()
	transport := &http.Transport{}
	mine := &http.Client{Transport: transport, Timeout: time.Minute}
	client, err := NewClient(WithHTTPClient(mine), WithLogger(slog.New(slog.DiscardHandler)))
	require.NoError(t, err)
	assert.Same(t, transport, mine.Transport)
	assert.Nil(t, mine.CheckRedirect)
	assert.NotSame(t, mine, client.http)
	assert.Equal(t, time.Minute, client.http.Timeout)
	bare := &http.Client{}
	client, err = NewClient(WithHTTPClient(bare))
	require.NoError(t, err)
	assert.Equal(t, http.Client{}, *bare)
	assert.Same(t, http.DefaultTransport, client.http.Transport.(*guard).base)
}

func TestTokenSourceErrors(t *testing.T) {
	t.Parallel()
	g := serveGitLab(t, answerJSON(jobJSON(1)))
	vault := errors.New("vault is sealed")
	theirs := &Error{StatusCode: http.StatusNotFound, Method: "POST", URL: "https://vault.example/", Message: "no such secret"}
	for name, test := range map[string]struct {
		token Token
		err   error
		is    error
		text  string
	}{
		"its error":         {err: vault, is: vault, text: "token source: vault is sealed"},
		"its *Error":        {err: theirs, is: theirs, text: "token source: gitlabjobs: POST https://vault.example/: 404"},
		"no token":          {text: "token source: the token has no kind"},
		"empty token":       {token: Token{PrivateToken, ""}, text: "token source: the token is empty"},
		"control character": {token: Token{OAuthToken, plantedOAuthToken + "\n"}, text: "token source: the token has a control character"},
		"unknown kind":      {token: Token{7, plantedOAuthToken}, text: "token source: the token has no kind"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := 0
			client := g.client(t, hurried(), WithTokenSource(func(context.Context) (Token, error) {
				asked++
				return test.token, test.err
			}))
			_, err := client.Jobs.Get(t.Context(), "1", 1)
			require.ErrorContains(t, fails(t, err), test.text)
			assert.Contains(t, err.Error(), "GET "+g.base()+"/api/v4/projects/1/jobs/1: ")
			if test.is != nil {
				require.ErrorIs(t, fails(t, err), test.is)
			}
			assert.Equal(t, 1, asked, "its error ends the call")
			assert.Equal(t, "https://vault.example/", theirs.URL, "the source's error is its own")
		})
	}
	t.Cleanup(func() { assert.Empty(t, g.arrivals()) })
}

func FuzzBaseURL(f *testing.F) {
	for _, seed := range []string{"https://gitlab.com", "http://h/gitlab/", "https://[fe80::1%25eth0]:1/x", "https://u:p@h", "https://h/%2e%2e/", "https://h//a?b#c", "h:1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		base, err := parseBaseURL(raw)
		if err != nil {
			return
		}
		assert.Contains(t, []string{"http", "https"}, base.Scheme)
		assert.NotEmpty(t, base.Hostname())
		assert.Nil(t, base.User)
		assert.Empty(t, base.RawQuery+base.Fragment)
		assert.True(t, strings.HasSuffix(base.Path, apiRoot), base.Path)
		again, err := parseBaseURL(base.String())
		require.NoError(t, err)
		assert.Equal(t, base, again, "a base URL is its own base URL")
		client, err := NewClient(WithBaseURL(raw))
		require.NoError(t, err)
		req, err := client.build(t.Context(), &call{endpoint: getJob, params: params{project: "a/b", job: 1}})
		require.NoError(t, err)
		assert.Equal(t, client.origin, origin(req.URL))
		assert.Equal(t, base.String()+"/projects/a%2Fb/jobs/1", req.URL.String())
	})
}

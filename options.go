package gitlabjobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// An Option sets up a [Client]. Options are applied in their order, and the
// last one of a kind holds, but for credentials: there may be one.
type Option func(*config) error

// config is what options fill and NewClient turns into a client.
type config struct {
	base             *url.URL // nil: not set
	credential       credential
	fromEnvironment  bool
	httpClient       *http.Client
	retry            RetryPolicy
	limiter          *limiter
	stallTimeout     time.Duration
	userAgent        string
	log              attemptLog
	observer         func(Attempt)
	insecureRedirect bool
}

const (
	defaultBaseURL       = "https://gitlab.com"
	apiRoot              = "/api/v4"
	defaultMaxRetries    = 4
	defaultMinWait       = 250 * time.Millisecond
	defaultMaxWait       = 30 * time.Second
	defaultMaxRetryAfter = 2 * time.Minute
	defaultStallTimeout  = 60 * time.Second
	defaultUserAgent     = "gitlabjobs/" + version
	version              = "0.1.0" // of this package
)

// A RetryPolicy says how often and how patiently failed requests are sent
// again. A zero field means its default.
type RetryPolicy struct {
	MaxRetries    int           // per call, in a row; the default is 4, below 0 turns retries off
	MinWait       time.Duration // the bound of the first backoff, doubled by each further one; the default is 250 ms
	MaxWait       time.Duration // the bound of every backoff; the default is 30 s
	MaxRetryAfter time.Duration // the longest wait the server may ask for; the default is 2 min
}

// WithBaseURL sets the address of the GitLab instance. The API's root
// (/api/v4) is added where it is missing, and a relative root, as in
// https://example.com/gitlab, is kept. The default is https://gitlab.com.
func WithBaseURL(rawURL string) Option {
	return func(c *config) error {
		base, err := parseBaseURL(rawURL)
		if err != nil {
			return fmt.Errorf("WithBaseURL: %w", err)
		}
		c.base = base
		return nil
	}
}

// WithPrivateToken authenticates by a personal, project or group access
// token, sent as the header PRIVATE-TOKEN. The default is no credential,
// which is enough for the artifacts of public projects.
func WithPrivateToken(token string) Option {
	return staticCredential("WithPrivateToken", Token{PrivateToken, token}, false)
}

// WithJobToken authenticates by a CI job's token (CI_JOB_TOKEN), sent as the
// header JOB-TOKEN. GitLab takes it for lists, artifact downloads,
// [JobsService.Current] and [JobsService.AllowedAgents].
func WithJobToken(token string) Option {
	return staticCredential("WithJobToken", Token{JobToken, token}, false)
}

// WithJobTokenParam authenticates by a CI job's token, sent as the documented
// attribute job_token in the query of the four artifact downloads and of
// [JobsService.Current]. All other requests go without a credential.
func WithJobTokenParam(token string) Option {
	return staticCredential("WithJobTokenParam", Token{JobToken, token}, true)
}

// WithOAuthToken authenticates by an OAuth 2.0 access token, sent as the
// header Authorization: Bearer.
func WithOAuthToken(token string) Option {
	return staticCredential("WithOAuthToken", Token{OAuthToken, token}, false)
}

// WithTokenSource authenticates by what source returns, for credentials that
// rotate. It is asked before each attempt, by concurrent requests at once,
// and once more after a 401. Its error ends the call.
func WithTokenSource(source func(ctx context.Context) (Token, error)) Option {
	return func(c *config) error {
		if source == nil {
			return errors.New("WithTokenSource: the source is nil")
		}
		return c.setCredential(credential{option: "WithTokenSource", token: source, rotates: true})
	}
}

// FromEnvironment takes what no other option sets from the environment, as CI
// jobs and command-line tools have it. Where: the first one set of GITLAB_URL,
// GITLAB_HOST, CI_API_V4_URL and CI_SERVER_URL; a host without a scheme is
// https. Who: GITLAB_TOKEN, sent as PRIVATE-TOKEN, or else CI_JOB_TOKEN, sent
// as JOB-TOKEN, and to the origin of CI_API_V4_URL or CI_SERVER_URL only:
// another base URL with it is an error.
func FromEnvironment() Option {
	return func(c *config) error {
		c.fromEnvironment = true
		return nil
	}
}

// WithHTTPClient sets the client under all requests: the place for proxies,
// client certificates and instrumentation. It is copied and never changed. A
// Timeout of its own bounds each attempt, the reading of bodies included. The
// default has no timeout but the stall timeout, and a connection pool of its own.
func WithHTTPClient(client *http.Client) Option {
	return func(c *config) error {
		if client == nil {
			return errors.New("WithHTTPClient: the client is nil")
		}
		clientCopy := *client
		c.httpClient = &clientCopy
		return nil
	}
}

// WithRetry sets how often and how patiently requests are retried. What is
// retried at all depends on the endpoint.
func WithRetry(policy RetryPolicy) Option {
	return func(c *config) error {
		if policy.MinWait < 0 || policy.MaxWait < 0 || policy.MaxRetryAfter < 0 {
			return errors.New("WithRetry: a wait is negative")
		}
		policy = policy.withDefaults()
		if policy.MinWait > policy.MaxWait {
			return fmt.Errorf("WithRetry: MinWait %v is above MaxWait %v", policy.MinWait, policy.MaxWait)
		}
		c.retry = policy
		return nil
	}
}

// WithRateLimit bounds the requests of this client, each attempt counted, to
// requestsPerSecond with bursts of up to burst. The server's own limits are
// obeyed without it. The default is no limit.
func WithRateLimit(requestsPerSecond float64, burst int) Option {
	return func(c *config) error {
		if math.IsNaN(requestsPerSecond) || math.IsInf(requestsPerSecond, 0) || requestsPerSecond <= 0 {
			return fmt.Errorf("WithRateLimit: %v requests per second is not a rate", requestsPerSecond)
		}
		if burst < 1 {
			return fmt.Errorf("WithRateLimit: a burst of %d lets no request through", burst)
		}
		c.limiter = newLimiter(requestsPerSecond, burst)
		return nil
	}
}

// WithStallTimeout sets how long a request may go without receiving one byte
// before it is taken for dead. There is no other timeout but the context's.
// The default is 60 s.
func WithStallTimeout(timeout time.Duration) Option {
	return func(c *config) error {
		if timeout <= 0 {
			return fmt.Errorf("WithStallTimeout: %v is not a timeout", timeout)
		}
		c.stallTimeout = timeout
		return nil
	}
}

// WithUserAgent sets the header User-Agent. The default is "gitlabjobs/" and
// this package's version.
func WithUserAgent(userAgent string) Option {
	return func(c *config) error {
		if userAgent == "" {
			return errors.New("WithUserAgent: the user agent is empty")
		}
		if hasControl(userAgent) {
			return errors.New("WithUserAgent: the user agent has a control character")
		}
		c.userAgent = userAgent
		return nil
	}
}

// WithLogger logs every attempt: at level Debug, those that failed at Warn.
// Secrets are redacted. The default is silence.
func WithLogger(logger *slog.Logger) Option {
	return func(c *config) error {
		if logger == nil {
			return errors.New("WithLogger: the logger is nil")
		}
		c.log = func(ctx context.Context, event Attempt, refused bool) {
			logAttempt(ctx, logger, event, refused)
		}
		return nil
	}
}

// WithObserver calls observe once for every HTTP attempt when its answer's
// header, or for JSON its whole body, has come or failed to. Concurrent
// requests call it at once, and so do iterators that fetch ahead.
func WithObserver(observe func(Attempt)) Option {
	return func(c *config) error {
		if observe == nil {
			return errors.New("WithObserver: the function is nil")
		}
		c.observer = observe
		return nil
	}
}

// WithInsecureRedirects lets downloads follow redirects from https to http,
// as to an object store inside a closed network. Credentials stay behind all
// the same. The default is to refuse them.
func WithInsecureRedirects() Option {
	return func(c *config) error {
		c.insecureRedirect = true
		return nil
	}
}

func newConfig(opts []Option, getenv func(string) string) (*config, error) {
	c := &config{
		retry:        RetryPolicy{}.withDefaults(),
		stallTimeout: defaultStallTimeout,
		userAgent:    defaultUserAgent,
	}
	for i, opt := range opts {
		if opt == nil {
			return nil, fmt.Errorf("option %d is nil", i+1)
		}
		if err := opt(c); err != nil {
			return nil, err
		}
	}
	if c.fromEnvironment {
		if err := c.readEnvironment(getenv); err != nil {
			return nil, fmt.Errorf("FromEnvironment: %w", err)
		}
	}
	if c.base == nil {
		base, err := parseBaseURL(defaultBaseURL)
		if err != nil {
			return nil, err
		}
		c.base = base
	}
	return c, nil
}

func (c *config) readEnvironment(getenv func(string) string) error {
	if c.base == nil {
		for _, name := range []string{"GITLAB_URL", "GITLAB_HOST", "CI_API_V4_URL", "CI_SERVER_URL"} {
			base, err := environmentURL(getenv, name)
			if err != nil {
				return err
			}
			if base != nil {
				c.base = base
				break
			}
		}
	}
	if c.credential.token != nil {
		return nil
	}
	if token := getenv("GITLAB_TOKEN"); token != "" {
		return staticCredential("GITLAB_TOKEN", Token{PrivateToken, token}, false)(c)
	}
	token := getenv("CI_JOB_TOKEN")
	if token == "" {
		return nil
	}
	for _, name := range []string{"CI_API_V4_URL", "CI_SERVER_URL"} {
		ci, err := environmentURL(getenv, name)
		if err != nil {
			return err
		}
		if ci != nil && c.base != nil && origin(ci) == origin(c.base) {
			return staticCredential("CI_JOB_TOKEN", Token{JobToken, token}, false)(c)
		}
	}
	return errors.New("CI_JOB_TOKEN is for the origin of CI_API_V4_URL and CI_SERVER_URL only, and the base URL is another")
}

// environmentURL returns the base URL in a variable, nil where it isn't set.
func environmentURL(getenv func(string) string, name string) (*url.URL, error) {
	value := getenv(name)
	if value == "" {
		return nil, nil
	}
	if !strings.Contains(value, "://") {
		value = "https://" + value
	}
	base, err := parseBaseURL(value)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return base, nil
}

// parseBaseURL returns the URL of the API's root. Its errors don't show
// rawURL, which may hold a password.
func parseBaseURL(rawURL string) (*url.URL, error) {
	u, err := url.Parse(rawURL)
	switch {
	case rawURL == "":
		return nil, errors.New("the URL is empty")
	case err != nil:
		return nil, errors.New("the URL cannot be parsed")
	case u.Scheme == "":
		return nil, errors.New("the URL has no scheme; it starts with https://")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("the URL's scheme is neither https nor http")
	case u.User != nil:
		return nil, errors.New("the URL has user information; give a token by an option of its own")
	case u.Hostname() == "":
		return nil, errors.New("the URL has no host")
	case strings.Contains(u.Hostname(), ":") && !strings.HasPrefix(u.Host, "["):
		return nil, errors.New("the URL's host has a colon too many")
	case u.RawQuery != "" || u.ForceQuery:
		return nil, errors.New("the URL has a query")
	case strings.Contains(rawURL, "#"):
		return nil, errors.New("the URL has a fragment")
	case hasDotSegment(u.Path):
		return nil, errors.New("the URL's path has a . or .. segment")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > math.MaxUint16 {
			return nil, errors.New("the URL's port is not a port")
		}
	}
	root := strings.TrimRight(u.EscapedPath(), "/")
	if !strings.HasSuffix(root, apiRoot) {
		root += apiRoot
	}
	base := &url.URL{Scheme: u.Scheme, Host: strings.TrimSuffix(strings.ToLower(u.Host), ":"), Path: "/"}
	base, err = url.Parse(base.JoinPath(root).String())
	if err != nil { // an odd IPv6 zone
		return nil, errors.New("the URL cannot be written again")
	}
	return base, nil
}

// origin returns scheme, host and port of u: https://host and
// https://HOST:443 are one origin.
func origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port
}

func (p RetryPolicy) withDefaults() RetryPolicy {
	switch {
	case p.MaxRetries == 0:
		p.MaxRetries = defaultMaxRetries
	case p.MaxRetries < 0:
		p.MaxRetries = 0
	}
	// A bound given alone moves the other's default along.
	if p.MinWait == 0 {
		p.MinWait = defaultMinWait
		if p.MaxWait != 0 {
			p.MinWait = min(p.MinWait, p.MaxWait)
		}
	}
	if p.MaxWait == 0 {
		p.MaxWait = max(defaultMaxWait, p.MinWait)
	}
	if p.MaxRetryAfter == 0 {
		p.MaxRetryAfter = defaultMaxRetryAfter
	}
	return p
}

package jobstest

import "net"

// A Version is a GitLab version whose answers the server gives.
type Version int

const (
	// Newest is GitLab as of 19.x.
	Newest Version = iota
	// V12_3 is GitLab 12.3: it lacks fields, statuses, endpoints, keyset
	// pagination and ETags that came later.
	V12_3
)

// An Option sets up a [Server].
type Option func(*config)

type config struct {
	version     Version
	clock       *Clock
	basePath    string
	linkHost    string
	listener    net.Listener
	tls         bool
	inMemory    bool
	gzip        bool
	store       *ObjectStore
	trace       TraceServing
	rateLimit   int
	offsetLimit int
}

// WithVersion sets the GitLab version to behave as. The default is [Newest].
func WithVersion(v Version) Option {
	return func(c *config) { c.version = v }
}

// WithClock sets the clock that jobs, links and expiries live by. The default
// is [RealClock].
func WithClock(clock *Clock) Option {
	return func(c *config) { c.clock = clock }
}

// WithBasePath serves GitLab under a relative root such as "/gitlab".
func WithBasePath(path string) Option {
	return func(c *config) { c.basePath = path }
}

// WithTLS serves https with a certificate of the server's own, and HTTP/2.
// [Server.HTTPClient] trusts it; for other clients, see [Server.Certificate].
func WithTLS() Option {
	return func(c *config) { c.tls = true }
}

// WithListener serves GitLab on l, which the server closes. The default is a
// free port of 127.0.0.1.
func WithListener(l net.Listener) Option {
	return func(c *config) { c.listener = l }
}

// WithInMemory serves over in-memory connections, without sockets, so that
// the server works inside a testing/synctest bubble. Create the server inside
// the bubble and close it there. [Server.HTTPClient] dials it; other clients
// need [Server.DialContext].
func WithInMemory() Option {
	return func(c *config) { c.inMemory = true }
}

// WithLinkHost sets the origin, e.g. "https://gitlab.example.com", that Link
// headers and web URLs carry: that of GitLab's configured external URL, which
// in practice isn't always the one a client has reached. The default is that
// of [Server.URL].
func WithLinkHost(origin string) Option {
	return func(c *config) { c.linkHost = origin }
}

// WithGzip compresses JSON and text for clients that accept it, as the
// nginx that comes with GitLab does: without a Content-Length, and with
// weakened ETags.
func WithGzip() Option {
	return func(c *config) { c.gzip = true }
}

// WithObjectStore keeps archives in an object store: GitLab answers a download
// with a redirect to a second origin, with a signed link that expires.
func WithObjectStore(store ObjectStore) Option {
	return func(c *config) { c.store = &store }
}

// WithRateLimitHeaders allows each user limit requests a minute, by the
// server's clock: every answer carries the RateLimit headers of gitlab.com,
// and a request above the limit is a 429 in plain text with Retry-After.
func WithRateLimitHeaders(limit int) Option {
	return func(c *config) { c.rateLimit = limit }
}

// WithOffsetLimit sets how deep offset pagination of a project's jobs may go
// before it is refused with 405. The default is GitLab's, 50,000.
func WithOffsetLimit(rows int) Option {
	return func(c *config) { c.offsetLimit = rows }
}

// A TraceServing is a way in which job logs are served.
type TraceServing int

const (
	// TracePlain is what GitLab does: always the whole log with status 200,
	// without validators.
	TracePlain TraceServing = iota
	// TraceETag adds an ETag, and 304 for If-None-Match.
	TraceETag
	// TraceRanges serves the log as a static file, as behind a caching proxy:
	// ETag, Last-Modified, 304, 206 and 416.
	TraceRanges
)

// WithTrace sets how job logs are served. The default is [TracePlain].
func WithTrace(t TraceServing) Option {
	return func(c *config) { c.trace = t }
}

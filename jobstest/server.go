package jobstest

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Server is a GitLab that knows jobs, in memory, served over HTTP. Create
// one with [NewServer], and close it.
type Server struct {
	config
	url         string // of GitLab, with its relative root
	externalURL string // what GitLab takes its URL for
	storeURL    string
	token       string
	signingKey  []byte // of the object store's links

	transport   *http.Transport
	certificate *x509.Certificate
	serverCert  tls.Certificate
	https       []*http.Server
	listeners   map[string]*memListener // in-memory mode: by host and port
	serving     sync.WaitGroup
	closing     chan struct{}
	closeOnce   sync.Once

	records recorder
	limiter limiter

	mu           sync.Mutex // guards everything below, and all projects, pipelines and jobs
	projects     []*Project
	jobs         map[int64]*Job
	moving       map[*Job]struct{} // jobs with a course before them
	users        map[string]*user
	tokens       map[string]*Token
	faults       []*activeFault
	objects      map[string]*archive // of the object store, by path
	fromStore    bool
	lastProject  int64
	lastPipeline int64
	lastJob      int64
	lastUser     int64
	lastArchive  int64
	lastRequest  int64
}

// In-memory servers are reached under these names.
const (
	memGitLabHost = "gitlab.test"
	memStoreHost  = "store.test"
)

// defaultOffsetLimit is GitLab's, in rows.
const defaultOffsetLimit = 50_000

// NewServer starts a server. It listens on a free port of 127.0.0.1, and panics
// if it can't, unless an option says otherwise.
func NewServer(opts ...Option) *Server {
	s := &Server{
		config:    config{offsetLimit: defaultOffsetLimit},
		listeners: make(map[string]*memListener),
		closing:   make(chan struct{}),
		jobs:      make(map[int64]*Job),
		moving:    make(map[*Job]struct{}),
		users:     make(map[string]*user),
		tokens:    make(map[string]*Token),
		objects:   make(map[string]*archive),
		// Numbers of a server that has been in use for a while.
		lastProject: 10, lastPipeline: 100, lastJob: 1000,
	}
	for _, opt := range opts {
		opt(&s.config)
	}
	s.records.idle = sync.NewCond(&s.records.mu)
	if s.clock == nil {
		s.clock = RealClock()
	}
	if s.basePath = strings.Trim(s.basePath, "/"); s.basePath != "" {
		s.basePath = "/" + s.basePath
	}
	s.signingKey = []byte(rand.Text())
	s.transport = &http.Transport{DialContext: s.DialContext, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: maxIdleConns}
	if s.tls {
		s.makeCertificate()
	}
	s.url = s.serve(memGitLabHost, s.listener, http.HandlerFunc(s.serveGitLab)) + s.basePath
	s.externalURL = s.url
	if s.linkHost != "" {
		s.externalURL = strings.TrimSuffix(s.linkHost, "/") + s.basePath
	}
	if s.store != nil {
		s.fromStore = true
		s.storeURL = s.serve(memStoreHost, nil, http.HandlerFunc(s.serveStore))
	}
	s.user("root")
	s.token = s.AddToken(Token{Kind: PersonalToken, User: "root", Role: Maintainer})
	return s
}

// serve starts an HTTP server on l, or where that is nil on a listener of its
// own, and returns its URL.
func (s *Server) serve(memHost string, l net.Listener, handler http.Handler) string {
	scheme, port := "http", "80"
	if s.tls {
		scheme, port = "https", "443"
	}
	origin := scheme + "://" + memHost
	if s.inMemory {
		mem := newMemListener(net.JoinHostPort(memHost, port))
		s.listeners[mem.addr.String()] = mem
		l = mem
	} else {
		if l == nil {
			var err error
			if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
				panic(fmt.Sprintf("jobstest: can't listen: %v", err))
			}
		}
		origin = scheme + "://" + l.Addr().String()
	}
	srv := &http.Server{Handler: handler, ErrorLog: log.New(io.Discard, "", 0)}
	if s.tls {
		srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{s.serverCert}}
	}
	s.https = append(s.https, srv)
	s.serving.Go(func() {
		if s.tls {
			_ = srv.ServeTLS(l, "", "") // ends with http.ErrServerClosed
		} else {
			_ = srv.Serve(l)
		}
	})
	return origin
}

// Close shuts the server down. Requests under way are broken off.
func (s *Server) Close() {
	s.closeOnce.Do(func() {
		close(s.closing)
		for _, srv := range s.https {
			_ = srv.Close() // only listeners that are closed already report an error
		}
		s.serving.Wait()
		s.records.wait()
		s.transport.CloseIdleConnections()
	})
}

// URL returns the base URL of the server, with its relative root if it has
// one, such as http://127.0.0.1:4567/gitlab. The API is below its /api/v4.
func (s *Server) URL() string { return s.url }

// StoreURL returns the origin of the object store, "" without one.
func (s *Server) StoreURL() string { return s.storeURL }

// Token returns the personal access token of root, a maintainer of every
// project.
func (s *Server) Token() string { return s.token }

// Clock returns the clock that the server's jobs live by.
func (s *Server) Clock() *Clock { return s.clock }

// HTTPClient returns a client that reaches the server whatever its options:
// it trusts its certificate, and dials in-memory connections. Its transport
// is the server's own, and closed with it.
func (s *Server) HTTPClient() *http.Client {
	return &http.Client{Transport: s.transport}
}

// maxIdleConns is how many connections of parallel requests the server's
// transport keeps for later ones.
const maxIdleConns = 64

// DialContext dials the server: it is for the transports of clients that are
// to reach an in-memory server, which knows its own addresses alone. For
// other servers it is a plain dial.
func (s *Server) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	if !s.inMemory {
		dialer := net.Dialer{Timeout: 30 * time.Second}
		return dialer.DialContext(ctx, network, addr)
	}
	l := s.listeners[addr]
	if l == nil {
		return nil, &net.OpError{Op: "dial", Net: "mem", Err: &net.DNSError{Err: "no such host", Name: addr, IsNotFound: true}}
	}
	return l.dial(ctx)
}

// Certificate returns the certificate of a server with [WithTLS], which signs
// itself; nil without TLS.
func (s *Server) Certificate() *x509.Certificate { return s.certificate }

// Job returns the job with the given ID, of whatever project: the way to a
// job that a retry has made. It is nil for an unknown ID and for a bridge's.
func (s *Server) Job(id int64) *Job {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.jobs[id]; j != nil && !j.bridge {
		return j
	}
	return nil
}

// Projects returns the projects in the order in which they were added.
func (s *Server) Projects() []*Project {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.projects)
}

func (s *Server) nextID(last *int64) int64 {
	*last++
	return *last
}

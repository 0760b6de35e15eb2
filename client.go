package gitlabjobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/google/go-querystring/query"
	"github.com/hashicorp/go-retryablehttp"
)

// A Client talks to one GitLab instance. It is safe for concurrent use, and
// programs that do much should share one: it shares connections and what the
// server says of its rate limits. It prints without its token under every verb.
type Client struct {
	// Jobs has the methods for the endpoints.
	Jobs *JobsService

	base              *url.URL // of the API's root, without a slash at its end
	root              string   // base as a string
	origin            string   // of base
	credential        credential
	http              *http.Client // over the guard
	retry             RetryPolicy
	gate              *gate
	stallTimeout      time.Duration
	userAgent         []string // the header's values
	log               attemptLog
	observer          func(Attempt)
	insecureRedirects bool
}

// NewClient returns a client for https://gitlab.com without a credential,
// unless options say otherwise. It does no I/O, and reads the environment only
// if [FromEnvironment] is given. Its errors name the option at fault and hold
// no secret.
func NewClient(opts ...Option) (*Client, error) {
	config, err := newConfig(opts, os.Getenv)
	if err != nil {
		return nil, fmt.Errorf("gitlabjobs: %w", err)
	}
	c := &Client{
		base:              config.base,
		root:              config.base.String(),
		origin:            origin(config.base),
		credential:        config.credential,
		retry:             config.retry,
		gate:              &gate{longest: config.retry.MaxRetryAfter, limiter: config.limiter},
		stallTimeout:      config.stallTimeout,
		userAgent:         []string{config.userAgent},
		log:               config.log,
		observer:          config.observer,
		insecureRedirects: config.insecureRedirect,
	}
	c.http = config.httpClient
	if c.http == nil {
		c.http = &http.Client{Transport: newTransport()}
	}
	transport := c.http.Transport
	if transport == nil {
		transport = http.DefaultTransport
	}
	c.http.Transport = &guard{base: transport, client: c}
	c.http.CheckRedirect = callersCheckRedirect(c.http.CheckRedirect)
	c.Jobs = &JobsService{client: c}
	return c, nil
}

var _ fmt.Formatter = Client{}

// Format writes the client's base URL and kind of credential, whatever the verb.
func (c Client) Format(state fmt.State, _ rune) {
	by := c.credential.option
	if by == "" {
		by = "anonymous"
	}
	if c.base == nil { // the zero Client
		io.WriteString(state, "gitlabjobs.Client()") //nolint:errcheck // a Formatter can't report it
		return
	}
	fmt.Fprintf(state, "gitlabjobs.Client(%s, %s)", c.base, by)
}

// isOrigin reports whether u is of the client's origin.
func (c *Client) isOrigin(u *url.URL) bool {
	return u.Scheme == c.base.Scheme && u.Host == c.base.Host || origin(u) == c.origin
}

// A call is one request, before it has a base URL and a credential.
type call struct {
	endpoint endpoint
	params   params        // for the route's placeholders
	query    any           // a struct for go-querystring, or nil
	body     any           // encoded as JSON, unless nil
	header   http.Header   // besides the usual ones
	into     any           // what the answer is decoded into, unless nil
	stream   bool          // leave the body of a success to be read
	accept   []int         // statuses that are successes here, besides 2xx
	budget   *budget       // nil: a new one
	waited   time.Duration // already, before the first attempt
}

func (cl *call) succeeded(status int) bool {
	return status >= 200 && status < 300 || slices.Contains(cl.accept, status)
}

// send performs a call: build -> gate -> retry -> guard redirects -> decode or
// *Error. It is the one way by which requests leave the client. The body of
// the returned response has been read, unless the call streams.
func (c *Client) send(ctx context.Context, cl call) (*http.Response, error) {
	if ctx == nil {
		return nil, errNilContext
	}
	x := &exchange{client: c, call: cl, budget: cl.budget, waited: cl.waited}
	if x.budget == nil {
		x.own = *c.newBudget()
		x.budget = &x.own
	}
	x.ctx = exchangeContext{ctx, x}
	req, err := c.build(&x.ctx, &x.call)
	if err != nil {
		return nil, err
	}
	return x.do(req)
}

// mediaTypeJSON are the values of a header, shared by all requests.
var mediaTypeJSON = []string{"application/json"}

var errNilContext = errors.New("gitlabjobs: the context is nil")

// build makes the request of a call, without its credential.
func (c *Client) build(ctx context.Context, cl *call) (*retryablehttp.Request, error) {
	if ctx == nil {
		return nil, errNilContext
	}
	target, err := cl.endpoint.url(c.root, cl.params)
	if err != nil {
		return nil, err
	}
	if cl.query != nil {
		values, err := query.Values(cl.query)
		if err != nil {
			return nil, fmt.Errorf("gitlabjobs: query: %w", err)
		}
		if encoded := values.Encode(); encoded != "" {
			target += "?" + encoded
		}
	}
	var body any
	if cl.body != nil {
		encoded, err := json.Marshal(cl.body)
		if err != nil {
			return nil, fmt.Errorf("gitlabjobs: body: %w", err)
		}
		body = encoded
	}
	req, err := retryablehttp.NewRequestWithContext(ctx, cl.endpoint.method, target, body)
	if err != nil {
		return nil, fmt.Errorf("gitlabjobs: %w", redactError(err, ""))
	}
	req.Header["User-Agent"] = c.userAgent
	if !cl.stream {
		req.Header["Accept"] = mediaTypeJSON
	}
	if body != nil {
		req.Header["Content-Type"] = mediaTypeJSON
	}
	maps.Copy(req.Header, cl.header)
	return req, nil
}

// fetch performs a call whose answer is one JSON value.
func fetch[T any](ctx context.Context, c *Client, cl call) (*T, error) {
	value := new(T)
	cl.into = value
	if _, err := c.send(ctx, cl); err != nil { //nolint:bodyclose // send has read and closed it
		return nil, err
	}
	return value, nil
}

package gitlabjobs

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

const maxRedirects = 10

// A guard is the transport under all of a client's requests, one hop of a
// redirect chain at a time. It is the only place that knows credentials:
// above it, no request, error or CheckRedirect function ever sees one.
type guard struct {
	base   http.RoundTripper
	client *Client
}

// RoundTrip sends one hop, with the attempt's credential if the chain has
// never left the client's origin, and refuses redirects that mustn't be followed.
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	a := exchangeOf(req.Context()).attempt
	if !g.client.isOrigin(req.URL) {
		a.left = true
	}
	hop := req.WithContext(a.prepare(req.Context())) // a shallow copy
	hop.Header = req.Header.Clone()
	for _, name := range []string{headerPrivateToken, headerJobToken, headerAuthorization, "Referer"} {
		hop.Header.Del(name)
	}
	if a.left {
		g.leaveBehind(hop, a.token.Value)
	} else {
		g.authorize(hop, a)
	}
	resp, err := a.send(g.base, hop)
	// net/http sends a request again by itself where a reused connection turns
	// out to be dead. That is a retry like any other.
	if again := a.conns.Load() - 1; again > 0 {
		a.exchange.budget.take(int(again))
	}
	if err != nil {
		return nil, err
	}
	resp.Request = req // without the credential
	if err := g.checkRedirect(a, resp); err != nil {
		resp.Body.Close()
		a.refusedRedirect = true
		return nil, err
	}
	return resp, nil
}

// authorize puts the credential on a hop to the client's origin.
func (g *guard) authorize(hop *http.Request, a *attempt) {
	if !g.client.credential.asParam {
		if a.tokenHeader != "" {
			hop.Header[a.tokenHeader] = a.tokenValue[:]
		}
		return
	}
	// A signed URL of the same origin would not survive another parameter.
	if a.exchange.call.endpoint.takesJobToken && strings.HasPrefix(hop.URL.Path, g.client.base.Path+"/") {
		target := *hop.URL
		if target.RawQuery != "" {
			target.RawQuery += "&"
		}
		target.RawQuery += "job_token=" + url.QueryEscape(a.token.Value)
		hop.URL = &target
	}
}

// leaveBehind takes everything off a hop to another origin that could be a
// credential: cookies, which jars give to every port of a host, and what a
// CheckRedirect function or a Location header has carried along.
func (g *guard) leaveBehind(hop *http.Request, secret string) {
	hop.Header.Del("Cookie")
	if secret == "" {
		return
	}
	for name, values := range hop.Header {
		if strings.Contains(strings.Join(values, " "), secret) {
			hop.Header.Del(name)
		}
	}
	if !strings.Contains(hop.URL.RawQuery, url.QueryEscape(secret)) {
		return
	}
	target := *hop.URL
	var kept []string
	for pair := range strings.SplitSeq(target.RawQuery, "&") {
		if !strings.Contains(pair, url.QueryEscape(secret)) {
			kept = append(kept, pair)
		}
	}
	target.RawQuery = strings.Join(kept, "&")
	hop.URL = &target
}

// checkRedirect returns why a redirect mustn't be followed.
func (g *guard) checkRedirect(a *attempt, resp *http.Response) error {
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return nil
	}
	location := resp.Header.Get("Location")
	if location == "" {
		return nil // an answer like any other
	}
	from := resp.Request.URL
	to, err := from.Parse(location)
	if err != nil {
		return &redirectError{resp.StatusCode, "", "its Location cannot be parsed"}
	}
	shown := redactText(redactURL(to), a.token.Value)
	refuse := func(reason string) error { return &redirectError{resp.StatusCode, shown, reason} }
	insecure := from.Scheme == "https" && to.Scheme == "http"
	switch {
	case resp.Request.Method != http.MethodGet && from.Scheme == "http" && to.Scheme == "https":
		return refuse("following would not repeat the " + resp.Request.Method + "; is the base URL http where it should be https?")
	case resp.Request.Method != http.MethodGet:
		return refuse("following would not repeat the " + resp.Request.Method + "; has the project moved, or is the base URL not the server's own?")
	case to.Scheme != "http" && to.Scheme != "https" || to.Host == "":
		return refuse("it leads to no HTTP server")
	case insecure && !a.exchange.call.stream:
		return refuse("it leads from https to http")
	case insecure && !g.client.insecureRedirects:
		return refuse("it leads from https to http; WithInsecureRedirects allows that for downloads")
	case a.hops > maxRedirects:
		return refuse(fmt.Sprintf("it is one after %d others", maxRedirects))
	}
	return nil
}

// callersCheckRedirect asks the caller's CheckRedirect, where there is one. The
// guard has made up its mind by then.
func callersCheckRedirect(check func(*http.Request, []*http.Request) error) func(*http.Request, []*http.Request) error {
	return func(req *http.Request, via []*http.Request) error {
		if check == nil {
			return nil
		}
		err := check(req, via)
		if err != nil && err != http.ErrUseLastResponse { //nolint:errorlint // net/http compares it so, too
			exchangeOf(req.Context()).attempt.refusedRedirect = true
			return fmt.Errorf("%w by the HTTP client's CheckRedirect: %w", ErrRedirectRefused, err)
		}
		return err
	}
}

// A redirectError is a redirect that wasn't followed.
type redirectError struct {
	status     int
	to, reason string
}

func (e *redirectError) Error() string {
	text := fmt.Sprintf("%v: %d", ErrRedirectRefused, e.status)
	if e.to != "" {
		text += " to " + e.to
	}
	return text + ": " + e.reason
}

func (e *redirectError) Unwrap() error { return ErrRedirectRefused }

package jobstest

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// A call is one request to GitLab's API on its way to an answer.
type call struct {
	s       *Server
	r       *http.Request
	route   *route
	path    map[string]string // what the route's placeholders stand for
	params  url.Values        // query and form, and the plain values of a JSON body
	json    map[string]any    // the JSON body
	fault   Fault
	now     time.Time
	token   *Token // nil: anonymous
	user    *user
	job     *Job // whose job token was sent
	project *Project
	role    Role
}

// handle answers the call. It runs with the server's lock; what the reply
// then writes, without.
func (c *call) handle() (reply, *failure) {
	c.now = c.s.clock.Now()
	c.s.tick()
	if f := c.readBody(); f != nil {
		return nil, f
	}
	if f := c.authenticate(); f != nil {
		return nil, f
	}
	if _, ok := c.path["id"]; ok {
		if f := c.authorizeProject(); f != nil {
			return nil, f
		}
	}
	return c.route.handle(c)
}

func (c *call) reads() bool {
	return c.r.Method == http.MethodGet || c.r.Method == http.MethodHead
}

// readBody collects the parameters of query and body. The body has been read
// into memory by the recorder.
func (c *call) readBody() *failure {
	c.params, _ = url.ParseQuery(c.r.URL.RawQuery) // keeps what can be parsed
	if c.reads() {
		return nil
	}
	kind, _, _ := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if kind != "application/json" {
		// A body of another kind has no form: PostForm stays empty.
		_ = c.r.ParseMultipartForm(maxBody)
		for key, values := range c.r.PostForm {
			c.params[key] = append(c.params[key], values...)
		}
		return nil
	}
	body, err := io.ReadAll(c.r.Body)
	if err != nil || len(body) == 0 {
		return nil
	}
	if err := json.Unmarshal(body, &c.json); err != nil {
		return invalidParameter("There was a problem in the JSON you submitted: " + err.Error())
	}
	for key, value := range c.json {
		switch value.(type) {
		case string, bool, float64:
			c.params.Set(key, fmt.Sprint(value))
		}
	}
	return nil
}

// id reads a placeholder that stands for a number.
func (c *call) id(name string) (int64, *failure) {
	n, err := strconv.ParseInt(c.path[name], 10, 64)
	if err != nil {
		return 0, invalidParameter(name + " is invalid")
	}
	return n, nil
}

// flag reads a boolean parameter, in any of the spellings that the server's
// framework takes.
func (c *call) flag(name string) (bool, *failure) {
	switch strings.ToLower(c.params.Get(name)) {
	case "", "false", "f", "0", "off", "no", "n":
		return false, nil
	case "true", "t", "1", "on", "yes", "y":
		return true, nil
	}
	return false, invalidParameter(name + " is invalid")
}

// findJob finds the job that the path names; a bridge only where the endpoint
// takes them.
func (c *call) findJob(bridges bool) (*Job, *failure) {
	id, f := c.id("job_id")
	if f != nil {
		return nil, f
	}
	j := c.s.jobs[id]
	if j == nil || j.pl.p != c.project || j.bridge && !bridges {
		return nil, missingRecord
	}
	return j, nil
}

func (c *call) findPipeline() (*Pipeline, *failure) {
	id, f := c.id("pipeline_id")
	if f != nil {
		return nil, f
	}
	for _, pl := range c.project.pipelines {
		if pl.id == id {
			return pl, nil
		}
	}
	return nil, missingRecord
}

// projectByIDOrPath finds a project as the :id of a path names it.
func (s *Server) projectByIDOrPath(name string) *Project {
	id, err := strconv.ParseInt(name, 10, 64)
	if err != nil {
		return s.findProject(name)
	}
	for _, p := range s.projects {
		if p.id == id {
			return p
		}
	}
	return nil
}

// origin is the scheme and host that the client has reached.
func (c *call) origin() string {
	scheme := "http"
	if c.r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + c.r.Host
}

// apiRoot is where the API begins below the server's root.
const apiRoot = "/api/v4"

// serveGitLab answers every request to GitLab's own origin.
func (s *Server) serveGitLab(w http.ResponseWriter, r *http.Request) {
	path, inRoot := strings.CutPrefix(r.URL.EscapedPath(), s.basePath)
	apiPath, isAPI := strings.CutPrefix(path, apiRoot)
	isAPI = isAPI && inRoot && (apiPath == "" || apiPath[0] == '/')
	c := &call{s: s, r: r}
	endpoint, methods := "", []string(nil)
	if isAPI {
		c.route, c.path, methods = findRoute(r.Method, apiPath, s.version)
	}
	if c.route != nil {
		endpoint = r.Method + " " + c.route.pattern
	}
	a := s.begin(w, r, "gitlab", endpoint)
	defer a.end()
	c.fault = a.fault
	s.answer(a, c, func() (reply, *failure) {
		switch {
		case !isAPI:
			return s.webPage(path)
		case len(methods) > 0:
			f := parameterError(http.StatusMethodNotAllowed, "405 Not Allowed")
			f.header = http.Header{"Allow": {strings.Join(methods, ", ")}}
			return nil, f
		case c.route == nil:
			return nil, unknownRoute
		}
		if f := s.limiter.check(a, c); f != nil {
			return nil, f
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return c.handle()
	})
}

// webPage answers what isn't the API as GitLab's web pages do: it asks to
// sign in.
func (s *Server) webPage(path string) (reply, *failure) {
	if path == "/users/sign_in" {
		return loginPage(), nil
	}
	return redirectReply{status: http.StatusFound, location: s.url + "/users/sign_in"}, nil
}

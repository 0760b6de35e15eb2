package gitlabjobs

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A retryClass says what may be done when an attempt has failed.
type retryClass int

const (
	// safe requests change nothing and may be sent again after every failure.
	safe retryClass = iota
	// repeatable requests change something, and twice is as good as once.
	repeatable
	// once requests start something each time they arrive. They are sent again
	// only where it is certain that they haven't been acted on.
	once
)

// An endpoint is one route of the API.
type endpoint struct {
	method string
	route  string // the path below the API's root, with :placeholders
	class  retryClass
	// takesJobToken says that the attribute job_token is documented for it.
	takesJobToken bool
}

var (
	listJobs               = endpoint{http.MethodGet, "/projects/:id/jobs", safe, false}
	listPipelineJobs       = endpoint{http.MethodGet, "/projects/:id/pipelines/:pipeline_id/jobs", safe, false}
	listBridges            = endpoint{http.MethodGet, "/projects/:id/pipelines/:pipeline_id/bridges", safe, false}
	getJob                 = endpoint{http.MethodGet, "/projects/:id/jobs/:job_id", safe, false}
	getCurrentJob          = endpoint{http.MethodGet, "/job", safe, true}
	getAllowedAgents       = endpoint{http.MethodGet, "/job/allowed_agents", safe, false}
	cancelJob              = endpoint{http.MethodPost, "/projects/:id/jobs/:job_id/cancel", repeatable, false}
	retryJob               = endpoint{http.MethodPost, "/projects/:id/jobs/:job_id/retry", once, false}
	playJob                = endpoint{http.MethodPost, "/projects/:id/jobs/:job_id/play", once, false}
	eraseJob               = endpoint{http.MethodPost, "/projects/:id/jobs/:job_id/erase", once, false}
	getTrace               = endpoint{http.MethodGet, "/projects/:id/jobs/:job_id/trace", safe, false}
	getArchive             = endpoint{http.MethodGet, "/projects/:id/jobs/:job_id/artifacts", safe, true}
	getArchiveOfRef        = endpoint{http.MethodGet, "/projects/:id/jobs/artifacts/:ref_name/download", safe, true}
	getFile                = endpoint{http.MethodGet, "/projects/:id/jobs/:job_id/artifacts/*artifact_path", safe, true}
	getFileOfRef           = endpoint{http.MethodGet, "/projects/:id/jobs/artifacts/:ref_name/raw/*artifact_path", safe, true}
	listEntries            = endpoint{http.MethodGet, "/projects/:id/jobs/:job_id/artifacts/tree", safe, false}
	keepArtifacts          = endpoint{http.MethodPost, "/projects/:id/jobs/:job_id/artifacts/keep", repeatable, false}
	deleteArtifacts        = endpoint{http.MethodDelete, "/projects/:id/jobs/:job_id/artifacts", repeatable, false}
	deleteProjectArtifacts = endpoint{http.MethodDelete, "/projects/:id/artifacts", repeatable, false}
)

// String returns method and route: one name for all calls of the endpoint.
func (e endpoint) String() string { return e.method + " " + e.route }

// path fills the route's placeholders with params, in order, each escaped.
func (e endpoint) path(params []param) (string, error) {
	var b strings.Builder
	b.Grow(len(e.route) + 32)
	rest := e.route
	for _, p := range params {
		segment, err := p.escape()
		if err != nil {
			return "", err
		}
		i := strings.IndexAny(rest, ":*")
		b.WriteString(rest[:i])
		b.WriteString(segment)
		rest = rest[i:]
		if end := strings.IndexByte(rest, '/'); end >= 0 {
			rest = rest[end:]
		} else {
			rest = ""
		}
	}
	b.WriteString(rest)
	return b.String(), nil
}

// A param is a value for a placeholder. Its escape refuses what cannot be meant.
type param interface{ escape() (string, error) }

// A ProjectID names a project: by its number ("42") or by its full path
// ("group/sub/app"), plain or URL-encoded. A string constant converts by
// itself, and so does the value of CI_PROJECT_ID.
type ProjectID string

// ProjectNumber returns the ProjectID for a project's number.
func ProjectNumber(id int64) ProjectID { return ProjectID(strconv.FormatInt(id, 10)) }

func (p ProjectID) escape() (string, error) {
	plain, err := url.PathUnescape(string(p))
	if err != nil || strings.Contains(plain, "%") {
		return "", fmt.Errorf("gitlabjobs: project %q is not validly URL-encoded", string(p))
	}
	if number, err := strconv.ParseInt(plain, 10, 64); err == nil && number <= 0 {
		return "", fmt.Errorf("gitlabjobs: project %d is not a project's number", number)
	}
	if err := checkSegments("project", plain); err != nil {
		return "", err
	}
	return url.PathEscape(plain), nil
}

type jobNumber int64

func (id jobNumber) escape() (string, error) { return escapeNumber("job", int64(id)) }

type pipelineNumber int64

func (id pipelineNumber) escape() (string, error) { return escapeNumber("pipeline", int64(id)) }

func escapeNumber(what string, id int64) (string, error) {
	if id <= 0 {
		return "", fmt.Errorf("gitlabjobs: %s %d: an ID is above 0", what, id)
	}
	return strconv.FormatInt(id, 10), nil
}

// A refName is a branch or tag, escaped whole.
type refName string

func (r refName) escape() (string, error) {
	if err := checkSegments("ref", string(r)); err != nil {
		return "", err
	}
	return url.PathEscape(string(r)), nil
}

// An artifactPath is the path of a file in an archive, escaped by segments.
type artifactPath string

func (p artifactPath) escape() (string, error) {
	if err := checkSegments("artifact path", string(p)); err != nil {
		return "", err
	}
	segments := strings.Split(string(p), "/")
	for i, segment := range segments {
		segments[i] = url.PathEscape(segment)
	}
	return strings.Join(segments, "/"), nil
}

// checkSegments refuses a path that is empty or has a segment that a server,
// or a proxy before it, would take for something else than a name.
func checkSegments(what, path string) error {
	switch {
	case path == "":
		return fmt.Errorf("gitlabjobs: the %s is empty", what)
	case !utf8.ValidString(path) || hasControl(path):
		return fmt.Errorf("gitlabjobs: %s %q has invalid UTF-8 or a control character", what, path)
	case strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/") || strings.Contains(path, "//"):
		return fmt.Errorf("gitlabjobs: %s %q has an empty segment", what, path)
	case hasDotSegment(path):
		return fmt.Errorf("gitlabjobs: %s %q has a . or .. segment", what, path)
	}
	return nil
}

// hasDotSegment reports whether path has a segment . or .., be it separated
// by backslashes or percent-encoded, however often.
func hasDotSegment(path string) bool {
	for {
		for segment := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == '/' || r == '\\' }) {
			if segment == "." || segment == ".." {
				return true
			}
		}
		plain, ok := unescapeOnce(path)
		if !ok {
			return false
		}
		path = plain
	}
}

// unescapeOnce decodes the percent-encoded bytes of s that there are, and
// reports whether there were any. Unlike url.PathUnescape it minds no others.
func unescapeOnce(s string) (string, bool) {
	if !strings.Contains(s, "%") {
		return s, false
	}
	var b strings.Builder
	changed := false
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(c))
				changed = true
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String(), changed
}

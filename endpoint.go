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

// params are the values for the placeholders of routes.
type params struct {
	project  ProjectID // :id
	job      int64     // :job_id
	pipeline int64     // :pipeline_id
	ref      string    // :ref_name, a branch or tag, escaped whole
	path     string    // *artifact_path, of a file in an archive, escaped by segments
}

// url returns the route below the API's root, with its placeholders filled.
// It refuses values that cannot be meant.
func (e endpoint) url(root string, values params) (string, error) {
	var b strings.Builder
	b.Grow(len(root) + len(e.route) + 32)
	b.WriteString(root)
	rest := e.route
	for i := strings.IndexAny(rest, ":*"); i >= 0; i = strings.IndexAny(rest, ":*") {
		b.WriteString(rest[:i])
		end := len(rest)
		if n := strings.IndexByte(rest[i:], '/'); n >= 0 {
			end = i + n
		}
		if err := values.write(&b, rest[i:end]); err != nil {
			return "", err
		}
		rest = rest[end:]
	}
	b.WriteString(rest)
	return b.String(), nil
}

// write writes the value of a placeholder.
func (p *params) write(b *strings.Builder, placeholder string) error {
	var escaped string
	var err error
	switch placeholder {
	case ":id":
		escaped, err = p.project.escape()
	case ":job_id":
		return writeID(b, "job", p.job)
	case ":pipeline_id":
		return writeID(b, "pipeline", p.pipeline)
	case ":ref_name":
		escaped, err = url.PathEscape(p.ref), checkSegments("ref", p.ref)
	case "*artifact_path":
		escaped, err = escapeSegments(p.path), checkSegments("artifact path", p.path)
	default:
		return fmt.Errorf("gitlabjobs: there is no value for %s", placeholder)
	}
	b.WriteString(escaped)
	return err
}

func writeID(b *strings.Builder, what string, id int64) error {
	if id <= 0 {
		return fmt.Errorf("gitlabjobs: %s %d: an ID is above 0", what, id)
	}
	var digits [20]byte
	b.Write(strconv.AppendInt(digits[:0], id, 10))
	return nil
}

func escapeSegments(path string) string {
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		segments[i] = url.PathEscape(segment)
	}
	return strings.Join(segments, "/")
}

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
	if strings.Trim(plain, "+-0123456789") == "" {
		if number, err := strconv.ParseInt(plain, 10, 64); err == nil && number <= 0 {
			return "", fmt.Errorf("gitlabjobs: project %d is not a project's number", number)
		}
	}
	if err := checkSegments("project", plain); err != nil {
		return "", err
	}
	return url.PathEscape(plain), nil
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

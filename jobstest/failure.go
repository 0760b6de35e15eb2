package jobstest

import (
	"net/http"
	"strconv"
	"strings"
)

// A failure is an answer that isn't a success.
type failure struct {
	status int
	body   any // as JSON, or a string as text
	header http.Header
}

func message(status int, text string) *failure {
	return &failure{status: status, body: map[string]string{"message": text}}
}

var (
	unauthorized  = message(http.StatusUnauthorized, "401 Unauthorized")
	unknownRoute  = parameterError(http.StatusNotFound, "404 Not Found")
	missingRecord = message(http.StatusNotFound, "404 Not found")
	refreshing    = message(http.StatusConflict, "Action temporarily disabled. "+
		"The project this pipeline belongs to is undergoing stats refresh.")
)

// notFound is a 404 that names what is missing, "" for nothing.
func notFound(what string) *failure {
	if what == "" {
		return message(http.StatusNotFound, "404 Not Found")
	}
	return message(http.StatusNotFound, "404 "+what+" Not Found")
}

func forbidden(reason string) *failure {
	if reason == "" {
		return message(http.StatusForbidden, "403 Forbidden")
	}
	return message(http.StatusForbidden, "403 Forbidden - "+reason)
}

// badRequest words a 400 as the version does: GitLab 12 took every reason for
// the name of an attribute.
func (c *call) badRequest(reason string) *failure {
	switch {
	case c.s.version == V12_3 && reason == "":
		return message(http.StatusBadRequest, "400 (Bad request)")
	case c.s.version == V12_3:
		return message(http.StatusBadRequest, `400 (Bad request) "`+reason+`" not given`)
	case reason == "":
		return message(http.StatusBadRequest, "400 Bad request")
	}
	return message(http.StatusBadRequest, "400 Bad request - "+reason)
}

// parameterError is what the API framework answers by itself.
func parameterError(status int, text string) *failure {
	return &failure{status: status, body: map[string]string{"error": text}}
}

func invalidParameter(text string) *failure {
	return parameterError(http.StatusBadRequest, text)
}

func invalidToken(description string) *failure {
	return &failure{status: http.StatusUnauthorized, body: map[string]string{
		"error": "invalid_token", "error_description": description,
	}}
}

// movedProject is the answer for a path that no project has now.
func (c *call) movedProject(name string) *failure {
	p := c.s.findMovedProject(name)
	switch {
	case p == nil || c.token.role(p) < Guest && !p.public:
		return notFound("Project")
	case !c.reads():
		return message(http.StatusMethodNotAllowed, "Non GET methods are not allowed for moved projects")
	}
	old := "/projects/" + strings.Split(strings.SplitN(c.r.URL.EscapedPath(), "/projects/", 2)[1], "/")[0]
	where := *c.r.URL
	path := strings.Replace(where.EscapedPath(), old, "/projects/"+strconv.FormatInt(p.id, 10), 1)
	location := c.origin() + path
	if where.RawQuery != "" {
		location += "?" + where.RawQuery
	}
	return &failure{
		status: http.StatusMovedPermanently,
		body:   "This resource has been moved permanently to " + location,
		header: http.Header{"Location": {location}},
	}
}

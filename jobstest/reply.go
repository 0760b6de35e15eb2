package jobstest

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
)

// A reply is an answer that is ready to be written, without the server's lock.
type reply interface {
	write(a *answer, c *call)
}

// A jsonReply is an answer in JSON.
type jsonReply struct {
	status int
	body   []byte
	header http.Header
}

// jsonOf makes a reply of a value. It encodes it at once, while the server is
// locked.
func jsonOf(status int, v any) (jsonReply, *failure) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return jsonReply{}, message(http.StatusInternalServerError, "500 Internal Server Error")
	}
	return jsonReply{status: status, body: bytes.TrimRight(buf.Bytes(), "\n"), header: make(http.Header)}, nil
}

func (j jsonReply) write(a *answer, c *call) {
	h := a.Header()
	maps.Copy(h, j.header)
	setAPIHeaders(h, c)
	h.Set("Content-Type", "application/json")
	h.Set("Vary", "Origin")
	h.Set("Cache-Control", "max-age=0, private, must-revalidate")
	if c.s.version == Newest && j.status < 300 {
		sum := md5.Sum(j.body)
		tag := `W/"` + hex.EncodeToString(sum[:]) + `"`
		h.Set("ETag", tag)
		if c.reads() && j.status == http.StatusOK && matchesETag(a.r.Header.Get("If-None-Match"), tag) {
			a.WriteHeader(http.StatusNotModified)
			return
		}
	}
	h.Set("Content-Length", strconv.Itoa(len(j.body)))
	a.WriteHeader(j.status)
	_, _ = a.Write(j.body)
}

// setAPIHeaders sets what every answer of the API carries.
func setAPIHeaders(h http.Header, c *call) {
	c.s.mu.Lock()
	id := fmt.Sprintf("01JOBSTEST%016d", c.s.nextID(&c.s.lastRequest))
	c.s.mu.Unlock()
	h.Set("X-Request-Id", id)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "SAMEORIGIN")
	h.Set("X-Runtime", "0.012345")
	if c.s.version == Newest {
		h.Set("X-Gitlab-Meta", `{"correlation_id":"`+id+`","version":"1"}`)
	}
}

// matchesETag compares weakly, as If-None-Match asks for.
func matchesETag(header, tag string) bool {
	for candidate := range strings.SplitSeq(header, ",") {
		candidate = strings.TrimSpace(candidate)
		if candidate == "*" || strings.TrimPrefix(candidate, "W/") == strings.TrimPrefix(tag, "W/") {
			return true
		}
	}
	return false
}

func (f *failure) write(a *answer, c *call) {
	h := a.Header()
	maps.Copy(h, f.header)
	if text, ok := f.body.(string); ok {
		setAPIHeaders(h, c)
		textReply{status: f.status, contentType: "text/plain", body: text}.write(a, c)
		return
	}
	rep, _ := jsonOf(f.status, f.body) // bodies of failures are maps of strings
	rep.write(a, c)
}

// A textReply is an answer that isn't the API's.
type textReply struct {
	status      int
	contentType string
	body        string
}

func (t textReply) write(a *answer, _ *call) {
	a.Header().Set("Content-Type", t.contentType)
	a.Header().Set("Content-Length", strconv.Itoa(len(t.body)))
	a.WriteHeader(t.status)
	_, _ = a.Write([]byte(t.body))
}

// reply is the answer that a fault puts in the place of the real one.
func (f Fault) reply() reply {
	kind := f.ContentType
	if kind == "" {
		kind = "text/html"
		if strings.HasPrefix(f.Body, "{") || strings.HasPrefix(f.Body, "[") {
			kind = "application/json"
		}
	}
	return textReply{status: f.Status, contentType: kind, body: f.Body}
}

// loginPage is what a login wall answers to everything.
func loginPage() reply {
	return textReply{status: http.StatusOK, contentType: "text/html; charset=utf-8", body: `<!DOCTYPE html>
<html lang="en">
<head><title>Sign in · GitLab</title></head>
<body><form action="/users/sign_in" method="post"><input name="user[login]"><input name="user[password]" type="password"></form></body>
</html>
`}
}

// An emptyReply has no body.
type emptyReply struct{ status int }

func (e emptyReply) write(a *answer, c *call) {
	setAPIHeaders(a.Header(), c)
	a.WriteHeader(e.status)
}

// A redirectReply sends the client elsewhere.
type redirectReply struct {
	status   int
	location string
}

func (rd redirectReply) write(a *answer, c *call) {
	setAPIHeaders(a.Header(), c)
	a.Header().Set("Location", rd.location)
	a.Header().Set("Cache-Control", "no-cache")
	textReply{status: rd.status, contentType: "text/html", body: ""}.write(a, c)
}

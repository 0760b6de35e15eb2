package jobstest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

const (
	defaultPerPage = 20
	maxPerPage     = 100
	// maxCounted is how many rows the server still counts for X-Total.
	maxCounted = 10_000
)

const keysetRefused = "Keyset pagination is not yet available for this type of request"

// A page is what a list request asks for.
type page struct {
	number, size int
}

func (c *call) page() (page, *failure) {
	p := page{number: 1, size: defaultPerPage}
	for _, param := range []struct {
		name  string
		value *int
	}{{"page", &p.number}, {"per_page", &p.size}} {
		raw := c.params.Get(param.name)
		if raw == "" {
			continue
		}
		n, err := strconv.Atoi(raw)
		if err != nil {
			return p, invalidParameter(param.name + " is invalid")
		}
		*param.value = n
	}
	if p.size == 0 {
		return p, invalidParameter("per_page has a value not allowed")
	}
	p.number, p.size = max(p.number, 1), min(max(p.size, 1), maxPerPage)
	return p, nil
}

// paginate cuts the asked-for page out of rows, by offset. The header says
// where the others are; counted says whether it also tells how many there are.
func paginate[T any](c *call, rows []T, counted bool) ([]T, http.Header, *failure) {
	p, f := c.page()
	if f != nil {
		return nil, nil, f
	}
	total := len(rows)
	start := total
	if p.number <= total/p.size+1 {
		start = min((p.number-1)*p.size, total)
	}
	end := min(start+p.size, total)
	pages := max((total+p.size-1)/p.size, 1)

	h := make(http.Header)
	h.Set("X-Per-Page", strconv.Itoa(p.size))
	h.Set("X-Page", strconv.Itoa(p.number))
	next, prev := "", ""
	var links []string
	if p.number > 1 {
		prev = strconv.Itoa(p.number - 1)
		links = append(links, c.link("prev", p, "page", prev))
	}
	if end < total {
		next = strconv.Itoa(p.number + 1)
		links = append(links, c.link("next", p, "page", next))
	}
	links = append(links, c.link("first", p, "page", "1"))
	if counted && total <= maxCounted {
		h.Set("X-Total", strconv.Itoa(total))
		h.Set("X-Total-Pages", strconv.Itoa(pages))
		links = append(links, c.link("last", p, "page", strconv.Itoa(pages)))
	}
	h.Set("X-Next-Page", next)
	h.Set("X-Prev-Page", prev)
	h.Set("Link", strings.Join(links, ", "))
	return rows[start:end], h, nil
}

// link makes one entry of a Link header: the request's own URL on the
// configured host, with all its parameters, tokens too, and another page.
func (c *call) link(rel string, p page, key, value string) string {
	query := maps.Clone(c.params)
	if query == nil {
		query = make(url.Values)
	}
	query.Set("id", c.path["id"])
	if id, ok := c.path["pipeline_id"]; ok {
		query.Set("pipeline_id", id)
	}
	if id, ok := c.path["job_id"]; ok {
		query.Set("job_id", id)
	}
	query.Set("per_page", strconv.Itoa(p.size))
	query.Set(key, value)
	return fmt.Sprintf(`<%s%s?%s>; rel="%s"`, c.s.externalURL, strings.TrimPrefix(c.r.URL.EscapedPath(), c.s.basePath), query.Encode(), rel)
}

// wantsKeyset reports whether keyset pagination is asked for. 12.x doesn't
// know it.
func (c *call) wantsKeyset() (bool, *failure) {
	if c.s.version == V12_3 || c.params.Get("pagination") != "keyset" {
		return false, nil
	}
	if by := c.params.Get("order_by"); by != "" && by != "id" {
		return false, parameterError(http.StatusMethodNotAllowed, keysetRefused)
	}
	if sort := c.params.Get("sort"); sort != "" && sort != "desc" {
		return false, parameterError(http.StatusMethodNotAllowed, keysetRefused)
	}
	return true, nil
}

// keysetPage cuts a page out of jobs, which descend by ID, after the cursor.
func (c *call) keysetPage(jobs []*Job) ([]*Job, http.Header, *failure) {
	p, f := c.page()
	if f != nil {
		return nil, nil, f
	}
	start := 0
	if cursor := c.params.Get("cursor"); cursor != "" {
		after, ok := decodeCursor(cursor)
		if !ok {
			return nil, nil, invalidParameter("cursor is invalid")
		}
		for start < len(jobs) && jobs[start].id >= after {
			start++
		}
	}
	end := min(start+p.size, len(jobs))
	h := make(http.Header)
	if end < len(jobs) {
		h.Set("Link", c.link("next", p, "cursor", encodeCursor(jobs[end-1].id)))
	}
	return jobs[start:end], h, nil
}

// cursorFields is what GitLab's cursors hold: the last row, and the direction.
type cursorFields struct {
	ID        string `json:"id"`
	Direction string `json:"_kd"`
}

func encodeCursor(id int64) string {
	raw, _ := json.Marshal(cursorFields{ID: strconv.FormatInt(id, 10), Direction: "n"}) // two strings always encode
	return base64.URLEncoding.EncodeToString(raw)
}

func decodeCursor(cursor string) (int64, bool) {
	raw, err := base64.URLEncoding.DecodeString(cursor)
	if err != nil {
		return 0, false
	}
	var fields cursorFields
	if err := json.Unmarshal(raw, &fields); err != nil {
		return 0, false
	}
	id, err := strconv.ParseInt(fields.ID, 10, 64)
	return id, err == nil
}

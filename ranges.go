package gitlabjobs

import (
	"net/http"
	"strconv"
	"strings"
)

// validatorOf returns what If-Range can name a content by: a strong ETag, else
// the time of its last change.
func validatorOf(header http.Header) string {
	if etag := header.Get("ETag"); strings.HasPrefix(etag, `"`) {
		return etag
	}
	if modified := header.Get("Last-Modified"); modified != "" {
		if _, err := http.ParseTime(modified); err == nil {
			return modified
		}
	}
	return ""
}

// isValidator reports whether If-Range can be sent with value.
func isValidator(value string) bool {
	if hasControl(value) {
		return false
	}
	_, err := http.ParseTime(value)
	return err == nil || strings.HasPrefix(value, `"`)
}

// sameContent reports whether an answer is of the content that was read so
// far, by its validator and by the ETag, even a weak one. Answers needn't
// repeat them.
func (s *stream) sameContent(header http.Header) bool {
	known := s.header.Get("ETag")
	if strings.HasPrefix(s.validator, `"`) {
		known = s.validator
	} else if modified := header.Get("Last-Modified"); modified != "" && modified != s.validator {
		return false
	}
	etag := header.Get("ETag")
	return etag == "" || known == "" || etag == known
}

// parseContentRange reads "bytes 0-99/1234", where the total may be "*", and
// "bytes */1234", whose start is -1.
func parseContentRange(value string) (start, total int64, ok bool) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(value), "bytes ")
	if !ok {
		return 0, 0, false
	}
	span, size, ok := strings.Cut(rest, "/")
	if !ok {
		return 0, 0, false
	}
	number := func(text string) int64 {
		n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 63)
		if err != nil {
			ok = false
		}
		return int64(n)
	}
	start, total = -1, -1
	if strings.TrimSpace(size) != "*" {
		total = number(size)
	}
	if strings.TrimSpace(span) != "*" {
		first, last, found := strings.Cut(span, "-")
		start = number(first)
		if end := number(last); !found || end < start || total >= 0 && end >= total {
			ok = false
		}
	}
	return start, total, ok && (start >= 0 || total >= 0)
}

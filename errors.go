package gitlabjobs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Errors by the answer's status. An [Error] matches them by [errors.Is].
var (
	ErrUnauthorized = errors.New("gitlabjobs: unauthorized") // 401
	ErrForbidden    = errors.New("gitlabjobs: forbidden")    // 403
	ErrNotFound     = errors.New("gitlabjobs: not found")    // 404
	ErrConflict     = errors.New("gitlabjobs: conflict")     // 409
	ErrRateLimited  = errors.New("gitlabjobs: rate limited") // 429
)

// Errors by GitLab's message. An [Error] matches them by [errors.Is].
var (
	ErrNotPlayable       = errors.New("gitlabjobs: job is not playable")
	ErrNotRetryable      = errors.New("gitlabjobs: job is not retryable")
	ErrNotErasable       = errors.New("gitlabjobs: job is not erasable")
	ErrInsufficientScope = errors.New("gitlabjobs: the token's scope is insufficient")
)

// Errors of the client itself.
var (
	// ErrOutcomeUnknown says that Play, Retry or Erase was sent once and that
	// it is open whether it took effect. Look at the job before calling again.
	ErrOutcomeUnknown = errors.New("gitlabjobs: outcome unknown")
	// ErrRedirectRefused says that a redirect wasn't followed because it would
	// have changed a write into a read, or left https, or led nowhere.
	ErrRedirectRefused = errors.New("gitlabjobs: redirect refused")
	// ErrUnexpectedContent says that a success carried something else than was
	// asked for, such as the HTML page of a login wall.
	ErrUnexpectedContent = errors.New("gitlabjobs: unexpected content")
	// ErrContentChanged says that the content changed while it was read.
	ErrContentChanged = errors.New("gitlabjobs: content changed")
	// ErrChecksumMismatch says that all bytes came and are not the right ones.
	ErrChecksumMismatch = errors.New("gitlabjobs: checksum mismatch")
	// ErrTooLarge says that an answer or an archive exceeds its limit.
	ErrTooLarge = errors.New("gitlabjobs: too large")
	// ErrStalled says that no byte came for the stall timeout.
	ErrStalled = errors.New("gitlabjobs: stalled")
	// ErrUnsafePath says that a name in an archive leads out of the directory.
	ErrUnsafePath = errors.New("gitlabjobs: unsafe path")
	// ErrManual says that a job waits for a person to start it.
	ErrManual = errors.New("gitlabjobs: job waits for a person")
)

// An Error is an answer of the server that isn't a success. It holds no
// secrets: tokens and signatures are cut from URL and Message.
type Error struct {
	StatusCode int
	Method     string
	URL        string        // without the values of secret parameters
	Message    string        // GitLab's own words; the status text where it had none
	RequestID  string        // X-Request-Id, for GitLab's logs
	RetryAfter time.Duration // how long the server asks to wait; 0 where it doesn't

	hint           string // what the likely cause is, where the client knows
	outcomeUnknown bool
	bodyTooLarge   bool
}

// Error returns the method, URL, status and message in one line.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "gitlabjobs: %s %s: %d", e.Method, e.URL, e.StatusCode)
	// GitLab starts most of its messages with the status.
	message := strings.TrimPrefix(e.Message, fmt.Sprint(e.StatusCode, " "))
	if text := http.StatusText(e.StatusCode); !strings.HasPrefix(message, text) && text != "" {
		b.WriteString(" " + text)
		if message != "" {
			b.WriteString(":")
		}
	}
	if message != "" {
		b.WriteString(" " + message)
	}
	if e.hint != "" {
		b.WriteString(" (" + e.hint + ")")
	}
	if e.RetryAfter > 0 {
		fmt.Fprintf(&b, " (retry after %v)", e.RetryAfter)
	}
	if e.RequestID != "" {
		fmt.Fprintf(&b, " (request %s)", e.RequestID)
	}
	if e.outcomeUnknown {
		b.WriteString("; sent once, outcome unknown")
	}
	return b.String()
}

// Is reports whether e is of the kind of target, one of this package's sentinels.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrUnauthorized:
		return e.StatusCode == http.StatusUnauthorized
	case ErrForbidden:
		return e.StatusCode == http.StatusForbidden
	case ErrNotFound:
		return e.StatusCode == http.StatusNotFound
	case ErrConflict:
		return e.StatusCode == http.StatusConflict
	case ErrRateLimited:
		return e.StatusCode == http.StatusTooManyRequests
	case ErrNotPlayable:
		return e.StatusCode == http.StatusBadRequest && e.says("unplayable job")
	case ErrNotRetryable:
		return e.StatusCode == http.StatusForbidden && e.says("not retryable")
	case ErrNotErasable:
		return e.StatusCode == http.StatusForbidden && e.says("not erasable")
	case ErrInsufficientScope:
		return e.StatusCode == http.StatusForbidden && e.says("insufficient_scope")
	case ErrOutcomeUnknown:
		return e.outcomeUnknown
	case ErrTooLarge:
		return e.bodyTooLarge
	}
	return false
}

func (e *Error) says(words string) bool {
	return strings.Contains(strings.ToLower(e.Message), words)
}

// A requestError is a request that got no complete answer. Its chain has no
// *url.Error, whose text would show the URL as it was sent.
type requestError struct {
	method, url string
	errs        []error // the first one is the text, the others are why
	transient   bool    // a later request may do better
}

// newRequestError returns the error of a request that err has ended, or its
// context, whose cause is in the chain then.
func newRequestError(ctx context.Context, method, url string, err error) *requestError {
	e := &requestError{method: method, url: url}
	if ctx.Err() == nil {
		e.errs = []error{redactError(err, "")}
		return e
	}
	e.errs = []error{ctx.Err()}
	if cause := context.Cause(ctx); !errors.Is(ctx.Err(), cause) {
		e.errs = append(e.errs, redactError(cause, ""))
	}
	return e
}

func (e *requestError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "gitlabjobs: %s %s", e.method, e.url)
	for _, err := range e.errs {
		b.WriteString(": " + strings.TrimPrefix(err.Error(), "gitlabjobs: "))
	}
	return b.String()
}

func (e *requestError) Unwrap() []error { return e.errs }

const (
	maxErrorBody    = 64 << 10 // bytes read of an error's body
	maxErrorMessage = 2 << 10  // bytes kept of its message
)

// parseErrorMessage returns the message of an error's body in one line,
// whatever the body's shape, or "" where it has none for people to read. The
// secret is cut out before the message is cut to its length.
func parseErrorMessage(contentType string, body []byte, secret string) string {
	body = bytes.TrimSpace(bytes.ToValidUTF8(body, []byte("\uFFFD")))
	if len(body) == 0 {
		return ""
	}
	message := ""
	switch {
	case body[0] == '{' || body[0] == '[' || body[0] == '"':
		var value any
		if json.Unmarshal(body, &value) == nil {
			message = flattenError(value)
		}
	case body[0] == '<':
		message = parseXMLError(body)
	case !isHTML(contentType, body):
		message = string(body)
	}
	return oneLine(redactText(message, secret), maxErrorMessage)
}

// flattenError turns the value under a JSON error's root, whose shape differs
// from endpoint to endpoint, into words.
func flattenError(value any) string {
	object, ok := value.(map[string]any)
	if !ok {
		return flattenValue(value)
	}
	var parts []string
	for _, key := range []string{"message", "error", "error_description"} {
		if text := flattenValue(object[key]); text != "" && !slices.Contains(parts, text) {
			parts = append(parts, text)
		}
	}
	if len(parts) == 0 {
		return flattenValue(object)
	}
	return strings.Join(parts, ": ")
}

func flattenValue(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case string:
		return strings.TrimSpace(v)
	case []any:
		var parts []string
		for _, item := range v {
			if text := flattenValue(item); text != "" {
				parts = append(parts, text)
			}
		}
		return strings.Join(parts, ", ")
	case map[string]any:
		var parts []string
		for _, key := range slices.Sorted(maps.Keys(v)) {
			text := flattenValue(v[key])
			// "base" and "error" say nothing about which attribute is meant.
			if text != "" && key != "base" && key != "error" {
				text = key + " " + text
			}
			if text != "" {
				parts = append(parts, text)
			}
		}
		return strings.Join(parts, "; ")
	default:
		return fmt.Sprint(v)
	}
}

// parseXMLError returns code and message of an object store's error. The rest
// of such a body holds the signature's parts and stays unread.
func parseXMLError(body []byte) string {
	if !bytes.Contains(body, []byte("<Error>")) {
		return ""
	}
	element := func(name string) string {
		_, rest, _ := bytes.Cut(body, []byte("<"+name+">"))
		text, _, closed := bytes.Cut(rest, []byte("<"))
		if !closed {
			return ""
		}
		return xmlEntities.Replace(string(text))
	}
	return strings.Trim(element("Code")+": "+element("Message"), ": ")
}

var xmlEntities = strings.NewReplacer("&lt;", "<", "&gt;", ">", "&quot;", `"`, "&apos;", "'", "&amp;", "&")

// isHTML reports whether an answer is a page for a browser.
func isHTML(contentType string, body []byte) bool {
	if strings.HasPrefix(strings.ToLower(contentType), "text/html") {
		return true
	}
	return len(body) > 0 && strings.HasPrefix(http.DetectContentType(body), "text/html")
}

// oneLine makes text fit for an error: spaces for control characters, at most
// limit bytes.
func oneLine(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit] + "..."
}

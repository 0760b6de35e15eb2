package gitlabjobs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	jsonType = "application/json"
	htmlType = "text/html; charset=utf-8"
)

func TestErrorBodies(t *testing.T) {
	t.Parallel()
	sentinels := map[error]string{
		ErrUnauthorized: "unauthorized", ErrForbidden: "forbidden", ErrNotFound: "not found", ErrConflict: "conflict",
		ErrRateLimited: "rate limited", ErrNotPlayable: "not playable", ErrNotRetryable: "not retryable",
		ErrNotErasable: "not erasable", ErrInsufficientScope: "scope", ErrTooLarge: "too large", ErrOutcomeUnknown: "outcome",
		ErrUnexpectedContent: "content", ErrRedirectRefused: "redirect", context.Canceled: "canceled",
	}
	for name, test := range map[string]struct {
		status      int
		contentType string
		body        string
		message     string
		text        string // behind the method and URL
		is          []error
	}{
		"401": {401, jsonType, `{"message":"401 Unauthorized"}`, "401 Unauthorized", "401 Unauthorized", []error{ErrUnauthorized}},
		"401 revoked": {401, jsonType, `{"error":"invalid_token","error_description":"Token was revoked. You have to re-authorize from the user."}`,
			"invalid_token: Token was revoked. You have to re-authorize from the user.",
			"401 Unauthorized: invalid_token: Token was revoked. You have to re-authorize from the user.", []error{ErrUnauthorized}},
		"403 reason": {403, jsonType, `{"message":"403 Forbidden - reason"}`, "403 Forbidden - reason", "403 Forbidden - reason", []error{ErrForbidden}},
		"403 scope": {403, jsonType, `{"error":"insufficient_scope","error_description":"The request requires higher privileges than provided by the access token.","scope":"sudo"}`,
			"insufficient_scope: The request requires higher privileges than provided by the access token.",
			"403 Forbidden: insufficient_scope: The request requires higher privileges than provided by the access token.", []error{ErrForbidden, ErrInsufficientScope}},
		"403 retry":        {403, jsonType, `{"message":"403 Forbidden - Job is not retryable"}`, "403 Forbidden - Job is not retryable", "403 Forbidden - Job is not retryable", []error{ErrForbidden, ErrNotRetryable}},
		"403 erase":        {403, jsonType, `{"message":"403 Forbidden - Job is not erasable!"}`, "403 Forbidden - Job is not erasable!", "403 Forbidden - Job is not erasable!", []error{ErrForbidden, ErrNotErasable}},
		"400 play":         {400, jsonType, `{"message":"400 Bad request - Unplayable Job"}`, "400 Bad request - Unplayable Job", "400 Bad Request: Bad request - Unplayable Job", []error{ErrNotPlayable}},
		"404 project":      {404, jsonType, `{"message":"404 Project Not Found"}`, "404 Project Not Found", "404 Not Found: Project Not Found", []error{ErrNotFound}},
		"404 route":        {404, jsonType, `{"error":"404 Not Found"}`, "404 Not Found", "404 Not Found", []error{ErrNotFound}},
		"404 text":         {404, "text/plain", "Not Found\n", "Not Found", "404 Not Found", []error{ErrNotFound}},
		"409":              {409, jsonType, `{"message":"409 Conflict: Resource lock"}`, "409 Conflict: Resource lock", "409 Conflict: Resource lock", []error{ErrConflict}},
		"validation":       {400, jsonType, `{"message":{"bio":["is too long","is odd"],"base":["Something else"]}}`, "Something else; bio is too long, is odd", "400 Bad Request: Something else; bio is too long, is odd", nil},
		"parameter":        {400, jsonType, `{"error":"scope does not have a valid value"}`, "scope does not have a valid value", "400 Bad Request: scope does not have a valid value", nil},
		"nested parameter": {400, jsonType, `{"error":"job_variables_attributes[0][key] is missing"}`, "job_variables_attributes[0][key] is missing", "400 Bad Request: job_variables_attributes[0][key] is missing", nil},
		"429 application": {429, jsonType, `{"message":{"error":"This endpoint has been requested too many times. Try again later."}}`,
			"This endpoint has been requested too many times. Try again later.",
			"429 Too Many Requests: This endpoint has been requested too many times. Try again later.", []error{ErrRateLimited}},
		"429 rack":           {429, "text/plain", "Retry later\n", "Retry later", "429 Too Many Requests: Retry later", []error{ErrRateLimited}},
		"500":                {500, jsonType, `{"message":"500 Internal Server Error"}`, "500 Internal Server Error", "500 Internal Server Error", nil},
		"502 HTML":           {502, htmlType, "<!DOCTYPE html>\n<html><body>GitLab is not responding</body></html>", "Bad Gateway", "502 Bad Gateway", nil},
		"502 HTML as text":   {502, "text/plain", "  <html><body>nginx</body></html>", "Bad Gateway", "502 Bad Gateway", nil},
		"413 HTML":           {413, htmlType, "<html>413</html>", "Request Entity Too Large", "413 Request Entity Too Large", nil},
		"text said HTML":     {502, htmlType, "upstream gone", "Bad Gateway", "502 Bad Gateway", nil},
		"object store":       {403, "application/xml", "<?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code><Message>Request has expired &amp; gone</Message><AWSAccessKeyId>" + plantedMark + "</AWSAccessKeyId></Error>", "AccessDenied: Request has expired & gone", "403 Forbidden: AccessDenied: Request has expired & gone", []error{ErrForbidden}},
		"object store, cut":  {403, "application/xml", "<Error><Code>AccessDenied</Code><Message>Request has", "AccessDenied", "403 Forbidden: AccessDenied", []error{ErrForbidden}},
		"object store, bare": {404, "application/xml", "<Error><StringToSign>" + plantedMark + "</StringToSign></Error>", "Not Found", "404 Not Found", []error{ErrNotFound}},
		"other XML":          {404, "application/xml", "<oops>" + plantedMark + "</oops>", "Not Found", "404 Not Found", []error{ErrNotFound}},
		"empty":              {404, "", "", "Not Found", "404 Not Found", []error{ErrNotFound}},
		"unknown status":     {599, "", "", "", "599", nil},
		"unknown with text":  {599, "text/plain", "odd", "odd", "599 odd", nil},
		"spaces":             {400, "text/plain", " \r\n\t ", "Bad Request", "400 Bad Request", nil},
		"broken JSON":        {400, jsonType, `{"message":"4`, "Bad Request", "400 Bad Request", nil},
		"JSON text":          {400, jsonType, `"just words"`, "just words", "400 Bad Request: just words", nil},
		"JSON list":          {400, jsonType, `["a",null,["b"]," ",{"c":1}]`, "a, b, c 1", "400 Bad Request: a, b, c 1", nil},
		"JSON null":          {400, jsonType, `{"message":null}`, "Bad Request", "400 Bad Request", nil},
		"message and error":  {400, jsonType, `{"message":"first","error":"second","error_description":"first"}`, "first: second", "400 Bad Request: first: second", nil},
		"other keys":         {400, jsonType, `{"reason":"why","code":7}`, "code 7; reason why", "400 Bad Request: code 7; reason why", nil},
		"lines":              {400, "text/plain", "a\r\nb\x00\x1b[31mc", "a b [31mc", "400 Bad Request: a b [31mc", nil},
		"invalid UTF-8":      {400, "text/plain", "a\xffb", "a\uFFFDb", "400 Bad Request: a\uFFFDb", nil},
		"token echoed":       {401, jsonType, `{"message":"unknown token ` + plantedPrivateToken + `"}`, "unknown token REDACTED", "401 Unauthorized: unknown token REDACTED", []error{ErrUnauthorized}},
		"escaped token":      {401, jsonType, `{"message":"unknown token ` + strings.ReplaceAll(plantedPrivateToken, "-", `\u002d`) + `"}`, "unknown token REDACTED", "401 Unauthorized: unknown token REDACTED", []error{ErrUnauthorized}},
		"URL echoed":         {404, "text/plain", `see https://u:` + plantedMark + `@x/?sig=` + plantedMark + `.`, "see https://REDACTED@x/?sig=REDACTED.", "404 Not Found: see https://REDACTED@x/?sig=REDACTED.", []error{ErrNotFound}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := serveGitLab(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Request-Id", "01HX")
				answer(test.status, test.contentType, test.body)(w, r)
			})
			_, err := g.client(t, WithPrivateToken(plantedPrivateToken), WithRetry(RetryPolicy{MaxRetries: -1})).Jobs.Get(t.Context(), "group/app", 7)
			var refusal *Error
			require.ErrorAs(t, fails(t, err), &refusal)
			address := g.base() + "/api/v4/projects/group%2Fapp/jobs/7"
			assert.Equal(t, &Error{StatusCode: test.status, Method: "GET", URL: address, Message: test.message, RequestID: "01HX"}, refusal)
			assert.Equal(t, "gitlabjobs: GET "+address+": "+test.text+" (request 01HX)", err.Error())
			for sentinel, name := range sentinels {
				want := false
				for _, is := range test.is {
					want = want || is == sentinel //nolint:errorlint // sentinels themselves
				}
				assert.Equal(t, want, errors.Is(err, sentinel), name)
			}
		})
	}
}

func TestErrorTexts(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]*Error{
		"gitlabjobs: GET https://x/y: 404 Not Found":                                       {StatusCode: 404, Method: "GET", URL: "https://x/y", Message: "Not Found"},
		"gitlabjobs: POST https://x/y: 503 Service Unavailable: later (retry after 1m30s)": {StatusCode: 503, Method: "POST", URL: "https://x/y", Message: "later", RetryAfter: 90 * time.Second},
		"gitlabjobs: POST https://x/y: 500 Internal Server Error (request 01HX); sent once, outcome unknown": {
			StatusCode: 500, Method: "POST", URL: "https://x/y", Message: "500 Internal Server Error", RequestID: "01HX", outcomeUnknown: true},
		"gitlabjobs: GET https://x/y: 401 Unauthorized (a hint)": {StatusCode: 401, Method: "GET", URL: "https://x/y", hint: "a hint"},
	} {
		assert.Equal(t, want, err.Error())
	}
	require.ErrorIs(t, fails(t, &Error{outcomeUnknown: true}), ErrOutcomeUnknown)
	wrapped := fmt.Errorf("bot: %w", &Error{StatusCode: 409})
	assert.ErrorIs(t, fails(t, wrapped), ErrConflict)
}

// Messages by which ErrNotPlayable and its like are told are theirs only with
// the status that GitLab sends them with.
func TestSentinelsNeedTheirStatus(t *testing.T) {
	t.Parallel()
	for sentinel, message := range map[error]string{
		ErrNotPlayable: "Unplayable Job", ErrNotRetryable: "Job is not retryable",
		ErrNotErasable: "Job is not erasable!", ErrInsufficientScope: "insufficient_scope",
	} {
		assert.NotErrorIs(t, fails(t, &Error{StatusCode: 500, Message: message}), sentinel)
	}
}

func TestLongMessagesAreCut(t *testing.T) {
	t.Parallel()
	// The token lies across the place where the message is cut.
	for offset := range len(plantedPrivateToken) + 2 {
		long := strings.Repeat("x", maxErrorMessage-offset) + plantedPrivateToken + strings.Repeat("é", 100)
		message := parseErrorMessage("text/plain", []byte(long), plantedPrivateToken)
		assert.LessOrEqual(t, len(message), maxErrorMessage+len("..."))
		assert.True(t, utf8.ValidString(message))
		assert.NotContains(t, message, "glpat")
	}
	assert.Equal(t, "aé...", oneLine("aéé", 4), "runes stay whole")
}

func TestErrorBodyThatBreaksOff(t *testing.T) {
	t.Parallel()
	g := serveGitLab(t, hangUp("HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\nno such token: "+plantedPrivateToken[:len(plantedPrivateToken)-3]))
	_, err := g.client(t, hurried(), WithPrivateToken(plantedPrivateToken)).Jobs.Get(t.Context(), "1", 1)
	require.ErrorIs(t, fails(t, err), ErrForbidden)
	assert.NotContains(t, err.Error(), "no such token")
	assert.Len(t, g.arrivals(), 1)
}

func TestRequestErrors(t *testing.T) {
	t.Parallel()
	reason := errors.New("shutdown")
	dial := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("refused")}
	canceled, cancel := context.WithCancelCause(t.Context())
	cancel(reason)
	plain, cancelPlain := context.WithCancel(t.Context())
	cancelPlain()
	wrapping, cancelWrapping := context.WithCancelCause(t.Context())
	cancelWrapping(fmt.Errorf("lost the lease: %w", context.Canceled))
	for want, test := range map[string]struct {
		ctx context.Context
		err error
		is  []error
	}{
		"dial tcp: refused":                                  {t.Context(), &url.Error{Op: "Get", URL: "https://x/?token=" + plantedMark, Err: dial}, []error{dial}},
		"context canceled: shutdown":                         {canceled, dial, []error{context.Canceled, reason}},
		"context canceled":                                   {plain, dial, []error{context.Canceled}},
		"context canceled: lost the lease: context canceled": {wrapping, dial, []error{context.Canceled}},
	} {
		err := newRequestError(test.ctx, "GET", "https://x/y", test.err)
		assert.Equal(t, "gitlabjobs: GET https://x/y: "+want, fails(t, err).Error())
		for _, target := range test.is {
			require.ErrorIs(t, fails(t, err), target)
		}
	}
	var op *net.OpError
	require.ErrorAs(t, fails(t, newRequestError(t.Context(), "GET", "u", &url.Error{Op: "Get", URL: "u", Err: dial})), &op)
}

func TestRedactURL(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"https://h/p":                                           "https://h/p",
		"https://u:p@h/p#frag":                                  "https://h/p",
		"https://h/p?job_token=x&page=2":                        "https://h/p?job_token=REDACTED&page=2",
		"https://h/p?PRIVATE_TOKEN=x&Private-Token=y":           "https://h/p?PRIVATE_TOKEN=REDACTED&Private-Token=REDACTED",
		"https://h/p?X-Amz-Signature=x&X-Amz-Credential=y":      "https://h/p?X-Amz-Signature=REDACTED&X-Amz-Credential=REDACTED",
		"https://h/p?sig=x;se=y":                                "https://h/p?sig=REDACTED&se=REDACTED",
		"https://h/p?secret":                                    "https://h/p?REDACTED",
		"https://h/p?private%5Ftoken=x":                         "https://h/p?private%5Ftoken=REDACTED",
		"https://h/p?scope%5B%5D=a&scope[]=b&pagination=keyset": "https://h/p?scope%5B%5D=a&scope[]=b&pagination=keyset",
		"https://h/p?%zz=x":                                     "https://h/p?%zz=REDACTED",
		"https://h/p?&&":                                        "https://h/p",
	} {
		u, err := url.Parse(raw)
		require.NoError(t, err)
		assert.Equal(t, want, redactURL(u), raw)
	}
	assert.Empty(t, redactURL(nil))
}

func TestRedactText(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ text, secret, want string }{
		{"a token=" + plantedOAuthToken + " b", plantedOAuthToken, "a token=REDACTED b"},
		{"a " + url.QueryEscape(plantedOAuthToken) + " b " + url.PathEscape(plantedOAuthToken), plantedOAuthToken, "a REDACTED b REDACTED"},
		{"the word token stays", "token", "the word token stays"},
		{"no secret", "", "no secret"},
		{`Get "https://h/p?sig=x": EOF`, "", `Get "https://h/p?sig=REDACTED": EOF`},
		{"to https://h/p?page=2&sig=x: EOF", "", "to https://h/p?page=2&sig=REDACTED: EOF"},
		{"(see https://h/p?sig=x).", "", "(see https://h/p?sig=REDACTED)."},
		{"socks5://u:p@ss@h:1080 is odd", "", "socks5://REDACTED@h:1080 is odd"},
		{"http://a/?x=1 and http://b/?y=2", "", "http://a/?x=REDACTED and http://b/?y=REDACTED"},
	} {
		got := redactText(test.text, test.secret)
		assert.Equal(t, test.want, got)
		assert.Equal(t, got, redactText(got, test.secret), "twice is as good as once")
	}
}

func TestRedactError(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	secret := &url.Error{Op: "Get", URL: "https://h/?sig=" + plantedMark, Err: cause}
	harmless := &url.Error{Op: "Get", URL: "https://h/", Err: cause}
	for name, test := range map[string]struct {
		err  error
		text string
	}{
		"at the top":       {secret, "cause"},
		"twice":            {&url.Error{Op: "Get", URL: "x", Err: secret}, "cause"},
		"further down":     {fmt.Errorf("vault: %w", secret), `vault: Get "https://h/?sig=REDACTED": cause`},
		"harmless, down":   {fmt.Errorf("vault: %w", harmless), `vault: Get "https://h/": cause`},
		"many":             {errors.Join(errors.New("one"), secret), "one\nGet \"https://h/?sig=REDACTED\": cause"},
		"the token itself": {fmt.Errorf("%s: %w", plantedPrivateToken, cause), "REDACTED: cause"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := redactError(test.err, plantedPrivateToken)
			assert.Equal(t, test.text, fails(t, err).Error())
			require.ErrorIs(t, fails(t, err), cause)
			require.NotErrorIs(t, fails(t, err), context.Canceled)
			var urlErr *url.Error
			assert.NotErrorAs(t, fails(t, err), &urlErr)
		})
	}
	assert.Same(t, cause, redactError(cause, plantedPrivateToken), "what shows nothing stays as it is")
}

func FuzzErrorBody(f *testing.F) {
	for _, seed := range []string{
		`{"message":"401 Unauthorized"}`, `{"message":{"bio":["is too long"]}}`, `{"error":"a","error_description":"b"}`,
		`[[[["deep"]]]]`, `"text"`, "Retry later", "<html>", "<Error><Code>a</Code><Message>b</Message></Error>", "\xff\x00{", "null", "{}",
		`{"message":"` + plantedPrivateToken + `"}`,
	} {
		f.Add(jsonType, []byte(seed))
		f.Add("text/plain", []byte(seed))
	}
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		message := parseErrorMessage(contentType, body, plantedPrivateToken)
		assert.LessOrEqual(t, len(message), maxErrorMessage+len("..."))
		assert.True(t, utf8.ValidString(message))
		assert.False(t, strings.ContainsFunc(message, unicode.IsControl), "%q", message)
		assert.NotContains(t, message, plantedPrivateToken)
		text := (&Error{StatusCode: 400, Method: "GET", URL: "u", Message: message}).Error()
		assert.NotContains(t, text, "\n")
	})
}

package gitlabjobs

import (
	"errors"
	"net/url"
	"regexp"
	"strings"
)

const (
	redacted = "REDACTED"
	// minSecret is how long a token is at least for its value to be searched
	// in foreign text: a shorter one, which no server gives out, would blot
	// out parts of ordinary words.
	minSecret = 6 // bytes
)

// shownParameters are the query parameters whose values may be shown. Others
// are tokens and signatures, or what nobody has thought of yet.
var shownParameters = map[string]bool{
	"scope": true, "scope[]": true, "page": true, "per_page": true, "pagination": true, "cursor": true,
	"order_by": true, "sort": true, "include_retried": true, "job": true, "path": true, "recursive": true,
	"search_recent_successful_pipelines": true, "file_type": true, "force": true,
}

// redactURL returns u without user information, fragment, and the values of
// parameters that may be secrets.
func redactURL(u *url.URL) string {
	if u == nil {
		return ""
	}
	safe := *u
	safe.User, safe.Fragment, safe.RawFragment = nil, "", ""
	safe.RawQuery = redactQuery(u.RawQuery)
	return safe.String()
}

func redactQuery(rawQuery string) string {
	if rawQuery == "" {
		return ""
	}
	pairs := strings.FieldsFunc(rawQuery, func(r rune) bool { return r == '&' || r == ';' })
	for i, pair := range pairs {
		key, _, found := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(key)
		switch {
		case err == nil && shownParameters[name]:
		case found:
			pairs[i] = key + "=" + redacted
		default: // a bare word may be the secret itself
			pairs[i] = redacted
		}
	}
	return strings.Join(pairs, "&")
}

var (
	urlUserinfo = regexp.MustCompile(`(://)[^/?#\s"']*@`)
	urlQuery    = regexp.MustCompile(`(https?://[^\s"'?]*\?)([^\s"']*[^\s"'.,:;)])`)
)

// redactText cuts secret, wherever it stands, and what redactURL cuts out of
// URLs, out of text. Text that was redacted before stays as it is.
func redactText(text, secret string) string {
	if len(secret) >= minSecret {
		for _, spelling := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret)} {
			text = strings.ReplaceAll(text, spelling, redacted)
		}
	}
	if strings.Contains(text, "://") {
		text = urlUserinfo.ReplaceAllString(text, "${1}"+redacted+"@")
		text = urlQuery.ReplaceAllStringFunc(text, func(match string) string {
			address, query, _ := strings.Cut(match, "?")
			return address + "?" + redactQuery(query)
		})
	}
	return text
}

// redactError returns err without what could show a secret. A *url.Error at
// the top gives way to its cause. An error that has one further down, or whose
// text shows a secret, is replaced by its redacted text, which still matches
// what err matched.
func redactError(err error, secret string) error {
	for {
		top, ok := err.(*url.Error) //nolint:errorlint // one further down is hidden below
		if !ok || top.Err == nil {
			break
		}
		err = top.Err
	}
	shown := err.Error()
	text := redactText(shown, secret)
	if hidden := new(url.Error); text == shown && !errors.As(err, &hidden) {
		return err
	}
	return &redactedError{text, func(target error) bool { return errors.Is(err, target) }}
}

// A redactedError has the text of an error without its secrets, and matches
// what that error matches. It doesn't unwrap: what is below prints them.
type redactedError struct {
	text    string
	matches func(error) bool
}

func (e *redactedError) Error() string        { return e.text }
func (e *redactedError) Is(target error) bool { return e.matches(target) }

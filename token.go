package gitlabjobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unicode"
)

// A Token is a credential. It prints as redacted under every verb, in logs
// and as JSON; only Value has its text.
type Token struct {
	Kind  TokenKind
	Value string
}

// A TokenKind says what a [Token] is, and with that how it is sent.
type TokenKind int

// The kinds of token.
const (
	PrivateToken TokenKind = iota + 1 // a personal, project or group access token: header PRIVATE-TOKEN
	JobToken                          // a CI job's token: header JOB-TOKEN
	OAuthToken                        // an OAuth 2.0 access token: header Authorization: Bearer
)

// The headers that carry credentials.
const (
	headerPrivateToken  = "Private-Token"
	headerJobToken      = "Job-Token"
	headerAuthorization = "Authorization"
)

// String returns the kind's name, or "anonymous" for no kind.
func (k TokenKind) String() string {
	switch k {
	case PrivateToken:
		return "PrivateToken"
	case JobToken:
		return "JobToken"
	case OAuthToken:
		return "OAuthToken"
	}
	return "anonymous"
}

var _ interface {
	fmt.Formatter
	slog.LogValuer
} = Token{}

// Format writes the token's kind and "REDACTED", whatever the verb.
func (t Token) Format(state fmt.State, _ rune) {
	io.WriteString(state, t.String()) //nolint:errcheck // a Formatter can't report it
}

// String returns the token's kind and "REDACTED".
func (t Token) String() string { return "Token(" + t.Kind.String() + ", " + redacted + ")" }

// LogValue returns the token's kind and "REDACTED".
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalText returns the token's kind and "REDACTED": encoding a token as
// JSON doesn't show it either.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// validate returns what is wrong with the token, without showing it.
func (t Token) validate() error {
	switch {
	case t.Kind < PrivateToken || t.Kind > OAuthToken:
		return errors.New("the token has no kind")
	case t.Value == "":
		return errors.New("the token is empty")
	case hasControl(t.Value):
		return errors.New("the token has a control character, such as a line end")
	case strings.ContainsFunc(t.Value, unicode.IsSpace):
		return errors.New("the token has a space")
	}
	return nil
}

// header returns the header by which the token is sent, the way its kind wants it.
func (t Token) header() (name, value string) {
	switch t.Kind {
	case PrivateToken:
		return headerPrivateToken, t.Value
	case JobToken:
		return headerJobToken, t.Value
	case OAuthToken:
		return headerAuthorization, "Bearer " + t.Value
	}
	return "", ""
}

// A credential is where a client's tokens come from. The token is behind a
// function so that nothing that prints a client's memory comes across it.
type credential struct {
	option  string // who gave it
	token   func(context.Context) (Token, error)
	asParam bool // sent as the attribute job_token, not as a header
	rotates bool // whether asking again may give another token
}

func staticCredential(option string, token Token, asParam bool) Option {
	return func(c *config) error {
		if err := token.validate(); err != nil {
			return fmt.Errorf("%s: %w", option, err)
		}
		return c.setCredential(credential{
			option:  option,
			token:   func(context.Context) (Token, error) { return token, nil },
			asParam: asParam,
		})
	}
}

func (c *config) setCredential(cred credential) error {
	if c.credential.token != nil {
		return fmt.Errorf("%s: there is a credential already, from %s", cred.option, c.credential.option)
	}
	c.credential = cred
	return nil
}

// current returns the token to send now; the zero Token for anonymous.
func (c credential) current(ctx context.Context) (Token, error) {
	if c.token == nil {
		return Token{}, nil
	}
	token, err := c.token(ctx)
	if err != nil {
		return Token{}, fmt.Errorf("token source: %w", err)
	}
	if err := token.validate(); err != nil {
		return Token{}, fmt.Errorf("token source: %w", err)
	}
	return token, nil
}

func hasControl(s string) bool { return strings.ContainsFunc(s, unicode.IsControl) }

package gitlabjobs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"log/slog"
	"net/http"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The secrets that tests use as tokens. Whatever a recorded client gives out
// is searched for their distinctive part.
const (
	plantedMark         = "planted5ecret"
	plantedPrivateToken = "glpat-planted5ecret-private"
	plantedJobToken     = "glcbt-planted5ecret-job"
	plantedOAuthToken   = "planted5ecret+oauth/token=="
)

// A leakRecorder keeps everything that a client under test has given out.
type leakRecorder struct {
	mu       sync.Mutex
	log      bytes.Buffer
	attempts []Attempt
}

// recordedClient returns a client whose log and attempts are searched for
// planted secrets when the test ends, and so is the client itself. Its own
// logger and observer get everything, too. Where no option says who it is, it
// has a planted token. Benchmarks measure it without a recorder.
func recordedClient(t testing.TB, opts ...Option) *Client {
	t.Helper()
	recorder := &leakRecorder{}
	opts = append(slices.Clone(opts), plantToken)
	if _, measured := t.(*testing.B); !measured {
		opts = append(opts, recorder.attach)
	}
	client, err := NewClient(opts...)
	require.NoError(t, err)
	t.Cleanup(func() {
		recorder.mu.Lock()
		defer recorder.mu.Unlock()
		requireNoSecret(t, client, *client, client.Jobs, *client.Jobs, recorder.log.String(), recorder.attempts)
		for _, attempt := range recorder.attempts {
			if attempt.Err != nil {
				requireNoSecret(t, attempt.Err)
			}
		}
	})
	return client
}

// plantToken is the option of a planted token for clients without another.
func plantToken(c *config) error {
	if c.credential.token != nil {
		return nil
	}
	return WithPrivateToken(plantedPrivateToken)(c)
}

// attach is an option that goes after all others.
func (r *leakRecorder) attach(c *config) error {
	logger := slog.New(slog.NewTextHandler(r, &slog.HandlerOptions{Level: slog.LevelDebug}))
	log, observer := c.log, c.observer
	c.log = func(ctx context.Context, event Attempt, refused bool) {
		logAttempt(ctx, logger, event, refused)
		if log != nil {
			log(ctx, event, refused)
		}
	}
	c.observer = func(attempt Attempt) {
		r.observe(attempt)
		if observer != nil {
			observer(attempt)
		}
	}
	return nil
}

// Write takes a line of the log.
func (r *leakRecorder) Write(line []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(line)
}

func (r *leakRecorder) observe(attempt Attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attempts = append(r.attempts, attempt)
}

// fails returns err after it has been searched for planted secrets. Tests
// pass every error of a client through it.
func fails(t testing.TB, err error) error {
	t.Helper()
	require.Error(t, err)
	requireNoSecret(t, err)
	return err
}

// requireNoSecret prints values in every way and searches that for secrets,
// and likewise every error in their chains.
func requireNoSecret(t testing.TB, values ...any) {
	t.Helper()
	for _, value := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X", "%t", "%c"} {
			text := fmt.Sprintf(verb, value)
			if strings.Contains(text, plantedMark) || strings.Contains(strings.ToLower(text), fmt.Sprintf("%x", plantedMark)) {
				require.Failf(t, "a secret is shown", "by %s of a %T", verb, value)
			}
		}
		if encoded, err := json.Marshal(value); err == nil && bytes.Contains(encoded, []byte(plantedMark)) {
			require.Failf(t, "a secret is shown", "by the JSON of a %T", value)
		}
		err, ok := value.(error)
		if !ok || err == nil {
			continue
		}
		switch wrapper := err.(type) { //nolint:errorlint // each layer is looked at
		case interface{ Unwrap() error }:
			if next := wrapper.Unwrap(); next != nil {
				requireNoSecret(t, next)
			}
		case interface{ Unwrap() []error }:
			for _, next := range wrapper.Unwrap() {
				requireNoSecret(t, next)
			}
		}
	}
}

// The tests of this package search every error that they expect, and make
// their clients by recordedClient unless it is about the options themselves.
func TestEveryErrorAndClientIsSearched(t *testing.T) {
	t.Parallel()
	unrecorded := []string{"recordedClient", "TestNothingOfAClientShowsItsToken", "TestClientWithoutOptions", "TestCredentialHeaders", "exampleServer"}
	paths, err := filepath.Glob("*_test.go")
	require.NoError(t, err)
	errors := 0
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		require.NoError(t, err)
		for _, declaration := range file.Decls {
			function, ok := declaration.(*ast.FuncDecl)
			if !ok || function.Name.Name == "fails" || strings.HasPrefix(function.Name.Name, "Example") {
				continue
			}
			ast.Inspect(function, func(node ast.Node) bool {
				call, ok := node.(*ast.CallExpr)
				if !ok {
					return true
				}
				switch name := types.ExprString(call.Fun); {
				case errorAssertion.MatchString(name):
					errors++
					assert.Regexp(t, `^(gitlabjobs\.F|f)ails\(`, types.ExprString(call.Args[1]), "%s in %s of %s", name, function.Name, path)
				case strings.TrimPrefix(name, "gitlabjobs.") == "NewClient" && path != "options_test.go":
					assert.Contains(t, unrecorded, function.Name.Name, path)
				}
				return true
			})
		}
	}
	assert.Greater(t, errors, 100)
}

var errorAssertion = regexp.MustCompile(`^(assert|require)\.(Not)?(Error|EqualError)`)

func TestRequireNoSecretFindsSecrets(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]any{
		"text":        "token " + plantedPrivateToken,
		"field":       struct{ hidden string }{plantedJobToken},
		"error":       errors.New(plantedOAuthToken),
		"wrapped":     fmt.Errorf("outer: %w", errors.New(plantedOAuthToken)),
		"deep":        &quietError{errors.New(plantedPrivateToken)},
		"many":        errors.Join(errors.New("harmless"), &quietError{errors.New(plantedPrivateToken)}),
		"bytes":       []byte(plantedPrivateToken),
		"token's own": Token{PrivateToken, plantedPrivateToken}.Value,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			probe := &probeT{TB: t}
			func() {
				defer func() { _ = recover() }()
				requireNoSecret(probe, value)
			}()
			assert.True(t, probe.failed, "not found")
		})
	}
}

// A quietError shows nothing of the error below it.
type quietError struct{ err error }

func (e *quietError) Error() string { return "quiet" }
func (e *quietError) Unwrap() error { return e.err }

// A probeT notes that a test would have failed.
type probeT struct {
	testing.TB
	failed bool
}

func (p *probeT) Helper()               {}
func (p *probeT) Errorf(string, ...any) { p.failed = true }
func (p *probeT) FailNow()              { p.failed = true; panic("failed") }

func TestNothingOfAClientShowsItsToken(t *testing.T) {
	t.Parallel()
	source := func(context.Context) (Token, error) { return Token{PrivateToken, plantedPrivateToken}, nil }
	for name, opt := range map[string]Option{
		"WithPrivateToken":  WithPrivateToken(plantedPrivateToken),
		"WithJobToken":      WithJobToken(plantedJobToken),
		"WithJobTokenParam": WithJobTokenParam(plantedJobToken),
		"WithOAuthToken":    WithOAuthToken(plantedOAuthToken),
		"WithTokenSource":   WithTokenSource(source),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, err := NewClient(opt)
			require.NoError(t, err)
			config, err := newConfig([]Option{opt}, func(string) string { return "" })
			require.NoError(t, err)
			requireNoSecret(t, client, *client, client.Jobs, *client.Jobs, opt, config, *config, client.credential,
				map[string]any{"client": client}, []*Client{client}, struct{ Client *Client }{client}, struct{ c Client }{*client})
			assert.Equal(t, "gitlabjobs.Client(https://gitlab.com/api/v4, "+name+")", fmt.Sprintf("%s", client))
			assert.Equal(t, fmt.Sprint(client), fmt.Sprintf("%#v", *client))
			var log bytes.Buffer
			slog.New(slog.NewJSONHandler(&log, nil)).Info("look", "client", client, "value", *client, "service", client.Jobs)
			requireNoSecret(t, log.String())
		})
	}
	anonymous, err := NewClient()
	require.NoError(t, err)
	assert.Equal(t, "gitlabjobs.Client(https://gitlab.com/api/v4, anonymous)", fmt.Sprint(anonymous))
	assert.Equal(t, "gitlabjobs.Client()", fmt.Sprint(Client{}), "the zero client prints, too")
}

func TestTokenPrintsRedacted(t *testing.T) {
	t.Parallel()
	token := Token{OAuthToken, plantedOAuthToken}
	requireNoSecret(t, token, &token, []Token{token}, map[string]Token{"a": token}, struct{ Token Token }{token})
	assert.Equal(t, "Token(OAuthToken, REDACTED)", fmt.Sprintf("%#v", token))
	assert.Equal(t, "Token(anonymous, REDACTED)", Token{}.String())
	for _, handler := range []func(*bytes.Buffer) slog.Handler{
		func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var log bytes.Buffer
		slog.New(handler(&log)).Info("look", "token", token, "pointer", &token, "group", slog.GroupValue(slog.Any("token", token)))
		requireNoSecret(t, log.String())
		assert.Contains(t, log.String(), "REDACTED")
	}
	names := map[TokenKind]string{PrivateToken: "PrivateToken", JobToken: "JobToken", OAuthToken: "OAuthToken", 0: "anonymous", 9: "anonymous"}
	for kind, name := range names {
		assert.Equal(t, name, kind.String())
	}
}

// What callers' functions are given shows no token either: contexts, requests,
// answers.
func TestNothingGivenToCallersShowsTheToken(t *testing.T) {
	t.Parallel()
	g := serveGitLab(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("again") == "" {
			http.Redirect(w, r, r.URL.Path+"?again=1", http.StatusFound)
			return
		}
		answerJSON(jobJSON(1))(w, r)
	})
	given := 0
	search := func(values ...any) {
		given++
		requireNoSecret(t, values...)
		requireNoSecret(t, values)
	}
	client := g.client(t,
		WithTokenSource(func(ctx context.Context) (Token, error) {
			search(ctx)
			return Token{PrivateToken, plantedPrivateToken}, nil
		}),
		WithLogger(slog.New(contextHandler(func(ctx context.Context) { search(ctx) }))),
		WithHTTPClient(&http.Client{CheckRedirect: func(req *http.Request, via []*http.Request) error {
			search(req.Context(), req, *req, req.Response, req.Response.Body, via)
			return nil
		}}))
	_, err := client.Jobs.Get(t.Context(), "1", 1)
	require.NoError(t, err)
	assert.Equal(t, 3, given)
}

// A contextHandler is given the context of every record.
type contextHandler func(context.Context)

func (h contextHandler) Enabled(ctx context.Context, _ slog.Level) bool { return true }
func (h contextHandler) Handle(ctx context.Context, _ slog.Record) error {
	h(ctx)
	return nil
}
func (h contextHandler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h contextHandler) WithGroup(string) slog.Handler      { return h }

// A panic shows the values it is given and the arguments of functions as
// numbers; neither may be a token.
func TestPanicsShowNoToken(t *testing.T) {
	t.Parallel()
	client := recordedClient(t, WithPrivateToken(plantedPrivateToken))
	defer func() { requireNoSecret(t, recover(), reflect.ValueOf(client).Elem().String()) }()
	panic(client)
}

package gitlabjobs

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// echoes are the places where a server may say a token back. Errors, logs and
// attempts of every endpoint are searched for it.
var echoes = map[string]func(secret string) http.HandlerFunc{
	"JSON message": func(secret string) http.HandlerFunc {
		return answer(403, jsonType, fmt.Sprintf(`{"message":{"token":["%s is bad"]}}`, secret))
	},
	"text": func(secret string) http.HandlerFunc { return answer(400, "text/plain", "no token "+secret) },
	"XML": func(secret string) http.HandlerFunc {
		return answer(403, "text/xml", "<Error><Code>"+secret+"</Code></Error>")
	},
	"HTML":                 func(secret string) http.HandlerFunc { return answer(200, htmlType, "<html>"+secret+"</html>") },
	"text as a success":    func(secret string) http.HandlerFunc { return answer(200, "text/plain", secret) },
	"wrong type":           func(secret string) http.HandlerFunc { return answerJSON(`{"id":"` + secret + `"}`) },
	"wrong time":           func(secret string) http.HandlerFunc { return answerJSON(`{"created_at":"` + secret + `"}`) },
	"wrong time in a list": func(secret string) http.HandlerFunc { return answerJSON(`[{"created_at":"` + secret + `"}]`) },
	"headers": func(secret string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			for _, name := range []string{"X-Request-Id", "Retry-After", "Link", "X-Next-Page", "ETag", "RateLimit-Reset", "Server"} {
				w.Header().Set(name, "a "+secret)
			}
			answer(503, secret, "")(w, r)
		}
	},
	"request ID of a 200": func(secret string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Request-Id", secret)
			answerJSON("[]")(w, r)
		}
	},
	"Content-Encoding": func(secret string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", secret)
			answerJSON("{}")(w, r)
		}
	},
	"reason":           func(secret string) http.HandlerFunc { return hangUp("HTTP/1.1 400 " + secret + "\r\n\r\n") },
	"not HTTP":         func(secret string) http.HandlerFunc { return hangUp(secret + "\r\n\r\n") },
	"malformed header": func(secret string) http.HandlerFunc { return hangUp("HTTP/1.1 200 OK\r\n" + secret + "\r\n\r\n") },
	"malformed length": func(secret string) http.HandlerFunc {
		return hangUp("HTTP/1.1 200 OK\r\nContent-Length: " + secret + "\r\n\r\n")
	},
	"refused redirect": func(secret string) http.HandlerFunc { return redirectTo("ftp://x/" + url.PathEscape(secret)) },
	"redirect, no URL": func(secret string) http.HandlerFunc { return redirectTo("http://[" + secret) },
	"followed redirect": func(secret string) http.HandlerFunc {
		return redirectTo("http://127.0.0.1:1/" + secret + "?a=" + secret)
	},
}

func redirectTo(location string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", location)
		w.WriteHeader(http.StatusFound)
	}
}

func TestServersThatEchoTheToken(t *testing.T) {
	t.Parallel()
	credentials := map[string]Option{
		plantedPrivateToken: WithPrivateToken(plantedPrivateToken),
		plantedOAuthToken:   WithOAuthToken(plantedOAuthToken),
		plantedJobToken:     WithJobTokenParam(plantedJobToken),
	}
	for name, echo := range echoes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			calls := archiveCalls(t.TempDir())
			for _, test := range endpointCases(t) {
				calls = append(calls, test.call)
			}
			failures := 0
			for secret, credential := range credentials {
				g := serveGitLab(t, echo(secret))
				client := g.client(t, credential, WithRetry(RetryPolicy{MaxRetries: 1, MinWait: 1, MaxWait: 1}))
				for _, call := range calls {
					if _, err := call(t.Context(), client.Jobs, "1"); err != nil {
						failures++
						fails(t, err) //nolint:errcheck // it is the same one
					}
				}
			}
			assert.Greater(t, failures, len(credentials))
		})
	}
}

// archiveCalls are the calls that do more with an archive than download it.
func archiveCalls(dir string) []endpointCall {
	target := FromJob(1)
	return []endpointCall{
		func(ctx context.Context, s *JobsService, p ProjectID) (any, error) {
			return s.SaveArtifacts(ctx, p, target, filepath.Join(dir, "archive.zip"), nil)
		},
		func(ctx context.Context, s *JobsService, p ProjectID) (any, error) {
			return s.ExtractArtifacts(ctx, p, target, dir, nil)
		},
		func(ctx context.Context, s *JobsService, p ProjectID) (any, error) {
			fsys, err := s.OpenArtifacts(ctx, p, target, nil)
			if err != nil {
				return nil, err
			}
			return nil, fsys.Close()
		},
	}
}

// What is below the client may put a secret into its errors, too.
func TestTransportsThatShowSecrets(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	for name, err := range map[string]error{
		"its own URL error":  &url.Error{Op: "Get", URL: "https://x/?job_token=" + plantedMark, Err: cause},
		"a wrapped one":      fmt.Errorf("middleware: %w", &url.Error{Op: "Get", URL: "https://x/?job_token=" + plantedMark, Err: cause}),
		"the header":         fmt.Errorf("middleware: PRIVATE-TOKEN: %s: %w", plantedPrivateToken, cause),
		"a proxy's password": fmt.Errorf("proxyconnect http://user:%s@proxy: %w", plantedMark, cause),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			transport := roundTripper(func(*http.Request) (*http.Response, error) { return nil, err })
			client := recordedClient(t, hurried(), WithPrivateToken(plantedPrivateToken), WithHTTPClient(&http.Client{Transport: transport}))
			_, err := client.Jobs.Get(t.Context(), "1", 1)
			require.ErrorIs(t, fails(t, err), cause)
			_, err = client.Jobs.Play(t.Context(), "1", 1, nil)
			require.ErrorIs(t, fails(t, err), ErrOutcomeUnknown)
		})
	}
	t.Run("of a token source", func(t *testing.T) {
		t.Parallel()
		client := recordedClient(t, WithTokenSource(func(context.Context) (Token, error) {
			return Token{}, fmt.Errorf("vault: %w", &url.Error{Op: "Get", URL: "https://x/?t=" + plantedMark, Err: cause})
		}))
		_, err := client.Jobs.Get(t.Context(), "1", 1)
		require.ErrorIs(t, fails(t, err), cause)
		assert.ErrorContains(t, fails(t, err), `token source: vault: Get "https://x/?t=REDACTED": cause`)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

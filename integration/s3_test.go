package integration

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs"
)

// An objectStore is an S3 gateway with one archive in it.
type objectStore struct {
	addr    string // of the gateway, or of what stands before it
	archive archive
}

const (
	storeAccess = "AKIAINTEGRATION"
	storeSecret = "planted-store-secret"
	storeRegion = "us-east-1"
	linkLife    = time.Minute

	archiveObject = "/artifacts/job/artifacts.zip"
)

func startObjectStore(t testing.TB, size int64) *objectStore {
	t.Helper()
	program := requireProgram(t, "versitygw")
	s := &objectStore{freeAddr(t), newArchive(t, size, 5)}
	cmd := exec.Command(program, "--port", s.addr, "--access", storeAccess, "--secret", storeSecret,
		"--region", storeRegion, "--keep-alive", "--quiet", "posix", "--sidecar", t.TempDir(), t.TempDir())
	startProcess(t, s.addr, cmd)
	s.put(t, "/artifacts", nil)
	file, err := os.Open(s.archive.path)
	require.NoError(t, err)
	defer file.Close()
	s.put(t, archiveObject, file)
	return s
}

// put makes a bucket or an object.
func (s *objectStore) put(t testing.TB, path string, body *os.File) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPut, s.link(t, http.MethodPut, path, time.Now()), body)
	require.NoError(t, err)
	if body == nil {
		req.Body = http.NoBody
	} else {
		req.ContentLength = s.archive.size
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode, "%s", answer)
}

// link returns a presigned URL, made by AWS's own signer at the given time.
func (s *objectStore) link(t testing.TB, method, path string, signed time.Time) string {
	t.Helper()
	req, err := http.NewRequest(method, fmt.Sprintf("http://%s%s?X-Amz-Expires=%d", s.addr, path, int(linkLife.Seconds())), nil)
	require.NoError(t, err)
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	url, _, err := signer.PresignHTTP(context.Background(), aws.Credentials{AccessKeyID: storeAccess, SecretAccessKey: storeSecret},
		req, "UNSIGNED-PAYLOAD", "s3", storeRegion, signed)
	require.NoError(t, err)
	return url
}

// A redirectingGitLab answers downloads of the archive of job 7 with a
// redirect to the store.
type redirectingGitLab struct {
	*httptest.Server
	asked   atomic.Int64
	expired func(asked int64) bool // whether that link has expired
}

func (s *objectStore) behindGitLab(t testing.TB, expired func(asked int64) bool) *redirectingGitLab {
	g := &redirectingGitLab{expired: expired}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v4/projects/1/jobs/7/artifacts" {
			http.NotFound(w, r)
			return
		}
		signed := time.Now()
		if g.expired(g.asked.Add(1)) {
			signed = signed.Add(-2 * linkLife)
		}
		http.Redirect(w, r, s.link(t, http.MethodGet, archiveObject, signed), http.StatusFound)
	}))
	t.Cleanup(g.Close)
	return g
}

func never(int64) bool { return false }

// S3 refuses a request that has a second credential. The gateway refuses one
// that shows in the signed query, but lets a header pass, so nginx before it
// does what S3 would do.
func TestS3SecondCredential(t *testing.T) {
	t.Parallel()
	store := startObjectStore(t, mib)
	n := startNginx(t, `
  server {
    listen ADDR;
    set $second "$http_authorization$http_private_token$http_job_token$http_cookie";
    if ($second) { return 400 "one credential is enough"; }
    location / { proxy_pass http://`+store.addr+`; proxy_set_header Host $http_host; }
  }`)
	store.addr = n.addr
	for name, header := range map[string]string{"Authorization": "Bearer secret", "PRIVATE-TOKEN": "secret", "JOB-TOKEN": "secret", "Cookie": "a=b"} {
		req, err := http.NewRequest(http.MethodGet, store.link(t, http.MethodGet, archiveObject, time.Now()), nil)
		require.NoError(t, err)
		req.Header.Set(name, header)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, http.StatusBadRequest, resp.StatusCode, "or this test proves nothing")
	}

	gitlab := store.behindGitLab(t, never)
	for name, credential := range map[string]gitlabjobs.Option{
		"private token":   gitlabjobs.WithPrivateToken("secret"),
		"OAuth token":     gitlabjobs.WithOAuthToken("secret"),
		"job token":       gitlabjobs.WithJobToken("secret"),
		"job_token":       gitlabjobs.WithJobTokenParam("secret"),
		"no token at all": gitlabjobs.WithUserAgent("anonymous"),
	} {
		client := newClient(t, gitlab.URL, "", credential)
		d, err := client.Jobs.DownloadArtifacts(t.Context(), "1", gitlabjobs.FromJob(7), io.Discard,
			&gitlabjobs.DownloadOptions{SHA256: store.archive.sha256})
		require.NoError(t, err, name)
		assert.True(t, d.Verified, name)
		assert.Equal(t, store.archive.size, d.Size, name)
	}
}

func TestS3ExpiredLinks(t *testing.T) {
	t.Parallel()
	store := startObjectStore(t, mib)
	t.Run("at first", func(t *testing.T) {
		gitlab := store.behindGitLab(t, func(asked int64) bool { return asked < 3 })
		d, err := newClient(t, gitlab.URL, "secret").Jobs.DownloadArtifacts(t.Context(), "1", gitlabjobs.FromJob(7), io.Discard, nil)
		require.NoError(t, err)
		assert.Equal(t, store.archive.sha256, d.SHA256)
		assert.EqualValues(t, 3, gitlab.asked.Load())
	})
	t.Run("all of them", func(t *testing.T) {
		gitlab := store.behindGitLab(t, func(int64) bool { return true })
		_, err := newClient(t, gitlab.URL, "secret").Jobs.DownloadArtifacts(t.Context(), "1", gitlabjobs.FromJob(7), io.Discard, nil)
		var refusal *gitlabjobs.Error
		require.ErrorAs(t, err, &refusal)
		assert.Equal(t, http.StatusForbidden, refusal.StatusCode)
		assert.Contains(t, strings.ToLower(refusal.Message), "expired", "the store's own words")
		assert.NotContains(t, err.Error(), storeAccess)
		assert.NotRegexp(t, `X-Amz-Signature=[0-9a-f]`, err.Error())
		assert.EqualValues(t, 5, gitlab.asked.Load(), "1 + MaxRetries")
	})
}

// Connections to the store break again and again, and every third link that
// GitLab hands out has expired.
func TestS3Resume(t *testing.T) {
	t.Parallel()
	const size = 20 * mib
	store := startObjectStore(t, size)
	for name, parallel := range map[string]int{"in one piece": 1, "side by side": 4} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gitlab := store.behindGitLab(t, func(asked int64) bool { return asked%3 == 0 })
			network := newToxicNetwork(t, "http://"+store.addr, inTurn(3),
				[]toxic{{Type: "limit_data", Attributes: map[string]int{"bytes": 3 * mib}}},
				[]toxic{{Type: "latency", Attributes: map[string]int{"latency": 5, "jitter": 5}}, {Type: "limit_data", Attributes: map[string]int{"bytes": 2 * mib}}},
				[]toxic{{Type: "limit_data", Attributes: map[string]int{"bytes": 1_000_003}}})
			httpClient := network.httpClientFor(t, store.addr)
			counter := &attemptCounter{}
			policy := quickRetry
			policy.MaxRetries = 10 // one of four may have bad luck with every link it gets
			client := newClient(t, gitlab.URL, "secret", gitlabjobs.WithHTTPClient(httpClient),
				gitlabjobs.WithObserver(counter.observe), gitlabjobs.WithRetry(policy))
			filename := filepath.Join(t.TempDir(), "artifacts.zip")
			d, err := client.Jobs.SaveArtifacts(t.Context(), "1", gitlabjobs.FromJob(7), filename, &gitlabjobs.SaveOptions{
				Parallel: parallel, DownloadOptions: gitlabjobs.DownloadOptions{SHA256: store.archive.sha256},
			})
			require.NoError(t, err)
			assert.True(t, d.Verified)
			assert.Equal(t, store.archive.sha256, hashFile(t, filename))
			assert.Positive(t, d.Resumes)
			assert.Greater(t, network.connections(), size/(3*mib), "no connection can carry more than 3 MiB")
			assert.Contains(t, counter.statuses(), http.StatusPartialContent)
			assert.Contains(t, counter.statuses(), http.StatusForbidden)
		})
	}
}

// A link that was changed on the way must be refused by the store, or its
// checks would prove nothing.
func TestS3ChecksSignatures(t *testing.T) {
	t.Parallel()
	store := startObjectStore(t, 64<<10)
	link := store.link(t, http.MethodGet, archiveObject, time.Now())
	for name, url := range map[string]string{
		"another parameter": link + "&job_token=secret",
		"no signature":      link[:strings.Index(link, "&X-Amz-Signature")],
	} {
		resp, err := http.Get(url)
		require.NoError(t, err)
		resp.Body.Close()
		assert.GreaterOrEqual(t, resp.StatusCode, http.StatusBadRequest, name)
	}
	resp, err := http.Get(link)
	require.NoError(t, err)
	defer resp.Body.Close()
	hash := sha256.New()
	_, err = io.Copy(hash, resp.Body)
	require.NoError(t, err)
	assert.Equal(t, store.archive.sha256, hex.EncodeToString(hash.Sum(nil)))
}

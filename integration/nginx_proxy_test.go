package integration

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs"
	"github.com/gitlabjobs/gitlabjobs/jobstest"
)

// proxyServer is a server block that passes all requests on.
func proxyServer(t testing.TB, s *jobstest.Server, listen, extra string) string {
	t.Helper()
	upstream, err := url.Parse(s.URL())
	require.NoError(t, err)
	return fmt.Sprintf(`
  server {
    listen ADDR %s;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    location / { proxy_pass http://%s; %s }
  }`, listen, upstream.Host, extra)
}

// What GitLab stands behind in many companies: TLS by a private CA, HTTP/2,
// compression, a relative root and a configured host that isn't the one reached.
func TestNginxProxyWithTLSAndHTTP2(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	s, pl := newGitLab(t, jobstest.WithBasePath("/gitlab"), jobstest.WithLinkHost("https://gitlab.invalid"), jobstest.WithGzip())
	files := map[string]string{"report.txt": strings.Repeat("all is well\n", 5_000), "dir/a b#c?100%.txt": "odd\n"}
	zip := jobstest.Zip(files)
	log := strings.Repeat("compiling\n", 30_000)
	var jobs []int64
	for range 250 {
		j := pl.AddJob(jobstest.JobSpec{Name: "build", Archive: zip, Log: log})
		jobs = append(jobs, j.ID())
	}
	n := startNginx(t, proxyServer(t, s, "ssl http2", "gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any;")+ca.directives())
	base := "https://" + n.addr + "/gitlab"
	client := newClient(t, base, s.Token(), gitlabjobs.WithHTTPClient(ca.httpClient(t)))

	var listed []int64
	for job, err := range client.Jobs.All(t.Context(), project, nil) {
		require.NoError(t, err)
		listed = append([]int64{job.ID}, listed...)
	}
	assert.Equal(t, jobs, listed, "newest first, every one once")

	var archive, trace bytes.Buffer
	d, err := client.Jobs.DownloadArtifacts(t.Context(), project, gitlabjobs.FromJob(jobs[0]), &archive, nil)
	require.NoError(t, err)
	assert.True(t, d.Verified, "the ETag passes a proxy that compresses")
	assert.Equal(t, zip, archive.Bytes())
	_, err = client.Jobs.DownloadTrace(t.Context(), project, jobs[0], &trace, nil)
	require.NoError(t, err)
	assert.Equal(t, hashText(log), hashText(trace.String()))
	for path, content := range files {
		var file bytes.Buffer
		_, err = client.Jobs.DownloadArtifactFile(t.Context(), project, gitlabjobs.FromJob(jobs[0]), path, &file, nil)
		require.NoError(t, err, path)
		assert.Equal(t, content, file.String(), path)
	}
	job, err := client.Jobs.Retry(t.Context(), project, jobs[0], nil)
	require.NoError(t, err)
	assert.NotEqual(t, jobs[0], job.ID)
	for _, line := range n.quit(t) {
		assert.True(t, strings.HasPrefix(line, "HTTP/2.0 "), line)
	}
}

func TestNginxProxyOfAnUnknownAuthority(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	s, _ := newGitLab(t)
	n := startNginx(t, proxyServer(t, s, "ssl", "")+ca.directives())
	counter := &attemptCounter{}
	client := newClient(t, "https://"+n.addr, s.Token(), gitlabjobs.WithObserver(counter.observe))
	_, err := client.Jobs.Get(t.Context(), project, 1)
	require.ErrorContains(t, err, "certificate")
	assert.Equal(t, 1, counter.count(), "a certificate doesn't get better by asking again")
	assert.Empty(t, s.Requests())
}

func TestNginxProxyTimeout(t *testing.T) {
	t.Parallel()
	s, pl := newGitLab(t)
	job := pl.AddJob(jobstest.JobSpec{Name: "deploy", Status: gitlabjobs.StatusManual})
	n := startNginx(t, proxyServer(t, s, "", "proxy_read_timeout 300ms;"))
	client := newClient(t, "http://"+n.addr, s.Token())

	s.Fail(jobstest.Fault{Endpoint: "GET /projects/:id/jobs/:job_id", Times: 2, Delay: time.Minute})
	got, err := client.Jobs.Get(t.Context(), project, job.ID())
	require.NoError(t, err, "a read is asked for again after nginx's 504")
	assert.Equal(t, "deploy", got.Name)

	play := "POST /projects/:id/jobs/:job_id/play"
	s.Fail(jobstest.Fault{Endpoint: play, Times: 1, Delay: time.Minute})
	_, err = client.Jobs.Play(t.Context(), project, job.ID(), nil)
	require.ErrorIs(t, err, gitlabjobs.ErrOutcomeUnknown)
	var refusal *gitlabjobs.Error
	require.ErrorAs(t, err, &refusal)
	assert.Equal(t, http.StatusGatewayTimeout, refusal.StatusCode)
	assert.NotContains(t, refusal.Message, "<", "the page is HTML, the message isn't")
	assert.Len(t, requestsOf(s, play), 1)
}

func TestNginxUpstreamDown(t *testing.T) {
	t.Parallel()
	s, _ := newGitLab(t)
	n := startNginx(t, proxyServer(t, s, "", ""))
	s.Close()
	client := newClient(t, "http://"+n.addr, s.Token())
	_, err := client.Jobs.Get(t.Context(), project, 1)
	var refusal *gitlabjobs.Error
	require.ErrorAs(t, err, &refusal)
	assert.Equal(t, http.StatusBadGateway, refusal.StatusCode)
	assert.Equal(t, "Bad Gateway", refusal.Message)
	assert.Len(t, n.quit(t), 5, "1 + MaxRetries")
}

// nginx's limiter says 503 unless told otherwise, in HTML, and never when to
// come back.
func TestNginxLimitReq(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			t.Parallel()
			s, pl := newGitLab(t)
			job := pl.AddJob(jobstest.JobSpec{Name: "build"})
			n := startNginx(t, "limit_req_zone $binary_remote_addr zone=api:1m rate=50r/s;"+
				proxyServer(t, s, "", fmt.Sprintf("limit_req zone=api; limit_req_status %d;", status)))
			counter := &attemptCounter{}
			client := newClient(t, "http://"+n.addr, s.Token(), gitlabjobs.WithObserver(counter.observe),
				gitlabjobs.WithRetry(gitlabjobs.RetryPolicy{MaxRetries: 40, MinWait: 5 * time.Millisecond, MaxWait: 200 * time.Millisecond}))

			var group sync.WaitGroup
			for range 20 {
				group.Go(func() {
					got, err := client.Jobs.Get(t.Context(), project, job.ID())
					if assert.NoError(t, err) {
						assert.Equal(t, "build", got.Name)
					}
				})
			}
			group.Wait()
			assert.Contains(t, counter.statuses(), status, "the limit was met")
		})
	}
}

// A 429 says that nothing was done; a 503 may come from anywhere.
func TestNginxLimitReqOfAPlay(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			t.Parallel()
			s, pl := newGitLab(t)
			manual := pl.AddJob(jobstest.JobSpec{Name: "deploy", Status: gitlabjobs.StatusManual})
			n := startNginx(t, "limit_req_zone $binary_remote_addr zone=api:1m rate=1r/m;"+
				proxyServer(t, s, "", fmt.Sprintf("limit_req zone=api; limit_req_status %d;", status)))
			client := newClient(t, "http://"+n.addr, s.Token())
			_, err := client.Jobs.Get(t.Context(), project, manual.ID()) // the only one this minute
			require.NoError(t, err)
			_, err = client.Jobs.Play(t.Context(), project, manual.ID(), nil)
			unknown := status == http.StatusServiceUnavailable
			assert.Equal(t, unknown, errors.Is(err, gitlabjobs.ErrOutcomeUnknown))
			assert.Equal(t, !unknown, errors.Is(err, gitlabjobs.ErrRateLimited))
			assert.Empty(t, requestsOf(s, "POST /projects/:id/jobs/:job_id/play"))
			posts := 0
			for _, line := range n.quit(t) {
				posts += strings.Count(line, " POST ")
			}
			if unknown {
				assert.Equal(t, 1, posts)
			} else {
				assert.Equal(t, 5, posts, "1 + MaxRetries")
			}
		})
	}
}

// nginx ends connections after so many requests, and announces it; and after
// they were idle for so long, without a word. In the latter case a play that
// is under way at that moment has an unknown outcome; nothing is lost or done
// twice in either.
func TestNginxKeepAliveLimits(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		listen, limit string
		announced     bool
	}{
		"HTTP/1.1, requests": {"", "keepalive_requests 2;", true},
		"HTTP/1.1, time":     {"", "keepalive_timeout 20ms;", false},
		"HTTP/2, requests":   {"ssl http2", "keepalive_requests 2;", false},
		"HTTP/2, time":       {"ssl http2", "keepalive_timeout 20ms;", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ca := newAuthority(t)
			s, pl := newGitLab(t)
			n := startNginx(t, proxyServer(t, s, test.listen, "")+ca.directives()+test.limit)
			scheme := "http://"
			if test.listen != "" {
				scheme = "https://"
			}
			client := newClient(t, scheme+n.addr, s.Token(), gitlabjobs.WithHTTPClient(ca.httpClient(t)))
			const rounds = 30
			played := 0
			for range rounds {
				manual := pl.AddJob(jobstest.JobSpec{Name: "deploy", Status: gitlabjobs.StatusManual})
				_, err := client.Jobs.Get(t.Context(), project, manual.ID())
				require.NoError(t, err)
				_, err = client.Jobs.Play(t.Context(), project, manual.ID(), nil)
				if err == nil {
					played++
				} else {
					require.ErrorIs(t, err, gitlabjobs.ErrOutcomeUnknown)
				}
			}
			arrived := len(requestsOf(s, "POST /projects/:id/jobs/:job_id/play"))
			assert.LessOrEqual(t, played, arrived)
			assert.LessOrEqual(t, arrived, rounds)
			if test.announced {
				assert.Equal(t, rounds, played)
			}
			t.Logf("%d of %d played, %d arrived", played, rounds, arrived)
		})
	}
}

func TestNginxReloadMidProxiedDownloads(t *testing.T) {
	t.Parallel()
	for name, listen := range map[string]string{"HTTP/1.1": "", "HTTP/2": "ssl http2"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ca := newAuthority(t)
			s, pl := newGitLab(t)
			content, size := jobstest.SyntheticZip(16*mib, 4)
			job := pl.AddJob(jobstest.JobSpec{Name: "build", ArchiveReader: content, ArchiveSize: size})
			n := startNginx(t, slowAtFirst+proxyServer(t, s, listen, "limit_rate $rate; limit_rate_after 4m; proxy_max_temp_file_size 0;")+ca.directives())
			scheme := "http://"
			if listen != "" {
				scheme = "https://"
			}
			client := newClient(t, scheme+n.addr, s.Token(), gitlabjobs.WithHTTPClient(ca.httpClient(t)))

			var once sync.Once
			var group sync.WaitGroup
			var resumes sync.Map
			for i := range 3 {
				group.Go(func() {
					hash := sha256.New()
					w := &writerFunc{}
					w.write = func(p []byte) error {
						hash.Write(p)
						if w.written > 2*mib {
							once.Do(func() { assert.NoError(t, n.reload()) })
						}
						return nil
					}
					d, err := client.Jobs.DownloadArtifacts(t.Context(), project, gitlabjobs.FromJob(job.ID()), w, nil)
					if assert.NoError(t, err) {
						assert.True(t, d.Verified)
						assert.Equal(t, d.SHA256, hex.EncodeToString(hash.Sum(nil)))
						resumes.Store(i, d.Resumes)
					}
				})
			}
			group.Wait()
			total := 0
			resumes.Range(func(_, n any) bool { total += n.(int); return true })
			assert.Positive(t, total, "the reload broke downloads")

			filename := filepath.Join(t.TempDir(), "artifacts.zip")
			d, err := client.Jobs.SaveArtifacts(t.Context(), project, gitlabjobs.FromJob(job.ID()), filename, &gitlabjobs.SaveOptions{Parallel: 3})
			require.NoError(t, err)
			assert.True(t, d.Verified)
			assert.Equal(t, d.SHA256, hashFile(t, filename))
		})
	}
}

// What a proxy answers by itself, before GitLab is asked.
func TestNginxOwnAnswers(t *testing.T) {
	t.Parallel()
	s, pl := newGitLab(t)
	job := pl.AddJob(jobstest.JobSpec{Name: "deploy", Status: gitlabjobs.StatusManual})
	n := startNginx(t, `
  server {
    listen ADDR;
    location /wall/ { return 302 /sign_in; }
    location = /sign_in { default_type text/html; return 200 "<!DOCTYPE html><html><title>Sign in</title></html>"; }
    location /elsewhere/ { return 301 https://localhost:1$request_uri; }
    location /small/ { client_max_body_size 1k; proxy_pass `+s.URL()+`/; }
  }`)

	t.Run("login wall", func(t *testing.T) {
		client := newClient(t, "http://"+n.addr+"/wall", s.Token())
		_, err := client.Jobs.Get(t.Context(), project, job.ID())
		require.ErrorIs(t, err, gitlabjobs.ErrUnexpectedContent)
		var w bytes.Buffer
		_, err = client.Jobs.DownloadArtifacts(t.Context(), project, gitlabjobs.FromJob(job.ID()), &w, nil)
		require.ErrorIs(t, err, gitlabjobs.ErrUnexpectedContent)
		assert.Zero(t, w.Len())
	})
	t.Run("http base URL", func(t *testing.T) {
		client := newClient(t, "http://"+n.addr+"/elsewhere", s.Token())
		_, err := client.Jobs.Play(t.Context(), project, job.ID(), nil)
		require.ErrorIs(t, err, gitlabjobs.ErrRedirectRefused)
		assert.NotErrorIs(t, err, gitlabjobs.ErrOutcomeUnknown)
	})
	t.Run("body too large", func(t *testing.T) {
		client := newClient(t, "http://"+n.addr+"/small", s.Token())
		_, err := client.Jobs.Play(t.Context(), project, job.ID(),
			&gitlabjobs.PlayOptions{Variables: []gitlabjobs.Variable{{Key: "LARGE", Value: strings.Repeat("x", 4<<10)}}})
		var refusal *gitlabjobs.Error
		require.ErrorAs(t, err, &refusal)
		assert.Equal(t, http.StatusRequestEntityTooLarge, refusal.StatusCode)
		assert.Equal(t, "Request Entity Too Large", refusal.Message)
		assert.NotErrorIs(t, err, gitlabjobs.ErrOutcomeUnknown)
	})
	assert.Empty(t, s.Requests())
}

// requestsOf returns the simulator's requests to one endpoint.
func requestsOf(s *jobstest.Server, endpoint string) []jobstest.Request {
	var all []jobstest.Request
	for _, r := range s.Requests() {
		if r.Endpoint == endpoint {
			all = append(all, r)
		}
	}
	return all
}

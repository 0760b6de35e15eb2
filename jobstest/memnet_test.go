package jobstest_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs/jobstest"
)

// dial opens a plain connection to an in-memory server.
func dial(t *testing.T, s *jobstest.Server) net.Conn {
	t.Helper()
	conn, err := s.DialContext(t.Context(), "tcp", "gitlab.test:80")
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestMemConnDeadlines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := jobstest.NewServer(jobstest.WithInMemory())
		defer s.Close()
		conn := dial(t, s)
		began := time.Now()
		buf := make([]byte, 10)

		require.NoError(t, conn.SetReadDeadline(began.Add(time.Minute)))
		_, err := conn.Read(buf)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		assert.Equal(t, time.Minute, time.Since(began))
		_, err = conn.Read(buf)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded, "it stays passed")

		go func() {
			time.Sleep(time.Second)
			_ = conn.SetDeadline(time.Now().Add(-time.Hour))
		}()
		require.NoError(t, conn.SetDeadline(time.Time{}))
		_, err = conn.Read(buf)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded, "a deadline ends a read under way")
		_, err = conn.Write(buf)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)

		require.NoError(t, conn.SetWriteDeadline(time.Now().Add(time.Second)))
		_, err = conn.Write(bytes.Repeat([]byte("GET / HTTP/1.1\r\nHost: x\r\nX-Long: "), 1<<20))
		require.Error(t, err, "the server reads no more of a header than it takes")
	})
}

func TestMemConnBuffers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := jobstest.NewServer(jobstest.WithInMemory())
		defer s.Close()
		conn := dial(t, s)
		_, err := io.WriteString(conn, "GET /api/v4/version HTTP/1.1\r\nHost: gitlab.test\r\nConnection: close\r\n\r\n")
		require.NoError(t, err, "a write doesn't wait for its reader")
		synctest.Wait()
		answer, err := io.ReadAll(conn)
		require.NoError(t, err)
		assert.Contains(t, string(answer), "HTTP/1.1 401 Unauthorized\r\n")
		assert.Equal(t, "mem", conn.RemoteAddr().Network())
		assert.Equal(t, "gitlab.test:80", conn.RemoteAddr().String())
		assert.NotEmpty(t, conn.LocalAddr().String())
		require.NoError(t, conn.Close())
		_, err = conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, net.ErrClosed)
		_, err = conn.Write([]byte("x"))
		require.ErrorIs(t, err, net.ErrClosed)
	})
}

func TestMemDial(t *testing.T) {
	t.Parallel()
	s := start(t, jobstest.WithInMemory())
	_, err := s.DialContext(t.Context(), "tcp", "example.com:80")
	var notFound *net.DNSError
	require.ErrorAs(t, err, &notFound)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	s.Close()
	_, err = s.DialContext(canceled, "tcp", "gitlab.test:80")
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	s.Close()
}

// A bubble ends only when every goroutine in it has: the server leaves none
// behind, whatever its connections were doing when it was closed.
func TestCloseLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	for _, opts := range [][]jobstest.Option{
		{}, {jobstest.WithTLS()}, {jobstest.WithObjectStore(jobstest.ObjectStore{})},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := jobstest.NewServer(append(opts, jobstest.WithInMemory())...)
			p := s.AddProject("group/app")
			j := p.AddPipeline(jobstest.PipelineSpec{}).AddJob(jobstest.JobSpec{Log: "log", Archive: jobstest.Zip(nil)})
			c := newClient(t, s)
			assert.Equal(t, 200, c.get("/projects/11/jobs").status)
			if link := c.get("/projects/11/jobs/" + id(j) + "/artifacts").header.Get("Location"); link != "" {
				assert.Equal(t, 200, c.with().get(link).status)
			}
			s.Fail(jobstest.Fault{Endpoint: "GET /projects/:id/jobs/:job_id/trace", Stall: true, StallAfter: 1})
			s.Fail(jobstest.Fault{Endpoint: "GET /projects/:id/jobs/:job_id", Delay: time.Hour})
			resp, err := c.send("GET", "/projects/11/jobs/"+id(j)+"/trace", "")
			require.NoError(t, err)
			defer func() { _ = resp.Body.Close() }()
			failed := make(chan error)
			go func() {
				resp, err := c.send("GET", "/projects/11/jobs/"+id(j), "")
				if err == nil {
					_ = resp.Body.Close()
				}
				failed <- err
			}()
			synctest.Wait()
			s.Close()
			require.Error(t, <-failed)
			_, err = io.ReadAll(resp.Body)
			require.Error(t, err)
		})
	}
}

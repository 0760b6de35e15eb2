package integration

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs"
	"github.com/gitlabjobs/gitlabjobs/jobstest"
)

const (
	mib = 1 << 20
	// startTimeout is how long a part may take to answer, on a slow machine.
	startTimeout = time.Minute
	// project is the path of the project that tests use.
	project = gitlabjobs.ProjectID("group/sub/app")
)

// quickRetry keeps the tests fast; only the waits differ from the default.
var quickRetry = gitlabjobs.RetryPolicy{MinWait: time.Millisecond, MaxWait: 20 * time.Millisecond}

// newGitLab starts a simulator with one project and one pipeline.
func newGitLab(t testing.TB, opts ...jobstest.Option) (*jobstest.Server, *jobstest.Pipeline) {
	t.Helper()
	s := jobstest.NewServer(opts...)
	t.Cleanup(s.Close)
	return s, s.AddProject(string(project)).AddPipeline(jobstest.PipelineSpec{})
}

// newClient returns a client that retries quickly.
func newClient(t testing.TB, baseURL, token string, opts ...gitlabjobs.Option) *gitlabjobs.Client {
	t.Helper()
	all := []gitlabjobs.Option{gitlabjobs.WithBaseURL(baseURL), gitlabjobs.WithRetry(quickRetry)}
	if token != "" {
		all = append(all, gitlabjobs.WithPrivateToken(token))
	}
	client, err := gitlabjobs.NewClient(append(all, opts...)...)
	require.NoError(t, err)
	return client
}

// An attemptCounter is an observer that keeps the attempts of a client.
type attemptCounter struct {
	mu       sync.Mutex
	attempts []gitlabjobs.Attempt
}

func (c *attemptCounter) observe(a gitlabjobs.Attempt) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attempts = append(c.attempts, a)
}

func (c *attemptCounter) statuses() []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []int
	for _, a := range c.attempts {
		all = append(all, a.StatusCode)
	}
	return all
}

func (c *attemptCounter) count() int { return len(c.statuses()) }

// An archive is a zip on disk, and its digest.
type archive struct {
	path   string
	size   int64
	sha256 string
}

// newArchive writes an archive of exactly size bytes.
func newArchive(t testing.TB, size int64, entries int) archive {
	t.Helper()
	content, size := jobstest.SyntheticZip(size, entries)
	file, err := os.Create(filepath.Join(t.TempDir(), "artifacts.zip"))
	require.NoError(t, err)
	defer file.Close()
	hash := sha256.New()
	_, err = io.Copy(io.MultiWriter(file, hash), io.NewSectionReader(content, 0, size))
	require.NoError(t, err)
	return archive{file.Name(), size, hex.EncodeToString(hash.Sum(nil))}
}

// hashFile returns the SHA-256 of a file, in hex.
func hashFile(t testing.TB, filename string) string {
	t.Helper()
	file, err := os.Open(filename)
	require.NoError(t, err)
	defer file.Close()
	hash := sha256.New()
	_, err = io.Copy(hash, file)
	require.NoError(t, err)
	return hex.EncodeToString(hash.Sum(nil))
}

// hashText returns the SHA-256 of a text, in hex.
func hashText(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// Parts listen below the ports that systems give to connections, and to
// servers that ask for any: one of those could be taken before a part has
// started.
const (
	lowestPort  = 20_000
	highestPort = 32_000
)

// givenPorts are the ports that freeAddr has returned.
var givenPorts sync.Map

// freeAddr returns an address of loopback that nobody listens on, and no other
// part is going to.
func freeAddr(t testing.TB) string {
	t.Helper()
	for {
		port := lowestPort + rand.IntN(highestPort-lowestPort)
		if _, given := givenPorts.LoadOrStore(port, true); given {
			continue
		}
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		if listener, err := net.Listen("tcp", addr); err == nil {
			require.NoError(t, listener.Close())
			return addr
		}
	}
}

// portOf returns the port of an address.
func portOf(t testing.TB, addr string) int {
	t.Helper()
	_, text, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	port, err := strconv.Atoi(text)
	require.NoError(t, err)
	return port
}

// requireProgram returns the path of a program: what install has put into
// bin, or else what PATH has. Without it the test is skipped.
func requireProgram(t testing.TB, name string) string {
	t.Helper()
	for _, candidate := range []string{filepath.Join("bin", name), name, "/usr/sbin/" + name} {
		if path, err := exec.LookPath(candidate); err == nil {
			path, err = filepath.Abs(path)
			require.NoError(t, err)
			return path
		}
	}
	t.Skipf("%s is not here; integration/install gets it", name)
	return ""
}

// A process is a part that runs beside the tests.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// startProcess starts a program that serves addr, and waits until it does. It
// is stopped when the test ends; what it has said is shown if that failed.
func startProcess(t testing.TB, addr string, cmd *exec.Cmd) *process {
	t.Helper()
	var output lockedBuffer
	cmd.Stdout, cmd.Stderr = &output, &output
	require.NoError(t, cmd.Start())
	p := &process{cmd, make(chan struct{})}
	go func() {
		defer close(p.ended)
		cmd.Wait() //nolint:errcheck // it is ended by a signal
	}()
	t.Cleanup(func() {
		p.stop(syscall.SIGTERM)
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(cmd.Path), output.tail(8<<10))
		}
	})
	serving := assert.Eventually(t, func() bool {
		select {
		case <-p.ended:
			return true // and not serving
		default:
		}
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	}, startTimeout, 20*time.Millisecond)
	select {
	case <-p.ended:
		require.FailNow(t, "the part ended as soon as it had started")
	default:
		require.True(t, serving)
	}
	return p
}

// stop ends the process by a signal, and waits for its end.
func (p *process) stop(signal os.Signal) {
	p.cmd.Process.Signal(signal) //nolint:errcheck // it may have ended
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
		p.cmd.Process.Kill() //nolint:errcheck // it may have ended
		<-p.ended
	}
}

// A lockedBuffer is a buffer that several goroutines write to.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

// tail returns at most the last n bytes.
func (b *lockedBuffer) tail(n int) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	text := b.buffer.String()
	return text[max(0, len(text)-n):]
}

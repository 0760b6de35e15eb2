package integration

import (
	"archive/zip"
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs/jobstest"
)

// The soak's server and the proxies before it run in processes of their own,
// so that what is measured in this one is the client alone.
const (
	soakServerVariable  = "INTEGRATION_SOAK_SERVER"
	soakProxiesVariable = "INTEGRATION_SOAK_PROXIES" // has the server's address
)

func TestMain(m *testing.M) {
	serve := map[bool]func() error{os.Getenv(soakServerVariable) != "": serveSoak, os.Getenv(soakProxiesVariable) != "": serveProxies}[true]
	if serve == nil {
		os.Exit(m.Run())
	}
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A soakSite is what the soak's server has to offer.
type soakSite struct {
	URL      string   // of the simulator
	Proxies  []string // addresses that lead there
	Token    string
	Pipeline int64   // of many jobs
	Jobs     []int64 // all of them
	Large    int64   // a job with an archive
	LargeSHA string
	Files    map[string]string // of the archive, and their digests
	LiveLog  string            // what every live job writes

	mu    sync.Mutex
	ask   io.Writer
	reply *json.Decoder
}

// newLive returns a new job that starts to run just now.
func (s *soakSite) newLive() (id int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := fmt.Fprintln(s.ask, "live"); err != nil {
		return 0, err
	}
	return id, s.reply.Decode(&id)
}

const (
	soakProject     = "group/soak"
	soakLiveProject = "group/live"
	soakJobs        = 430
	soakArchive     = 3 * mib
	soakFiles       = 24
)

// serveSoak serves until standard input ends. For each line of it there is a
// new live job, whose ID is written to standard output.
func serveSoak() error {
	s := jobstest.NewServer()
	defer s.Close()
	pl := s.AddProject(soakProject).AddPipeline(jobstest.PipelineSpec{})
	site := soakSite{URL: s.URL(), Token: s.Token()}
	for range soakJobs {
		site.Jobs = append(site.Jobs, pl.AddJob(jobstest.JobSpec{}).ID())
	}
	content, size := jobstest.SyntheticZip(soakArchive, soakFiles)
	hash := sha256.New()
	if _, err := io.Copy(hash, io.NewSectionReader(content, 0, size)); err != nil {
		return err
	}
	archive, err := zip.NewReader(content, size)
	if err != nil {
		return err
	}
	if site.Files, err = digestsOf(archive); err != nil {
		return err
	}
	site.LargeSHA = hex.EncodeToString(hash.Sum(nil))
	site.Large = pl.AddJob(jobstest.JobSpec{ArchiveReader: content, ArchiveSize: size, ArchiveSHA256: site.LargeSHA}).ID()
	site.Jobs = append(site.Jobs, site.Large)

	const steps, step = 8, 80 * time.Millisecond
	course := []jobstest.Step{{Status: "running"}}
	var log strings.Builder
	for i := range steps {
		piece := strings.Repeat(fmt.Sprintf("step %d\n", i), 40)
		log.WriteString(piece)
		course = append(course, jobstest.Step{After: time.Duration(i+1) * step, Log: piece})
	}
	course = append(course, jobstest.Step{After: (steps + 1) * step, Status: "success"})
	live := s.AddProject(soakLiveProject).AddPipeline(jobstest.PipelineSpec{})
	site.LiveLog = log.String()

	output := json.NewEncoder(os.Stdout)
	if err := output.Encode(&site); err != nil {
		return err
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if err := output.Encode(live.AddJob(jobstest.JobSpec{Course: course}).ID()); err != nil {
			return err
		}
	}
	return nil
}

// serveProxies serves until standard input ends.
func serveProxies() error {
	addrs, stop, err := startProxies(os.Getenv(soakProxiesVariable), randomToxics())
	defer stop()
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(addrs); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// A helperProcess is this program at another task, which ends with its
// standard input: at the latest with this process, whatever happens to it.
type helperProcess struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	reply *json.Decoder
}

func startHelper(variable, value string) (*helperProcess, error) {
	h := &helperProcess{cmd: exec.Command(os.Args[0])}
	h.cmd.Env = append(os.Environ(), variable+"="+value)
	h.cmd.Stderr = os.Stderr
	stdin, err := h.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := h.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	h.stdin, h.reply = stdin, json.NewDecoder(stdout)
	return h, h.cmd.Start()
}

func (h *helperProcess) stop() {
	h.stdin.Close()
	h.cmd.Wait() //nolint:errcheck // it has served its purpose
}

// startSoakServer starts the server and returns what it offers.
func startSoakServer(t testing.TB) *soakSite {
	t.Helper()
	h, err := startHelper(soakServerVariable, "1")
	require.NoError(t, err)
	t.Cleanup(h.stop)
	site := &soakSite{ask: h.stdin, reply: h.reply}
	require.NoError(t, h.reply.Decode(site))
	return site
}

// A proxyFleet is a set of proxies that is replaced now and then: toxiproxy
// keeps memory for every connection that limit_data has ended.
type proxyFleet struct {
	upstream string
	process  *helperProcess

	mu     sync.Mutex
	random *rand.Rand
	addrs  []string
}

// renew starts new proxies in place of the old ones, whose connections break.
func (f *proxyFleet) renew() error {
	h, err := startHelper(soakProxiesVariable, f.upstream)
	if err != nil {
		return err
	}
	var addrs []string
	if err := h.reply.Decode(&addrs); err != nil {
		h.stop()
		return err
	}
	f.mu.Lock()
	f.addrs = addrs
	f.mu.Unlock()
	if f.process != nil {
		f.process.stop()
	}
	f.process = h
	return nil
}

func (f *proxyFleet) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	f.mu.Lock()
	addr := f.addrs[f.random.IntN(len(f.addrs))]
	f.mu.Unlock()
	return new(net.Dialer).DialContext(ctx, network, addr)
}

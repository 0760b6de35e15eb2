package integration

import (
	"archive/zip"
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs/jobstest"
)

// The soak's server runs in a process of its own, so that what is measured in
// this one is the client alone.
const soakServerVariable = "INTEGRATION_SOAK_SERVER"

func TestMain(m *testing.M) {
	if os.Getenv(soakServerVariable) != "" {
		if err := serveSoak(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
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
	site := soakSite{URL: s.URL(), Token: s.Token(), Pipeline: pl.ID()}
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

	target, err := url.Parse(s.URL())
	if err != nil {
		return err
	}
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	for _, set := range randomToxics() {
		proxy := toxiproxy.NewProxy(server, "proxy", "127.0.0.1:0", target.Host)
		if err := proxy.Start(); err != nil {
			return err
		}
		for _, one := range set {
			text, err := json.Marshal(one)
			if err != nil {
				return err
			}
			if _, err := proxy.Toxics.AddToxicJson(strings.NewReader(string(text))); err != nil {
				return err
			}
		}
		site.Proxies = append(site.Proxies, proxy.Listen)
	}
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

// startSoakServer starts the server and returns what it offers. It ends with
// this process, whatever happens to it.
func startSoakServer(t testing.TB) *soakSite {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), soakServerVariable+"=1")
	var stderr lockedBuffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		stdin.Close()
		cmd.Wait() //nolint:errcheck // it has served its purpose
		if t.Failed() {
			t.Logf("the server said:\n%s", stderr.tail(8<<10))
		}
	})
	site := &soakSite{ask: stdin, reply: json.NewDecoder(stdout)}
	require.NoError(t, site.reply.Decode(site), stderr.tail(8<<10))
	return site
}

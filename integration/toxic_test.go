package integration

import (
	"bytes"
	"cmp"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/gitlabjobs/gitlabjobs"
	"github.com/gitlabjobs/gitlabjobs/jobstest"
)

// A workload is a simulator with something of everything in it.
type workload struct {
	server  *jobstest.Server
	pl      *jobstest.Pipeline
	large   *jobstest.Job // has an archive
	digest  string        // of it
	log     string        // of that job
	nothing int           // how many jobs besides
}

const workloadArchive = 9 * mib

func newWorkload(t testing.TB, opts ...jobstest.Option) *workload {
	t.Helper()
	s, pl := newGitLab(t, opts...)
	a := newArchive(t, workloadArchive, 3)
	content, size := jobstest.SyntheticZip(workloadArchive, 3)
	w := &workload{server: s, pl: pl, digest: a.sha256, log: strings.Repeat("compiling, and it takes a while\n", 8_000), nothing: 230}
	for range w.nothing {
		pl.AddJob(jobstest.JobSpec{})
	}
	w.large = pl.AddJob(jobstest.JobSpec{ArchiveReader: content, ArchiveSize: size, ArchiveSHA256: a.sha256, Log: w.log})
	return w
}

// list expects every job once.
func (w *workload) list(t testing.TB, client *gitlabjobs.Client) {
	seen := map[int64]int{}
	for job, err := range client.Jobs.AllInPipeline(t.Context(), project, w.pl.ID(), &gitlabjobs.PipelineListOptions{PerPage: 50}) {
		if !assert.NoError(t, err) {
			return
		}
		seen[job.ID]++
	}
	for _, job := range w.pl.Jobs() {
		if job.Name() == "job" {
			assert.Equal(t, 1, seen[job.ID()], "job %d", job.ID())
		}
	}
}

// download expects the archive and the log, byte for byte. It returns how
// often they were resumed.
func (w *workload) download(t testing.TB, client *gitlabjobs.Client) int {
	filename := filepath.Join(t.TempDir(), "artifacts.zip")
	from := gitlabjobs.FromJob(w.large.ID())
	saved, err := client.Jobs.SaveArtifacts(t.Context(), project, from, filename, &gitlabjobs.SaveOptions{Parallel: 2})
	if !assert.NoError(t, err) {
		return 0
	}
	assert.True(t, saved.Verified)
	assert.Equal(t, w.digest, hashFile(t, filename))

	var log bytes.Buffer
	d, err := client.Jobs.DownloadTrace(t.Context(), project, w.large.ID(), &log, nil)
	if !assert.NoError(t, err) {
		return 0
	}
	assert.Equal(t, hashText(w.log), hashText(log.String()))
	return saved.Resumes + d.Resumes
}

// follow expects the log of a job that runs for half a second, each byte once,
// and every change of its status in order.
func (w *workload) follow(t testing.TB, client *gitlabjobs.Client) {
	const steps = 10
	var want strings.Builder
	course := []jobstest.Step{{Status: gitlabjobs.StatusRunning}}
	for i := range steps {
		piece := strings.Repeat(fmt.Sprintf("step %d\n", i), 500)
		want.WriteString(piece)
		course = append(course, jobstest.Step{After: time.Duration(i+1) * 50 * time.Millisecond, Log: piece})
	}
	course = append(course, jobstest.Step{After: (steps + 1) * 50 * time.Millisecond, Status: gitlabjobs.StatusSuccess})
	pl := w.server.Project(string(project)).AddPipeline(jobstest.PipelineSpec{})
	live := pl.AddJob(jobstest.JobSpec{Name: "live", Course: course})

	var group sync.WaitGroup
	group.Go(func() {
		var log bytes.Buffer
		job, err := client.Jobs.FollowTrace(t.Context(), project, live.ID(), &log,
			&gitlabjobs.FollowOptions{MinInterval: 10 * time.Millisecond, MaxInterval: 100 * time.Millisecond})
		if assert.NoError(t, err) {
			assert.Equal(t, gitlabjobs.StatusSuccess, job.Status)
			assert.Equal(t, want.String(), log.String())
		}
	})
	group.Go(func() {
		var last gitlabjobs.Status
		for event, err := range client.Jobs.WatchPipeline(t.Context(), project, pl.ID(),
			&gitlabjobs.WatchOptions{MinInterval: 10 * time.Millisecond, MaxInterval: 100 * time.Millisecond}) {
			if !assert.NoError(t, err) {
				return
			}
			assert.Equal(t, last, event.Previous)
			last = event.Job.Status
		}
		assert.Equal(t, gitlabjobs.StatusSuccess, last)
	})
	group.Go(func() {
		job, err := client.Jobs.Wait(t.Context(), project, live.ID(),
			&gitlabjobs.WaitOptions{MinInterval: 10 * time.Millisecond, MaxInterval: 100 * time.Millisecond})
		if assert.NoError(t, err) {
			assert.Equal(t, gitlabjobs.StatusSuccess, job.Status)
		}
	})
	group.Wait()
}

// play expects that a manual job is played exactly once, or at most once
// where the outcome is unknown.
func (w *workload) play(t testing.TB, client *gitlabjobs.Client) {
	manual := w.pl.AddJob(jobstest.JobSpec{Name: "manual", Status: gitlabjobs.StatusManual})
	_, err := client.Jobs.Play(t.Context(), project, manual.ID(), nil)
	arrived := 0
	for _, r := range requestsOf(w.server, "POST /projects/:id/jobs/:job_id/play") {
		if strings.HasSuffix(r.RawPath, fmt.Sprintf("/jobs/%d/play", manual.ID())) {
			arrived++
		}
	}
	if err == nil {
		assert.Equal(t, 1, arrived)
		return
	}
	// Where the connection was gone before anything was written, it is no
	// wonder that nothing has arrived.
	assert.ErrorIs(t, err, gitlabjobs.ErrOutcomeUnknown)
	assert.LessOrEqual(t, arrived, 1)
}

// Every kind of toxic by itself: each second connection has it.
func TestToxics(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		toxics []toxic
		breaks bool          // it ends connections
		stall  time.Duration // the stall timeout; the default is the client's
	}{
		"latency":          {toxics: []toxic{{Type: "latency", Attributes: map[string]int{"latency": 20}}}},
		"jitter":           {toxics: []toxic{{Type: "latency", Attributes: map[string]int{"latency": 15, "jitter": 15}}}},
		"upstream latency": {toxics: []toxic{{Type: "latency", Stream: "upstream", Attributes: map[string]int{"latency": 20}}}},
		"bandwidth":        {toxics: []toxic{{Type: "bandwidth", Attributes: map[string]int{"rate": 16 << 10}}}},
		"slow close":       {toxics: []toxic{{Type: "slow_close", Attributes: map[string]int{"delay": 200}}}},
		"timeout":          {toxics: []toxic{{Type: "timeout", Attributes: map[string]int{"timeout": 100}}}, breaks: true},
		"silence":          {toxics: []toxic{{Type: "timeout", Attributes: map[string]int{"timeout": 0}}}, breaks: true, stall: 500 * time.Millisecond},
		"reset peer":       {toxics: []toxic{{Type: "reset_peer", Attributes: map[string]int{"timeout": 20}}}, breaks: true},
		"reset request":    {toxics: []toxic{{Type: "reset_peer", Stream: "upstream", Attributes: map[string]int{"timeout": 20}}}, breaks: true},
		"limit data":       {toxics: []toxic{{Type: "limit_data", Attributes: map[string]int{"bytes": 100_000}}}, breaks: true},
		"slicer":           {toxics: []toxic{{Type: "slicer", Attributes: map[string]int{"average_size": 700, "size_variation": 300, "delay": 10}}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorkload(t)
			network := newToxicNetwork(t, w.server.URL(), inTurn(2), test.toxics, nil)
			policy := quickRetry
			policy.MaxRetries = 10 // one of those that go on side by side may be out of luck for a while
			counter := &attemptCounter{}
			client := newClient(t, w.server.URL(), w.server.Token(), gitlabjobs.WithHTTPClient(network.httpClient(t)), gitlabjobs.WithRetry(policy),
				gitlabjobs.WithObserver(counter.observe), gitlabjobs.WithStallTimeout(cmp.Or(test.stall, time.Minute)))
			w.list(t, client)
			w.download(t, client)
			w.follow(t, client)
			w.play(t, client)

			failures := 0
			for _, status := range counter.statuses() {
				if status == 0 {
					failures++
				}
			}
			if test.breaks {
				assert.Greater(t, network.connections(), 2, "connections were lost")
			} else {
				assert.Zero(t, failures, "what is only slow must not be given up")
			}
		})
	}
}

// randomToxics is what a connection may suffer in the random schedules. Every
// fourth one is sound.
func randomToxics() [][]toxic {
	slicer := toxic{Type: "slicer", Attributes: map[string]int{"average_size": 2_000, "size_variation": 1_500, "delay": 5}}
	jitter := toxic{Type: "latency", Attributes: map[string]int{"latency": 8, "jitter": 8}}
	return [][]toxic{
		nil, nil, nil,
		{jitter},
		{slicer},
		{{Type: "bandwidth", Attributes: map[string]int{"rate": 8 << 10}}},
		{{Type: "limit_data", Attributes: map[string]int{"bytes": 40_000}}},
		{jitter, {Type: "limit_data", Attributes: map[string]int{"bytes": 1_500_000}}},
		{{Type: "reset_peer", Attributes: map[string]int{"timeout": 10}}},
		{{Type: "reset_peer", Stream: "upstream", Attributes: map[string]int{"timeout": 5}}},
		{{Type: "timeout", Attributes: map[string]int{"timeout": 50}}},
		{jitter, {Type: "slow_close", Attributes: map[string]int{"delay": 50}}},
	}
}

func TestToxicsAtRandom(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			w := newWorkload(t)
			sets := randomToxics()
			network := newToxicNetwork(t, w.server.URL(), atRandom(seed, len(sets)), sets...)
			policy := quickRetry
			policy.MaxRetries = 30 // of such a network nobody knows how often it fails in a row
			counter := &attemptCounter{}
			client := newClient(t, w.server.URL(), w.server.Token(), gitlabjobs.WithHTTPClient(network.httpClient(t)),
				gitlabjobs.WithRetry(policy), gitlabjobs.WithObserver(counter.observe), gitlabjobs.WithStallTimeout(2*time.Second))
			var group sync.WaitGroup
			group.Go(func() { w.list(t, client) })
			group.Go(func() { w.download(t, client) })
			group.Go(func() { w.follow(t, client) })
			group.Go(func() {
				for range 8 {
					w.play(t, client)
				}
			})
			group.Wait()
			t.Logf("%d attempts over %d connections", counter.count(), network.connections())
		})
	}
}

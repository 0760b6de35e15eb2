package integration

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs"
)

const (
	soakVariable = "SOAK" // how long, e.g. 30m
	soakDefault  = 4 * time.Second
	soakWorkers  = 64
	soakSamples  = 24 // of memory and goroutines
)

// A soakTask is one kind of work, with what it has cost.
type soakTask struct {
	name      string
	do        func(ctx context.Context, jobs *gitlabjobs.JobsService) error
	jobs      *gitlabjobs.JobsService
	successes atomic.Int64
	attempts  atomic.Int64
}

// A soak does all kinds of work at once, over connections that suffer
// whatever toxics there are.
type soak struct {
	site *soakSite
	dir  string
	next atomic.Int64 // names directories
}

func TestSoak(t *testing.T) {
	duration := soakDefault
	if text := os.Getenv(soakVariable); text != "" {
		var err error
		duration, err = time.ParseDuration(text)
		require.NoError(t, err, soakVariable)
	}
	before := runtime.NumGoroutine()
	site := startSoakServer(t)
	s := &soak{site: site, dir: t.TempDir()}
	target, err := url.Parse(site.URL)
	require.NoError(t, err)
	fleet := &proxyFleet{upstream: target.Host, random: rand.New(rand.NewPCG(uint64(duration), 0))}
	require.NoError(t, fleet.renew())
	defer func() { fleet.process.stop() }()
	transport := &http.Transport{MaxIdleConnsPerHost: soakWorkers, DialContext: fleet.dial}
	tasks := []*soakTask{
		{name: "list", do: s.list}, {name: "follow", do: s.follow}, {name: "download", do: s.download},
		{name: "save", do: s.save}, {name: "extract", do: s.extract}, {name: "open", do: s.open},
	}
	for _, task := range tasks {
		task.jobs = newClient(t, site.URL, site.Token, gitlabjobs.WithHTTPClient(&http.Client{Transport: transport}),
			gitlabjobs.WithRetry(gitlabjobs.RetryPolicy{MaxRetries: 30, MinWait: 5 * time.Millisecond, MaxWait: 500 * time.Millisecond}),
			gitlabjobs.WithObserver(func(gitlabjobs.Attempt) { task.attempts.Add(1) })).Jobs
	}

	over := make(chan struct{})
	timer := time.AfterFunc(duration, func() { close(over) })
	defer timer.Stop()
	var group sync.WaitGroup
	for worker := range soakWorkers {
		group.Go(func() {
			for i := worker; ; i++ {
				select {
				case <-over:
					return
				default:
				}
				if i%7 == 0 {
					transport.CloseIdleConnections() // or the sound ones would soon be all there is
				}
				task := tasks[i%len(tasks)]
				if err := task.do(t.Context(), task.jobs); err != nil {
					assert.NoError(t, err, task.name)
					return
				}
				task.successes.Add(1)
			}
		})
	}
	samples := sampleUntil(over, duration, func() { assert.NoError(t, fleet.renew()) })
	group.Wait()
	transport.CloseIdleConnections()

	for _, task := range tasks {
		assert.Positive(t, task.successes.Load(), task.name)
		t.Logf("%-8s %6d successes, %7d requests, %.2f requests per success", task.name, task.successes.Load(),
			task.attempts.Load(), float64(task.attempts.Load())/float64(max(task.successes.Load(), 1)))
	}
	samples.log(t)
	samples.requireFlat(t)
	left, err := os.ReadDir(s.dir)
	require.NoError(t, err)
	assert.Empty(t, left, "files were left behind")
	assert.Eventually(t, func() bool {
		transport.CloseIdleConnections()
		return runtime.NumGoroutine() <= before+soakWorkers/8 // what starts processes has some
	}, startTimeout, 100*time.Millisecond, "goroutines were left behind")
}

// list expects every job once.
func (s *soak) list(ctx context.Context, jobs *gitlabjobs.JobsService) error {
	var seen []int64
	for job, err := range jobs.All(ctx, soakProject, &gitlabjobs.ListOptions{PerPage: 100}) {
		if err != nil {
			return err
		}
		seen = append(seen, job.ID)
	}
	slices.Sort(seen)
	if !slices.Equal(seen, s.site.Jobs) {
		return fmt.Errorf("%d jobs instead of %d, or not each once", len(seen), len(s.site.Jobs))
	}
	return nil
}

// follow expects every byte of a running job's log once, and its end.
func (s *soak) follow(ctx context.Context, jobs *gitlabjobs.JobsService) error {
	live, err := s.site.newLive()
	if err != nil {
		return err
	}
	var log bytes.Buffer
	job, err := jobs.FollowTrace(ctx, soakLiveProject, live, &log, &gitlabjobs.FollowOptions{MinInterval: 50 * time.Millisecond, MaxInterval: time.Second})
	switch {
	case err != nil:
		return err
	case job.Status != gitlabjobs.StatusSuccess:
		return fmt.Errorf("the job is %s", job.Status)
	case log.String() != s.site.LiveLog:
		return fmt.Errorf("another log: %d bytes instead of %d", log.Len(), len(s.site.LiveLog))
	}
	return nil
}

func (s *soak) download(ctx context.Context, jobs *gitlabjobs.JobsService) error {
	d, err := jobs.DownloadArtifacts(ctx, soakProject, gitlabjobs.FromJob(s.site.Large), io.Discard, nil)
	return s.checkDownload(d, err)
}

func (s *soak) checkDownload(d *gitlabjobs.Download, err error) error {
	if err == nil && (!d.Verified || d.SHA256 != s.site.LargeSHA) {
		err = fmt.Errorf("wrong bytes: %+v", *d)
	}
	return err
}

// inDirectory calls f with a directory that it removes.
func (s *soak) inDirectory(f func(dir string) error) error {
	dir := filepath.Join(s.dir, fmt.Sprint(s.next.Add(1)))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	err := f(dir)
	return errorOr(os.RemoveAll(dir), err)
}

func errorOr(second, first error) error {
	if first != nil {
		return first
	}
	return second
}

func (s *soak) save(ctx context.Context, jobs *gitlabjobs.JobsService) error {
	return s.inDirectory(func(dir string) error {
		d, err := jobs.SaveArtifacts(ctx, soakProject, gitlabjobs.FromJob(s.site.Large), filepath.Join(dir, "artifacts.zip"), &gitlabjobs.SaveOptions{Parallel: 3})
		return s.checkDownload(d, err)
	})
}

// extract expects all files, with all their bytes.
func (s *soak) extract(ctx context.Context, jobs *gitlabjobs.JobsService) error {
	return s.inDirectory(func(dir string) error {
		if _, err := jobs.ExtractArtifacts(ctx, soakProject, gitlabjobs.FromJob(s.site.Large), dir, nil); err != nil {
			return err
		}
		files, err := digestsOf(os.DirFS(dir))
		if err == nil && !maps.Equal(files, s.site.Files) {
			err = fmt.Errorf("other files: %v", files)
		}
		return err
	})
}

func (s *soak) open(ctx context.Context, jobs *gitlabjobs.JobsService) (err error) {
	archive, err := jobs.OpenArtifacts(ctx, soakProject, gitlabjobs.FromJob(s.site.Large), nil)
	if err != nil {
		return err
	}
	defer func() { err = errorOr(archive.Close(), err) }()
	entries, err := archive.ReadDir(".")
	if err != nil {
		return err
	}
	if len(entries) != len(s.site.Files) {
		return fmt.Errorf("%d entries instead of %d", len(entries), len(s.site.Files))
	}
	name := entries[rand.IntN(len(entries))].Name()
	content, err := archive.ReadFile(name)
	if err == nil && hashText(string(content)) != s.site.Files[name] {
		err = fmt.Errorf("%s has other bytes", name)
	}
	return err
}

// A soakSample is what the process holds at one time.
type soakSample struct {
	heap       uint64 // bytes that are alive
	rss        string // as the system says
	goroutines int
}

type soakSampleList []soakSample

// sampleUntil takes samples, evenly spread, until the soak is over. After every
// third it calls shake.
func sampleUntil(over <-chan struct{}, duration time.Duration, shake func()) soakSampleList {
	ticker := time.NewTicker(duration / soakSamples)
	defer ticker.Stop()
	var all soakSampleList
	for {
		select {
		case <-over:
			return all
		case <-ticker.C:
			var stats runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&stats)
			all = append(all, soakSample{stats.HeapAlloc, residentSet(), runtime.NumGoroutine()})
			if len(all)%3 == 0 {
				shake()
			}
		}
	}
}

// residentSet returns the memory that the system counts, "" where it can't be had.
func residentSet() string {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}

func (all soakSampleList) log(t *testing.T) {
	for i, sample := range all {
		if i%4 == 3 {
			t.Logf("after %2d/%d: %5.1f MiB alive, %s resident, %d goroutines", i+1, soakSamples, float64(sample.heap)/mib, sample.rss, sample.goroutines)
		}
	}
}

// requireFlat expects no more at the end than at the start: the medians of the
// first and of the last third.
func (all soakSampleList) requireFlat(t *testing.T) {
	const third = soakSamples / 3
	if len(all) < 2*third {
		t.Logf("only %d samples: too busy to say", len(all))
		return
	}
	median := func(part []soakSample, value func(soakSample) float64) float64 {
		var values []float64
		for _, sample := range part {
			values = append(values, value(sample))
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	const slack = 16 * mib // what so much work at once moves by itself
	heap := func(s soakSample) float64 { return float64(s.heap) }
	assert.Less(t, median(all[len(all)-third:], heap), 1.25*median(all[:third], heap)+slack, "memory grows")
	goroutines := func(s soakSample) float64 { return float64(s.goroutines) }
	assert.Less(t, median(all[len(all)-third:], goroutines), 1.25*median(all[:third], goroutines)+soakWorkers, "goroutines grow")
}

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A worker does one task, in a process that does nothing else.
type worker struct {
	task
	metrics metrics
}

// works are what contestants do, by case and contestant.
var works = map[string]map[string]func(context.Context, *worker) error{
	download:  {ours: downloadOurs, official: downloadOfficial, plain: downloadPlain},
	far:       {ours: downloadOurs},
	decode:    {ours: decodeOurs, official: decodeOfficial, plain: decodePlain},
	list:      {ours: listOurs, official: listOfficial},
	get:       {ours: getOurs, official: getOfficial, plain: getPlain},
	smallRead: {ours: readFileOurs},
	reset:     {ours: resetOurs, official: resetOfficial, plain: resetPlain},
	follow:    {ours: followOurs, official: followOfficial},
}

// work reads a task from input, does it, and writes what was measured to output.
func work(input io.Reader, output io.Writer) error {
	w := &worker{metrics: metrics{}}
	if err := json.NewDecoder(input).Decode(&w.task); err != nil {
		return err
	}
	do, ok := works[w.Case][w.Contestant]
	if !ok {
		return fmt.Errorf("%s doesn't do case %s", w.Contestant, w.Case)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := do(ctx, w); err != nil {
		return err
	}
	return json.NewEncoder(output).Encode(w.metrics)
}

// timed measures f, which does n operations.
func (w *worker) timed(n int, f func() error) error {
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpuBefore, start := cpuTime(), time.Now()
	err := f()
	took, cpuAfter := time.Since(start), cpuTime()
	runtime.ReadMemStats(&after)
	w.metrics[wall] = took.Seconds()
	w.metrics[cpu] = (cpuAfter - cpuBefore).Seconds()
	w.metrics[perOp] = float64(took.Microseconds()) / float64(n)
	w.metrics[allocs] = float64(after.Mallocs-before.Mallocs) / float64(n)
	w.metrics[allocBytes] = float64(after.TotalAlloc-before.TotalAlloc) / float64(n) / (1 << 10)
	w.metrics[peak] = float64(peakMemory()) / (1 << 20)
	return err
}

// cpuTime returns the time that the process has computed.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// peakMemory returns the most memory that the process had, in bytes. Rusage
// would give the parent's where that had more, so Linux is asked another way.
func peakMemory() int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err == nil {
		for line := range strings.Lines(string(status)) {
			if value, found := strings.CutPrefix(line, "VmHWM:"); found {
				kib, _ := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
				return kib << 10
			}
		}
	}
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return usage.Maxrss << 10
}

// toFile has f write a file, which is removed at the end. Closing it is part
// of f's work.
func (w *worker) toFile(f func(*os.File) error) error {
	name := filepath.Join(w.Dir, "download")
	defer os.Remove(name)
	return w.timed(1, func() error {
		file, err := os.Create(name)
		if err != nil {
			return err
		}
		return errors.Join(f(file), file.Close())
	})
}

// expectSize checks that all bytes came.
func expectSize(got, want int64) error {
	if got < want {
		return fmt.Errorf("%d bytes came, not %d", got, want)
	}
	return nil
}

// inParallel calls f n times, by so many goroutines at once.
func inParallel(n, workers int, f func(i int) error) error {
	errs := make(chan error, workers)
	for worker := range workers {
		go func() {
			for i := worker; i < n; i += workers {
				if err := f(i); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	var err error
	for range workers {
		err = errors.Join(err, <-errs)
	}
	return err
}

// small is the variant that is about the small archive.
const small = "small archive"

// archive returns which archive is downloaded: its job's number, and its size.
func (w *worker) archive() (job, size int64) {
	switch {
	case w.Case == far:
		return farJob, w.Scale.FarArchive
	case w.Variant == small:
		return smallJob, w.Scale.SmallArchive
	}
	return nearJob, w.Scale.Archive
}

// number returns the number that the variant begins with, else 1.
func (w *worker) number() int {
	fields := strings.Fields(w.Variant)
	if len(fields) == 0 {
		return 1
	}
	n, err := strconv.Atoi(fields[0])
	if err != nil {
		return 1
	}
	return n
}

// A cannedTransport answers all requests with the same JSON, without a network.
type cannedTransport []byte

func (t cannedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{
		Status:        "200 OK",
		StatusCode:    http.StatusOK,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        http.Header{"Content-Type": {"application/json"}},
		Body:          io.NopCloser(bytes.NewReader(t)),
		ContentLength: int64(len(t)),
		Request:       req,
	}, nil
}

// grow has the server begin a log of so many bytes.
func (w *worker) grow(ctx context.Context, size int64) error {
	query := url.Values{"size": {strconv.FormatInt(size, 10)}, "steps": {strconv.Itoa(w.Scale.LogSteps)}}
	if strings.HasSuffix(w.Variant, withETags) {
		query.Set("etags", "yes")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.Server.Near+growPath+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// A hashingWriter discards what it is given, and remembers its digest and length.
type hashingWriter struct {
	length int64
	hash   interface {
		io.Writer
		Sum([]byte) []byte
	}
}

func newHashingWriter() *hashingWriter { return &hashingWriter{hash: sha256.New()} }

func (h *hashingWriter) Write(p []byte) (int, error) {
	h.length += int64(len(p))
	return h.hash.Write(p)
}

func (h *hashingWriter) digest() string { return hex.EncodeToString(h.hash.Sum(nil)) }

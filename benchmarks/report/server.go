package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"
)

// Addresses of the server: one content, over several kinds of connection.
type addresses struct {
	Near    string // loopback as it is
	Counted string // what is sent over it is counted
	Far     string // behind 30 ms of latency and 50 MB/s a connection
	Slow    string // 20 ms a request
	Reset   string // connections are reset
}

// What the connections are like.
const (
	farLatency   = 30 * time.Millisecond
	farBandwidth = 50_000_000 // bytes/s
	slowLatency  = 20 * time.Millisecond
)

// The jobs that have something to download.
const (
	nearJob  = 1  // the archive
	farJob   = 2  // the archive for connections with latency
	smallJob = 3  // the small archive
	logJob   = 77 // the log that grows
)

// Paths of the server beside the API's.
const (
	countPath = "/count" // what was counted, and start anew
	growPath  = "/grow"  // a new log that grows: ?size=&steps=&etags=
)

// counts is what a server has counted.
type counts struct{ Requests, Bytes int64 }

// A server is a GitLab that knows one project with one job and one archive, and
// costs next to nothing: what is measured is the client.
type server struct {
	scale    scale
	archives map[string]archive // by the job's number
	jobs     jobList
	log      growingLog

	requests, bytes atomic.Int64
}

// serve runs the server until input ends. Input begins with the scale, output
// with the addresses.
func serve(input io.Reader, output io.Writer) error {
	buffered := bufio.NewReader(input)
	var s server
	line, err := buffered.ReadBytes('\n')
	if err != nil {
		return err
	}
	if err := json.Unmarshal(line, &s.scale); err != nil {
		return err
	}
	s.archives = make(map[string]archive)
	for job, size := range map[int]int64{nearJob: s.scale.Archive, farJob: s.scale.FarArchive, smallJob: s.scale.SmallArchive} {
		written, err := writeArchive(fmt.Sprintf("archive-%d.zip", job), size)
		if err != nil {
			return err
		}
		s.archives[strconv.Itoa(job)] = written
	}
	s.jobs = newJobList(s.scale.Jobs)
	var at addresses
	for target, shape := range map[*string]shape{
		&at.Near:    {},
		&at.Counted: {counter: &s.bytes},
		&at.Far:     {counter: &s.bytes, latency: farLatency, bandwidth: farBandwidth},
		&at.Slow:    {counter: &s.bytes, latency: slowLatency},
		&at.Reset:   {counter: &s.bytes, resetAfter: s.scale.ResetEvery},
	} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		*target = "http://" + listener.Addr().String()
		if shape != unshaped {
			listener = &shapedListener{listener, shape}
		}
		go http.Serve(listener, s.handler()) //nolint:errcheck,gosec // it ends with the process
	}
	if err := json.NewEncoder(output).Encode(at); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, buffered)
	return err
}

func (s *server) handler() http.Handler {
	const project = "/api/v4/projects/{project}/jobs"
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+project, s.jobs.serve)
	mux.HandleFunc("GET "+project+"/{job}", s.serveJob)
	mux.HandleFunc("GET "+project+"/{job}/artifacts", s.serveArchive)
	mux.HandleFunc("GET "+project+"/{job}/trace", s.log.serve)
	counted := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		mux.ServeHTTP(w, r)
	})
	root := http.NewServeMux()
	root.Handle("/", counted)
	root.HandleFunc("POST "+growPath, s.log.start)
	root.HandleFunc("POST "+countPath, func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(counts{s.requests.Swap(0), s.bytes.Swap(0)}) //nolint:errcheck // nobody to tell
	})
	return root
}

// serveJob answers with one job; the job of the growing log finishes with it.
func (s *server) serveJob(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.Atoi(r.PathValue("job"))
	if err != nil {
		http.Error(w, `{"message":"404 Not found"}`, http.StatusNotFound)
		return
	}
	status := "success"
	if id == logJob && !s.log.finished() {
		status = "running"
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(appendJob(nil, id, status)) //nolint:errcheck // the client has gone
}

// serveArchive sends the archive as GitLab does from a local disk.
func (s *server) serveArchive(w http.ResponseWriter, r *http.Request) {
	archive, ok := s.archives[r.PathValue("job")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	file, err := os.Open(archive.file)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer file.Close()
	header := w.Header()
	header.Set("Content-Type", "application/octet-stream")
	header.Set("Content-Disposition", `attachment; filename="artifacts.zip"; filename*=UTF-8''artifacts.zip`)
	header.Set("ETag", `"`+archive.digest+`"`)
	http.ServeContent(w, r, "artifacts.zip", time.Unix(1_700_000_000, 0), file)
}

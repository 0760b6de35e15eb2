package gitlabjobs_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gitlabjobs/gitlabjobs"
)

// newRunningJob serves a job that takes its course while it is looked at, in
// the place of a GitLab instance.
func newRunningJob() *httptest.Server {
	var looks atomic.Int32
	const text = "Running with gitlab-runner\n$ go test ./...\nok\n"
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/trace") {
			fmt.Fprint(w, text[:min(int(looks.Load())*20, len(text))])
			return
		}
		status := []string{"pending", "running", "success"}[min(looks.Add(1)-1, 2)]
		job := fmt.Sprintf(`{"id":7,"name":"test","status":%q}`, status)
		if strings.HasSuffix(r.URL.Path, "/jobs") {
			job = "[" + job + "]"
		}
		fmt.Fprint(w, job)
	}))
}

func ExampleJobsService_FollowTrace() {
	server := newRunningJob()
	defer server.Close()
	client, err := gitlabjobs.NewClient(gitlabjobs.WithBaseURL(server.URL))
	if err != nil {
		log.Fatal(err)
	}
	// The default intervals, 1 s to 10 s, are right for real jobs.
	opts := &gitlabjobs.FollowOptions{MinInterval: time.Millisecond, MaxInterval: time.Millisecond}
	job, err := client.Jobs.FollowTrace(context.Background(), "group/app", 7, os.Stdout, opts)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(job.Name, "ended as", job.Status)
	// Output:
	// Running with gitlab-runner
	// $ go test ./...
	// ok
	// test ended as success
}

func ExampleJobsService_Wait() {
	server := newRunningJob()
	defer server.Close()
	client, err := gitlabjobs.NewClient(gitlabjobs.WithBaseURL(server.URL))
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), time.Hour, errors.New("the job takes too long"))
	defer cancel()
	job, err := client.Jobs.Wait(ctx, "group/app", 7, &gitlabjobs.WaitOptions{
		MinInterval: time.Millisecond, MaxInterval: time.Millisecond, // the defaults are 2 s and 30 s
		OnChange: func(job *gitlabjobs.Job) { fmt.Println(job.Name, "is", job.Status) },
	})
	switch {
	case errors.Is(err, gitlabjobs.ErrManual):
		fmt.Println(job.Name, "waits for a person")
	case err != nil:
		log.Fatal(err)
	case job.Status != gitlabjobs.StatusSuccess:
		fmt.Println(job.Name, "failed:", job.FailureReason)
	}
	// Output:
	// test is pending
	// test is running
	// test is success
}

func ExampleJobsService_WatchPipeline() {
	server := newRunningJob()
	defer server.Close()
	client, err := gitlabjobs.NewClient(gitlabjobs.WithBaseURL(server.URL))
	if err != nil {
		log.Fatal(err)
	}
	// The default intervals are 2 s to 30 s.
	opts := &gitlabjobs.WatchOptions{MinInterval: time.Millisecond, MaxInterval: time.Millisecond}
	for event, err := range client.Jobs.WatchPipeline(context.Background(), "group/app", 3, opts) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %q -> %q\n", event.Job.Name, event.Previous, event.Job.Status)
	}
	// Output:
	// test: "" -> "pending"
	// test: "pending" -> "running"
	// test: "running" -> "success"
}

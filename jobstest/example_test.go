package jobstest_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/gitlabjobs/gitlabjobs"
	"github.com/gitlabjobs/gitlabjobs/jobstest"
)

// retryInterrupted is a bot: it retries the jobs of a pipeline that failed
// because of the platform.
func retryInterrupted(ctx context.Context, client *gitlabjobs.Client, project gitlabjobs.ProjectID, pipelineID int64) error {
	failed := &gitlabjobs.PipelineListOptions{Scope: []gitlabjobs.Status{gitlabjobs.StatusFailed}}
	for job, err := range client.Jobs.AllInPipeline(ctx, project, pipelineID, failed) {
		if err != nil {
			return err
		}
		if !job.FailureReason.Infrastructure() {
			continue
		}
		if _, err := client.Jobs.Retry(ctx, project, job.ID, nil); err != nil {
			return err
		}
	}
	return nil
}

// connect makes a client of a server.
func connect(s *jobstest.Server) *gitlabjobs.Client {
	client, err := gitlabjobs.NewClient(
		gitlabjobs.WithBaseURL(s.URL()),
		gitlabjobs.WithPrivateToken(s.Token()),
		gitlabjobs.WithHTTPClient(s.HTTPClient()),
		gitlabjobs.WithRetry(gitlabjobs.RetryPolicy{MinWait: time.Millisecond, MaxWait: time.Millisecond}),
	)
	if err != nil {
		log.Fatal(err)
	}
	return client
}

// A bot that retries jobs is let loose on a pipeline with three failures.
func Example() {
	s := jobstest.NewServer()
	defer s.Close()
	pl := s.AddProject("group/app").AddPipeline(jobstest.PipelineSpec{})
	for name, reason := range map[string]gitlabjobs.FailureReason{
		"unit": gitlabjobs.ReasonScriptFailure, "e2e": gitlabjobs.ReasonRunnerSystemFailure, "lint": gitlabjobs.ReasonScriptFailure,
	} {
		pl.AddJob(jobstest.JobSpec{Name: name, Status: gitlabjobs.StatusFailed, FailureReason: reason})
	}

	if err := retryInterrupted(context.Background(), connect(s), "group/app", pl.ID()); err != nil {
		log.Fatal(err)
	}
	for _, j := range pl.Jobs() {
		if j.Snapshot().Status == gitlabjobs.StatusPending {
			fmt.Println("retried:", j.Name())
		}
	}
	// Output: retried: e2e
}

// The jobs of a server with a driven clock move when the test says so.
func ExampleWithClock() {
	clock := jobstest.NewClock(time.Date(2025, time.May, 6, 7, 0, 0, 0, time.UTC))
	s := jobstest.NewServer(jobstest.WithClock(clock))
	defer s.Close()
	j := s.AddProject("group/app").AddPipeline(jobstest.PipelineSpec{}).AddJob(jobstest.JobSpec{
		Name: "build",
		Course: []jobstest.Step{
			{After: 2 * time.Second, Status: gitlabjobs.StatusRunning, Log: "compiling\n"},
			{After: 60 * time.Second, Status: gitlabjobs.StatusSuccess, Archive: jobstest.Zip(map[string]string{"bin/app": "..."})},
		},
	})
	for range 3 {
		job := j.Snapshot()
		fmt.Println(job.Status, job.ArtifactsFile != nil)
		clock.Advance(30 * time.Second)
	}
	// Output:
	// pending false
	// running false
	// success true
}

// A POST whose answer is lost has had its effect: a careful client doesn't
// send it again.
func ExampleServer_Fail() {
	s := jobstest.NewServer()
	defer s.Close()
	j := s.AddProject("group/app").AddPipeline(jobstest.PipelineSpec{}).AddJob(jobstest.JobSpec{Status: gitlabjobs.StatusManual})
	s.Fail(jobstest.Fault{Endpoint: "POST /projects/:id/jobs/:job_id/play", Times: 1, Status: 502, TakesEffect: true})

	_, err := connect(s).Jobs.Play(context.Background(), "group/app", j.ID(), nil)
	fmt.Println("outcome unknown:", errors.Is(err, gitlabjobs.ErrOutcomeUnknown))
	fmt.Println("requests:", len(s.Requests()))
	fmt.Println("status:", j.Snapshot().Status)
	// Output:
	// outcome unknown: true
	// requests: 1
	// status: pending
}

// What a program asked for can be told from the records.
func ExampleServer_Requests() {
	s := jobstest.NewServer()
	defer s.Close()
	s.AddProject("group/app")
	s.Fail(jobstest.Fault{Times: 1, Status: 503})

	_, err := connect(s).Jobs.List(context.Background(), "group/app", &gitlabjobs.ListOptions{PerPage: 5})
	fmt.Println(err)
	for _, r := range s.Requests() {
		fmt.Println(r.Status, r.Endpoint, r.RawPath, r.Query.Get("per_page"))
	}
	// Output:
	// <nil>
	// 503 GET /projects/:id/jobs /api/v4/projects/group%2Fapp/jobs 5
	// 200 GET /projects/:id/jobs /api/v4/projects/group%2Fapp/jobs 5
}

// Archives as large as real ones cost a test neither memory nor time.
func ExampleSyntheticZip() {
	s := jobstest.NewServer()
	defer s.Close()
	archive, size := jobstest.SyntheticZip(10<<30, 1000)
	j := s.AddProject("group/app").AddPipeline(jobstest.PipelineSpec{}).AddJob(jobstest.JobSpec{
		ArchiveReader: archive, ArchiveSize: size, NoChecksum: true,
	})
	fmt.Println(j.Snapshot().ArtifactsFile.Size)
	// Output: 10737418240
}

// The demo has something of everything.
func ExampleServer_AddDemo() {
	s := jobstest.NewServer()
	defer s.Close()
	demo := s.AddDemo()
	for job, err := range connect(s).Jobs.AllInPipeline(context.Background(), "acme/rocket", demo.Previous.ID(), nil) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%-6s %-12s %s\n", job.Stage, job.Name, job.Status)
	}
	// Output:
	// deploy package      success
	// test   browser      success
	// test   integration  success
	// test   unit         success
	// test   lint         failed
	// build  assets       success
	// build  compile      success
}

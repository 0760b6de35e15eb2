// Quickstart shows the newest pipeline of a project: its jobs as a table, why
// one of them failed, and then a manual job played, followed and its artifacts
// downloaded.
//
// With nothing set it runs on a simulated GitLab within the process. On a real
// one, GITLAB_URL and GITLAB_TOKEN say where and who, and the project is the
// argument:
//
//	go run ./quickstart -play package group/app
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/gitlabjobs/gitlabjobs"
	"github.com/gitlabjobs/gitlabjobs/joblog"
	"github.com/gitlabjobs/gitlabjobs/jobstest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, args []string) error {
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	play := flags.String("play", "", "the manual `job` to play")
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: quickstart [-play job] [project]\n\n"+
			"Shows a project's newest pipeline and plays one of its manual jobs. GITLAB_URL and\n"+
			"GITLAB_TOKEN say where and who; without a project it runs on a simulated GitLab.\n\nflags:")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}

	project := gitlabjobs.ProjectID(flags.Arg(0))
	options := []gitlabjobs.Option{gitlabjobs.FromEnvironment()}
	if project == "" {
		server := jobstest.NewServer()
		defer server.Close()
		demo := server.AddDemo()
		project, *play = gitlabjobs.ProjectID(demo.Project.Path()), demo.Manual.Name()
		options = []gitlabjobs.Option{
			gitlabjobs.WithBaseURL(server.URL()),
			gitlabjobs.WithPrivateToken(server.Token()),
		}
		fmt.Fprintln(out, "No project given: this is a simulated GitLab at", server.URL())
	}
	client, err := gitlabjobs.NewClient(options...)
	if err != nil {
		return err
	}
	jobs, err := newestPipeline(ctx, client, project)
	if err != nil {
		return err
	}
	printTable(out, jobs)
	for _, job := range jobs {
		if job.Status == gitlabjobs.StatusFailed {
			if err := explain(ctx, client, project, job, out); err != nil {
				return err
			}
			break
		}
	}
	for _, job := range jobs {
		if job.Status == gitlabjobs.StatusManual && job.Name == *play {
			return playAndFetch(ctx, client, project, job, out)
		}
	}
	fmt.Fprintln(out, "\nNo manual job was asked for by -play: nothing was started.")
	return nil
}

// newestPipeline returns the jobs of the pipeline that the project's newest
// job is in.
func newestPipeline(ctx context.Context, client *gitlabjobs.Client, project gitlabjobs.ProjectID) ([]*gitlabjobs.Job, error) {
	newest, err := client.Jobs.List(ctx, project, &gitlabjobs.ListOptions{PerPage: 1})
	if err != nil {
		return nil, err
	}
	if len(newest.Items) == 0 {
		return nil, fmt.Errorf("project %s has no jobs yet", project)
	}
	var jobs []*gitlabjobs.Job
	for job, err := range client.Jobs.AllInPipeline(ctx, project, newest.Items[0].Pipeline.ID, nil) {
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, job)
	}
	return jobs, nil
}

func printTable(out io.Writer, jobs []*gitlabjobs.Job) {
	fmt.Fprintf(out, "\nThe newest pipeline, %d:\n\n", jobs[0].Pipeline.ID)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "JOB\tSTAGE\tNAME\tSTATUS\tTIME")
	for _, job := range jobs {
		took := "-"
		if job.Duration != nil {
			took = time.Duration(*job.Duration * float64(time.Second)).Round(time.Second).String()
		}
		status := string(job.Status)
		if job.FailureReason != "" {
			status += " (" + string(job.FailureReason) + ")"
		}
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\n", job.ID, job.Stage, job.Name, status, took)
	}
	table.Flush()
}

// explain prints the end of a failed job's log, without its control codes.
func explain(ctx context.Context, client *gitlabjobs.Client, project gitlabjobs.ProjectID, job *gitlabjobs.Job, out io.Writer) error {
	log, w := io.Pipe()
	go func() {
		_, err := client.Jobs.DownloadTrace(ctx, project, job.ID, w, nil)
		w.CloseWithError(err)
	}()
	lines, err := joblog.Tail(log, 8)
	log.Close()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nWhy %q failed, by the end of its log:\n\n", job.Name)
	for _, line := range lines {
		fmt.Fprintln(out, "  |", line.Text)
	}
	return nil
}

// playAndFetch plays a job, follows its log to the end, and downloads its
// archive and one file of it.
func playAndFetch(ctx context.Context, client *gitlabjobs.Client, project gitlabjobs.ProjectID, job *gitlabjobs.Job, out io.Writer) error {
	fmt.Fprintf(out, "\nPlaying %q; its log:\n\n", job.Name)
	if _, err := client.Jobs.Play(ctx, project, job.ID, nil); err != nil {
		return err // never sent twice; errors.Is(err, gitlabjobs.ErrOutcomeUnknown) says it may have worked
	}
	log, w := io.Pipe()
	defer log.Close()
	var finished *gitlabjobs.Job
	go func() {
		var err error
		finished, err = client.Jobs.FollowTrace(ctx, project, job.ID, w, nil)
		w.CloseWithError(err)
	}()
	for line, err := range joblog.Lines(log) {
		if err != nil {
			return err
		}
		fmt.Fprintln(out, "  |", line.Text)
	}
	job = finished // set before the log's end
	fmt.Fprintf(out, "\n%q finished: %s.\n", job.Name, job.Status)
	if job.ArtifactsFile == nil {
		return nil
	}

	dir, err := os.MkdirTemp("", "quickstart-")
	if err != nil {
		return err
	}
	archive := filepath.Join(dir, "artifacts.zip")
	from := gitlabjobs.FromJob(job.ID)
	download, err := client.Jobs.SaveArtifacts(ctx, project, from, archive, nil)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Saved %s: %d bytes, SHA-256 %.12s..., verified: %t.\n", archive, download.Size, download.SHA256, download.Verified)

	files, err := client.Jobs.OpenArtifacts(ctx, project, from, nil)
	if err != nil {
		return err
	}
	defer files.Close()
	readme, err := fs.Glob(files, "*/*.md")
	if err != nil || len(readme) == 0 {
		return err
	}
	fmt.Fprintf(out, "Its file %s:\n\n", readme[0])
	_, err = client.Jobs.DownloadArtifactFile(ctx, project, from, readme[0], out, nil)
	return err
}

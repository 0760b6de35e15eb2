package gitlabjobs_test

import (
	"archive/zip"
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/gitlabjobs/gitlabjobs"
	"github.com/gitlabjobs/gitlabjobs/jobstest"
)

// exampleServer returns a GitLab with one job called "build" that has an
// archive, and a client of it.
func exampleServer() (*jobstest.Server, *gitlabjobs.Client) {
	server := jobstest.NewServer()
	server.AddProject("group/app").AddPipeline(jobstest.PipelineSpec{Ref: "main"}).AddJob(jobstest.JobSpec{
		Name:    "build",
		Archive: jobstest.Zip(map[string]string{"bin/app": "the program", "README": "read me"}),
	})
	client, err := gitlabjobs.NewClient(gitlabjobs.WithBaseURL(server.URL()), gitlabjobs.WithPrivateToken(server.Token()))
	if err != nil {
		log.Fatal(err)
	}
	return server, client
}

func ExampleJobsService_DownloadArtifacts() {
	server, client := exampleServer()
	defer server.Close()

	file, err := os.CreateTemp("", "artifacts-*.zip")
	if err != nil {
		log.Fatal(err)
	}
	defer os.Remove(file.Name())
	defer file.Close()

	newest := gitlabjobs.FromRef("main", "build")
	download, err := client.Jobs.DownloadArtifacts(context.Background(), "group/app", newest, file, nil)
	if err != nil {
		log.Fatal(err)
	}
	archive, err := zip.NewReader(file, download.Size)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(download.Filename, "verified:", download.Verified)
	fmt.Println(len(archive.File), "files")
	// Output:
	// artifacts.zip verified: true
	// 2 files
}

func ExampleJobsService_SaveArtifacts() {
	server, client := exampleServer()
	defer server.Close()

	dir, err := os.MkdirTemp("", "artifacts-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	// A save that is interrupted, by whatever, is gone on with by the next one.
	download, err := client.Jobs.SaveArtifacts(context.Background(), "group/app", gitlabjobs.FromRef("main", "build"),
		filepath.Join(dir, "app.zip"), &gitlabjobs.SaveOptions{
			KeepPartial:     true,
			Parallel:        4, // for large archives
			DownloadOptions: gitlabjobs.DownloadOptions{MaxBytes: 1 << 30},
		})
	if err != nil {
		log.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("verified:", download.Verified)
	for _, entry := range entries {
		fmt.Println(entry.Name())
	}
	// Output:
	// verified: true
	// app.zip
}

package gitlabjobs_test

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/gitlabjobs/gitlabjobs"
)

// archiveOfJob stands for a GitLab that has an archive.
func archiveOfJob(files map[string]string) *httptest.Server {
	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	for name, content := range files {
		file, err := w.Create(name)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Fprint(file, content)
	}
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "artifacts.zip", time.Unix(1_700_000_000, 0), bytes.NewReader(archive.Bytes()))
	}))
}

func ExampleJobsService_OpenArtifacts() {
	server := archiveOfJob(map[string]string{"bin/app": "...", "bin/app.sha256": "e3b0c442", "report.xml": "<testsuite/>"})
	defer server.Close()
	client, err := gitlabjobs.NewClient(gitlabjobs.WithBaseURL(server.URL))
	if err != nil {
		log.Fatal(err)
	}

	// Lists the archive, which is not downloaded for it.
	archive, err := client.Jobs.OpenArtifacts(context.Background(), "group/app", gitlabjobs.FromRef("main", "build"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer archive.Close()
	err = fs.WalkDir(archive, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			fmt.Println(path, info.Size())
		}
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// bin/app 3
	// bin/app.sha256 8
	// report.xml 12
}

func ExampleJobsService_OpenArtifacts_readFile() {
	server := archiveOfJob(map[string]string{"bin/app": "...", "bin/app.sha256": "e3b0c442", "report.xml": "<testsuite/>"})
	defer server.Close()
	client, err := gitlabjobs.NewClient(gitlabjobs.WithBaseURL(server.URL))
	if err != nil {
		log.Fatal(err)
	}

	// Reads one file of the archive, and fetches little more.
	archive, err := client.Jobs.OpenArtifacts(context.Background(), "group/app", gitlabjobs.FromJob(7), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer archive.Close()
	sum, err := archive.ReadFile("bin/app.sha256")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(sum))
	// Output:
	// e3b0c442
}

func ExampleJobsService_ExtractArtifacts() {
	server := archiveOfJob(map[string]string{"bin/app": "...", "report.xml": "<testsuite/>"})
	defer server.Close()
	client, err := gitlabjobs.NewClient(gitlabjobs.WithBaseURL(server.URL))
	if err != nil {
		log.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "artifacts")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	extracted, err := client.Jobs.ExtractArtifacts(context.Background(), "group/app", gitlabjobs.FromJob(7), dir,
		&gitlabjobs.ExtractOptions{MaxBytes: 1 << 30})
	if err != nil {
		log.Fatal(err)
	}
	report, err := os.ReadFile(filepath.Join(dir, "report.xml"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(extracted.Files, "files,", extracted.Bytes, "bytes")
	fmt.Println(string(report))
	// Output:
	// 2 files, 15 bytes
	// <testsuite/>
}

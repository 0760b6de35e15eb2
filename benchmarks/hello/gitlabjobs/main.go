// Command gitlabjobs gets one job with gitlabjobs: what that adds to a program.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/gitlabjobs/gitlabjobs"
)

func main() {
	client, err := gitlabjobs.NewClient(gitlabjobs.WithPrivateToken(os.Getenv("GITLAB_TOKEN")))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	job, err := client.Jobs.Get(context.Background(), "gitlab-org/gitlab", 1)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(job.Name, job.Status)
}

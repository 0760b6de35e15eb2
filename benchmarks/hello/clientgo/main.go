// Command clientgo gets one job with client-go: what that adds to a program.
package main

import (
	"fmt"
	"os"

	gitlab "gitlab.com/gitlab-org/api/client-go/v2"
)

func main() {
	client, err := gitlab.NewClient(os.Getenv("GITLAB_TOKEN"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	job, _, err := client.Jobs.GetJob("gitlab-org/gitlab", 1)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(job.Name, job.Status)
}

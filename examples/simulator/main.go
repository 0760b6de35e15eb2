// Simulator serves a simulated GitLab with a lifelike project, so that any
// client of GitLab's Jobs API can be tried against it.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/gitlabjobs/gitlabjobs/examples/internal/command"
	"github.com/gitlabjobs/gitlabjobs/jobstest"
)

const help = `simulator [flags]

Serves a simulated GitLab with the project acme/rocket until Ctrl-C, and then
shows what it was asked for. It prints what a client needs: URL, token, projects.

examples:
  simulator                              on a free port of 127.0.0.1
  simulator -listen 127.0.0.1:8080       on a port of your choice
  simulator -gitlab 12.3 -object-store   an old GitLab that redirects downloads
  simulator -rate-limit 60               429 above 60 requests a minute`

func main() { command.Main("simulator", run) }

func run(ctx context.Context, env *command.Env, args []string) error {
	flags := command.Flags(help)
	listen := flags.String("listen", "127.0.0.1:0", "the `address` to listen on; port 0 means a free one")
	options, err := parse(env, flags, args)
	if err != nil {
		return err
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", *listen)
	if err != nil {
		return fmt.Errorf("%w: choose another address by -listen", err)
	}
	server := jobstest.NewServer(append(options, jobstest.WithListener(l))...)
	defer server.Close()
	introduce(env.Stdout, server, server.AddDemo())

	<-ctx.Done()
	summarize(env.Stdout, server.Requests())
	return nil
}

// parse adds the flags that say what GitLab is like, and parses all.
func parse(env *command.Env, flags *flag.FlagSet, args []string) ([]jobstest.Option, error) {
	version := flags.String("gitlab", "newest", "the `version` to behave as: newest or 12.3")
	store := flags.Bool("object-store", false, "serve archives from an object store, by redirect")
	rate := flags.Int("rate-limit", 0, "the `requests` a minute that each user may make; 0 means no limit")
	if err := env.Parse(flags, args, 0); err != nil {
		return nil, err
	}
	var options []jobstest.Option
	switch *version {
	case "newest":
	case "12.3":
		options = append(options, jobstest.WithVersion(jobstest.V12_3))
	default:
		return nil, command.Usagef("-gitlab is newest or 12.3, not %q", *version)
	}
	if *store {
		options = append(options, jobstest.WithObjectStore(jobstest.ObjectStore{}))
	}
	if *rate < 0 {
		return nil, command.Usagef("-rate-limit %d is negative", *rate)
	}
	if *rate > 0 {
		options = append(options, jobstest.WithRateLimitHeaders(*rate))
	}
	return options, nil
}

// introduce prints what a client needs to know, to be pasted into a shell.
func introduce(out io.Writer, server *jobstest.Server, demo *jobstest.Demo) {
	fmt.Fprintf(out, `A simulated GitLab, until Ctrl-C. For a client's environment:

  export GITLAB_URL=%s
  export GITLAB_TOKEN=%s

`, server.URL(), server.Token())
	docs := server.Project("acme/docs")
	fmt.Fprintf(out, "Projects: %s (ID %d), %s (ID %d). The pipelines of the first:\n\n", demo.Project.Path(), demo.Project.ID(), docs.Path(), docs.ID())
	pipelines := command.Table(out, "pipeline", "status", "jobs")
	for _, pipeline := range []*jobstest.Pipeline{demo.Pipeline, demo.Previous} {
		pipelines.AppendRow(table.Row{pipeline.ID(), pipeline.Status(), len(pipeline.Jobs())})
	}
	fmt.Fprintln(out, pipelines.Render())
	fmt.Fprintf(out, `
Job %d (%s) failed by its script, %d (%s) lost its runner, %d (%s) waits to be played:

  curl -H "PRIVATE-TOKEN: $GITLAB_TOKEN" "$GITLAB_URL/api/v4/projects/acme%%2Frocket/jobs"
  curl -H "PRIVATE-TOKEN: $GITLAB_TOKEN" "$GITLAB_URL/api/v4/projects/acme%%2Frocket/jobs/%[1]d/trace"
  curl -H "PRIVATE-TOKEN: $GITLAB_TOKEN" -X POST "$GITLAB_URL/api/v4/projects/acme%%2Frocket/jobs/%[5]d/play"
`, demo.Failed.ID(), demo.Failed.Name(), demo.Interrupted.ID(), demo.Interrupted.Name(), demo.Manual.ID(), demo.Manual.Name())
}

// summarize prints which endpoints were asked for how often.
func summarize(out io.Writer, requests []jobstest.Request) {
	type kind struct {
		endpoint string
		status   int
	}
	count := make(map[kind]int)
	for _, r := range requests {
		endpoint := r.Endpoint
		if endpoint == "" {
			endpoint = r.Method + " " + r.RawPath
		}
		count[kind{endpoint, r.Status}]++
	}
	if len(count) == 0 {
		fmt.Fprintln(out, "\nNo requests came.")
		return
	}
	asked := command.Table(out, "asked for", "answer", "times")
	often := func(a, b kind) int {
		return cmp.Or(count[b]-count[a], strings.Compare(a.endpoint, b.endpoint), a.status-b.status)
	}
	for _, k := range slices.SortedFunc(maps.Keys(count), often) {
		asked.AppendRow(table.Row{k.endpoint, k.status, count[k]})
	}
	fmt.Fprintf(out, "\n%s\n", asked.Render())
}

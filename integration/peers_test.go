package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	official "gitlab.com/gitlab-org/api/client-go/v2"

	"github.com/gitlabjobs/gitlabjobs"
	"github.com/gitlabjobs/gitlabjobs/jobstest"
)

// An asking is what is asked of a GitLab, by whichever client.
type asking struct {
	URL      string `json:"url"`
	Token    string `json:"token"`
	JobToken string `json:"job_token"`
	Project  string `json:"project"`
	Pipeline int64  `json:"pipeline"`
	Success  int64  `json:"success"` // a job with artifacts
	Name     string `json:"name"`    // its name
	Path     string `json:"path"`    // of a file in them
	Manual   int64  `json:"manual"`
	Failed   int64  `json:"failed"`
	Running  int64  `json:"running"`

	server *jobstest.Server
}

// newAsking starts a simulator whose time stands still, so that two of them
// answer alike.
func newAsking(t *testing.T) asking {
	t.Helper()
	s := jobstest.NewServer(jobstest.WithClock(jobstest.NewClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))))
	t.Cleanup(s.Close)
	demo := s.AddDemo()
	ask := asking{
		URL: s.URL(), Token: s.Token(), JobToken: demo.Running.Token(), Project: "acme/rocket", Pipeline: demo.Pipeline.ID(),
		Name: "package", Path: "dist/report/index.html", Manual: demo.Manual.ID(), Failed: demo.Failed.ID(), Running: demo.Running.ID(),
		server: s,
	}
	for _, job := range demo.Previous.Jobs() {
		if job.Name() == ask.Name {
			ask.Success = job.ID()
		}
	}
	require.NotZero(t, ask.Success)
	return ask
}

// A refusal is an answer that isn't a success.
type refusal struct {
	Status  int    `json:"status"`
	Message string `json:"message"`
}

// ours returns the answers that our client gets.
func (ask asking) ours(t *testing.T) map[string]any {
	ctx, project := t.Context(), gitlabjobs.ProjectID(ask.Project)
	client := newClient(t, ask.URL, ask.Token)
	jobs := client.Jobs
	get := func(id int64) *gitlabjobs.Job {
		job, err := jobs.Get(ctx, project, id)
		require.NoError(t, err)
		return job
	}
	all := func(opts *gitlabjobs.ListOptions) (list []*gitlabjobs.Job) {
		for job, err := range jobs.All(ctx, project, opts) {
			require.NoError(t, err)
			list = append(list, job)
		}
		return list
	}
	pipeline := func(opts *gitlabjobs.PipelineListOptions) (list []*gitlabjobs.Job) {
		for job, err := range jobs.AllInPipeline(ctx, project, ask.Pipeline, opts) {
			require.NoError(t, err)
			list = append(list, job)
		}
		return list
	}
	digest := func(download func(io.Writer) (*gitlabjobs.Download, error)) string {
		d, err := download(io.Discard)
		require.NoError(t, err)
		return d.SHA256
	}
	refused := func(err error) refusal {
		var e *gitlabjobs.Error
		require.ErrorAs(t, err, &e)
		return refusal{e.StatusCode, e.Message}
	}
	from, ref := gitlabjobs.FromJob(ask.Success), gitlabjobs.FromRef("main", ask.Name)
	answers := map[string]any{
		"get":            get(ask.Success),
		"list":           all(&gitlabjobs.ListOptions{PerPage: 3}),
		"list by keyset": all(nil),
		"list by scope":  all(&gitlabjobs.ListOptions{Scope: []gitlabjobs.Status{gitlabjobs.StatusFailed, gitlabjobs.StatusManual}}),
		"pipeline":       pipeline(&gitlabjobs.PipelineListOptions{PerPage: 3}),
		"pipeline with retried": pipeline(&gitlabjobs.PipelineListOptions{
			IncludeRetried: true,
		}),
		"archive": digest(func(w io.Writer) (*gitlabjobs.Download, error) {
			return jobs.DownloadArtifacts(ctx, project, from, w, nil)
		}),
		"file": digest(func(w io.Writer) (*gitlabjobs.Download, error) {
			return jobs.DownloadArtifactFile(ctx, project, from, ask.Path, w, nil)
		}),
		"archive of ref": digest(func(w io.Writer) (*gitlabjobs.Download, error) {
			return jobs.DownloadArtifacts(ctx, project, ref, w, nil)
		}),
		"file of ref": digest(func(w io.Writer) (*gitlabjobs.Download, error) {
			return jobs.DownloadArtifactFile(ctx, project, ref, ask.Path, w, nil)
		}),
		"log": digest(func(w io.Writer) (*gitlabjobs.Download, error) {
			return jobs.DownloadTrace(ctx, project, ask.Success, w, nil)
		}),
	}
	answers["archive streamed"] = answers["archive"]

	page, err := jobs.List(ctx, project, &gitlabjobs.ListOptions{Page: 2, PerPage: 4})
	require.NoError(t, err)
	answers["list page 2"] = page.Items
	inPipeline, err := jobs.ListInPipeline(ctx, project, ask.Pipeline, &gitlabjobs.PipelineListOptions{PerPage: 3})
	require.NoError(t, err)
	answers["pipeline total"] = inPipeline.Total
	bridges, err := jobs.ListBridges(ctx, project, ask.Pipeline, nil)
	require.NoError(t, err)
	answers["bridges"] = bridges.Items

	_, err = jobs.Get(ctx, project, 99999)
	answers["unknown job"] = refused(err)
	_, err = newClient(t, ask.URL, "wrong").Jobs.List(ctx, "1", nil)
	answers["unknown token"] = refused(err)
	_, err = jobs.Play(ctx, project, ask.Success, nil)
	answers["unplayable"] = refused(err)
	_, err = jobs.Retry(ctx, project, ask.Manual, nil)
	answers["unretryable"] = refused(err)
	_, err = jobs.List(ctx, project, &gitlabjobs.ListOptions{Scope: []gitlabjobs.Status{"sleeping"}})
	answers["bad scope"] = refused(err)
	_, err = jobs.DownloadArtifactFile(ctx, project, from, "no/such/file", io.Discard, nil)
	answers["unknown file"] = refused(err).Status

	ofJob, err := gitlabjobs.NewClient(gitlabjobs.WithBaseURL(ask.URL), gitlabjobs.WithJobToken(ask.JobToken))
	require.NoError(t, err)
	answers["current"], err = ofJob.Jobs.Current(ctx)
	require.NoError(t, err)

	_, err = jobs.Play(ctx, project, ask.Manual, &gitlabjobs.PlayOptions{Variables: []gitlabjobs.Variable{{Key: "CHANNEL", Value: "beta"}}})
	require.NoError(t, err)
	answers["played"] = get(ask.Manual)
	answers["retried"], err = jobs.Retry(ctx, project, ask.Failed, nil)
	require.NoError(t, err)
	answers["canceled"], err = jobs.Cancel(ctx, project, ask.Running, nil)
	require.NoError(t, err)
	answers["kept"], err = jobs.KeepArtifacts(ctx, project, ask.Success)
	require.NoError(t, err)
	require.NoError(t, jobs.DeleteArtifacts(ctx, project, ask.Success))
	answers["without artifacts"] = get(ask.Success)
	_, err = jobs.DownloadArtifacts(ctx, project, from, io.Discard, nil)
	answers["no archive"] = refused(err).Status
	answers["erased"], err = jobs.Erase(ctx, project, ask.Success)
	require.NoError(t, err)
	_, err = jobs.Erase(ctx, project, ask.Success)
	answers["unerasable"] = refused(err)
	require.NoError(t, jobs.DeleteProjectArtifacts(ctx, project))
	answers["in the end"] = all(nil)
	return answers
}

// theirs returns the answers that the official Go client gets.
func (ask asking) theirs(t *testing.T) map[string]any {
	client, err := official.NewClient(ask.Token, official.WithBaseURL(ask.URL), official.WithoutRetries())
	require.NoError(t, err)
	jobs := client.Jobs
	get := func(id int64) *official.Job {
		job, _, err := jobs.GetJob(ask.Project, id)
		require.NoError(t, err)
		return job
	}
	all := func(opts official.ListJobsOptions) []*official.Job {
		list, err := official.ScanAndCollect(func(page official.PaginationOptionFunc) ([]*official.Job, *official.Response, error) {
			return jobs.ListProjectJobs(ask.Project, &opts, page)
		})
		require.NoError(t, err)
		return list
	}
	pipeline := func(opts official.ListJobsOptions) []*official.Job {
		list, err := official.ScanAndCollect(func(page official.PaginationOptionFunc) ([]*official.Job, *official.Response, error) {
			return jobs.ListPipelineJobs(ask.Project, ask.Pipeline, &opts, page)
		})
		require.NoError(t, err)
		return list
	}
	digest := func(content *bytes.Reader, _ *official.Response, err error) string {
		require.NoError(t, err)
		all, err := io.ReadAll(content)
		require.NoError(t, err)
		return hashText(string(all))
	}
	status := func(resp *official.Response, err error) int {
		require.Error(t, err)
		return resp.StatusCode
	}
	offset := official.ListOptions{PerPage: 3}
	ofRef := &official.DownloadArtifactsFileOptions{Job: &ask.Name}
	answers := map[string]any{
		"get":                   get(ask.Success),
		"list":                  all(official.ListJobsOptions{ListOptions: offset}),
		"list by keyset":        all(official.ListJobsOptions{ListOptions: official.ListOptions{PerPage: 3, Pagination: "keyset", OrderBy: "id", Sort: "desc"}}),
		"list by scope":         all(official.ListJobsOptions{Scope: &[]official.BuildStateValue{official.Failed, official.Manual}}),
		"pipeline":              pipeline(official.ListJobsOptions{ListOptions: offset}),
		"pipeline with retried": pipeline(official.ListJobsOptions{IncludeRetried: official.Ptr(true)}),
		"archive":               digest(jobs.GetJobArtifacts(ask.Project, ask.Success)),
		"file":                  digest(jobs.DownloadSingleArtifactsFile(ask.Project, ask.Success, ask.Path)),
		"archive of ref":        digest(jobs.DownloadArtifactsFile(ask.Project, "main", ofRef)),
		"file of ref":           digest(jobs.DownloadSingleArtifactsFileByTagOrBranch(ask.Project, "main", ask.Path, ofRef)),
		"log":                   digest(jobs.GetTraceFile(ask.Project, ask.Success)),
	}
	answers["list page 2"], _, err = jobs.ListProjectJobs(ask.Project, &official.ListJobsOptions{ListOptions: official.ListOptions{Page: 2, PerPage: 4}})
	require.NoError(t, err)
	_, resp, err := jobs.ListPipelineJobs(ask.Project, ask.Pipeline, &official.ListJobsOptions{ListOptions: offset})
	require.NoError(t, err)
	answers["pipeline total"] = resp.TotalItems
	answers["bridges"], _, err = jobs.ListPipelineBridges(ask.Project, ask.Pipeline, nil)
	require.NoError(t, err)

	_, resp, err = jobs.GetJob(ask.Project, 99999)
	answers["unknown job"] = refusal{Status: status(resp, err)}
	_, resp, err = jobs.GetJob(1, ask.Success, official.WithToken(official.PrivateToken, "wrong"))
	answers["unknown token"] = refusal{Status: status(resp, err)}
	_, resp, err = jobs.PlayJob(ask.Project, ask.Success, nil)
	answers["unplayable"] = refusal{Status: status(resp, err)}
	_, resp, err = jobs.RetryJob(ask.Project, ask.Manual)
	answers["unretryable"] = refusal{Status: status(resp, err)}
	_, resp, err = jobs.ListProjectJobs(ask.Project, &official.ListJobsOptions{Scope: &[]official.BuildStateValue{"sleeping"}})
	answers["bad scope"] = refusal{Status: status(resp, err)}
	_, resp, err = jobs.DownloadSingleArtifactsFile(ask.Project, ask.Success, "no/such/file")
	answers["unknown file"] = status(resp, err)

	ofJob, err := official.NewJobClient(ask.JobToken, official.WithBaseURL(ask.URL))
	require.NoError(t, err)
	answers["current"], _, err = ofJob.Jobs.GetJobTokensJob(nil)
	require.NoError(t, err)

	variables := []*official.JobVariableOptions{{Key: official.Ptr("CHANNEL"), Value: official.Ptr("beta")}}
	_, _, err = jobs.PlayJob(ask.Project, ask.Manual, &official.PlayJobOptions{JobVariablesAttributes: &variables})
	require.NoError(t, err)
	answers["played"] = get(ask.Manual)
	answers["retried"], _, err = jobs.RetryJob(ask.Project, ask.Failed)
	require.NoError(t, err)
	answers["canceled"], _, err = jobs.CancelJob(ask.Project, ask.Running)
	require.NoError(t, err)
	answers["kept"], _, err = jobs.KeepArtifacts(ask.Project, ask.Success)
	require.NoError(t, err)
	_, err = jobs.DeleteArtifacts(ask.Project, ask.Success)
	require.NoError(t, err)
	answers["without artifacts"] = get(ask.Success)
	_, resp, err = jobs.GetJobArtifacts(ask.Project, ask.Success)
	answers["no archive"] = status(resp, err)
	answers["erased"], _, err = jobs.EraseJob(ask.Project, ask.Success)
	require.NoError(t, err)
	_, resp, err = jobs.EraseJob(ask.Project, ask.Success)
	answers["unerasable"] = refusal{Status: status(resp, err)}
	resp, err = jobs.DeleteProjectArtifacts(ask.Project)
	require.NoError(t, err)
	assert.Equal(t, http.StatusAccepted, resp.StatusCode)
	answers["in the end"] = all(official.ListJobsOptions{})
	return answers
}

// The simulator must serve python-gitlab as GitLab does, and our client must
// see no less and nothing else than it does.
func TestPythonGitLab(t *testing.T) {
	t.Parallel()
	python := requirePython(t)
	ask, other := newAsking(t), newAsking(t)
	arg, err := json.Marshal(ask)
	require.NoError(t, err)
	cmd := exec.Command(python, "testdata/python_gitlab.py", string(arg))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	var theirs map[string]any
	require.NoError(t, json.Unmarshal(bytes.ReplaceAll(output, []byte(ask.URL), []byte(other.URL)), &theirs))

	assert.EqualValues(t, http.StatusBadRequest, theirs["misplaced variables"])
	delete(theirs, "misplaced variables")
	ours := other.ours(t)
	assert.ElementsMatch(t, slices.Collect(maps.Keys(ours)), slices.Collect(maps.Keys(theirs)))
	for name, answer := range theirs {
		assert.Empty(t, differences(name, plain(t, answer), plain(t, ours[name])))
	}
	assert.Equal(t, []jobstest.Variable{{Key: "CHANNEL", Value: "beta"}}, ask.server.Job(ask.Manual).Variables())
}

// requirePython returns a Python that has python-gitlab: Debian's own is
// tried, too, where another stands before it.
func requirePython(t testing.TB) string {
	t.Helper()
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(python, "-c", "import gitlab").Run() == nil {
			return python
		}
	}
	t.Skip("python-gitlab is not here; integration/install gets it")
	return ""
}

// The official Go client knows fewer fields; what it knows must be the same.
func TestOfficialGoClient(t *testing.T) {
	t.Parallel()
	ask, other := newAsking(t), newAsking(t)
	theirs, ours := ask.theirs(t), other.ours(t)
	for name, answer := range theirs {
		want := plain(t, answer)
		text, err := json.Marshal(want)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal([]byte(strings.ReplaceAll(string(text), ask.URL, other.URL)), &want))
		assert.Empty(t, differences(name, want, common(want, plain(t, ours[name]))))
	}
	assert.Equal(t, []jobstest.Variable{{Key: "CHANNEL", Value: "beta"}}, ask.server.Job(ask.Manual).Variables())
}

// plain returns a decoded answer as JSON has it, less what is empty and with
// times in one spelling: clients differ in how they say that there is nothing.
func plain(t testing.TB, answer any) any {
	t.Helper()
	text, err := json.Marshal(answer)
	require.NoError(t, err)
	var value any
	require.NoError(t, json.Unmarshal(text, &value))
	return pruned(value)
}

func pruned(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for key := range v {
			if v[key] = pruned(v[key]); v[key] == nil {
				delete(v, key)
			}
		}
		if len(v) == 0 {
			return nil
		}
	case []any:
		for i := range v {
			v[i] = pruned(v[i])
		}
		if len(v) == 0 {
			return nil
		}
	case string:
		at, err := time.Parse(time.RFC3339Nano, v)
		switch {
		case v == "" || err == nil && at.IsZero():
			return nil
		case err == nil:
			return at.UTC().Format(time.RFC3339Nano)
		}
	case bool:
		if !v {
			return nil
		}
	case float64:
		if v == 0 {
			return nil
		}
	}
	return value
}

// differences returns where two values differ, field by field.
func differences(path string, want, got any) []string {
	switch w := want.(type) {
	case map[string]any:
		if g, ok := got.(map[string]any); ok {
			var all []string
			keys := maps.Clone(w)
			maps.Copy(keys, g)
			for _, key := range slices.Sorted(maps.Keys(keys)) {
				all = append(all, differences(path+"."+key, w[key], g[key])...)
			}
			return all
		}
	case []any:
		if g, ok := got.([]any); ok && len(w) == len(g) {
			var all []string
			for i := range w {
				all = append(all, differences(fmt.Sprintf("%s[%d]", path, i), w[i], g[i])...)
			}
			return all
		}
	}
	if reflect.DeepEqual(want, got) {
		return nil
	}
	return []string{fmt.Sprintf("%s: theirs %v, ours %v", path, want, got)}
}

// common returns what of value pattern has, too.
func common(pattern, value any) any {
	switch p := pattern.(type) {
	case map[string]any:
		v, ok := value.(map[string]any)
		if !ok {
			return value
		}
		same := map[string]any{}
		for key := range p {
			same[key] = common(p[key], v[key])
		}
		return same
	case []any:
		v, ok := value.([]any)
		if !ok || len(v) != len(p) {
			return value
		}
		same := make([]any, len(p))
		for i := range p {
			same[i] = common(p[i], v[i])
		}
		return same
	}
	return value
}

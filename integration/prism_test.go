package integration

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/gitlabjobs/gitlabjobs"
)

const openAPIVariable = "GITLAB_OPENAPI"

// A description is an OpenAPI document, or a part of one.
type description = map[string]any

// readDescription returns GitLab's description of its API.
func readDescription(t testing.TB) description {
	t.Helper()
	filename := os.Getenv(openAPIVariable)
	if filename == "" {
		t.Skipf("%s names no file with GitLab's OpenAPI description", openAPIVariable)
	}
	text, err := os.ReadFile(filename)
	require.NoError(t, err)
	var d description
	require.NoError(t, yaml.Unmarshal(text, &d))
	return d
}

// startPrism serves a description, and refuses whatever isn't valid by it. It
// returns the server's URL.
func startPrism(t testing.TB, d description) string {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("Node.js is not here; Prism needs it")
	}
	prism, err := filepath.Abs("node_modules/@stoplight/prism-cli/dist/index.js")
	require.NoError(t, err)
	if _, err := os.Stat(prism); err != nil {
		t.Skip("Prism is not here; integration/install gets it")
	}
	filename := filepath.Join(t.TempDir(), "openapi.yaml")
	text, err := yaml.Marshal(d)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filename, text, 0o600))
	addr := freeAddr(t)
	startProcess(t, addr, exec.Command(node, prism, "mock", "--errors", "--host", "127.0.0.1", "--port", strconv.Itoa(portOf(t, addr)), filename))
	return "http://" + addr
}

// operation returns what a description says of an endpoint.
func operation(t testing.TB, d description, method, path string) description {
	t.Helper()
	endpoint, ok := d["paths"].(description)["/api/v4"+path].(description)
	require.True(t, ok, "no %s", path)
	return endpoint[method].(description)
}

// property returns what a description says of an entity's property.
func property(d description, entity, name string) description {
	return d["definitions"].(description)[entity].(description)["properties"].(description)[name].(description)
}

// parameters returns the parameters of an endpoint by a name.
func parameters(op description, name string) []description {
	var all []description
	for _, p := range op["parameters"].([]any) {
		if p := p.(description); p["name"] == name || name == "body" && p["in"] == "body" {
			all = append(all, p)
		}
	}
	return all
}

// A correction is a place where GitLab's description differs from its server.
type correction struct {
	what  string
	apply func(t testing.TB, d description)
}

const jobPath = "/projects/{id}/jobs/{job_id}"

// corrections are all that keep our requests from being valid, or the
// description's own examples from being so. README.md has them, too.
var corrections = []correction{
	{"a commit's parent_ids is an array, its example a string", func(_ testing.TB, d description) {
		p := property(d, "API_Entities_Commit", "parent_ids")
		p["example"] = []any{p["example"]}
	}},
	{"a commit's trailers are objects, their examples strings", func(t testing.TB, d description) {
		for _, name := range []string{"trailers", "extended_trailers"} {
			p := property(d, "API_Entities_Commit", name)
			var example any
			require.NoError(t, json.Unmarshal([]byte(p["example"].(string)), &example))
			p["example"] = example
		}
	}},
	{"a project's ci_job_token_scope_enabled is a boolean, not a string", func(_ testing.TB, d description) {
		for _, entity := range []string{"API_Entities_Ci_Job", "API_Entities_Ci_JobBasic", "API_Entities_Ci_Bridge"} {
			project := property(d, entity, "project")
			project["properties"].(description)["ci_job_token_scope_enabled"].(description)["type"] = "boolean"
		}
	}},
	{"projects are named by path, too, where the description has integers only: get, trace, cancel, retry, erase, play", func(t testing.TB, d description) {
		for path, method := range map[string]string{"": "get", "/trace": "get", "/cancel": "post", "/retry": "post", "/erase": "post", "/play": "post"} {
			id := parameters(operation(t, d, method, jobPath+path), "id")[0]
			id["type"] = "string"
			delete(id, "format")
		}
	}},
	{"a user's created_at is a time, bot a boolean", func(_ testing.TB, d description) {
		p := property(d, "API_Entities_User", "created_at")
		p["format"], p["example"] = "date-time", "2015-12-24T15:51:21.880Z"
		property(d, "API_Entities_User", "bot")["type"] = "boolean"
	}},
	{"a retry takes job_inputs", func(t testing.TB, d description) {
		op := operation(t, d, "post", jobPath+"/retry")
		op["parameters"] = append(op["parameters"].([]any), description{"in": "body", "name": "inputs", "schema": description{
			"type": "object", "properties": description{"job_inputs": description{"type": "object"}},
		}})
	}},
	{"the body of cancel is optional", func(t testing.TB, d description) {
		parameters(operation(t, d, "post", jobPath+"/cancel"), "body")[0]["required"] = false
	}},
	{"a kept job comes with 200, not 201", func(t testing.TB, d description) {
		responses := operation(t, d, "post", jobPath+"/artifacts/keep")["responses"].(description)
		responses["200"] = responses["201"]
		delete(responses, "201")
	}},
	{"a log is text, not a job", func(t testing.TB, d description) {
		op := operation(t, d, "get", jobPath+"/trace")
		op["produces"] = []any{"text/plain"}
		op["responses"].(description)["200"].(description)["schema"] = description{"type": "string", "example": "line 1\nline 2\n"}
	}},
	{"an archive and its files have content", func(t testing.TB, d description) {
		for _, path := range []string{jobPath + "/artifacts", jobPath + "/artifacts/*artifact_path",
			"/projects/{id}/jobs/artifacts/{ref_name}/download", "/projects/{id}/jobs/artifacts/{ref_name}/raw/*artifact_path"} {
			op := operation(t, d, "get", path)
			op["produces"] = []any{"application/octet-stream"}
			op["responses"].(description)["200"].(description)["schema"] = description{"type": "string", "format": "binary", "example": "PK content"}
		}
	}},
	{"artifact_path is in the path, not in the query", func(_ testing.TB, d description) {
		paths := d["paths"].(description)
		for path, endpoint := range paths {
			if before, found := strings.CutSuffix(path, "*artifact_path"); found {
				delete(paths, path)
				paths[before+"{artifact_path}"] = endpoint
				parameters(endpoint.(description)["get"].(description), "artifact_path")[0]["in"] = "path"
			}
		}
	}},
}

// everyCall makes every request of ours that the description knows, of a project
// that is named so, and returns the errors and the answers by the method's name.
func everyCall(t testing.TB, url string, project gitlabjobs.ProjectID) (errors map[string]error, answers map[string]any) {
	jobs, ctx := newClient(t, url, "secret").Jobs, t.Context()
	errors, answers = map[string]error{}, map[string]any{}
	scope := []gitlabjobs.Status{gitlabjobs.StatusPending, gitlabjobs.StatusWaitingForCallback}
	note := func(name string, answer any, err error) { answers[name], errors[name] = answer, err }
	job := func(name string) func(*gitlabjobs.Job, error) {
		return func(j *gitlabjobs.Job, err error) { note(name, j, err) }
	}
	download := func(name string, fetch func(io.Writer) (*gitlabjobs.Download, error)) {
		var w bytes.Buffer
		_, err := fetch(&w)
		note(name, w.String(), err)
	}
	list, err := jobs.List(ctx, project, &gitlabjobs.ListOptions{Scope: scope, PerPage: 100, Page: 2})
	note("List", list, err)
	keyset, err := jobs.List(ctx, project, &gitlabjobs.ListOptions{Keyset: true, PerPage: 100})
	note("List by keyset", keyset, err)
	inPipeline, err := jobs.ListInPipeline(ctx, project, 18, &gitlabjobs.PipelineListOptions{Scope: scope, IncludeRetried: true, PerPage: 50})
	note("ListInPipeline", inPipeline, err)
	bridges, err := jobs.ListBridges(ctx, project, 18, &gitlabjobs.BridgeListOptions{Scope: scope})
	note("ListBridges", bridges, err)
	job("Get")(jobs.Get(ctx, project, 1))
	job("Current")(jobs.Current(ctx))
	agents, err := jobs.AllowedAgents(ctx)
	note("AllowedAgents", agents, err)
	job("Cancel")(jobs.Cancel(ctx, project, 1, nil))
	job("Cancel by force")(jobs.Cancel(ctx, project, 1, &gitlabjobs.CancelOptions{Force: true}))
	job("Retry")(jobs.Retry(ctx, project, 1, nil))
	job("Retry with inputs")(jobs.Retry(ctx, project, 1, &gitlabjobs.RetryOptions{Inputs: map[string]any{"env": "beta"}}))
	job("Erase")(jobs.Erase(ctx, project, 1))
	job("Play")(jobs.Play(ctx, project, 1, nil))
	job("Play with variables")(jobs.Play(ctx, project, 1, &gitlabjobs.PlayOptions{
		Variables: []gitlabjobs.Variable{{Key: "A", Value: ""}}, Inputs: map[string]any{"env": "beta"},
	}))
	job("KeepArtifacts")(jobs.KeepArtifacts(ctx, project, 1))
	note("DeleteArtifacts", nil, jobs.DeleteArtifacts(ctx, project, 1))
	note("DeleteProjectArtifacts", nil, jobs.DeleteProjectArtifacts(ctx, project))
	from, ref := gitlabjobs.FromJob(1), gitlabjobs.FromRef("feature/1", "build: all").SearchRecent()
	for name, source := range map[string]gitlabjobs.ArtifactsSource{"job": from, "ref": ref} {
		download("DownloadArtifacts of "+name, func(w io.Writer) (*gitlabjobs.Download, error) {
			return jobs.DownloadArtifacts(ctx, project, source, w, nil)
		})
		download("DownloadArtifactFile of "+name, func(w io.Writer) (*gitlabjobs.Download, error) {
			return jobs.DownloadArtifactFile(ctx, project, source, "a b#c?100%.txt", w, nil)
		})
	}
	download("DownloadTrace", func(w io.Writer) (*gitlabjobs.Download, error) {
		return jobs.DownloadTrace(ctx, project, 1, w, nil)
	})
	return errors, answers
}

// What the description refuses as it is, or refuses of its own examples. A
// description that was put right shows here.
func TestPrismByDescription(t *testing.T) {
	t.Parallel()
	url := startPrism(t, readDescription(t))
	errors, _ := everyCall(t, url, "11")
	statuses := map[string]int{}
	for name, err := range errors {
		var refusal *gitlabjobs.Error
		switch {
		case err == nil:
			statuses[name] = http.StatusOK
		case assert.ErrorAs(t, err, &refusal, name):
			statuses[name] = refusal.StatusCode
		}
	}
	const badExample = http.StatusInternalServerError
	assert.Equal(t, map[string]int{
		"List": badExample, "List by keyset": badExample, "ListInPipeline": badExample, "ListBridges": badExample,
		"Get": badExample, "Current": badExample, "AllowedAgents": badExample, "Retry": badExample, "Erase": badExample,
		"KeepArtifacts": badExample, "DownloadTrace": badExample, "Cancel by force": badExample, "Play with variables": badExample,
		"Play":   badExample,
		"Cancel": http.StatusUnprocessableEntity, "Retry with inputs": http.StatusUnsupportedMediaType,
		"DeleteArtifacts": http.StatusOK, "DeleteProjectArtifacts": http.StatusOK,
		"DownloadArtifacts of job": http.StatusOK, "DownloadArtifacts of ref": http.StatusOK,
		"DownloadArtifactFile of job": http.StatusNotFound, "DownloadArtifactFile of ref": http.StatusNotFound,
	}, statuses)
	errors, _ = everyCall(t, url, "group/sub/app")
	for _, name := range []string{"Get", "DownloadTrace", "Cancel", "Retry", "Erase"} {
		var refusal *gitlabjobs.Error
		require.ErrorAs(t, errors[name], &refusal, name)
		assert.Equal(t, http.StatusUnprocessableEntity, refusal.StatusCode, "%s: a path where the description has an integer", name)
	}
}

func TestPrismByCorrectedDescription(t *testing.T) {
	t.Parallel()
	d := readDescription(t)
	for _, c := range corrections {
		c.apply(t, d)
	}
	url := startPrism(t, d)
	for _, project := range []gitlabjobs.ProjectID{"11", "group/sub/app"} {
		errors, answers := everyCall(t, url, project)
		for _, name := range slices.Sorted(maps.Keys(errors)) {
			assert.NoError(t, errors[name], name)
		}
		assert.Equal(t, "line 1\nline 2\n", answers["DownloadTrace"])
		assert.Equal(t, "PK content", answers["DownloadArtifacts of job"])
		assert.Equal(t, "PK content", answers["DownloadArtifactFile of ref"])
		assert.Len(t, answers["List"].(*gitlabjobs.Page[*gitlabjobs.Job]).Items, 1)

		example := getJSON(t, url+"/api/v4/projects/11/jobs/1")
		assert.Empty(t, differences("Get", example, common(example, plain(t, answers["Get"]))), "a field is lost")
		bridge := answers["ListBridges"].(*gitlabjobs.Page[*gitlabjobs.Bridge]).Items[0]
		assert.Equal(t, "deploy_to_production", bridge.Name)
	}

	// Prism does refuse what isn't valid.
	for _, path := range []string{"/projects/11/jobs?per_page=many", "/projects/11/jobs/first", "/projects/11/jobs/artifacts/main/download"} {
		resp, err := http.Get(url + "/api/v4" + path)
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, http.StatusUnprocessableEntity, resp.StatusCode, path)
	}
}

// getJSON returns a decoded answer.
func getJSON(t testing.TB, url string) any {
	t.Helper()
	resp, err := http.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	var value any
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&value))
	return pruned(withoutOther(value))
}

// withoutOther leaves out what the description's users have, but no user that
// comes with a job.
func withoutOther(value any) any {
	switch v := value.(type) {
	case description:
		for _, name := range []string{"custom_attributes", "followers", "following", "is_followed"} {
			delete(v, name)
		}
		for _, field := range v {
			withoutOther(field)
		}
	case []any:
		for _, item := range v {
			withoutOther(item)
		}
	}
	return value
}

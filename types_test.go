package gitlabjobs

import (
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// at returns the time of a timestamp as servers write it.
func at(t testing.TB, text string) time.Time {
	t.Helper()
	value, err := time.Parse(time.RFC3339, text)
	require.NoError(t, err)
	return value
}

// decoded returns what a file of testdata decodes to.
func decoded[T any](t testing.TB, name string) T {
	t.Helper()
	var value T
	require.NoError(t, decodeJSON([]byte(testdata(t, name)), &value))
	return value
}

func documentedCommit(t testing.TB) *Commit {
	return &Commit{
		ID: "0ff3ae198f8601a285adcf5c0fff204ee6fba5fd", ShortID: "0ff3ae19",
		Title: "Test the CI integration.", Message: "Test the CI integration.",
		AuthorName: "Administrator", AuthorEmail: "admin@example.com",
		CreatedAt: at(t, "2015-12-24T16:51:14.000+01:00"),
	}
}

func documentedUser(t testing.TB) *User {
	return &User{
		ID: 1, Name: "Administrator", Username: "root", State: "active",
		AvatarURL: "http://www.gravatar.com/avatar/e64c7d89f26bd1972efa854d13d7dd61?s=80&d=identicon",
		WebURL:    "http://gitlab.dev/root", CreatedAt: at(t, "2015-12-21T13:14:24.077Z"),
	}
}

// documentedJob returns what the documented jobs of lists have in common.
func documentedJob(t testing.TB) *Job {
	return &Job{
		Stage: "test", Status: StatusFailed, Ref: "master",
		Commit: documentedCommit(t), User: documentedUser(t), Artifacts: []Artifact{},
		Pipeline: &Pipeline{ID: 6, Ref: "master", SHA: "0ff3ae198f8601a285adcf5c0fff204ee6fba5fd", Status: StatusPending},
	}
}

// documentedList is the documented answer of both lists of jobs.
func documentedList(t testing.TB) []*Job {
	first, second := documentedJob(t), documentedJob(t)
	first.ID, first.Name, first.WebURL = 6, "rspec:other", "https://example.com/foo/bar/-/jobs/6"
	first.Duration = number(0.192)
	first.CreatedAt = at(t, "2015-12-24T15:51:21.727Z")
	first.StartedAt = at(t, "2015-12-24T17:54:24.729Z")
	first.FinishedAt = at(t, "2015-12-24T17:54:24.921Z")
	first.ArtifactsExpireAt = at(t, "2016-01-23T17:54:24.921Z")
	second.ID, second.Name, second.WebURL = 7, "teaspoon", "https://example.com/foo/bar/-/jobs/7"
	second.Duration = number(0.173)
	second.CreatedAt = at(t, "2015-12-24T15:51:21.802Z")
	second.StartedAt = at(t, "2015-12-24T17:54:27.722Z")
	second.FinishedAt = at(t, "2015-12-24T17:54:27.895Z")
	second.ArtifactsExpireAt = at(t, "2016-01-23T17:54:27.895Z")
	second.ArtifactsFile = &ArtifactsFile{Filename: "artifacts.zip", Size: 1000}
	return []*Job{first, second}
}

// documentedAnswer returns what the documented answers of the calls on one
// job have in common.
func documentedAnswer(t testing.TB) *Job {
	return &Job{
		ID: 42, Name: "rubocop", Stage: "test", Ref: "master", WebURL: "https://example.com/foo/bar/-/jobs/42",
		Commit: documentedCommit(t), Artifacts: []Artifact{}, CreatedAt: at(t, "2016-01-11T10:13:33.506Z"),
	}
}

// documentedAnswers returns the documented answer of every endpoint that
// answers with one job, by file.
func documentedAnswers(t testing.TB) map[string]*Job {
	get := documentedJob(t)
	get.ID, get.Name, get.WebURL = 8, "rubocop", "https://example.com/foo/bar/-/jobs/8"
	get.Duration = number(0.465)
	get.CreatedAt = at(t, "2015-12-24T15:51:21.880Z")
	get.StartedAt = at(t, "2015-12-24T17:54:30.733Z")
	get.FinishedAt = at(t, "2015-12-24T17:54:31.198Z")
	get.ArtifactsExpireAt = at(t, "2016-01-23T17:54:31.198Z")
	canceled, retried, played, erased := documentedAnswer(t), documentedAnswer(t), documentedAnswer(t), documentedAnswer(t)
	canceled.Status, canceled.StartedAt, canceled.Duration = StatusCanceled, at(t, "2016-01-11T10:14:09.526Z"), number(8)
	retried.Status = StatusPending
	played.Status = "started"
	erased.Status, erased.Duration = StatusFailed, number(97)
	erased.StartedAt, erased.FinishedAt = at(t, "2016-01-11T10:13:33.506Z"), at(t, "2016-01-11T10:15:10.506Z")
	return map[string]*Job{
		"get_job.json": get, "cancel_job.json": canceled, "retry_job.json": retried,
		"play_job.json": played, "erase_job.json": erased, "keep_artifacts.json": erased,
	}
}

func number(value float64) *float64 { return &value }

func TestDocumentedAnswersDecode(t *testing.T) {
	t.Parallel()
	assert.Equal(t, documentedList(t), decoded[[]*Job](t, "list_project_jobs.json"))
	assert.Equal(t, documentedList(t), decoded[[]*Job](t, "list_pipeline_jobs.json"))
	for name, want := range documentedAnswers(t) {
		assert.Equal(t, want, decoded[*Job](t, name), name)
	}
	assert.Contains(t, testdata(t, "list_project_jobs.json"), `"artifacts": [
      {"file_type": "archive"`, "the documented example has the key twice")
}

func newestJob(t testing.TB) *Job {
	return &Job{
		ID: 7130421190, Status: StatusFailed, Stage: "test", Name: "rspec unit pg16 3/8", Ref: "feature/résumé",
		Tag: true, AllowFailure: true, Source: "push", Archived: true,
		WebURL:        "https://gitlab.example.com/group/app/-/jobs/7130421190",
		FailureReason: ReasonJobRouterFailure,
		Coverage:      number(93.57), Duration: number(1118.893457), QueuedDuration: number(17),
		CreatedAt: at(t, "2026-05-04T09:12:44.512Z"), StartedAt: at(t, "2026-05-04T09:13:02.007Z"),
		FinishedAt: at(t, "2026-05-04T09:31:40.9Z"), ErasedAt: at(t, "2026-06-01T00:00:00Z"),
		ArtifactsExpireAt: at(t, "2026-06-03T09:31:40.9Z"),
		User: &User{
			ID: 4849, Username: "thomas", Name: "Thomas Nilsson", State: "active", Locked: true, Bot: true,
			AvatarURL:  "https://gitlab.example.com/uploads/-/system/user/avatar/4849/avatar.png",
			AvatarPath: "/uploads/-/system/user/avatar/4849/avatar.png",
			WebURL:     "https://gitlab.example.com/thomas", CreatedAt: at(t, "2019-03-14T15:09:26.535Z"),
			Bio: "CI all day", Location: "Göteborg", PublicEmail: "thomas@example.com", Skype: "thomas.skype",
			LinkedIn: "thomas-linkedin", Twitter: "thomas_twitter", Discord: "thomas#1234", GitHub: "thomas-github",
			WebsiteURL: "https://thomas.example.com", Organization: "Example AB", JobTitle: "Release engineer",
			Pronouns: "he/him", WorkInformation: "Release engineer at Example AB", LocalTime: "3:38 PM",
		},
		Commit: &Commit{
			ID: "5d923c9a7d5bcaea2a4b4e1d0a9b1a8f8a1bb0b5", ShortID: "5d923c9a",
			CreatedAt:  at(t, "2026-05-04T11:10:00+02:00"),
			ParentIDs:  []string{"0ff3ae198f8601a285adcf5c0fff204ee6fba5fd", "9d0c1f7a"},
			Title:      "Merge branch 'feature' into 'main'",
			Message:    "Merge branch 'feature' into 'main'\n\nSigned-off-by: A <a@example.com>",
			AuthorName: "Ada", AuthorEmail: "ada@example.com", AuthoredDate: at(t, "2026-05-03T08:00:00-07:00"),
			CommitterName: "GitLab", CommitterEmail: "noreply@example.com", CommittedDate: at(t, "2026-05-04T11:10:00+02:00"),
			Trailers:         map[string]string{"Signed-off-by": "B <b@example.com>"},
			ExtendedTrailers: map[string][]string{"Signed-off-by": {"A <a@example.com>", "B <b@example.com>"}},
			WebURL:           "https://gitlab.example.com/group/app/-/commit/5d923c9a",
		},
		Pipeline: &Pipeline{
			ID: 1271234567, IID: 4711, ProjectID: 278964, SHA: "5d923c9a7d5bcaea2a4b4e1d0a9b1a8f8a1bb0b5",
			Ref: "feature/résumé", Status: StatusRunning, Source: "merge_request_event",
			CreatedAt: at(t, "2026-05-04T09:12:40Z"), UpdatedAt: at(t, "2026-05-04T09:12:45Z"),
			WebURL: "https://gitlab.example.com/group/app/-/pipelines/1271234567",
		},
		Project:       &JobProject{CIJobTokenScopeEnabled: true},
		ArtifactsFile: &ArtifactsFile{Filename: "artifacts.zip", Size: 5 << 30},
		Artifacts: []Artifact{
			{FileType: "archive", Size: 5 << 30, Filename: "artifacts.zip", FileFormat: "zip"},
			{FileType: "jacoco", Filename: "jacoco.xml.gz"},
		},
		Runner: &Runner{
			ID: 12270807, Description: "blue-1.saas-linux-small-amd64.runners-manager", IPAddress: "10.0.0.7",
			Active: true, Paused: true, IsShared: true, RunnerType: "instance_type", Name: "gitlab-runner",
			Online: true, Status: "online", JobExecutionStatus: "active", CreatedAt: at(t, "2024-01-01T00:00:00Z"),
			CreatedBy: &User{ID: 9, Username: "admin", Name: "Administrator", State: "active", WebURL: "https://gitlab.example.com/admin"},
		},
		RunnerManager: &RunnerManager{
			ID: 42093, SystemID: "s_5651e5b5643b", Version: "18.9.0", Revision: "f1ea7b2b", Platform: "linux",
			Architecture: "amd64", CreatedAt: at(t, "2026-05-01T07:00:00Z"), ContactedAt: at(t, "2026-05-04T09:31:00Z"),
			IPAddress: "10.0.0.8", Status: "online", JobExecutionStatus: "idle",
		},
		TagList: []string{"docker", "gce"},
	}
}

func newestBridges(t testing.TB) []*Bridge {
	return []*Bridge{{
		ID: 8, Status: StatusPending, Stage: "deploy", Name: "trigger:downstream", Ref: "main", Tag: true,
		AllowFailure: true, Source: "push", Archived: true, WebURL: "https://gitlab.example.com/group/app/-/jobs/8",
		FailureReason: ReasonDownstreamPipelineCreationFailed,
		Coverage:      number(1.5), Duration: number(1), QueuedDuration: number(0.25),
		CreatedAt: at(t, "2026-05-04T09:12:44.512Z"), StartedAt: at(t, "2026-05-04T09:13:02.007Z"),
		FinishedAt: at(t, "2026-05-04T09:13:03.007Z"), ErasedAt: at(t, "2026-05-05T00:00:00Z"),
		User: &User{ID: 4849, Username: "thomas"}, Commit: &Commit{ID: "5d923c9a"},
		Pipeline: &Pipeline{ID: 6, IID: 2, ProjectID: 1, SHA: "5d923c9a", Ref: "main", Status: StatusPending, Source: "push"},
		Project:  &JobProject{CIJobTokenScopeEnabled: true},
		DownstreamPipeline: &Pipeline{
			ID: 5, IID: 1, ProjectID: 2, SHA: "f62a4b2fb89754372a346f24659212eb8da13601", Ref: "main",
			Status: "a_status_of_tomorrow", Source: "pipeline",
			CreatedAt: at(t, "2026-05-04T09:13:03Z"), UpdatedAt: at(t, "2026-05-04T09:13:04Z"),
			WebURL: "https://gitlab.example.com/group/other/-/pipelines/5",
		},
	}, {ID: 9, Status: StatusCreated}}
}

func artifactTree() []*ArtifactEntry {
	return []*ArtifactEntry{
		{Name: "coverage", Path: "coverage/", Type: "directory"},
		{Name: "a b#c?100%.txt", Path: "coverage/a b#c?100%.txt", Type: "file", Size: 4 << 30, Mode: "100644"},
	}
}

func allowedAgents(t testing.TB) *AllowedAgents {
	return &AllowedAgents{
		AllowedAgents: []AllowedAgent{{
			ID: 1,
			ConfigProject: AgentConfigProject{
				ID: 2, Description: "where agents are set up", Name: "Agents", NameWithNamespace: "Group / Agents",
				Path: "agents", PathWithNamespace: "group/agents", CreatedAt: at(t, "2026-01-02T03:04:05.006Z"),
			},
			Configuration: map[string]any{
				"default_namespace": "production", "protected_branches_only": true,
				"access_as": map[string]any{"agent": map[string]any{}},
			},
		}},
		Job: AgentJob{ID: 3}, Pipeline: AgentPipeline{ID: 4},
		Project:     AgentProject{ID: 5, Groups: []AgentGroup{{ID: 6}, {ID: 7}}},
		User:        AgentUser{ID: 8, Username: "root", RolesInProject: []string{"guest", "reporter", "developer"}},
		Environment: &AgentEnvironment{Tier: "production", Slug: "prod-eu"},
	}
}

func TestNewestAnswersDecode(t *testing.T) {
	t.Parallel()
	job := decoded[*Job](t, "newest_job.json")
	assert.Equal(t, newestJob(t), job)
	requireFull(t, reflect.ValueOf(*job), "Job", "Job.DownloadURL", "Job.DownstreamPipeline", "Job.Runner.CreatedBy", "Job.Artifacts")
	bridges := decoded[[]*Bridge](t, "newest_bridges.json")
	assert.Equal(t, newestBridges(t), bridges)
	requireFull(t, reflect.ValueOf(*bridges[0]), "Bridge", "Bridge.User", "Bridge.Commit", "Bridge.Pipeline")
	entries := decoded[[]*ArtifactEntry](t, "artifact_tree.json")
	assert.Equal(t, artifactTree(), entries)
	requireFull(t, reflect.ValueOf(*entries[1]), "ArtifactEntry")
	agents := decoded[*AllowedAgents](t, "allowed_agents.json")
	assert.Equal(t, allowedAgents(t), agents)
	requireFull(t, reflect.ValueOf(*agents), "AllowedAgents")
}

// requireFull fails where a field has its zero value: then the sample lacks
// it, or its name is misspelt. Fields in except, and what is below them, may.
func requireFull(t *testing.T, value reflect.Value, path string, except ...string) {
	t.Helper()
	if value.Kind() == reflect.Pointer && !value.IsNil() {
		value = value.Elem()
	}
	if slices.Contains(except, path) {
		return
	}
	assert.Falsef(t, value.IsZero(), "%s is not in the sample", path)
	if value.Kind() != reflect.Struct || value.Type() == reflect.TypeFor[time.Time]() {
		return
	}
	for i := range value.NumField() {
		requireFull(t, value.Field(i), path+"."+value.Type().Field(i).Name, except...)
	}
}

func TestPlayedBridgeDecodesAsJob(t *testing.T) {
	t.Parallel()
	jobs := decoded[[]*Job](t, "newest_bridges.json")
	assert.Equal(t, newestBridges(t)[0].DownstreamPipeline, jobs[0].DownstreamPipeline)
}

func TestDecodeJSON(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		body string
		want *Job
		err  error
	}{
		"null apart from zero":    {`{"id":1,"duration":0,"coverage":null}`, &Job{ID: 1, Duration: number(0)}, nil},
		"unknown enums":           {`{"status":"frozen","failure_reason":"cosmic_ray"}`, &Job{Status: "frozen", FailureReason: "cosmic_ray"}, nil},
		"invalid UTF-8":           {"{\"name\":\"a\xffb\"}", &Job{Name: "a\uFFFDb"}, nil},
		"a key twice":             {`{"name":"a","name":"b"}`, &Job{Name: "b"}, nil},
		"an array twice":          {`{"artifacts":[{"size":1,"filename":"a"},{"size":2}],"artifacts":[{"size":3,"filename":"c"}]}`, &Job{Artifacts: []Artifact{{Size: 3, Filename: "c"}}}, nil},
		"integers for floats":     {`{"duration":8,"queued_duration":1e2}`, &Job{Duration: number(8), QueuedDuration: number(100)}, nil},
		"space around":            {" \r\n{\"id\":1}\n ", &Job{ID: 1}, nil},
		"string for bool":         {`{"project":{"ci_job_token_scope_enabled":"false"}}`, &Job{Project: &JobProject{}}, nil},
		"null project":            {`{"project":null}`, &Job{}, nil},
		"empty":                   {"", nil, ErrUnexpectedContent},
		"null":                    {" null ", nil, ErrUnexpectedContent},
		"breaks off":              {`{"id":1,"name":"ru`, nil, io.ErrUnexpectedEOF},
		"breaks off before value": {`{"id":`, nil, io.ErrUnexpectedEOF},
		"not JSON":                {`It works!`, nil, ErrUnexpectedContent},
		"more behind it":          {`{"id":1}{"id":2}`, nil, ErrUnexpectedContent},
		"a byte behind it":        {`{"id":1}{`, nil, ErrUnexpectedContent},
		"a wrong last byte":       {`{"id":1]`, nil, ErrUnexpectedContent},
		"array for object":        {`[{"id":1}]`, nil, ErrUnexpectedContent},
		"wrong type":              {`{"id":"one"}`, nil, ErrUnexpectedContent},
		"wrong time":              {`{"created_at":"yesterday"}`, nil, ErrUnexpectedContent},
		"wrong project":           {`{"project":[]}`, nil, ErrUnexpectedContent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			job := new(Job)
			err := decodeJSON([]byte(test.body), job)
			if test.err != nil {
				require.ErrorIs(t, fails(t, err), test.err)
				assert.NotEqual(t, errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, ErrUnexpectedContent), "both")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.want, job)
		})
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	for status, want := range map[Status]struct{ finished, active bool }{
		StatusCreated: {false, true}, StatusWaitingForResource: {false, true}, StatusPreparing: {false, true},
		StatusWaitingForCallback: {false, true}, StatusPending: {false, true}, StatusRunning: {false, true},
		StatusSuccess: {true, false}, StatusFailed: {true, false}, StatusCanceling: {false, true},
		StatusCanceled: {true, false}, StatusSkipped: {true, false}, StatusManual: {false, false},
		StatusScheduled: {false, true}, "tomorrow": {false, true}, "": {false, false},
	} {
		assert.Equal(t, want.finished, status.Finished(), status)
		assert.Equal(t, want.active, status.Active(), status)
	}
}

func TestFailureReasonInfrastructure(t *testing.T) {
	t.Parallel()
	for _, reason := range []FailureReason{ReasonRunnerSystemFailure, ReasonStuckOrTimeoutFailure, ReasonAPIFailure, ReasonJobRouterFailure} {
		assert.True(t, reason.Infrastructure(), reason)
	}
	for _, reason := range []FailureReason{ReasonScriptFailure, ReasonJobExecutionTimeout, ReasonUserBlocked, "tomorrow", ""} {
		assert.False(t, reason.Infrastructure(), reason)
	}
}

// A job survives being written as JSON and read again, as caches do with it.
func TestJobRoundTrip(t *testing.T) {
	t.Parallel()
	encoded, err := json.Marshal(newestJob(t))
	require.NoError(t, err)
	var again Job
	require.NoError(t, json.Unmarshal(encoded, &again))
	assert.Equal(t, newestJob(t), &again)
	assert.Contains(t, strings.ReplaceAll(string(encoded), " ", ""), `"iid":4711`)
}

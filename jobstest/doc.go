// Package jobstest is a GitLab that knows jobs: its Jobs and Job Artifacts
// API, served from memory over real HTTP, for tests of programs that drive CI.
// It has the paths, statuses, bodies and headers of a GitLab server, its
// oddities too, so any client of GitLab can be pointed at it.
//
// # A server and what is in it
//
// A test starts a [Server], puts a project with pipelines and jobs into it,
// lets its program loose, and looks at what became of the jobs:
//
//	s := jobstest.NewServer()
//	defer s.Close()
//	pl := s.AddProject("group/app").AddPipeline(jobstest.PipelineSpec{})
//	j := pl.AddJob(jobstest.JobSpec{Name: "e2e", Status: gitlabjobs.StatusFailed, Log: "connection refused\n"})
//
//	client, err := gitlabjobs.NewClient(
//		gitlabjobs.WithBaseURL(s.URL()),
//		gitlabjobs.WithPrivateToken(s.Token()),
//		gitlabjobs.WithHTTPClient(s.HTTPClient()),
//	)
//
// [Server.Token] is a maintainer's; [Server.AddToken] makes others, of other
// kinds, roles and scopes, revoked and expired ones. A job's own token is
// [Job.Token]. [Server.AddDemo] fills a server with a lifelike project.
//
// # Jobs that live
//
// A job may have a [JobSpec.Course]: what becomes of it by the server's clock.
// It begins when the job is created; for a manual job, when it is played; for
// one that has finished, when it is retried:
//
//	jobstest.JobSpec{Name: "deploy", Status: gitlabjobs.StatusManual, Course: []jobstest.Step{
//		{After: 1 * time.Second, Status: gitlabjobs.StatusRunning, Log: "deploying\n"},
//		{After: 5 * time.Second, Log: "half way\n"},
//		{After: 9 * time.Second, Status: gitlabjobs.StatusSuccess},
//	}}
//
// The clock is the real one unless [WithClock] sets one that the test moves by
// hand. Beside their course, jobs do what a test tells them:
// [Job.SetStatus], [Job.Fail], [Job.AppendLog], [Job.SetLog], [Job.SetArchive].
//
// # Programs that wait
//
// A program that polls is tested best in a bubble of testing/synctest, where
// an hour passes at once. Sockets don't work there, in-memory connections do:
//
//	synctest.Test(t, func(t *testing.T) {
//		s := jobstest.NewServer(jobstest.WithInMemory())
//		defer s.Close()
//		// The client must use s.HTTPClient(), or a transport with s.DialContext.
//	})
//
// [Request.Time] then says at which moments it polled.
//
// # Things that go wrong
//
// [Server.Fail] scripts a [Fault] for an endpoint: statuses, Retry-After,
// delays, connections that break before the answer or after so many bytes of
// it, stalls, servers that don't do ranges or do them wrong, content that
// changes, login pages where JSON should be. TakesEffect lets a request be
// carried out and only its answer be lost, which is what tells a careful
// program from one that plays a deployment twice:
//
//	s.Fail(jobstest.Fault{
//		Endpoint: "POST /projects/:id/jobs/:job_id/play", Times: 1,
//		Status: 502, TakesEffect: true,
//	})
//
// Endpoints are spelled as in GitLab's documentation. The object store, which
// [WithObjectStore] adds as a second origin that archives are redirected to,
// is "store".
//
// # What the program asked for
//
// [Server.Requests] has every request with its templated endpoint, path as it
// came, query, header and body; [Server.BytesSent] what was sent for it.
//
// # What is served
//
// All endpoints of the Jobs and Job Artifacts API, and, in short form, those
// that programs call on their way there: a project, its pipelines, the user
// and the version. [WithVersion] chooses between GitLab 12.3 and the newest.
package jobstest

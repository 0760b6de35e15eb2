package jobstest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/gitlabjobs/gitlabjobs"
)

// A Demo is a lifelike project for examples and demonstrations.
type Demo struct {
	Project  *Project  // "acme/rocket"
	Pipeline *Pipeline // the newest one, of main
	Previous *Pipeline // an older one of main, successful, with the same jobs

	Failed      *Job // "integration", whose script failed; its log says why
	Interrupted *Job // "browser", which lost its runner; its second retry succeeds
	Running     *Job // "docs", which goes on for about two seconds
	Manual      *Job // "package": played, it runs for about two seconds and makes an archive
}

// AddDemo adds the project acme/rocket: two pipelines of main with jobs in the
// stages build, test and deploy, archives, coloured logs with sections and
// times, retried jobs and a bridge to acme/docs. What still happens in it, by
// the server's clock, is over in less than three seconds.
func (s *Server) AddDemo() *Demo {
	now := s.clock.Now()
	d := &Demo{Project: s.AddProject("acme/rocket")}
	d.Previous = d.Project.AddPipeline(PipelineSpec{
		SHA: "9a0d4c1be2f87a6653c1d0e4b7f8a2913c5d6e70", Title: "Tighten the bolts of stage two", CreatedAt: now.Add(-26 * time.Hour),
	})
	d.Pipeline = d.Project.AddPipeline(PipelineSpec{
		SHA: "3f1c2ab9d0e84c57a6b1f2e3d4c5b6a798807162", Title: "Open the launch window earlier", CreatedAt: now.Add(-9 * time.Minute),
	})
	docs := s.AddProject("acme/docs").AddPipeline(PipelineSpec{Source: "pipeline", CreatedAt: now.Add(-6 * time.Minute)})
	docs.AddJob(JobSpec{Name: "pages", Stage: "deploy", CreatedAt: now.Add(-6 * time.Minute), Duration: 70 * time.Second})

	for _, spec := range demoBuild() {
		d.Previous.addDemoJob(spec)
		d.Pipeline.addDemoJob(spec)
	}
	d.addPreviousJobs()
	d.addNewestJobs(docs)
	return d
}

// addDemoJob adds a finished job that was created with its pipeline, or,
// where another one was retried, later.
func (pl *Pipeline) addDemoJob(spec demoJob) *Job {
	spec.CreatedAt = pl.spec.CreatedAt.Add(spec.retriedAfter)
	if spec.log != nil {
		l := &runnerLog{at: spec.CreatedAt.Add(spec.Waited + spec.Queued)}
		spec.log(l)
		spec.Log = l.String()
	}
	return pl.AddJob(spec.JobSpec)
}

// A demoJob is a job and what writes its log.
type demoJob struct {
	JobSpec
	log          func(*runnerLog)
	retriedAfter time.Duration
}

// demoBuild is the stage build, and what of the stage test always succeeds.
func demoBuild() []demoJob {
	coverage := 87.4
	return []demoJob{
		{JobSpec: JobSpec{
			Name: "compile", Stage: "build", Queued: 4 * time.Second, Duration: 112 * time.Second, TagList: []string{"docker", "linux"},
			Archive: Zip(map[string]string{"bin/rocket": noise(1, 64<<10), "bin/rocket.sha256": "not signed yet\n"}),
		}, log: func(l *runnerLog) {
			l.prepare("golang:1.26")
			l.script(105*time.Second, scriptCommand{"go build -o bin/rocket ./cmd/rocket", []string{
				"go: downloading example.com/telemetry v1.4.0", "go: downloading example.com/thrust v0.9.2",
			}}, scriptCommand{"ls -l bin", []string{"-rwxr-xr-x 1 root root 65536 rocket"}})
			l.upload(2)
			l.succeed()
		}},
		{JobSpec: JobSpec{
			Name: "assets", Stage: "build", Queued: 3 * time.Second, Duration: 48 * time.Second, TagList: []string{"docker"},
			Archive: Zip(map[string]string{"public/index.html": "<!doctype html><title>Rocket</title>\n", "public/app.css": "body{margin:0}\n"}),
		}, log: func(l *runnerLog) {
			l.prepare("node:24")
			l.script(40*time.Second, scriptCommand{"npm ci", []string{"added 214 packages in 18s"}},
				scriptCommand{"npm run build", []string{"\x1b[32m✓\x1b[39m 61 modules transformed.", "\x1b[33mwarning\x1b[39m: 2 assets are larger than 500 kB"}})
			l.upload(2)
			l.succeed()
		}},
		{JobSpec: JobSpec{
			Name: "lint", Stage: "test", Waited: 116 * time.Second, Queued: 2 * time.Second, Duration: 35 * time.Second, AllowFailure: true,
			Status: gitlabjobs.StatusFailed, TagList: []string{"docker"},
		}, log: func(l *runnerLog) {
			l.prepare("golang:1.26")
			l.script(30*time.Second, scriptCommand{"golangci-lint run", []string{
				"\x1b[1mlaunch/window.go:41:2\x1b[0m: \x1b[31mineffectual assignment to opens\x1b[0m (ineffassign)", "1 issues:", "* ineffassign: 1",
			}})
			l.fail(": exit code 1")
		}},
		{JobSpec: JobSpec{
			Name: "unit", Stage: "test", Waited: 116 * time.Second, Queued: 3 * time.Second, Duration: 21 * time.Second, Retried: true,
			Status: gitlabjobs.StatusFailed, FailureReason: gitlabjobs.ReasonRunnerSystemFailure, TagList: []string{"docker", "linux"},
		}, log: lostRunner},
		{JobSpec: JobSpec{
			Name: "unit", Stage: "test", Queued: 2 * time.Second, Duration: 95 * time.Second,
			Coverage: &coverage, TagList: []string{"docker", "linux"},
			Archive: Zip(map[string]string{"coverage/index.html": "<!doctype html><title>87.4% covered</title>\n", "coverage/cover.out": "mode: atomic\n"}),
			Reports: []Report{{FileType: "junit", Filename: "junit.xml.gz", Content: []byte(demoJUnit)}},
		}, log: func(l *runnerLog) {
			l.prepare("golang:1.26")
			l.script(85*time.Second, scriptCommand{"go test -cover ./...", []string{
				"ok  \tacme.example/rocket/engine\t12.204s\tcoverage: 91.0% of statements",
				"ok  \tacme.example/rocket/launch\t31.770s\tcoverage: 83.1% of statements", "total: (statements) 87.4%",
			}})
			l.upload(3)
			l.succeed()
		}, retriedAfter: 143 * time.Second},
	}
}

// addPreviousJobs ends the older pipeline well.
func (d *Demo) addPreviousJobs() {
	for i, name := range []string{"integration", "browser"} {
		d.Previous.addDemoJob(demoJob{JobSpec: JobSpec{
			Name: name, Stage: "test", Waited: 116 * time.Second, Queued: 5 * time.Second, Duration: time.Duration(150+60*i) * time.Second,
		}, log: func(l *runnerLog) {
			l.prepare("golang:1.26")
			l.script(140*time.Second, scriptCommand{"make " + name, []string{"ok  \tacme.example/rocket/" + name + "\t138.904s"}})
			l.succeed()
		}})
	}
	d.Previous.addDemoJob(demoJob{JobSpec: JobSpec{
		Name: "package", Stage: "deploy", Waited: 350 * time.Second, Queued: 4 * time.Second, Duration: 62 * time.Second, Archive: demoPackage("v1.41.0"),
	}, log: func(l *runnerLog) {
		l.prepare("golang:1.26")
		l.script(55*time.Second, scriptCommand{"make package VERSION=v1.41.0", []string{"packed dist/rocket"}})
		l.upload(demoPackageFiles)
		l.succeed()
	}})
}

// addNewestJobs leaves the newest pipeline with failures, with a job that
// runs, and with one to play.
func (d *Demo) addNewestJobs(downstream *Pipeline) {
	created := d.Pipeline.spec.CreatedAt
	d.Failed = d.Pipeline.addDemoJob(demoJob{JobSpec: JobSpec{
		Name: "integration", Stage: "test", Waited: 116 * time.Second, Queued: 6 * time.Second, Duration: 185 * time.Second,
		Status: gitlabjobs.StatusFailed, TagList: []string{"docker", "linux"},
	}, log: failedIntegration})
	d.Interrupted = d.Pipeline.addDemoJob(demoJob{JobSpec: JobSpec{
		Name: "browser", Stage: "test", Waited: 116 * time.Second, Queued: 41 * time.Second, Duration: 77 * time.Second,
		Status: gitlabjobs.StatusFailed, FailureReason: gitlabjobs.ReasonRunnerSystemFailure, TagList: []string{"docker", "chrome"},
		RetryCourses: [][]Step{
			liveCourse(400*time.Millisecond, Step{Status: gitlabjobs.StatusFailed, FailureReason: gitlabjobs.ReasonRunnerSystemFailure}),
			liveCourse(800*time.Millisecond, Step{Status: gitlabjobs.StatusSuccess}),
		},
	}, log: lostRunner})
	d.Pipeline.AddBridge(BridgeSpec{
		Name: "docs-site", Stage: "deploy", Status: gitlabjobs.StatusSuccess, Downstream: downstream,
		CreatedAt: created, Waited: 118 * time.Second, Queued: time.Second, Duration: 132 * time.Second,
	})
	docs := JobSpec{Name: "docs", Stage: "deploy", Status: gitlabjobs.StatusRunning, TagList: []string{"docker"}}
	docs.CreatedAt, docs.Waited, docs.Queued = created, 529*time.Second, 3*time.Second
	course := liveCourse(2*time.Second, Step{Status: gitlabjobs.StatusSuccess})
	docs.Log = course[0].LogAt(created.Add(docs.Waited + docs.Queued))
	d.Running = d.Pipeline.AddJob(docs)
	d.Running.start(course[1:])
	d.Manual = d.Pipeline.AddJob(JobSpec{
		Name: "package", Stage: "deploy", Status: gitlabjobs.StatusManual, AllowFailure: true, CreatedAt: created, TagList: []string{"docker", "linux"},
		Course: liveCourse(2*time.Second, Step{Status: gitlabjobs.StatusSuccess, Archive: demoPackage("v1.42.0")}),
	})
}

// start lets a job take a course from now on.
func (j *Job) start(course []Step) {
	j.lock()
	defer j.unlock()
	j.begin(course, j.pl.p.s.clock.Now())
}

// liveSteps is how many pieces a live log comes in.
const liveSteps = 8

// liveCourse is the course of a job that is picked up after 200 ms, writes a
// log for so long, and ends as the last step says.
func liveCourse(runs time.Duration, last Step) []Step {
	const pickup = 200 * time.Millisecond
	course := []Step{{After: pickup, Status: gitlabjobs.StatusRunning, LogAt: func(at time.Time) string {
		l := &runnerLog{at: at}
		l.line(0, "\x1b[0KRunning with gitlab-runner 17.5.3 (8f9da4cf)\x1b[0;m")
		l.open("step_script", `Executing "step_script" stage of the job script`)
		l.command(0, "make dist")
		return l.String()
	}}}
	for i := 1; i <= liveSteps; i++ {
		course = append(course, Step{After: pickup + runs*time.Duration(i)/(liveSteps+1), LogAt: func(at time.Time) string {
			l := &runnerLog{at: at}
			l.line(0, "[%d/%d] \x1b[36mpacking\x1b[0m part-%02d  \x1b[32m%3d%%\x1b[0m", i, liveSteps, i, 100*i/liveSteps)
			return l.String()
		}})
	}
	last.After = pickup + runs
	last.LogAt = func(at time.Time) string {
		l := &runnerLog{at: at}
		l.close("step_script")
		if last.Status == gitlabjobs.StatusSuccess {
			l.succeed()
		} else {
			l.fail(" (system failure): the runner went away")
		}
		return l.String()
	}
	return append(course, last)
}

func lostRunner(l *runnerLog) {
	l.prepare("selenium/standalone-chrome:130")
	l.script(10*time.Second, scriptCommand{"make test", []string{"starting 4 workers", "worker 1 ready", "worker 2 ready"}})
	l.fail(" (system failure): Cannot connect to the Docker daemon at tcp://docker:2376. Is the docker daemon running?")
}

func failedIntegration(l *runnerLog) {
	l.prepare("golang:1.26")
	l.section("database", "Starting the database", func() {
		l.line(4*time.Second, "postgres is ready after 4 s")
	})
	l.script(170*time.Second, scriptCommand{"go test -tags integration ./...", []string{
		"=== RUN   TestCountdown", "\x1b[32m--- PASS: TestCountdown (31.07s)\x1b[0m",
		"=== RUN   TestTelemetry", "\x1b[32m--- PASS: TestTelemetry (58.40s)\x1b[0m",
		"=== RUN   TestLaunchWindow",
		"    window_test.go:87: ", "\tError Trace:\tlaunch/window_test.go:87",
		"\tError:      \tNot equal: ", "\t            \texpected: 05:45 UTC", "\t            \tactual  : 06:00 UTC",
		"\tMessages:   \tthe window must open 15 minutes earlier since !412",
		"\x1b[31m--- FAIL: TestLaunchWindow (42.18s)\x1b[0m",
		"FAIL", "FAIL\tacme.example/rocket/launch\t131.913s",
		"ok  \tacme.example/rocket/engine\t64.011s", "stderr: FAIL", "stderr: make: *** [Makefile:34: integration] Error 1",
	}})
	l.fail(": exit code 1")
}

// demoPackageFiles is how many files demoPackage holds.
const demoPackageFiles = 5

func demoPackage(version string) []byte {
	binary := noise(2, 256<<10)
	return Zip(map[string]string{
		"dist/README.md":         "# rocket " + version + "\n\nUnpack it, then run `./rocket launch`.\n",
		"dist/rocket":            binary,
		"dist/report/index.html": "<!doctype html>\n<title>rocket " + version + "</title>\n<h1>All 128 checks passed</h1>\n",
		"dist/report/junit.xml":  demoJUnit,
		"dist/report/sizes.csv":  fmt.Sprintf("file,bytes\nrocket,%d\n", len(binary)),
	})
}

const demoJUnit = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="3" failures="0" time="131.65">
  <testsuite name="acme.example/rocket/launch" tests="3" failures="0" time="131.65">
    <testcase classname="launch" name="TestCountdown" time="31.07"/>
    <testcase classname="launch" name="TestTelemetry" time="58.40"/>
    <testcase classname="launch" name="TestLaunchWindow" time="42.18"/>
  </testsuite>
</testsuites>
`

// noise makes bytes that look like a program's, the same for the same seed.
func noise(seed byte, size int) string {
	var b strings.Builder
	b.WriteString("\x7fELF\x02\x01\x01\x00")
	rest := make([]byte, size-b.Len())
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(rest) // never fails
	b.Write(rest)
	return b.String()
}

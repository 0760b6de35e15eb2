package jobstest

import (
	"fmt"
	"strings"
	"time"
)

// A runnerLog is written as a runner does: each line with its time and
// stream, in colour, and in sections.
type runnerLog struct {
	strings.Builder
	at time.Time
}

// line writes a line that comes so long after the one before.
func (l *runnerLog) line(after time.Duration, format string, args ...any) {
	l.write(after, 'O', format, args...)
}

// errorLine writes a line of the error stream.
func (l *runnerLog) errorLine(after time.Duration, format string, args ...any) {
	l.write(after, 'E', format, args...)
}

func (l *runnerLog) write(after time.Duration, stream byte, format string, args ...any) {
	l.at = l.at.Add(after)
	fmt.Fprintf(l, "%s 01%c ", l.at.UTC().Format("2006-01-02T15:04:05.000000Z"), stream)
	fmt.Fprintf(l, format, args...)
	l.WriteByte('\n')
}

// command writes a command as the runner echoes it.
func (l *runnerLog) command(after time.Duration, text string) {
	l.line(after, "\x1b[32;1m$ %s\x1b[0;m", text)
}

// section writes a section with what body writes in it.
func (l *runnerLog) section(name, header string, body func()) {
	l.open(name, header)
	body()
	l.close(name)
}

func (l *runnerLog) open(name, header string) {
	l.line(20*time.Millisecond, "\x1b[0Ksection_start:%d:%s\r\x1b[0K\x1b[0K\x1b[36;1m%s\x1b[0;m\x1b[0;m", l.at.Unix(), name, header)
}

func (l *runnerLog) close(name string) {
	l.line(20*time.Millisecond, "\x1b[0Ksection_end:%d:%s\r\x1b[0K", l.at.Unix(), name)
}

// prepare writes what stands at the start of every log.
func (l *runnerLog) prepare(image string) {
	l.line(0, "\x1b[0KRunning with gitlab-runner 17.5.3 (8f9da4cf)\x1b[0;m")
	l.line(time.Millisecond, "\x1b[0K  on shared-runner-1 t1_aBcDeF, system ID: s_89e5e9956577\x1b[0;m")
	l.section("prepare_executor", `Preparing the "docker" executor`, func() {
		l.line(300*time.Millisecond, "Using Docker executor with image %s ...", image)
		l.line(900*time.Millisecond, "Using docker image sha256:4b1a3d7f for %s ...", image)
	})
	l.section("get_sources", "Getting source from Git repository", func() {
		l.line(200*time.Millisecond, "Fetching changes with git depth set to 20...")
		l.line(600*time.Millisecond, "Checking out 3f1c2ab9 as detached HEAD (ref is main)...")
	})
}

// script writes the part of a log that the job's own commands make, spread
// over the given time.
func (l *runnerLog) script(took time.Duration, commands ...scriptCommand) {
	lines := 1
	for _, c := range commands {
		lines += 1 + len(c.output)
	}
	pause := took / time.Duration(lines)
	l.section("step_script", `Executing "step_script" stage of the job script`, func() {
		for _, c := range commands {
			l.command(pause, c.text)
			for _, out := range c.output {
				if out, isError := strings.CutPrefix(out, "stderr: "); isError {
					l.errorLine(pause, "%s", out)
				} else {
					l.line(pause, "%s", out)
				}
			}
		}
	})
}

// A scriptCommand is a command of a job's script and the lines it prints,
// those with "stderr: " before them on the error stream.
type scriptCommand struct {
	text   string
	output []string
}

// upload writes how artifacts are uploaded.
func (l *runnerLog) upload(files int) {
	l.section("upload_artifacts_on_success", "Uploading artifacts for successful job", func() {
		l.line(300*time.Millisecond, "Uploading artifacts...")
		l.line(100*time.Millisecond, "dist/: found %d matching artifact files and directories", files)
		l.line(400*time.Millisecond, `Uploading artifacts as "archive" to coordinator... 201 Created`)
	})
}

func (l *runnerLog) succeed() {
	l.line(50*time.Millisecond, "\x1b[32;1mJob succeeded\x1b[0;m")
}

func (l *runnerLog) fail(why string) {
	l.errorLine(50*time.Millisecond, "\x1b[31;1mERROR: Job failed%s\x1b[0;m", why)
}

package joblog_test

import (
	"fmt"
	"io"
	"log"
	"os"
	"slices"
	"strings"

	"github.com/gitlabjobs/gitlabjobs/joblog"
)

// jobLog is what DownloadTrace or FollowTrace of the Jobs API write.
const jobLog = "" +
	"2026-03-14T09:26:53.000314Z 00O \x1b[0KRunning with gitlab-runner 18.4.0\x1b[0;m\n" +
	"2026-03-14T09:26:53.000337Z 00O section_start:1773480413:get_sources\r\n" +
	"2026-03-14T09:26:53.000337Z 00O+\x1b[0K\x1b[36;1mGetting source from Git repository\x1b[0;m\n" +
	"2026-03-14T09:26:54.102030Z 01E Receiving objects:  50% (2/4)\r\n" +
	"2026-03-14T09:26:55.203040Z 01E+Receiving objects: 100% (4/4), done.\n" +
	"2026-03-14T09:26:55.301427Z 00O section_end:1773480415:get_sources\r\n" +
	"2026-03-14T09:26:55.301439Z 00O+\x1b[0Ksection_start:1773480415:step_script\r\n" +
	"2026-03-14T09:26:55.301442Z 00O+\x1b[0K\x1b[36;1mExecuting the job script\x1b[0;m\n" +
	"2026-03-14T09:26:55.400000Z 01O \x1b[32;1m$ go test ./...\x1b[0;m\n" +
	"2026-03-14T09:26:58.487060Z 01O \x1b[31mFAIL\x1b[0m example.com/app 2.1s\n" +
	"2026-03-14T09:26:58.487060Z 01E exit status 1\n" +
	"2026-03-14T09:26:59.328783Z 00O section_end:1773480419:step_script\r\n" +
	"2026-03-14T09:26:59.328788Z 00O+\x1b[0K\x1b[31;1mERROR: Job failed: exit code 1\x1b[0;m\n"

func ExampleLines() {
	for line, err := range joblog.Lines(strings.NewReader(jobLog)) {
		if err != nil {
			log.Fatal(err)
		}
		if slices.Contains(line.Sections, "step_script") {
			fmt.Printf("%d %s %s: %s\n", line.Number, line.Time.Format("15:04:05.000"), line.Stream, line.Text)
		}
	}
	// Output:
	// 4 09:26:55.301 stdout: Executing the job script
	// 5 09:26:55.400 stdout: $ go test ./...
	// 6 09:26:58.487 stdout: FAIL example.com/app 2.1s
	// 7 09:26:58.487 stderr: exit status 1
}

func ExampleSections() {
	for section, err := range joblog.Sections(strings.NewReader(jobLog)) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%-12s %v (%s)\n", section.Name, section.Duration, section.Header)
	}
	// Output:
	// get_sources  2s (Getting source from Git repository)
	// step_script  4s (Executing the job script)
}

func ExampleTail() {
	lines, err := joblog.Tail(strings.NewReader(jobLog), 3)
	if err != nil {
		log.Fatal(err)
	}
	for _, line := range lines {
		fmt.Println(line.Text)
	}
	// Output:
	// FAIL example.com/app 2.1s
	// exit status 1
	// ERROR: Job failed: exit code 1
}

func ExampleNewStripper() {
	w := joblog.NewStripper(os.Stdout)
	_, err := io.WriteString(w, "\x1b[0Ksection_start:1773480415:tests[collapsed=true]\r\x1b[0K\x1b[36;1mTests\x1b[0;m\n"+
		"\x1b[32mPASS\x1b[0m TestUpload\n"+
		"\x1b[0Ksection_end:1773480419:tests\r\x1b[0KDone\n")
	if err != nil {
		log.Fatal(err)
	}
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// Tests
	// PASS TestUpload
	// Done
}

// Package joblog reads the logs of GitLab CI jobs, as the API's trace endpoint
// and the artifact "trace" deliver them.
//
// A job log is a terminal's recording: colours and other ANSI escape codes,
// progress bars that redraw their line with carriage returns, bytes in any
// encoding. GitLab Runner adds its own marks to it: sections, which the job
// page shows as collapsible blocks, and, from version 17.0 on, a timestamp
// before each line. This package takes all that apart:
//
//	for line, err := range joblog.Lines(log) {
//		if err != nil {
//			return err
//		}
//		if line.Stream == joblog.Stderr && slices.Contains(line.Sections, "step_script") {
//			fmt.Println(line.Number, line.Text)
//		}
//	}
//
// [Lines] yields the log line by line, [Sections] what took how long, [Tail]
// the end of a log, and [NewStripper] cleans a log on its way to a file or a
// terminal. Each reads its input once and forward, so a log can be parsed
// while it is downloaded or followed.
//
// # Lines and redraws
//
// A line ends with a line feed. Where the runner has cut a line in pieces (it
// does so after a carriage return, and in very long lines), the pieces are
// joined again: see [Line].
//
// The text of a line is what a terminal shows of it in the end. A carriage
// return, or a cursor movement to the first column (CSI 1 G), starts a redraw:
// the first text after it replaces all text before it, as in GitLab's job page;
// what a shorter redraw would leave over of a longer one isn't kept. Without
// text after it nothing is replaced, so that "100%\r\n" reads "100%". The erase
// codes (CSI K and CSI J) erase. A redraw that climbs to earlier lines stays
// what the log makes of it: a line of its own.
//
// # ANSI codes
//
// Removed are control sequences (CSI), strings (OSC, DCS, SOS, PM and APC,
// ended by BEL or ST) and all other codes that start with an escape byte. A
// code without an end reaches to the end of its line at most; the line end
// itself is never taken for a part of it. The 8-bit forms of these codes are
// not looked for: in UTF-8 they are letters' bytes.
//
// # Sections
//
// A section starts and ends with a marker (\e is the escape byte),
//
//	\e[0Ksection_start:UNIX:NAME[collapsed=true]\r\e[0KHeader
//	\e[0Ksection_end:UNIX:NAME\r\e[0K
//
// of which the leading \e[0K and the options in brackets may be missing. GitLab
// takes nothing else for a marker, nor does this package. Markers are no part
// of a line's text, and text that shares a line with them stays in it. What is
// longer than 1 KiB is no marker, and sections nested deeper than 1,000 are
// ignored.
//
// The end of a section ends those inside it that are still open; an end
// without a start is ignored.
//
// # Memory
//
// The memory needed is that of the longest line, and of the sections that are
// open; how long the log is makes no difference. The stripper needs not even
// that: its memory is bounded whatever passes through.
//
// See https://docs.gitlab.com/ci/jobs/job_logs/ for GitLab's page on job logs.
package joblog

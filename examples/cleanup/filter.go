package main

import (
	"flag"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/gitlabjobs/gitlabjobs"
)

// A filter says which jobs are meant. Its parts all have to match.
type filter struct {
	olderThan  time.Duration
	largerThan uint64 // bytes
	name, ref  *regexp.Regexp
	given      []string // the flags, as they were set
}

// addFilter adds the flags of a filter.
func addFilter(flags *flag.FlagSet) *filter {
	f := &filter{}
	add := func(name, usage string, set func(value string) error) {
		flags.Func(name, usage, func(value string) error {
			f.given = append(f.given, fmt.Sprintf("%s=%q", name, value))
			return set(value)
		})
	}
	add("older-than", "only jobs that finished longer ago than this `age`, such as 30d or 12h", func(value string) (err error) {
		f.olderThan, err = parseAge(value)
		return err
	})
	add("larger-than", "only artifacts above this `size`, such as 500kB or 1GiB", func(value string) (err error) {
		f.largerThan, err = humanize.ParseBytes(value)
		return err
	})
	add("name", "only jobs whose name matches this `regexp`", func(value string) (err error) {
		f.name, err = regexp.Compile(value)
		return err
	})
	add("ref", "only jobs whose branch or tag matches this `regexp`", func(value string) (err error) {
		f.ref, err = regexp.Compile(value)
		return err
	})
	return f
}

// String returns the flags as they were given.
func (f *filter) String() string { return strings.Join(f.given, " ") }

func (f *filter) empty() bool { return len(f.given) == 0 }

// matches reports whether a job has artifacts that are meant.
func (f *filter) matches(job *gitlabjobs.Job, now time.Time) bool {
	bytes := size(job)
	switch {
	case bytes == 0 || uint64(bytes) <= f.largerThan:
		return false
	case age(job, now) < f.olderThan:
		return false
	case f.name != nil && !f.name.MatchString(job.Name):
		return false
	case f.ref != nil && !f.ref.MatchString(job.Ref):
		return false
	}
	return true
}

// size returns the bytes that deleting a job's artifacts frees: all of its
// files but the log, which stays.
func size(job *gitlabjobs.Job) int64 {
	var bytes int64
	for _, artifact := range job.Artifacts {
		if artifact.FileType != "trace" {
			bytes += artifact.Size
		}
	}
	if bytes == 0 && job.ArtifactsFile != nil {
		return job.ArtifactsFile.Size
	}
	return bytes
}

// age returns how long ago a job finished.
func age(job *gitlabjobs.Job, now time.Time) time.Duration {
	if job.FinishedAt.IsZero() {
		return now.Sub(job.CreatedAt)
	}
	return now.Sub(job.FinishedAt)
}

// parseAge parses a duration, which may also be in days: 30d.
func parseAge(value string) (time.Duration, error) {
	const day = 24 * time.Hour
	if days, ok := strings.CutSuffix(value, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, fmt.Errorf("%q is no number of days", days)
		}
		return time.Duration(n) * day, nil
	}
	return time.ParseDuration(value)
}

package jobstest

import (
	"time"

	"github.com/gitlabjobs/gitlabjobs"
)

// tick brings every job up to the clock. It is called before anything is read.
func (s *Server) tick() {
	now := s.clock.Now()
	for j := range s.moving {
		for len(j.course) > 0 && !j.courseAt.Add(j.course[0].After).After(now) {
			step := j.course[0]
			j.course = j.course[1:]
			j.take(step, j.courseAt.Add(step.After))
		}
		if len(j.course) == 0 {
			delete(s.moving, j)
		}
	}
}

// begin lets a job take a course that starts at the given moment.
func (j *Job) begin(course []Step, at time.Time) {
	j.course, j.courseAt = course, at
	if len(course) > 0 {
		j.pl.p.s.moving[j] = struct{}{}
	}
}

func (j *Job) take(step Step, at time.Time) {
	j.log.append(step.Log, at)
	if step.LogAt != nil {
		j.log.append(step.LogAt(at), at)
	}
	if step.Archive != nil {
		j.archive = j.newArchive(step.Archive, nil, 0, "")
		j.archive.modified = at
	}
	if step.Status != "" {
		j.become(at, step.Status, step.FailureReason)
	}
}

// become changes the job's status at the given moment.
func (j *Job) become(at time.Time, status gitlabjobs.Status, reason gitlabjobs.FailureReason) {
	j.pl.updatedAt = at
	if status.Finished() {
		j.finish(at, status, reason)
		return
	}
	j.status, j.reason, j.finished = status, "", time.Time{}
	switch status {
	case gitlabjobs.StatusPending:
		j.queued = at
	case gitlabjobs.StatusRunning:
		if j.started.IsZero() {
			j.started = at
		}
	}
}

// finish ends the job: its archive is uploaded, and starts to expire.
func (j *Job) finish(at time.Time, status gitlabjobs.Status, reason gitlabjobs.FailureReason) {
	j.status, j.reason = status, ""
	if status == gitlabjobs.StatusFailed {
		j.reason = reason
		if reason == "" {
			j.reason = gitlabjobs.ReasonScriptFailure
		}
	}
	j.finished = at
	uploads := status == gitlabjobs.StatusSuccess || status == gitlabjobs.StatusFailed
	if uploads && j.archive == nil && (j.spec.Archive != nil || j.spec.ArchiveReader != nil) {
		j.archive = j.newArchive(j.spec.Archive, j.spec.ArchiveReader, j.spec.ArchiveSize, j.spec.ArchiveSHA256)
		j.archive.modified = at
	}
	if j.spec.ArtifactsExpireIn > 0 {
		j.expire = at.Add(j.spec.ArtifactsExpireIn)
	}
}

// cancelNow is what the cancel endpoint does.
func (j *Job) cancelNow(now time.Time, force bool) {
	switch {
	case j.status.Finished():
	case j.status == gitlabjobs.StatusCanceling && !force:
	case j.status == gitlabjobs.StatusRunning && len(j.spec.CancelCourse) > 0 && !force:
		j.become(now, gitlabjobs.StatusCanceling, "")
		j.begin(j.spec.CancelCourse, now)
	default:
		j.course = nil
		j.become(now, gitlabjobs.StatusCanceled, "")
	}
}

func (j *Job) retryable() bool {
	if j.retried || j.spec.Archived {
		return false
	}
	return j.status == gitlabjobs.StatusSuccess || j.status == gitlabjobs.StatusFailed || j.status == gitlabjobs.StatusCanceled
}

// retryNow makes the job that takes this one's place.
func (j *Job) retryNow(now time.Time, by *user) *Job {
	j.retried = true
	spec := j.spec
	spec.Status, spec.Log, spec.CreatedAt, spec.Queued, spec.Duration = gitlabjobs.StatusPending, "", now, 0, 0
	spec.Waited, spec.Retried = 0, false
	again := j.pl.newJob(spec)
	again.bridge, again.downstream, again.manual = j.bridge, j.downstream, j.manual
	again.user, again.retries = by, j.retries+1
	again.created = now
	again.become(now, gitlabjobs.StatusPending, "")
	course := spec.Course
	if n := len(spec.RetryCourses); n > 0 {
		course = spec.RetryCourses[min(j.retries, n-1)]
	}
	again.begin(course, now)
	return again
}

func (j *Job) playable() bool {
	if j.spec.Archived {
		return false
	}
	return j.status == gitlabjobs.StatusManual || j.status == gitlabjobs.StatusScheduled || j.manual && j.retryable()
}

// playNow starts the job, or, where it has run before, the one that takes its
// place.
func (j *Job) playNow(now time.Time, by *user) *Job {
	if j.status.Finished() {
		return j.retryNow(now, by)
	}
	j.user = by
	j.become(now, gitlabjobs.StatusPending, "")
	j.begin(j.spec.Course, now)
	return j
}

// hasArtifacts reports whether the archive can be downloaded.
func (j *Job) hasArtifacts(now time.Time) bool {
	return j.archive != nil && (j.spec.ArtifactsLocked || !j.expired(now))
}

func (j *Job) expired(now time.Time) bool {
	return !j.expire.IsZero() && !j.expire.After(now)
}

// eraseArtifacts removes archive and reports, but for the log.
func (j *Job) eraseArtifacts() {
	j.archive, j.reports, j.expire = nil, nil, time.Time{}
}

func (j *Job) erasable() bool {
	return j.status.Finished() && (j.archive != nil || j.log.size > 0 || len(j.reports) > 0)
}

func (j *Job) eraseNow(now time.Time) {
	j.eraseArtifacts()
	j.log.replace("", now)
	j.gone = now
}

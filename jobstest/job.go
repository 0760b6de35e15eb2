package jobstest

import (
	"io"
	"slices"
	"time"

	"github.com/gitlabjobs/gitlabjobs"
)

// A JobSpec says what a new job is like, and what becomes of it.
type JobSpec struct {
	Name  string // default "job"
	Stage string // default "test"

	// Status is the status the job starts with. The default is
	// StatusPending for a job with a Course, StatusSuccess without.
	Status        gitlabjobs.Status
	FailureReason gitlabjobs.FailureReason // of a failed job; default script_failure
	AllowFailure  bool
	TagList       []string
	Coverage      *float64
	User          string // who made it run; default: the pipeline's
	Archived      bool   // too old to be retried or played
	DebugTrace    bool   // CI_DEBUG_TRACE: the log is hidden from guests and reporters

	// Log is the job's log so far.
	Log string

	// Archive is the artifacts archive, a zip (see [Zip]), which is there
	// once the job has succeeded or failed. ArchiveReader with ArchiveSize
	// is the same for archives that don't fit in memory (see [SyntheticZip]).
	Archive       []byte
	ArchiveReader io.ReaderAt
	ArchiveSize   int64
	ArchiveName   string // default "artifacts.zip"
	// ArchiveSHA256 is the digest of ArchiveReader, in hex. Left empty, it is
	// computed by the first download, which reads the archive once.
	ArchiveSHA256 string
	NoChecksum    bool // the server has stored none: no ETag
	NoMetadata    bool // the server hasn't listed the archive's entries

	// ArtifactsExpireIn is how long after the finish the artifacts expire;
	// 0 means never. Expired ones can't be downloaded unless they are
	// locked, as those of a ref's newest pipeline are.
	ArtifactsExpireIn time.Duration
	ArtifactsLocked   bool
	Reports           []Report

	// CreatedAt and what follows place the job in time: how long it waited
	// for earlier stages, how long it was queued for a runner, how long it
	// ran. A job that has finished without CreatedAt did so just now. The
	// defaults of Queued and Duration for such a job are 1 s and 10 s.
	CreatedAt time.Time
	Waited    time.Duration
	Queued    time.Duration
	Duration  time.Duration
	// Retried says that a later job has taken this one's place: it is left
	// out of the pipeline's lists unless they include retried jobs.
	Retried bool

	// Course is the job's life by the clock. It begins when the job is
	// created, or when it is played if it is manual, or when it is retried
	// if it has finished.
	Course []Step
	// RetryCourses are the courses of the first, second ... retry, the last
	// one that of all further ones. The default is Course.
	RetryCourses [][]Step
	// CancelCourse is what happens to a running job once it is canceled; it
	// is StatusCanceling until a step says otherwise. Without it the job is
	// canceled at once.
	CancelCourse []Step
}

// A Step is one change in the life of a job.
type Step struct {
	After         time.Duration             // since the course began
	Status        gitlabjobs.Status         // "" leaves it as it is
	FailureReason gitlabjobs.FailureReason  // default script_failure
	Log           string                    // appended
	LogAt         func(at time.Time) string // makes more to append, for logs that show the time; it must not call the server
	Archive       []byte                    // replaces the archive
}

// A Report is an artifact of a job beside its archive, such as test results.
type Report struct {
	FileType   string // e.g. "junit"
	Filename   string // default: FileType with ".gz"
	FileFormat string // default "gzip"
	Content    []byte
}

// A Job is a job of a pipeline. Its methods are safe for concurrent use, also
// while the server answers.
type Job struct {
	pl     *Pipeline
	id     int64
	spec   JobSpec
	bridge bool
	user   *user
	token  string // its CI_JOB_TOKEN, once asked for

	status                                   gitlabjobs.Status
	reason                                   gitlabjobs.FailureReason
	created, queued, started, finished, gone time.Time // gone: erased
	expire                                   time.Time
	manual, retried                          bool
	retries                                  int // how often the job this one comes from was retried
	coverage                                 *float64
	log                                      logContent
	archive                                  *archive
	reports                                  []Report
	variables                                []Variable
	inputs                                   map[string]any
	downstream                               *Pipeline

	course   []Step // what is still to come
	courseAt time.Time
}

// A Variable is a variable that a job was played with.
type Variable struct{ Key, Value string }

// AddJob adds a job to the pipeline.
func (pl *Pipeline) AddJob(spec JobSpec) *Job {
	s := pl.p.s
	s.mu.Lock()
	defer s.mu.Unlock()
	return pl.addJob(spec)
}

func (pl *Pipeline) addJob(spec JobSpec) *Job {
	s := pl.p.s
	if spec.Name == "" {
		spec.Name = "job"
	}
	if spec.Stage == "" {
		spec.Stage = "test"
	}
	if spec.Status == "" {
		spec.Status = gitlabjobs.StatusSuccess
		if len(spec.Course) > 0 {
			spec.Status = gitlabjobs.StatusPending
		}
	}
	if spec.ArchiveName == "" {
		spec.ArchiveName = "artifacts.zip"
	}
	j := pl.newJob(spec)
	j.placeInTime(s.clock.Now())
	j.log.append(spec.Log, s.clock.Now())
	if spec.Status.Finished() {
		j.finish(j.finished, spec.Status, spec.FailureReason)
	} else {
		j.status = spec.Status
	}
	j.manual = spec.Status == gitlabjobs.StatusManual
	if j.status.Active() {
		j.begin(spec.Course, j.created)
	}
	return j
}

// newJob makes a job and puts it where lists find it.
func (pl *Pipeline) newJob(spec JobSpec) *Job {
	s := pl.p.s
	j := &Job{pl: pl, id: s.nextID(&s.lastJob), spec: spec, retried: spec.Retried, coverage: spec.Coverage, reports: slices.Clone(spec.Reports)}
	j.user = pl.user
	if spec.User != "" {
		j.user = s.user(spec.User)
	}
	pl.jobs = append(pl.jobs, j)
	pl.p.jobs = append(pl.p.jobs, j)
	s.jobs[j.id] = j
	return j
}

// The times of a finished job that its spec says nothing about.
const (
	defaultQueued   = time.Second
	defaultDuration = 10 * time.Second
)

// placeInTime sets the times of a new job as its spec has them.
func (j *Job) placeInTime(now time.Time) {
	waited, queued, duration := j.spec.Waited, j.spec.Queued, j.spec.Duration
	status := j.spec.Status
	ended := status.Finished()
	if ended && queued == 0 {
		queued = defaultQueued
	}
	if ended && duration == 0 {
		duration = defaultDuration
	}
	ran := ended && status != gitlabjobs.StatusSkipped
	j.created = j.spec.CreatedAt
	switch {
	case !j.created.IsZero():
	case ran:
		j.created = now.Add(-waited - queued - duration)
	case status == gitlabjobs.StatusRunning:
		j.created = now.Add(-waited - queued)
	default:
		j.created = now
	}
	j.queued = j.created.Add(waited)
	if ran || status == gitlabjobs.StatusRunning || status == gitlabjobs.StatusCanceling {
		j.started = j.queued.Add(queued)
	}
	if ran {
		j.finished = j.started.Add(duration)
	}
}

// ID returns the job's ID.
func (j *Job) ID() int64 { return j.id }

// Name returns the job's name.
func (j *Job) Name() string { return j.spec.Name }

// Variables returns the variables that the job was played with.
func (j *Job) Variables() []Variable {
	j.lock()
	defer j.unlock()
	return slices.Clone(j.variables)
}

// Inputs returns the job inputs that the job was played or retried with.
func (j *Job) Inputs() map[string]any {
	j.lock()
	defer j.unlock()
	return j.inputs
}

// Log returns the job's log so far.
func (j *Job) Log() string {
	j.lock()
	defer j.unlock()
	return j.log.String()
}

// AppendLog appends to the job's log.
func (j *Job) AppendLog(text string) {
	j.lock()
	defer j.unlock()
	j.log.append(text, j.pl.p.s.clock.Now())
}

// SetLog replaces the job's log.
func (j *Job) SetLog(text string) {
	j.lock()
	defer j.unlock()
	j.log.replace(text, j.pl.p.s.clock.Now())
}

// SetStatus gives the job a status, now. The rest of its course is dropped.
func (j *Job) SetStatus(status gitlabjobs.Status) {
	j.lock()
	defer j.unlock()
	j.course = nil
	j.become(j.pl.p.s.clock.Now(), status, "")
}

// Fail lets the job fail for the given reason, now. The rest of its course is
// dropped.
func (j *Job) Fail(reason gitlabjobs.FailureReason) {
	j.lock()
	defer j.unlock()
	j.course = nil
	j.become(j.pl.p.s.clock.Now(), gitlabjobs.StatusFailed, reason)
}

// SetArchive replaces the job's artifacts archive, now; nil removes it.
func (j *Job) SetArchive(zip []byte) {
	j.lock()
	defer j.unlock()
	if zip == nil {
		j.archive = nil
		return
	}
	j.archive = j.newArchive(zip, nil, 0, "")
}

// SetArchiveReader replaces the job's artifacts archive, now. The digest, in
// hex, may be "": the first download computes it.
func (j *Job) SetArchiveReader(zip io.ReaderAt, size int64, sha256 string) {
	j.lock()
	defer j.unlock()
	j.archive = j.newArchive(nil, zip, size, sha256)
}

// lock makes the job safe to read, and up to date with the clock.
func (j *Job) lock() {
	j.pl.p.s.mu.Lock()
	j.pl.p.s.tick()
}

func (j *Job) unlock() { j.pl.p.s.mu.Unlock() }

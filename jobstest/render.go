package jobstest

import (
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/gitlabjobs/gitlabjobs"
)

// A renderer makes JSON of the server's state as its version does. It is used
// for one answer, whose jobs have pipelines and users in common: those are
// made once.
type renderer struct {
	s         *Server
	now       time.Time
	pipelines map[*Pipeline]*pipelineJSON
	commits   map[*Pipeline]*commitJSON
	users     map[*user]*userJSON
}

func (s *Server) renderer() *renderer {
	return &renderer{
		s: s, now: s.clock.Now(),
		pipelines: make(map[*Pipeline]*pipelineJSON), commits: make(map[*Pipeline]*commitJSON), users: make(map[*user]*userJSON),
	}
}

func (r *renderer) newest() bool { return r.s.version == Newest }

// any renders a job or a bridge.
func (r *renderer) any(j *Job) any {
	if j.bridge {
		return r.bridge(j)
	}
	return r.job(j)
}

func (r *renderer) bridge(j *Job) *bridgeJSON {
	b := &bridgeJSON{basicJSON: r.basic(j)}
	if j.downstream != nil {
		b.DownstreamPipeline = r.pipeline(j.downstream)
	}
	return b
}

func (r *renderer) job(j *Job) *jobJSON {
	out := &jobJSON{basicJSON: r.basic(j), Artifacts: r.artifacts(j), ArtifactsExpireAt: stamp(j.expire)}
	if j.archive != nil && !j.expired(r.now) {
		out.ArtifactsFile = &artifactsFileJSON{Filename: j.archive.name, Size: j.archive.size}
	}
	if !j.started.IsZero() {
		out.Runner = r.runner()
	}
	if r.newest() {
		tags := append([]string{}, j.spec.TagList...)
		out.TagList = &tags
		out.RunnerManager = nullKey
		if !j.started.IsZero() {
			out.RunnerManager = mustJSON(r.manager())
		}
	}
	return out
}

func (r *renderer) basic(j *Job) basicJSON {
	out := basicJSON{
		ID: j.id, Status: j.status, Stage: j.spec.Stage, Name: j.spec.Name, Ref: j.pl.spec.Ref, Tag: j.pl.spec.Tag,
		Coverage: j.coverage, AllowFailure: j.spec.AllowFailure,
		CreatedAt: stamp(j.created), StartedAt: stamp(j.started), FinishedAt: stamp(j.finished),
		User: r.user(j.user), Commit: r.commit(j.pl), Pipeline: r.pipeline(j.pl),
		WebURL: fmt.Sprintf("%s/%s/-/jobs/%d", r.s.externalURL, j.pl.p.path, j.id),
	}
	if !j.started.IsZero() {
		until := j.finished
		if until.IsZero() {
			until = r.now
		}
		out.Duration = seconds(until.Sub(j.started))
	}
	if !r.newest() {
		return out
	}
	out.QueuedDuration = nullKey
	if queued := j.queuedDuration(r.now); queued != nil {
		out.QueuedDuration = mustJSON(*queued)
	}
	erased, archived := stamp(j.gone), j.spec.Archived
	out.ErasedAt, out.Archived = &erased, &archived
	out.FailureReason = j.reason
	out.Project = &jobProjectJSON{Enabled: j.pl.p.jobTokenScope}
	out.Source = j.pl.spec.Source
	return out
}

// queuedDuration is the time between the job's turn and its start; nil while
// it isn't its turn.
func (j *Job) queuedDuration(now time.Time) *float64 {
	switch {
	case !j.started.IsZero():
		return seconds(j.started.Sub(j.queued))
	case j.status == gitlabjobs.StatusPending:
		return seconds(now.Sub(j.queued))
	}
	return nil
}

func (r *renderer) artifacts(j *Job) []artifactJSON {
	list := []artifactJSON{}
	add := func(kind string, size int64, name, format string) {
		list = append(list, artifactJSON{FileType: kind, Size: size, Filename: name, FileFormat: &format})
	}
	if j.archive != nil {
		add("archive", j.archive.size, j.archive.name, "zip")
		if !j.spec.NoMetadata {
			add("metadata", metadataSize, "metadata.gz", "gzip")
		}
	}
	if j.status.Finished() && j.log.size > 0 {
		add("trace", j.log.size, "job.log", "raw")
	}
	for _, report := range j.reports {
		add(report.FileType, int64(len(report.stored())), report.filename(), report.format())
	}
	return list
}

// metadataSize is what an archive's list of entries is said to take.
const metadataSize = 186

func (r Report) filename() string { return first(r.Filename, r.FileType+".gz") }
func (r Report) format() string   { return first(r.FileFormat, "gzip") }

// stored is the report as the runner has uploaded it.
func (r Report) stored() []byte {
	if r.format() != "gzip" || bytes.HasPrefix(r.Content, []byte{0x1f, 0x8b}) {
		return r.Content
	}
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, _ = w.Write(r.Content) // a bytes.Buffer takes everything
	_ = w.Close()
	return buf.Bytes()
}

func (r *renderer) pipeline(pl *Pipeline) *pipelineJSON {
	if done := r.pipelines[pl]; done != nil {
		return done
	}
	out := &pipelineJSON{ID: pl.id, SHA: pl.spec.SHA, Ref: pl.spec.Ref, Status: pl.status()}
	if r.newest() {
		out.WebURL = fmt.Sprintf("%s/%s/-/pipelines/%d", r.s.externalURL, pl.p.path, pl.id)
		created, updated := stamp(pl.spec.CreatedAt), stamp(pl.updatedAt)
		out.IID, out.ProjectID, out.Source = pl.iid, pl.p.id, pl.spec.Source
		out.CreatedAt, out.UpdatedAt = &created, &updated
	}
	r.pipelines[pl] = out
	return out
}

func (r *renderer) user(u *user) *userJSON {
	if done := r.users[u]; done != nil {
		return done
	}
	sum := md5.Sum([]byte(u.username + "@example.com"))
	avatar := "https://www.gravatar.com/avatar/" + hex.EncodeToString(sum[:]) + "?s=80&d=identicon"
	empty := ""
	out := &userJSON{
		ID: u.id, Username: u.username, Name: u.name, State: "active", AvatarURL: &avatar,
		WebURL: r.s.externalURL + "/" + u.username, CreatedAt: stamp(u.createdAt), PublicEmail: &empty,
	}
	if r.newest() {
		no := false
		out.Locked, out.Bot = &no, &no
		out.Bio, out.Location, out.Discord, out.JobTitle = &empty, &empty, &empty, &empty
		out.WorkInformation, out.LocalTime, out.Pronouns = nullKey, nullKey, nullKey
	} else {
		out.Skype = &empty
	}
	r.users[u] = out
	return out
}

func (r *renderer) commit(pl *Pipeline) *commitJSON {
	if done := r.commits[pl]; done != nil {
		return done
	}
	at := commitStamp(pl.spec.CreatedAt.In(time.FixedZone("", int(time.Hour/time.Second))))
	title, _, _ := strings.Cut(pl.spec.Title, "\n")
	out := &commitJSON{
		ID: pl.spec.SHA, ShortID: pl.spec.SHA[:min(len(pl.spec.SHA), shortSHA)], CreatedAt: at, ParentIDs: []string{},
		Title: title, Message: pl.spec.Title,
		AuthorName: pl.user.name, AuthorEmail: pl.user.username + "@example.com", AuthoredDate: at,
		CommitterName: pl.user.name, CommitterEmail: pl.user.username + "@example.com", CommittedDate: at,
	}
	if r.newest() {
		out.Trailers, out.ExtendedTrailers = &map[string]string{}, &map[string][]string{}
		out.WebURL = fmt.Sprintf("%s/%s/-/commit/%s", r.s.externalURL, pl.p.path, pl.spec.SHA)
	}
	r.commits[pl] = out
	return out
}

// shortSHA is the length of a commit's short ID.
const shortSHA = 8

func (r *renderer) runner() *runnerJSON {
	name := "gitlab-runner"
	out := &runnerJSON{ID: 1, Description: "shared-runner-1", Active: true, IsShared: true, Name: &name, Online: true, Status: "online"}
	if r.newest() {
		no := false
		out.Paused, out.RunnerType = &no, "instance_type"
	} else {
		ip := "127.0.0.1"
		out.IPAddress = &ip
	}
	return out
}

func (r *renderer) manager() managerJSON {
	return managerJSON{
		ID: 1, SystemID: "s_89e5e9956577", Version: "17.5.3", Revision: "8f9da4cf", Platform: "linux", Architecture: "amd64",
		CreatedAt: stamp(r.s.users["root"].createdAt), ContactedAt: stamp(r.now), Status: "online",
	}
}

// seconds is a duration as the API has it, in milliseconds' precision.
func seconds(d time.Duration) *float64 {
	s := float64(d.Round(time.Millisecond)/time.Millisecond) / 1000
	return &s
}

// mustJSON encodes values of which it is known that they can be.
func mustJSON(v any) json.RawMessage {
	raw, err := json.Marshal(v)
	if err != nil {
		panic("jobstest: " + err.Error())
	}
	return raw
}

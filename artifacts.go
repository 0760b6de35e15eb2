package gitlabjobs

import (
	"context"
	"errors"
	"io"
	"iter"
	"strings"
)

// EntryListOptions are the options of [JobsService.ListArtifactEntries] and
// [JobsService.AllArtifactEntries].
type EntryListOptions struct {
	Path          string // the directory to list; the default is the archive's root
	Recursive     bool   // also what is in its directories
	PerPage, Page int    // as in ListOptions
}

// An ArtifactsSource says whose archive is meant: see [FromJob] and [FromRef].
type ArtifactsSource struct {
	job    int64
	ref    string
	name   string // of the job, with ref
	recent bool
	byRef  bool
}

// FromJob means the archive of one job, whatever the job's status.
func FromJob(jobID int64) ArtifactsSource { return ArtifactsSource{job: jobID} }

// FromRef means the archive of the job called jobName in the newest
// successful pipeline of a branch or tag. HEAD and commit SHAs are no refs here.
func FromRef(ref, jobName string) ArtifactsSource {
	return ArtifactsSource{ref: ref, name: jobName, byRef: true}
}

// SearchRecent returns a source that also looks into older successful
// pipelines where the newest one has no such artifacts. It goes with FromRef;
// older servers ignore it.
func (s ArtifactsSource) SearchRecent() ArtifactsSource {
	s.recent = true
	return s
}

// ListArtifactEntries returns one page of the files and directories in a job's
// archive, without downloading it. GitLab 18.8+; older servers have no such
// endpoint, and not found is what they say. [JobsService.OpenArtifacts] lists
// archives on all of them.
//
// Endpoint: GET /projects/:id/jobs/:job_id/artifacts/tree
//
// GitLab docs: https://docs.gitlab.com/api/job_artifacts/
func (s *JobsService) ListArtifactEntries(ctx context.Context, project ProjectID, jobID int64, opts *EntryListOptions) (*Page[*ArtifactEntry], error) {
	o := valueOf(opts)
	return s.listEntries(ctx, project, jobID, o, position{PerPage: o.PerPage, Page: o.Page})
}

// AllArtifactEntries returns an iterator over the files and directories in a
// job's archive. It works as that of [JobsService.All]; GitLab 18.8+.
//
// Endpoint: GET /projects/:id/jobs/:job_id/artifacts/tree
//
// GitLab docs: https://docs.gitlab.com/api/job_artifacts/
func (s *JobsService) AllArtifactEntries(ctx context.Context, project ProjectID, jobID int64, opts *EntryListOptions) iter.Seq2[*ArtifactEntry, error] {
	o := valueOf(opts)
	at := position{PerPage: o.PerPage, Page: o.Page}
	return each(ctx, at.forAll(), func(ctx context.Context, at position) (*Page[*ArtifactEntry], error) {
		return s.listEntries(ctx, project, jobID, o, at)
	}, func(entry *ArtifactEntry) string { return entry.Path })
}

// DownloadArtifacts streams an archive to w, over broken connections, in
// constant memory. The bytes that w got are right so far even where an error
// is returned, but for [ErrChecksumMismatch]. Errors are [ErrContentChanged],
// [ErrChecksumMismatch], [ErrStalled], [ErrTooLarge], [ErrUnexpectedContent]
// and those of w, which come back as they are; the Download beside them says
// how far it came.
//
// Endpoints: GET /projects/:id/jobs/:job_id/artifacts,
// GET /projects/:id/jobs/artifacts/:ref_name/download
//
// GitLab docs: https://docs.gitlab.com/api/job_artifacts/
func (s *JobsService) DownloadArtifacts(ctx context.Context, project ProjectID, from ArtifactsSource, w io.Writer, opts *DownloadOptions) (*Download, error) {
	o := valueOf(opts)
	cl, err := from.archive(project, o.FileType)
	if err != nil {
		return nil, err
	}
	return s.client.download(ctx, cl, archiveKind(o.FileType), w, opts)
}

// DownloadArtifactFile streams one file of an archive to w; the server takes
// it out of the archive. The path is the file's in the archive, with slashes.
// It works as [JobsService.DownloadArtifacts]. A file called "tree" at the
// root can't be got so from GitLab 18.8+; [JobsService.OpenArtifacts] can.
//
// Endpoints: GET /projects/:id/jobs/:job_id/artifacts/*artifact_path,
// GET /projects/:id/jobs/artifacts/:ref_name/raw/*artifact_path
//
// GitLab docs: https://docs.gitlab.com/api/job_artifacts/
func (s *JobsService) DownloadArtifactFile(ctx context.Context, project ProjectID, from ArtifactsSource, path string, w io.Writer, opts *DownloadOptions) (*Download, error) {
	if opts != nil && opts.FileType != "" {
		return nil, errors.New("gitlabjobs: FileType goes with DownloadArtifacts")
	}
	cl, err := from.file(project, path)
	if err != nil {
		return nil, err
	}
	return s.client.download(ctx, cl, fileContent, w, opts)
}

// KeepArtifacts keeps a job's artifacts from expiring and returns the job.
// Calling it twice does no harm, so it is retried as reads are.
//
// Endpoint: POST /projects/:id/jobs/:job_id/artifacts/keep
//
// GitLab docs: https://docs.gitlab.com/api/job_artifacts/#keep-job-artifacts
func (s *JobsService) KeepArtifacts(ctx context.Context, project ProjectID, jobID int64) (*Job, error) {
	return fetch[Job](ctx, s.client, call{endpoint: keepArtifacts, params: params{project: project, job: jobID}})
}

// DeleteArtifacts deletes a job's artifacts. It takes the Maintainer role.
// Calling it twice does no harm, so it is retried as reads are.
//
// Endpoint: DELETE /projects/:id/jobs/:job_id/artifacts
//
// GitLab docs: https://docs.gitlab.com/api/job_artifacts/#delete-job-artifacts
func (s *JobsService) DeleteArtifacts(ctx context.Context, project ProjectID, jobID int64) error {
	_, err := s.client.send(ctx, call{endpoint: deleteArtifacts, params: params{project: project, job: jobID}}) //nolint:bodyclose // send has read and closed it
	return err
}

// DeleteProjectArtifacts has the server delete all artifacts of a project that
// may be deleted, in the background: not those of the newest successful
// pipeline of each ref. It takes the Maintainer role. Calling it twice does no
// harm, so it is retried as reads are.
//
// Endpoint: DELETE /projects/:id/artifacts
//
// GitLab docs: https://docs.gitlab.com/api/job_artifacts/#delete-project-artifacts
func (s *JobsService) DeleteProjectArtifacts(ctx context.Context, project ProjectID) error {
	_, err := s.client.send(ctx, call{endpoint: deleteProjectArtifacts, params: params{project: project}}) //nolint:bodyclose // send has read and closed it
	return err
}

// entryQuery is the query of the list of an archive's entries.
type entryQuery struct {
	Path      string `url:"path,omitempty"`
	Recursive bool   `url:"recursive,omitempty"`
	position
}

func (s *JobsService) listEntries(ctx context.Context, project ProjectID, jobID int64, o EntryListOptions, at position) (*Page[*ArtifactEntry], error) {
	if o.Path != "" {
		if err := checkSegments("artifact path", strings.TrimSuffix(o.Path, "/")); err != nil {
			return nil, err
		}
	}
	cl := call{
		endpoint: listEntries,
		params:   params{project: project, job: jobID},
		query:    entryQuery{Path: o.Path, Recursive: o.Recursive, position: at},
	}
	return listPage[ArtifactEntry](ctx, s.client, cl, at, nil)
}

// sourceQuery is the query of a download.
type sourceQuery struct {
	Job      string `url:"job,omitempty"`
	Recent   bool   `url:"search_recent_successful_pipelines,omitempty"`
	FileType string `url:"file_type,omitempty"`
}

// archive returns the call that downloads the whole archive.
func (s ArtifactsSource) archive(project ProjectID, fileType string) (call, error) {
	if err := s.validate(); err != nil {
		return call{}, err
	}
	cl := call{endpoint: getArchive, params: params{project: project, job: s.job}}
	if s.byRef {
		cl = call{endpoint: getArchiveOfRef, params: params{project: project, ref: s.ref}}
	}
	cl.query = sourceQuery{s.name, s.recent, fileType}
	return cl, nil
}

// file returns the call that downloads one file of the archive.
func (s ArtifactsSource) file(project ProjectID, path string) (call, error) {
	if err := s.validate(); err != nil {
		return call{}, err
	}
	cl := call{endpoint: getFile, params: params{project: project, job: s.job, path: path}}
	if s.byRef {
		cl = call{endpoint: getFileOfRef, params: params{project: project, ref: s.ref, path: path}}
	}
	cl.query = sourceQuery{Job: s.name, Recent: s.recent}
	return cl, nil
}

func (s ArtifactsSource) validate() error {
	switch {
	case s.byRef && s.name == "":
		return errors.New("gitlabjobs: the job name is empty")
	case s.recent && !s.byRef:
		return errors.New("gitlabjobs: SearchRecent goes with FromRef, not with FromJob")
	}
	return nil
}

package gitlabjobs

import (
	"context"
	"errors"
	"io"
)

// DownloadTrace streams a job's log to w, over broken connections, in constant
// memory, with all its control codes; package joblog reads them. A job without
// a log has an empty one; GitLab 12 answers not found. It works as
// [JobsService.DownloadArtifacts]. Of a job that is still running it is the
// log so far: see [JobsService.FollowTrace].
//
// Endpoint: GET /projects/:id/jobs/:job_id/trace
//
// GitLab docs: https://docs.gitlab.com/api/jobs/#retrieve-a-job-log
func (s *JobsService) DownloadTrace(ctx context.Context, project ProjectID, jobID int64, w io.Writer, opts *DownloadOptions) (*Download, error) {
	if opts != nil && opts.FileType != "" {
		return nil, errors.New("gitlabjobs: FileType goes with DownloadArtifacts")
	}
	cl := call{endpoint: getTrace, params: []param{project, jobNumber(jobID)}}
	return s.client.download(ctx, cl, logContent, w, opts)
}

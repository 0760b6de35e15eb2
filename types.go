package gitlabjobs

import (
	"bytes"
	"errors"
	"time"
)

// A Job is one job of a pipeline. Nested objects are nil, and times zero,
// where the server sends null or nothing, as older servers do for newer fields.
//
// GitLab docs: https://docs.gitlab.com/api/jobs/
type Job struct {
	ID           int64  `json:"id"`
	Name         string `json:"name"`
	Stage        string `json:"stage"`
	Status       Status `json:"status"`
	Ref          string `json:"ref"`           // the branch or tag
	Tag          bool   `json:"tag"`           // whether Ref is a tag
	AllowFailure bool   `json:"allow_failure"` // whether the pipeline may succeed though this job fails
	WebURL       string `json:"web_url"`
	Source       string `json:"source"`   // what made the job, e.g. "push"; GitLab 18+
	Archived     bool   `json:"archived"` // whether the job is too old to be retried or played

	// FailureReason is "" unless Status is StatusFailed.
	FailureReason FailureReason `json:"failure_reason"`

	Coverage       *float64 `json:"coverage"`        // percent
	Duration       *float64 `json:"duration"`        // seconds running; nil before it started
	QueuedDuration *float64 `json:"queued_duration"` // seconds waiting for a runner

	CreatedAt         time.Time `json:"created_at"`
	StartedAt         time.Time `json:"started_at"`
	FinishedAt        time.Time `json:"finished_at"`
	ErasedAt          time.Time `json:"erased_at"`
	ArtifactsExpireAt time.Time `json:"artifacts_expire_at"`

	Commit        *Commit        `json:"commit"`
	User          *User          `json:"user"` // who made the job run
	Pipeline      *Pipeline      `json:"pipeline"`
	Runner        *Runner        `json:"runner"`
	RunnerManager *RunnerManager `json:"runner_manager"`
	Project       *JobProject    `json:"project"`

	// ArtifactsFile is nil unless the job has an unexpired archive. Expired
	// archives that are kept as the newest of their ref are not shown here
	// though they can be downloaded.
	ArtifactsFile *ArtifactsFile `json:"artifacts_file"`
	Artifacts     []Artifact     `json:"artifacts"` // every stored file: archive, metadata, log, reports
	TagList       []string       `json:"tag_list"`  // the runner tags the job asks for

	// DownloadURL is in the erase and keep answers of GitLab 12, always null there.
	DownloadURL string `json:"download_url"`
	// DownstreamPipeline is set where Play or Retry was called on a bridge.
	DownstreamPipeline *Pipeline `json:"downstream_pipeline"`
}

// A Bridge is a job that triggers a downstream pipeline. Only Play and Retry
// take its ID: for every other method it is not found.
//
// GitLab docs: https://docs.gitlab.com/api/jobs/#list-all-trigger-jobs-for-a-pipeline
type Bridge struct {
	ID            int64         `json:"id"`
	Name          string        `json:"name"`
	Stage         string        `json:"stage"`
	Status        Status        `json:"status"`
	Ref           string        `json:"ref"`
	Tag           bool          `json:"tag"`
	AllowFailure  bool          `json:"allow_failure"`
	WebURL        string        `json:"web_url"`
	Source        string        `json:"source"`
	Archived      bool          `json:"archived"`
	FailureReason FailureReason `json:"failure_reason"`

	Coverage       *float64 `json:"coverage"`        // percent
	Duration       *float64 `json:"duration"`        // seconds
	QueuedDuration *float64 `json:"queued_duration"` // seconds

	CreatedAt  time.Time `json:"created_at"`
	StartedAt  time.Time `json:"started_at"`
	FinishedAt time.Time `json:"finished_at"`
	ErasedAt   time.Time `json:"erased_at"`

	Commit   *Commit     `json:"commit"`
	User     *User       `json:"user"`
	Pipeline *Pipeline   `json:"pipeline"`
	Project  *JobProject `json:"project"`

	// DownstreamPipeline is nil until the bridge has made one.
	DownstreamPipeline *Pipeline `json:"downstream_pipeline"`
}

// A Pipeline is the short form in which a job shows its pipeline. GitLab 12
// sends ID, Ref, SHA and Status only.
type Pipeline struct {
	ID        int64     `json:"id"`
	IID       int64     `json:"iid"` // the number within the project
	ProjectID int64     `json:"project_id"`
	SHA       string    `json:"sha"`
	Ref       string    `json:"ref"`
	Status    Status    `json:"status"`
	Source    string    `json:"source"` // e.g. "push", "schedule", "merge_request_event"
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	WebURL    string    `json:"web_url"`
}

// A Commit is the commit a job runs for.
type Commit struct {
	ID               string              `json:"id"` // the SHA
	ShortID          string              `json:"short_id"`
	ParentIDs        []string            `json:"parent_ids"`
	Title            string              `json:"title"`
	Message          string              `json:"message"`
	AuthorName       string              `json:"author_name"`
	AuthorEmail      string              `json:"author_email"`
	AuthoredDate     time.Time           `json:"authored_date"`
	CommitterName    string              `json:"committer_name"`
	CommitterEmail   string              `json:"committer_email"`
	CommittedDate    time.Time           `json:"committed_date"`
	CreatedAt        time.Time           `json:"created_at"`
	Trailers         map[string]string   `json:"trailers"`
	ExtendedTrailers map[string][]string `json:"extended_trailers"`
	WebURL           string              `json:"web_url"`
}

// A User is the user a job runs as. Profile fields are "" where the server
// sends null or nothing.
type User struct {
	ID              int64     `json:"id"`
	Username        string    `json:"username"`
	Name            string    `json:"name"`
	State           string    `json:"state"` // e.g. "active", "blocked"
	Locked          bool      `json:"locked"`
	Bot             bool      `json:"bot"`
	AvatarURL       string    `json:"avatar_url"`
	AvatarPath      string    `json:"avatar_path"`
	WebURL          string    `json:"web_url"`
	CreatedAt       time.Time `json:"created_at"`
	Bio             string    `json:"bio"`
	Location        string    `json:"location"`
	PublicEmail     string    `json:"public_email"`
	Skype           string    `json:"skype"`
	LinkedIn        string    `json:"linkedin"`
	Twitter         string    `json:"twitter"`
	Discord         string    `json:"discord"`
	GitHub          string    `json:"github"`
	WebsiteURL      string    `json:"website_url"`
	Organization    string    `json:"organization"`
	JobTitle        string    `json:"job_title"`
	Pronouns        string    `json:"pronouns"`
	WorkInformation string    `json:"work_information"`
	LocalTime       string    `json:"local_time"` // a clock's face, e.g. "3:38 PM"
}

// A Runner is the runner a job was given to.
type Runner struct {
	ID          int64  `json:"id"`
	Description string `json:"description"`
	IPAddress   string `json:"ip_address"` // "" on newer servers
	Active      bool   `json:"active"`
	Paused      bool   `json:"paused"`
	IsShared    bool   `json:"is_shared"`
	RunnerType  string `json:"runner_type"` // "instance_type", "group_type" or "project_type"
	Name        string `json:"name"`
	Online      bool   `json:"online"`
	Status      string `json:"status"` // e.g. "online", "stale"

	CreatedBy          *User     `json:"created_by"`
	CreatedAt          time.Time `json:"created_at"`
	JobExecutionStatus string    `json:"job_execution_status"` // "active" or "idle"
}

// A RunnerManager is the machine of a runner that ran a job.
type RunnerManager struct {
	ID                 int64     `json:"id"`
	SystemID           string    `json:"system_id"`
	Version            string    `json:"version"`
	Revision           string    `json:"revision"`
	Platform           string    `json:"platform"`
	Architecture       string    `json:"architecture"`
	CreatedAt          time.Time `json:"created_at"`
	ContactedAt        time.Time `json:"contacted_at"`
	IPAddress          string    `json:"ip_address"`
	Status             string    `json:"status"`
	JobExecutionStatus string    `json:"job_execution_status"` // "active" or "idle"
}

// A JobProject is what a job shows of its project.
type JobProject struct {
	CIJobTokenScopeEnabled bool `json:"ci_job_token_scope_enabled"`
}

// UnmarshalJSON takes the flag as a boolean, as servers send it, and as a
// string, as GitLab's OpenAPI description has it.
func (p *JobProject) UnmarshalJSON(data []byte) error {
	if !bytes.HasPrefix(data, []byte("{")) {
		return errors.New("a job's project is not an object")
	}
	_, value, _ := bytes.Cut(data, []byte(`"ci_job_token_scope_enabled"`))
	value = bytes.TrimLeft(value, " \t\r\n:\"")
	p.CIJobTokenScopeEnabled = bytes.HasPrefix(value, []byte("true"))
	return nil
}

// An ArtifactsFile is the archive of a job's artifacts.
type ArtifactsFile struct {
	Filename string `json:"filename"`
	Size     int64  `json:"size"` // bytes
}

// An Artifact is one stored file of a job.
type Artifact struct {
	FileType   string `json:"file_type"` // e.g. "archive", "metadata", "trace", "junit"
	Size       int64  `json:"size"`      // bytes; 0 where the server doesn't know
	Filename   string `json:"filename"`
	FileFormat string `json:"file_format"` // "zip", "gzip", "raw" or ""
}

// An ArtifactEntry is one file or directory of an artifacts archive.
//
// GitLab docs: https://docs.gitlab.com/api/job_artifacts/
type ArtifactEntry struct {
	Name string `json:"name"`
	Path string `json:"path"` // a directory's ends in "/"
	Type string `json:"type"` // "file" or "directory"
	Size int64  `json:"size"` // bytes; 0 for a directory
	Mode string `json:"mode"` // octal, e.g. "100644"; "" where unknown
}

// A Status is the status of a job or pipeline. The set is open: a status this
// package doesn't know is kept as the server sent it.
type Status string

// The statuses GitLab documents. All are valid in a Scope.
const (
	StatusCreated            Status = "created"
	StatusWaitingForResource Status = "waiting_for_resource"
	StatusPreparing          Status = "preparing"
	StatusWaitingForCallback Status = "waiting_for_callback"
	StatusPending            Status = "pending"
	StatusRunning            Status = "running"
	StatusSuccess            Status = "success"
	StatusFailed             Status = "failed"
	StatusCanceling          Status = "canceling"
	StatusCanceled           Status = "canceled"
	StatusSkipped            Status = "skipped"
	StatusManual             Status = "manual"    // waits for a person
	StatusScheduled          Status = "scheduled" // waits for its delay to pass
)

var documentedStatuses = [...]Status{
	StatusCreated, StatusWaitingForResource, StatusPreparing, StatusWaitingForCallback, StatusPending, StatusRunning, StatusSuccess,
	StatusFailed, StatusCanceling, StatusCanceled, StatusSkipped, StatusManual, StatusScheduled,
}

// UnmarshalText takes any status. Those that GitLab documents take no memory.
func (s *Status) UnmarshalText(text []byte) error {
	for _, known := range documentedStatuses {
		if string(text) == string(known) {
			*s = known
			return nil
		}
	}
	*s = Status(text)
	return nil
}

// Finished reports whether the job has come to its end: success, failed,
// canceled or skipped.
func (s Status) Finished() bool {
	switch s {
	case StatusSuccess, StatusFailed, StatusCanceled, StatusSkipped:
		return true
	}
	return false
}

// Active reports whether the job may still move by itself: it has not
// finished, and doesn't wait for a person ([StatusManual]). An unknown status
// is taken for an active one; the empty status isn't.
func (s Status) Active() bool {
	return s != "" && s != StatusManual && !s.Finished()
}

// A FailureReason says why a job failed. The set is open: a reason this
// package doesn't know is kept as the server sent it.
type FailureReason string

// The failure reasons GitLab documents.
const (
	ReasonUnknownFailure                            FailureReason = "unknown_failure"
	ReasonScriptFailure                             FailureReason = "script_failure"
	ReasonAPIFailure                                FailureReason = "api_failure"
	ReasonStuckOrTimeoutFailure                     FailureReason = "stuck_or_timeout_failure"
	ReasonRunnerSystemFailure                       FailureReason = "runner_system_failure"
	ReasonMissingDependencyFailure                  FailureReason = "missing_dependency_failure"
	ReasonRunnerUnsupported                         FailureReason = "runner_unsupported"
	ReasonStaleSchedule                             FailureReason = "stale_schedule"
	ReasonJobExecutionTimeout                       FailureReason = "job_execution_timeout"
	ReasonArchivedFailure                           FailureReason = "archived_failure"
	ReasonUnmetPrerequisites                        FailureReason = "unmet_prerequisites"
	ReasonSchedulerFailure                          FailureReason = "scheduler_failure"
	ReasonDataIntegrityFailure                      FailureReason = "data_integrity_failure"
	ReasonForwardDeploymentFailure                  FailureReason = "forward_deployment_failure"
	ReasonUserBlocked                               FailureReason = "user_blocked"
	ReasonProjectDeleted                            FailureReason = "project_deleted"
	ReasonCIQuotaExceeded                           FailureReason = "ci_quota_exceeded"
	ReasonPipelineLoopDetected                      FailureReason = "pipeline_loop_detected"
	ReasonNoMatchingRunner                          FailureReason = "no_matching_runner"
	ReasonTraceSizeExceeded                         FailureReason = "trace_size_exceeded"
	ReasonBuildsDisabled                            FailureReason = "builds_disabled"
	ReasonEnvironmentCreationFailure                FailureReason = "environment_creation_failure"
	ReasonDeploymentRejected                        FailureReason = "deployment_rejected"
	ReasonFailedOutdatedDeploymentJob               FailureReason = "failed_outdated_deployment_job"
	ReasonJobExecutionServerTimeout                 FailureReason = "job_execution_server_timeout"
	ReasonStuckPendingWithMatchingRunners           FailureReason = "stuck_pending_with_matching_runners"
	ReasonStuckPendingNoMatchingRunners             FailureReason = "stuck_pending_no_matching_runners"
	ReasonNoUpdatesRunning                          FailureReason = "no_updates_running"
	ReasonNoUpdatesCanceling                        FailureReason = "no_updates_canceling"
	ReasonServerTimeoutRunning                      FailureReason = "server_timeout_running"
	ReasonServerTimeoutCanceling                    FailureReason = "server_timeout_canceling"
	ReasonRunnerConfigurationError                  FailureReason = "runner_configuration_error"
	ReasonRunnerExternalDependencyFailure           FailureReason = "runner_external_dependency_failure"
	ReasonRunnerInterrupted                         FailureReason = "runner_interrupted"
	ReasonRunnerProvisioningTimeout                 FailureReason = "runner_provisioning_timeout"
	ReasonProtectedEnvironmentFailure               FailureReason = "protected_environment_failure"
	ReasonInsufficientBridgePermissions             FailureReason = "insufficient_bridge_permissions"
	ReasonDownstreamBridgeProjectNotFound           FailureReason = "downstream_bridge_project_not_found"
	ReasonInvalidBridgeTrigger                      FailureReason = "invalid_bridge_trigger"
	ReasonUpstreamBridgeProjectNotFound             FailureReason = "upstream_bridge_project_not_found"
	ReasonInsufficientUpstreamPermissions           FailureReason = "insufficient_upstream_permissions"
	ReasonBridgePipelineIsChildPipeline             FailureReason = "bridge_pipeline_is_child_pipeline"
	ReasonDownstreamPipelineCreationFailed          FailureReason = "downstream_pipeline_creation_failed"
	ReasonSecretsProviderNotFound                   FailureReason = "secrets_provider_not_found"
	ReasonReachedMaxDescendantPipelinesDepth        FailureReason = "reached_max_descendant_pipelines_depth"
	ReasonIPRestrictionFailure                      FailureReason = "ip_restriction_failure"
	ReasonReachedMaxPipelineHierarchySize           FailureReason = "reached_max_pipeline_hierarchy_size"
	ReasonReachedDownstreamPipelineTriggerRateLimit FailureReason = "reached_downstream_pipeline_trigger_rate_limit"
	ReasonJobRouterFailure                          FailureReason = "job_router_failure"
	ReasonJobTokenExpired                           FailureReason = "job_token_expired"
	ReasonDownstreamProjectTriggerResolvedToEmpty   FailureReason = "downstream_project_trigger_resolved_to_empty"
)

// Infrastructure reports whether the platform failed and not the job's own
// script or configuration: the kind of failure that may pass when the job is
// retried as it is.
func (r FailureReason) Infrastructure() bool {
	switch r {
	case ReasonUnknownFailure, ReasonAPIFailure, ReasonStuckOrTimeoutFailure, ReasonRunnerSystemFailure,
		ReasonSchedulerFailure, ReasonDataIntegrityFailure, ReasonJobExecutionServerTimeout,
		ReasonStuckPendingWithMatchingRunners, ReasonNoUpdatesRunning, ReasonNoUpdatesCanceling,
		ReasonServerTimeoutRunning, ReasonServerTimeoutCanceling, ReasonRunnerExternalDependencyFailure,
		ReasonRunnerInterrupted, ReasonRunnerProvisioningTimeout, ReasonJobRouterFailure:
		return true
	}
	return false
}

package jobstest

import (
	"encoding/json"
	"time"

	"github.com/gitlabjobs/gitlabjobs"
)

// A stamp is a time as the API writes it: null where there is none.
type stamp time.Time

func (t stamp) MarshalJSON() ([]byte, error) {
	if time.Time(t).IsZero() {
		return []byte("null"), nil
	}
	return []byte(`"` + time.Time(t).UTC().Format("2006-01-02T15:04:05.000Z") + `"`), nil
}

// A commitStamp is a time as commits have it, with an offset.
type commitStamp time.Time

func (t commitStamp) MarshalJSON() ([]byte, error) {
	return []byte(`"` + time.Time(t).Format("2006-01-02T15:04:05.000-07:00") + `"`), nil
}

type userJSON struct {
	ID              int64   `json:"id"`
	Username        string  `json:"username"`
	Name            string  `json:"name"`
	State           string  `json:"state"`
	Locked          *bool   `json:"locked,omitempty"`
	AvatarURL       *string `json:"avatar_url"`
	WebURL          string  `json:"web_url"`
	CreatedAt       stamp   `json:"created_at"`
	Bio             *string `json:"bio"`
	Location        *string `json:"location"`
	PublicEmail     *string `json:"public_email"`
	Skype           *string `json:"skype,omitempty"`
	LinkedIn        string  `json:"linkedin"`
	Twitter         string  `json:"twitter"`
	Discord         *string `json:"discord,omitempty"`
	WebsiteURL      string  `json:"website_url"`
	Organization    string  `json:"organization"`
	JobTitle        *string `json:"job_title,omitempty"`
	Bot             *bool   `json:"bot,omitempty"`
	WorkInformation null    `json:"work_information,omitempty"`
	LocalTime       null    `json:"local_time,omitempty"`
	Pronouns        null    `json:"pronouns,omitempty"`
}

// A null is a key that is null where it is there at all.
type null = json.RawMessage

var nullKey = null("null")

type commitJSON struct {
	ID               string               `json:"id"`
	ShortID          string               `json:"short_id"`
	CreatedAt        commitStamp          `json:"created_at"`
	ParentIDs        []string             `json:"parent_ids"`
	Title            string               `json:"title"`
	Message          string               `json:"message"`
	AuthorName       string               `json:"author_name"`
	AuthorEmail      string               `json:"author_email"`
	AuthoredDate     commitStamp          `json:"authored_date"`
	CommitterName    string               `json:"committer_name"`
	CommitterEmail   string               `json:"committer_email"`
	CommittedDate    commitStamp          `json:"committed_date"`
	Trailers         *map[string]string   `json:"trailers,omitempty"`
	ExtendedTrailers *map[string][]string `json:"extended_trailers,omitempty"`
	WebURL           string               `json:"web_url,omitempty"`
}

type pipelineJSON struct {
	ID        int64             `json:"id"`
	IID       int64             `json:"iid,omitempty"`
	ProjectID int64             `json:"project_id,omitempty"`
	SHA       string            `json:"sha"`
	Ref       string            `json:"ref"`
	Status    gitlabjobs.Status `json:"status"`
	Source    string            `json:"source,omitempty"`
	CreatedAt *stamp            `json:"created_at,omitempty"`
	UpdatedAt *stamp            `json:"updated_at,omitempty"`
	WebURL    string            `json:"web_url,omitempty"`
}

type runnerJSON struct {
	ID          int64   `json:"id"`
	Description string  `json:"description"`
	IPAddress   *string `json:"ip_address"`
	Active      bool    `json:"active"`
	Paused      *bool   `json:"paused,omitempty"`
	IsShared    bool    `json:"is_shared"`
	RunnerType  string  `json:"runner_type,omitempty"`
	Name        *string `json:"name"`
	Online      bool    `json:"online"`
	Status      string  `json:"status"`
}

type managerJSON struct {
	ID           int64   `json:"id"`
	SystemID     string  `json:"system_id"`
	Version      string  `json:"version"`
	Revision     string  `json:"revision"`
	Platform     string  `json:"platform"`
	Architecture string  `json:"architecture"`
	CreatedAt    stamp   `json:"created_at"`
	ContactedAt  stamp   `json:"contacted_at"`
	IPAddress    *string `json:"ip_address"`
	Status       string  `json:"status"`
}

type jobProjectJSON struct {
	Enabled bool `json:"ci_job_token_scope_enabled"`
}

type artifactsFileJSON struct {
	Filename string `json:"filename"`
	Size     int64  `json:"size"`
}

type artifactJSON struct {
	FileType   string  `json:"file_type"`
	Size       int64   `json:"size"`
	Filename   string  `json:"filename"`
	FileFormat *string `json:"file_format"`
}

// A basicJSON is what jobs and bridges have in common. The keys that 12.3
// lacks are pointers or raw values, which are left out while nil.
type basicJSON struct {
	ID             int64                    `json:"id"`
	Status         gitlabjobs.Status        `json:"status"`
	Stage          string                   `json:"stage"`
	Name           string                   `json:"name"`
	Ref            string                   `json:"ref"`
	Tag            bool                     `json:"tag"`
	Coverage       *float64                 `json:"coverage"`
	AllowFailure   bool                     `json:"allow_failure"`
	CreatedAt      stamp                    `json:"created_at"`
	StartedAt      stamp                    `json:"started_at"`
	FinishedAt     stamp                    `json:"finished_at"`
	ErasedAt       *stamp                   `json:"erased_at,omitempty"`
	Duration       *float64                 `json:"duration"`
	QueuedDuration json.RawMessage          `json:"queued_duration,omitempty"`
	User           *userJSON                `json:"user"`
	Commit         *commitJSON              `json:"commit"`
	Pipeline       *pipelineJSON            `json:"pipeline"`
	FailureReason  gitlabjobs.FailureReason `json:"failure_reason,omitempty"`
	WebURL         string                   `json:"web_url"`
	Project        *jobProjectJSON          `json:"project,omitempty"`
	Source         string                   `json:"source,omitempty"`
	Archived       *bool                    `json:"archived,omitempty"`
}

type jobJSON struct {
	basicJSON
	ArtifactsFile     *artifactsFileJSON `json:"artifacts_file,omitempty"`
	Artifacts         []artifactJSON     `json:"artifacts"`
	Runner            *runnerJSON        `json:"runner"`
	RunnerManager     json.RawMessage    `json:"runner_manager,omitempty"`
	ArtifactsExpireAt stamp              `json:"artifacts_expire_at"`
	TagList           *[]string          `json:"tag_list,omitempty"`
	DownloadURL       null               `json:"download_url,omitempty"`
}

type bridgeJSON struct {
	basicJSON
	DownstreamPipeline *pipelineJSON `json:"downstream_pipeline"`
}

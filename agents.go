package gitlabjobs

import "time"

// AllowedAgents is the answer of [JobsService.AllowedAgents]: the agents for
// Kubernetes that the job may use, and whose job it is.
type AllowedAgents struct {
	AllowedAgents []AllowedAgent    `json:"allowed_agents"`
	Job           AgentJob          `json:"job"`
	Pipeline      AgentPipeline     `json:"pipeline"`
	Project       AgentProject      `json:"project"`
	User          AgentUser         `json:"user"`
	Environment   *AgentEnvironment `json:"environment"` // nil unless the job deploys to one
}

// An AllowedAgent is one agent that the job may use.
type AllowedAgent struct {
	ID            int64              `json:"id"`
	ConfigProject AgentConfigProject `json:"config_project"`
	Configuration map[string]any     `json:"configuration"` // as the agent's configuration file has it
}

// An AgentConfigProject is the project that holds an agent's configuration.
type AgentConfigProject struct {
	ID                int64     `json:"id"`
	Description       string    `json:"description"`
	Name              string    `json:"name"`
	NameWithNamespace string    `json:"name_with_namespace"`
	Path              string    `json:"path"`
	PathWithNamespace string    `json:"path_with_namespace"`
	CreatedAt         time.Time `json:"created_at"`
}

// An AgentJob is the job an [AllowedAgents] answer is about.
type AgentJob struct {
	ID int64 `json:"id"`
}

// An AgentPipeline is the pipeline an [AllowedAgents] answer is about.
type AgentPipeline struct {
	ID int64 `json:"id"`
}

// An AgentProject is the project an [AllowedAgents] answer is about.
type AgentProject struct {
	ID     int64        `json:"id"`
	Groups []AgentGroup `json:"groups"` // the groups above it
}

// An AgentGroup is one group above an [AgentProject].
type AgentGroup struct {
	ID int64 `json:"id"`
}

// An AgentUser is the user an [AllowedAgents] answer is about.
type AgentUser struct {
	ID             int64    `json:"id"`
	Username       string   `json:"username"`
	RolesInProject []string `json:"roles_in_project"` // e.g. "guest", "developer"
}

// An AgentEnvironment is the environment that a job deploys to.
type AgentEnvironment struct {
	Tier string `json:"tier"`
	Slug string `json:"slug"`
}

package jobstest

import (
	"crypto/rand"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gitlabjobs/gitlabjobs"
)

// A Role is what a user may do in a project.
type Role int

// The roles of GitLab. The zero value of a [Token] stands for [Maintainer].
const (
	NoAccess   Role = -1 // not a member: sees public projects only
	Guest      Role = 10
	Reporter   Role = 20
	Developer  Role = 30
	Maintainer Role = 40
	Owner      Role = 50
)

// A TokenKind is a kind of credential.
type TokenKind int

const (
	// PersonalToken goes as PRIVATE-TOKEN, private_token or Bearer.
	PersonalToken TokenKind = iota
	// OAuthToken goes as Bearer.
	OAuthToken
	// JobToken goes as JOB-TOKEN, job_token or Bearer, to the endpoints that
	// accept job tokens, while its job runs.
	JobToken
)

// A Token is a credential that the server accepts, or did.
type Token struct {
	Kind     TokenKind
	Value    string     // default: made up
	User     string     // username; default "root", or for a job token who runs the job
	Role     Role       // in the projects; default Maintainer
	Projects []*Project // whose member the user is; nil means all
	Scopes   []string   // default "api"; "read_api" reads
	Revoked  bool
	Expired  bool
	JobID    int64 // of a job token
}

type user struct {
	id        int64
	username  string
	name      string
	createdAt time.Time
}

// user returns the user of that name, "" meaning root, and makes it first if
// need be.
func (s *Server) user(username string) *user {
	if username == "" {
		username = "root"
	}
	u := s.users[username]
	if u == nil {
		name := strings.ToUpper(username[:1]) + username[1:]
		if username == "root" {
			name = "Administrator"
		}
		u = &user{id: s.nextID(&s.lastUser), username: username, name: name, createdAt: s.clock.Now().AddDate(-1, 0, 0)}
		s.users[username] = u
	}
	return u
}

// AddToken makes the server know a token and returns its value. Adding one
// with a value that is known already replaces it, which is how a token is
// revoked.
func (s *Server) AddToken(t Token) (value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addToken(t)
}

func (s *Server) addToken(t Token) string {
	if t.Value == "" {
		prefix := map[TokenKind]string{PersonalToken: "glpat-", OAuthToken: "oauth-", JobToken: "glcbt-"}[t.Kind]
		t.Value = prefix + rand.Text()
	}
	if t.Role == 0 {
		t.Role = Maintainer
	}
	if t.Scopes == nil {
		t.Scopes = []string{"api"}
	}
	if j := s.jobs[t.JobID]; j != nil && t.User == "" {
		t.User = j.user.username
	}
	s.user(t.User)
	s.tokens[t.Value] = &t
	return t.Value
}

// Token returns the job's CI_JOB_TOKEN, which is accepted while the job runs.
func (j *Job) Token() string {
	j.lock()
	defer j.unlock()
	if j.token == "" {
		j.token = j.pl.p.s.addToken(Token{Kind: JobToken, JobID: j.id})
	}
	return j.token
}

// role returns what the token's user may do in a project.
func (t *Token) role(p *Project) Role {
	if t == nil || t.Projects != nil && !slices.Contains(t.Projects, p) {
		return NoAccess
	}
	return t.Role
}

// authenticate finds out whose request it is. A nil token is nobody's.
func (c *call) authenticate() *failure {
	jobToken := first(c.r.Header.Get("JOB-TOKEN"), c.params.Get("job_token"))
	bearer, _ := strings.CutPrefix(c.r.Header.Get("Authorization"), "Bearer ")
	if c.acceptsJobToken() {
		if t := c.s.tokens[bearer]; jobToken == "" && t != nil && t.Kind == JobToken {
			jobToken = bearer
		}
		if jobToken != "" {
			return c.authenticateJob(c.s.tokens[jobToken])
		}
	}
	value, kinds := first(c.r.Header.Get("PRIVATE-TOKEN"), c.params.Get("private_token")), []TokenKind{PersonalToken}
	if value == "" {
		value, kinds = bearer, []TokenKind{PersonalToken, OAuthToken}
	}
	if value == "" {
		if c.route.access != publicArtifacts {
			return unauthorized
		}
		return nil
	}
	t := c.s.tokens[value]
	switch {
	case t == nil || !slices.Contains(kinds, t.Kind):
		return unauthorized
	case t.Revoked:
		return invalidToken("Token was revoked. You have to re-authorize from the user.")
	case t.Expired:
		return invalidToken("Token is expired. You can either do re-authorization or token refresh.")
	}
	return c.authorizeScope(t)
}

func (c *call) acceptsJobToken() bool {
	return c.route.jobToken == alwaysJobTokens || c.route.jobToken == newerJobTokens && c.s.version == Newest
}

func (c *call) authenticateJob(t *Token) *failure {
	if t == nil || t.Kind != JobToken || t.Revoked || t.Expired {
		return unauthorized
	}
	j := c.s.jobs[t.JobID]
	if j == nil || !j.running() {
		return unauthorized
	}
	c.token, c.job, c.user = t, j, c.s.user(t.User)
	return nil
}

func (c *call) authorizeScope(t *Token) *failure {
	allowed := []string{"api"}
	if c.reads() {
		allowed = append(allowed, "read_api")
	}
	for _, scope := range allowed {
		if slices.Contains(t.Scopes, scope) {
			c.token, c.user = t, c.s.user(t.User)
			return nil
		}
	}
	return &failure{status: http.StatusForbidden, body: map[string]string{
		"error":             "insufficient_scope",
		"error_description": "The request requires higher privileges than provided by the access token.",
		"scope":             strings.Join(allowed, " "),
	}}
}

// authorizeProject finds the project of the request and whether its user may
// use this endpoint there.
func (c *call) authorizeProject() *failure {
	name := c.path["id"]
	p := c.s.projectByIDOrPath(name)
	if p == nil {
		return c.movedProject(name)
	}
	role := c.token.role(p)
	if c.job != nil {
		if f := c.authorizeJobProject(p); f != nil {
			return f
		}
	}
	switch {
	case role < Guest && !p.public:
		return notFound("Project")
	case role < c.route.role:
		return forbidden("")
	}
	c.project, c.role = p, role
	return nil
}

func (c *call) authorizeJobProject(p *Project) *failure {
	own := c.job.pl.p
	switch {
	case c.route.access == publicArtifacts && !p.jobTokenArtifacts:
		return notFound("Project")
	case own != p && p.jobTokenScope && !p.public && !slices.Contains(p.jobTokenAllowed, own):
		return forbidden("Authentication by CI/CD job token not allowed from " + own.path + " to " + p.path + ".")
	}
	return nil
}

func (j *Job) running() bool {
	return j.status == gitlabjobs.StatusRunning || j.status == gitlabjobs.StatusCanceling
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

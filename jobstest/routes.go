package jobstest

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Who may call an endpoint.
type access int

const (
	needsToken      access = iota
	publicArtifacts        // anyone where the project is public, and job tokens need a license
)

// When an endpoint takes job tokens.
type jobTokens int

const (
	neverJobTokens  jobTokens = iota
	alwaysJobTokens           // and so in 12.3
	newerJobTokens            // but not in 12.3
)

type route struct {
	method   string
	pattern  string
	handle   func(*call) (reply, *failure)
	role     Role // needed in the project; NoAccess: reading public projects suffices
	access   access
	jobToken jobTokens
	newest   bool // 12.3 doesn't have it
	segments []string
}

var routes = compileRoutes([]*route{
	{method: "GET", pattern: "/version", handle: (*call).getVersion, role: NoAccess},
	{method: "GET", pattern: "/user", handle: (*call).getUser, role: NoAccess},
	{method: "GET", pattern: "/job", handle: (*call).getCurrentJob, role: NoAccess, jobToken: alwaysJobTokens, newest: true},
	{method: "GET", pattern: "/job/allowed_agents", handle: (*call).getAllowedAgents, role: NoAccess, jobToken: alwaysJobTokens, newest: true},
	{method: "GET", pattern: "/projects/:id", handle: (*call).getProject, role: NoAccess, jobToken: newerJobTokens},

	{method: "GET", pattern: "/projects/:id/pipelines", handle: (*call).listPipelines, role: NoAccess, jobToken: newerJobTokens},
	{method: "GET", pattern: "/projects/:id/pipelines/latest", handle: (*call).getLatestPipeline, role: NoAccess, jobToken: newerJobTokens, newest: true},
	{method: "GET", pattern: "/projects/:id/pipelines/:pipeline_id", handle: (*call).getPipeline, role: NoAccess, jobToken: newerJobTokens},
	{method: "GET", pattern: "/projects/:id/pipelines/:pipeline_id/jobs", handle: (*call).listPipelineJobs, role: NoAccess, jobToken: newerJobTokens},
	{method: "GET", pattern: "/projects/:id/pipelines/:pipeline_id/bridges", handle: (*call).listBridges, role: NoAccess, jobToken: newerJobTokens, newest: true},
	{method: "GET", pattern: "/projects/:id/pipelines/:pipeline_id/trigger_jobs", handle: (*call).listBridges, role: NoAccess, jobToken: newerJobTokens, newest: true},

	{method: "GET", pattern: "/projects/:id/jobs", handle: (*call).listJobs, role: NoAccess, jobToken: newerJobTokens},
	{method: "GET", pattern: "/projects/:id/jobs/artifacts/:ref_name/raw/*artifact_path", handle: (*call).getRefFile, role: NoAccess, access: publicArtifacts, jobToken: alwaysJobTokens},
	{method: "GET", pattern: "/projects/:id/jobs/artifacts/:ref_name/download", handle: (*call).getRefArchive, role: NoAccess, access: publicArtifacts, jobToken: alwaysJobTokens},
	{method: "GET", pattern: "/projects/:id/jobs/:job_id", handle: (*call).getJob, role: NoAccess},
	{method: "GET", pattern: "/projects/:id/jobs/:job_id/trace", handle: (*call).getTrace, role: NoAccess},
	{method: "POST", pattern: "/projects/:id/jobs/:job_id/cancel", handle: (*call).cancelJob, role: Developer},
	{method: "POST", pattern: "/projects/:id/jobs/:job_id/retry", handle: (*call).retryJob, role: Developer},
	{method: "POST", pattern: "/projects/:id/jobs/:job_id/play", handle: (*call).playJob, role: Developer},
	{method: "POST", pattern: "/projects/:id/jobs/:job_id/erase", handle: (*call).eraseJob, role: Developer},

	{method: "GET", pattern: "/projects/:id/jobs/:job_id/artifacts", handle: (*call).getArchive, role: NoAccess, access: publicArtifacts, jobToken: alwaysJobTokens},
	{method: "DELETE", pattern: "/projects/:id/jobs/:job_id/artifacts", handle: (*call).deleteArtifacts, role: Maintainer},
	{method: "POST", pattern: "/projects/:id/jobs/:job_id/artifacts/keep", handle: (*call).keepArtifacts, role: Developer},
	{method: "GET", pattern: "/projects/:id/jobs/:job_id/artifacts/tree", handle: (*call).listTree, role: NoAccess, access: publicArtifacts, jobToken: alwaysJobTokens, newest: true},
	{method: "GET", pattern: "/projects/:id/jobs/:job_id/artifacts/*artifact_path", handle: (*call).getFile, role: NoAccess, access: publicArtifacts, jobToken: alwaysJobTokens},
	{method: "DELETE", pattern: "/projects/:id/artifacts", handle: (*call).deleteProjectArtifacts, role: Maintainer, newest: true},
})

func compileRoutes(routes []*route) []*route {
	for _, r := range routes {
		r.segments = strings.Split(strings.TrimPrefix(r.pattern, "/"), "/")
	}
	return routes
}

// findRoute finds the route of an escaped path below /api/v4 and what its
// placeholders stand for. Without one it tells which methods the path has.
func findRoute(method, path string, v Version) (found *route, params map[string]string, methods []string) {
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	if method == http.MethodHead {
		method = http.MethodGet // the framework adds HEAD to every GET
	}
	for _, r := range routes {
		if r.newest && v == V12_3 {
			continue
		}
		params := make(map[string]string)
		if !match(r.segments, segments, params) {
			continue
		}
		if r.method == method {
			return r, params, nil
		}
		if !slices.Contains(methods, r.method) {
			methods = append(methods, r.method)
		}
	}
	return nil, nil, methods
}

// match matches the segments of a path against those of a pattern. Segments
// are unescaped one by one, so that an escaped slash doesn't part them. A
// ref may span several, as the server's own pattern allows.
func match(pattern, path []string, params map[string]string) bool {
	if len(pattern) == 0 {
		return len(path) == 0 || len(path) == 1 && path[0] == ""
	}
	if len(path) == 0 {
		return false
	}
	name, isParam := strings.CutPrefix(pattern[0], ":")
	rest, isRest := strings.CutPrefix(pattern[0], "*")
	switch {
	case isRest:
		params[rest] = unescape(strings.Join(path, "/"))
		return params[rest] != ""
	case !isParam:
		return path[0] == pattern[0] && match(pattern[1:], path[1:], params)
	case path[0] == "":
		return false
	}
	for n := 1; n <= len(path); n++ {
		params[name] = unescape(strings.Join(path[:n], "/"))
		if match(pattern[1:], path[n:], params) {
			return true
		}
		if name != "ref_name" {
			break
		}
	}
	return false
}

// unescape never fails: net/http has refused requests with bad escapes.
func unescape(s string) string {
	plain, err := url.PathUnescape(s)
	if err != nil {
		return s
	}
	return plain
}

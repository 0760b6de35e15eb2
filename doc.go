// Package gitlabjobs is a client for GitLab's Jobs API: it lists, reads,
// plays, retries, cancels and erases the jobs of CI pipelines, and streams
// their artifacts and logs.
package gitlabjobs

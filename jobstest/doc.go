// Package jobstest is a GitLab that knows jobs: its Jobs and Job Artifacts
// API, in memory, over real HTTP, for tests of programs that drive CI.
package jobstest

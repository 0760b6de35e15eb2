// Package integration holds the client against software that nobody here
// wrote: web servers, proxies, object stores, other clients, GitLab's own
// description of its API. README.md says with what result.
//
// Every part is started by the tests, on loopback and a free port, and
// stopped by them. Tests whose part is missing are skipped and say how to get
// it; see the script install.
package integration

// Package gitlabjobs is a client for GitLab's Jobs API: it lists, reads,
// plays, retries, cancels and erases the jobs of CI pipelines, and streams
// their artifacts and logs. It works with GitLab 12.3 up to the newest.
//
//	client, err := gitlabjobs.NewClient(gitlabjobs.FromEnvironment())
//	if err != nil {
//		return err
//	}
//	job, err := client.Jobs.Get(ctx, "group/app", 42)
//
// # Authentication
//
// One option says who the client is: [WithPrivateToken] for personal, project
// and group access tokens, [WithOAuthToken], [WithJobToken] and
// [WithJobTokenParam] for the token of a CI job, [WithTokenSource] for tokens
// that rotate. Without one the client is anonymous, which is enough for the
// artifacts of public projects. [FromEnvironment] takes what CI jobs and
// command-line tools have in their environment.
//
// Credentials go to the client's own origin (scheme, host and port) and
// nowhere else. They stay behind where a redirect leads away, to an object
// store for example, and no error, log or %+v ever shows them.
//
// # Errors
//
// An answer that isn't a success is an [Error], which has GitLab's own words
// and matches the sentinels by [errors.Is]:
//
//	job, err := client.Jobs.Play(ctx, project, id, nil)
//	switch {
//	case errors.Is(err, gitlabjobs.ErrNotPlayable):    // it isn't manual, or was played before
//	case errors.Is(err, gitlabjobs.ErrOutcomeUnknown): // sent once; look before you play again
//	}
//
// Where the context ended a call, its error and its cause are in the chain.
// Bad input, such as an empty ref, is refused before anything is sent.
//
// # Retries
//
// Reads, and the writes that do no harm twice (cancel, keep, delete
// artifacts), are sent again after transport errors, 408, 429, 500, 502, 503
// and 504: up to [RetryPolicy].MaxRetries times, with exponential backoff and
// full jitter. Play, Retry and Erase are sent again only after a 429 and after
// failures before anything was written. Whatever leaves open whether they took
// effect is [ErrOutcomeUnknown].
//
// What the server says of waiting (Retry-After, RateLimit-Reset,
// RateLimit-Remaining: 0) is obeyed by all requests of a client. A wait that
// would outlast the context's deadline, or [RetryPolicy].MaxRetryAfter, isn't
// begun: the answer comes back at once, with Error.RetryAfter.
//
// There is no total timeout but the context's. Instead, a request on which no
// byte comes for the stall timeout is dropped ([WithStallTimeout]).
//
// # Downloads
//
// Artifacts and logs stream to an [io.Writer] in constant memory. Where a
// connection breaks, the rest is asked for by range; where the server does no
// ranges, the content is read again and compared with what was written. The
// writer never gets a byte twice, nor a wrong one after a right one. Content
// is checked against the digest the caller expects, and archives against the
// one that newer servers state.
//
// [JobsService.SaveArtifacts] writes a file whole or not at all,
// [JobsService.OpenArtifacts] makes a remote archive an [io/fs.FS], and
// [JobsService.ExtractArtifacts] unpacks it within a directory.
//
// # Logs and waiting
//
// [JobsService.FollowTrace] writes a job's log while it grows,
// [JobsService.Wait] waits for a job and [JobsService.WatchPipeline] for the
// jobs of a pipeline. Package joblog reads logs: lines, sections, timestamps,
// control codes.
//
// # Testing
//
// Package jobstest is a GitLab in memory, over real HTTP, with a clock and
// faults to order.
//
// # Compatibility
//
// The package supports the two newest releases of Go. Until version 1.0.0 the
// surface may change between minor versions; CHANGELOG.md says how. The sets
// of statuses and failure reasons are open: new ones of the server are kept as
// they come. Structs may get fields, so give their fields by name.
package gitlabjobs

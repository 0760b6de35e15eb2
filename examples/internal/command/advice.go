package command

import (
	"context"
	"crypto/tls"
	"errors"
	"io/fs"
	"net"

	"github.com/gitlabjobs/gitlabjobs"
)

// advice is what a person can do about an error. The first match counts: a
// token without the scope is forbidden, too.
var advice = []struct {
	err  error
	text string
}{
	{gitlabjobs.ErrOutcomeUnknown, "It may or may not have happened: look at the job before you do it again."},
	{gitlabjobs.ErrUnauthorized, "Set GITLAB_TOKEN to a valid access token of this GitLab, with the scope api (read_api is enough to read)."},
	{gitlabjobs.ErrInsufficientScope, "The token lacks the scope: make one with api (read_api is enough to read), and set GITLAB_TOKEN to it."},
	{gitlabjobs.ErrForbidden, "The token's user may not do this: it takes the Developer role, for deleting artifacts Maintainer."},
	{gitlabjobs.ErrNotFound, "Check the project and the ID. GitLab also says this of what the token may not see: is GITLAB_TOKEN set?"},
	{gitlabjobs.ErrRateLimited, "The server wants fewer requests: try again later."},
	{gitlabjobs.ErrRedirectRefused, "Check the URL: https, without a detour, and the project under its present path."},
	{gitlabjobs.ErrUnexpectedContent, "That wasn't GitLab's API: check the URL, and whether a proxy or a login page stands before it."},
	{gitlabjobs.ErrContentChanged, "It changed on the server meanwhile: run this again for the new content."},
	{gitlabjobs.ErrChecksumMismatch, "What came isn't what was expected: run this again; if it stays so, the archive is damaged, or the digest is another's."},
	{gitlabjobs.ErrStalled, "The server went silent: run this again; what has come is kept where the program says so."},
	{gitlabjobs.ErrManual, "Somebody has to start the job: in GitLab, or by Play."},
	{gitlabjobs.ErrUnsafePath, "The archive would write outside of the directory: don't unpack it by other means unless you trust it."},
	{gitlabjobs.ErrTooLarge, "It is larger than allowed."},
	{fs.ErrExist, "There is a file already: remove it or choose another place."},
	{fs.ErrPermission, "Choose a place where you may write."},
	{context.DeadlineExceeded, "It took too long."},
}

// Advice returns what the user can do about an error, or "".
func Advice(err error) string {
	for _, a := range advice {
		if errors.Is(err, a.err) {
			return a.text
		}
	}
	var (
		unknownHost *net.DNSError
		network     *net.OpError
		certificate *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &certificate):
		return "The server's certificate isn't trusted: set SSL_CERT_FILE to the file of your own authority."
	case errors.As(err, &unknownHost):
		return "Check the host in the URL (-url or GITLAB_URL), and the network."
	case errors.As(err, &network) && network.Op == "dial":
		return "Is GitLab up at this URL? Check -url or GITLAB_URL, the network, and HTTPS_PROXY."
	}
	return ""
}

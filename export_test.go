package gitlabjobs

// What the tests of package gitlabjobs_test share with those of this package.
var (
	RecordedClient  = recordedClient
	RequireNoSecret = requireNoSecret
	Fails           = fails
)

// RoundTripper is a transport without a network.
type RoundTripper = roundTripper

// The planted secrets that their servers know.
const (
	PlantedToken = plantedPrivateToken
	PlantedMark  = plantedMark
)

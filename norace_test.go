//go:build !race

package gitlabjobs

const raceEnabled = false

//go:build race

package gitlabjobs

// raceEnabled says that the race detector is on, under which some things cost
// too much time and memory.
const raceEnabled = true

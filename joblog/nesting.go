package joblog

import "slices"

// maxDepth bounds how many sections are open at once. A log could open them
// without end, and each line that opens or closes one copies their names.
const maxDepth = 1000

// maxNames bounds the names kept to be used again.
const maxNames = 256

// nesting is the names of the sections that are open, outermost first.
type nesting struct {
	open   []string
	shared bool // open has been handed out: what is in it must stay
	names  map[string]string
}

func (n *nesting) apply(marks []mark) {
	for _, m := range marks {
		if m.start {
			n.start(m.name)
		} else if depth, found := n.find(m.name); found {
			n.cut(depth)
		}
	}
}

// start opens a section, if there isn't one too many.
func (n *nesting) start(name []byte) bool {
	if len(n.open) == maxDepth {
		return false
	}
	if len(n.open) == cap(n.open) {
		n.shared = false // append copies
	}
	n.open = append(n.open, n.name(name))
	return true
}

// find returns the depth of the innermost section of a name.
func (n *nesting) find(name []byte) (depth int, found bool) {
	for depth = len(n.open) - 1; depth >= 0; depth-- {
		if n.open[depth] == string(name) {
			return depth, true
		}
	}
	return 0, false
}

// cut closes the section at a depth and all in it.
func (n *nesting) cut(depth int) {
	if n.shared {
		n.open = n.open[:depth:depth]
		return
	}
	n.open = n.open[:depth]
}

// share returns the names, which stay as they are.
func (n *nesting) share() []string {
	if len(n.open) == 0 {
		return nil
	}
	n.shared = true
	return slices.Clip(n.open)
}

// name makes a string of a name without an allocation where it can.
func (n *nesting) name(name []byte) string {
	if known, ok := n.names[string(name)]; ok {
		return known
	}
	if n.names == nil {
		n.names = make(map[string]string)
	}
	if len(n.names) == maxNames {
		clear(n.names)
	}
	s := string(name)
	n.names[s] = s
	return s
}

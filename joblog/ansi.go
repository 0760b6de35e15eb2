package joblog

const (
	bell       = 0x07
	cancel     = 0x18
	substitute = 0x1a
	escape     = 0x1b
)

// codeState is where in an escape code a byte stands. Both the lines and the
// stripper go by it, so they agree on what a code is.
type codeState uint8

const (
	noCode     codeState = iota
	codeEscape           // after the escape byte
	codeInter            // after an intermediate byte, as in ESC ( B
	codeCSI              // in a control sequence
	codeString           // in a string: OSC, DCS, SOS, PM, APC
	codeEnding           // after an escape byte in a string
)

// step goes on by one byte. If the byte isn't taken, the code has ended before it.
func (s codeState) step(b byte) (next codeState, taken bool) {
	switch s {
	case codeEscape:
		switch b {
		case '[':
			return codeCSI, true
		case ']', 'P', 'X', '^', '_':
			return codeString, true
		}
		return stepIntermediate(b)
	case codeInter:
		return stepIntermediate(b)
	case codeCSI:
		if ' ' <= b && b <= '?' {
			return codeCSI, true
		}
		return noCode, '@' <= b && b <= '~'
	case codeString:
		switch b {
		case bell:
			return noCode, true
		case escape:
			return codeEnding, true
		case '\r', '\n', cancel, substitute:
			return noCode, false
		}
		return codeString, true
	case codeEnding:
		if b == '\\' {
			return noCode, true
		}
		// The string was broken off by another code.
		return codeEscape.step(b)
	}
	return noCode, false
}

func stepIntermediate(b byte) (next codeState, taken bool) {
	if ' ' <= b && b <= '/' {
		return codeInter, true
	}
	return noCode, '0' <= b && b <= '~'
}

// codeLen measures the code at the start of b, which is an escape byte.
func codeLen(b []byte) int {
	state := codeEscape
	for i := 1; i < len(b); i++ {
		next, taken := state.step(b[i])
		if !taken {
			return i
		}
		if next == noCode {
			return i + 1
		}
		state = next
	}
	return len(b)
}

package joblog

import "time"

// stampShape is what the runner's prefix of a line looks like: 0 stands for a
// digit, h for a hexadecimal one, S for the stream and + for the join flag.
const stampShape = "0000-00-00T00:00:00.000000Z hhS+"

const stampLen = len(stampShape)

// stamp is the prefix that GitLab Runner 17.0 and later write before a line.
type stamp struct {
	time   time.Time
	source [3]byte // the stream's number and kind
	joins  bool    // goes on from the line before
}

func (s stamp) stream() Stream {
	if s.source[2] == 'E' {
		return Stderr
	}
	return Stdout
}

// continues tells whether a line with s goes on from the line before it.
func (s stamp) continues(before stamp) bool {
	return s.joins && s.source == before.source
}

// parseStamp reads the prefix at the start of b. A prefix of the right shape
// that is no time isn't the runner's.
func parseStamp(b []byte) (stamp, bool) {
	if len(b) < stampLen || !stampShaped(b[:stampLen]) {
		return stamp{}, false
	}
	year, month, day := number(b[0:4]), number(b[5:7]), number(b[8:10])
	hour, minute, second := number(b[11:13]), number(b[14:16]), number(b[17:19])
	micro := number(b[20:26])
	if month < 1 || month > 12 || hour > 23 || minute > 59 || second > 59 {
		return stamp{}, false
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, micro*int(time.Microsecond), time.UTC)
	if t.Day() != day {
		return stamp{}, false
	}
	return stamp{time: t, source: [3]byte(b[28:31]), joins: b[31] == '+'}, true
}

// stampShaped tells whether b, at most as long as a prefix, can be one or the
// start of one.
func stampShaped(b []byte) bool {
	for i, c := range b {
		switch want := stampShape[i]; want {
		case '0':
			if !isDigit(c) {
				return false
			}
		case 'h':
			if !isDigit(c) && (c < 'a' || c > 'f') {
				return false
			}
		case 'S':
			if c != 'O' && c != 'E' {
				return false
			}
		case '+':
			if c != '+' && c != ' ' {
				return false
			}
		default:
			if c != want {
				return false
			}
		}
	}
	return true
}

// number reads decimal digits, few enough not to overflow.
func number(digits []byte) int {
	n := 0
	for _, c := range digits {
		n = n*10 + int(c-'0')
	}
	return n
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

//go:build !linux

package jobstest

import (
	"crypto/tls"
	"net"
	"time"
)

// drainTime is given to the peer to get what was written before the reset,
// which discards the rest.
const drainTime = 20 * time.Millisecond

// resetConn resets a connection.
func resetConn(conn net.Conn) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	switch conn := conn.(type) {
	case *memConn:
		conn.reset()
	case *net.TCPConn:
		time.Sleep(drainTime)
		_ = conn.SetLinger(0)
		_ = conn.Close()
	}
}

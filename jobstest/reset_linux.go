package jobstest

import (
	"crypto/tls"
	"net"
	"syscall"
	"time"
	"unsafe"
)

// drainPolls bounds how often a reset looks whether the peer has got what was
// sent before: for about two seconds.
const drainPolls = 2000

// resetConn resets a connection once the peer's kernel has what was written
// to it: a reset discards the rest, and tests count on every byte.
func resetConn(conn net.Conn) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	switch conn := conn.(type) {
	case *memConn:
		conn.reset()
	case *net.TCPConn:
		if raw, err := conn.SyscallConn(); err == nil {
			for i := 0; i < drainPolls && unsent(raw) > 0; i++ {
				time.Sleep(time.Millisecond)
			}
		}
		_ = conn.SetLinger(0)
		_ = conn.Close()
	}
}

// unsent returns how many bytes the peer hasn't acknowledged.
func unsent(raw syscall.RawConn) int {
	var n int32
	_ = raw.Control(func(fd uintptr) {
		_, _, _ = syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&n)))
	})
	return int(n)
}

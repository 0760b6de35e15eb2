package main

import (
	"net"
	"sync/atomic"
	"time"
)

// A shape is what connections are like. The zero shape is loopback as it is,
// and isn't counted.
type shape struct {
	counter    *atomic.Int64 // of bytes sent
	latency    time.Duration // of a round trip
	bandwidth  int64         // bytes/s of a connection; 0: no limit
	resetAfter int64         // bytes sent after which a connection is reset; 0: never
}

var unshaped shape

// A shapedListener gives its connections their shape.
type shapedListener struct {
	net.Listener
	shape shape
}

func (l *shapedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &shapedConn{Conn: conn, shape: l.shape, delay: 2 * l.shape.latency}, nil // the connection's own round trip, too
}

// A shapedConn delays each request by a round trip, and answers by bandwidth.
type shapedConn struct {
	net.Conn
	shape
	delay time.Duration // of the next read
	sent  int64
	free  time.Time // when all that was sent has gone through
}

const (
	shapedChunk = 64 << 10             // bytes sent at once
	shapedBurst = 5 * time.Millisecond // how far sending may run ahead, which evens timers out
)

// Read delays the first bytes of a request. net/http reads and writes a
// connection's requests and answers in turn.
func (c *shapedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && c.delay > 0 {
		time.Sleep(c.delay)
		c.delay = 0
	}
	return n, err
}

func (c *shapedConn) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		chunk := p[written:min(written+shapedChunk, len(p))]
		if c.bandwidth > 0 {
			c.pace(len(chunk))
		}
		if c.resetAfter > 0 && c.sent+int64(len(chunk)) > c.resetAfter {
			c.Conn.(*net.TCPConn).SetLinger(0) //nolint:errcheck // the close makes it a reset
			c.Close()
			return written, net.ErrClosed
		}
		n, err := c.Conn.Write(chunk)
		written += n
		c.sent += int64(n)
		c.counter.Add(int64(n))
		if err != nil {
			return written, err
		}
	}
	c.delay = c.latency
	return written, nil
}

// pace waits until n more bytes may be sent.
func (c *shapedConn) pace(n int) {
	now := time.Now()
	if earliest := now.Add(-shapedBurst); c.free.Before(earliest) {
		c.free = earliest
	}
	if wait := c.free.Sub(now); wait > 0 {
		time.Sleep(wait)
	}
	c.free = c.free.Add(time.Duration(int64(n) * int64(time.Second) / c.bandwidth))
}

package jobstest

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// memBufferSize is how many bytes each direction of an in-memory connection
// holds before a write waits for a read.
const memBufferSize = 256 << 10

// A memListener accepts connections that never touch the network. Everything
// in it waits on channels or conditions, which testing/synctest counts as
// durably blocked.
type memListener struct {
	addr   memAddr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newMemListener(hostport string) *memListener {
	return &memListener{addr: memAddr(hostport), conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *memListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *memListener) Addr() net.Addr { return l.addr }

// dial makes a connection and hands its other end to Accept.
func (l *memListener) dial(ctx context.Context) (net.Conn, error) {
	up, down := newMemPipe(), newMemPipe()
	client := &memConn{in: down, out: up, local: "client:0", remote: l.addr}
	server := &memConn{in: up, out: down, local: l.addr, remote: "client:0"}
	refused := &net.OpError{Op: "dial", Net: "mem", Addr: l.addr, Err: syscall.ECONNREFUSED}
	select {
	case <-l.closed:
		return nil, refused
	default:
	}
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, refused
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

type memAddr string

func (a memAddr) Network() string { return "mem" }
func (a memAddr) String() string  { return string(a) }

// A memConn is one end of an in-memory connection.
type memConn struct {
	in, out       *memPipe
	local, remote memAddr
}

var _ net.Conn = (*memConn)(nil)

func (c *memConn) Read(b []byte) (int, error)  { return c.in.read(b) }
func (c *memConn) Write(b []byte) (int, error) { return c.out.write(b) }
func (c *memConn) LocalAddr() net.Addr         { return c.local }
func (c *memConn) RemoteAddr() net.Addr        { return c.remote }

// Close ends both directions: the peer reads what is buffered, then EOF.
func (c *memConn) Close() error {
	c.out.end(io.EOF)
	c.in.abandon()
	return nil
}

// reset is Close by a reset: the peer reads what is buffered, then an error.
func (c *memConn) reset() {
	c.out.end(syscall.ECONNRESET)
	c.in.abandon()
}

func (c *memConn) SetDeadline(t time.Time) error {
	c.in.setDeadline(&c.in.readDeadline, t)
	c.out.setDeadline(&c.out.writeDeadline, t)
	return nil
}

func (c *memConn) SetReadDeadline(t time.Time) error {
	c.in.setDeadline(&c.in.readDeadline, t)
	return nil
}

func (c *memConn) SetWriteDeadline(t time.Time) error {
	c.out.setDeadline(&c.out.writeDeadline, t)
	return nil
}

// A memPipe is one direction of an in-memory connection.
type memPipe struct {
	mu            sync.Mutex
	changed       *sync.Cond
	ring          []byte
	start, length int   // what of ring is filled
	ended         error // what a reader gets after the last byte; nil while open
	abandoned     bool  // the reader is gone
	readDeadline  memDeadline
	writeDeadline memDeadline
}

type memDeadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *memDeadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func newMemPipe() *memPipe {
	p := &memPipe{}
	p.changed = sync.NewCond(&p.mu)
	return p
}

func (p *memPipe) read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.abandoned:
			return 0, net.ErrClosed
		case p.readDeadline.passed():
			return 0, os.ErrDeadlineExceeded
		case len(b) == 0:
			return 0, nil
		case p.length > 0:
			return p.take(b), nil
		case p.ended != nil:
			return 0, p.ended
		}
		p.changed.Wait()
	}
}

func (p *memPipe) write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	written := 0
	for {
		switch {
		case p.ended != nil:
			return written, net.ErrClosed
		case p.abandoned:
			return written, syscall.EPIPE
		case p.writeDeadline.passed():
			return written, os.ErrDeadlineExceeded
		case len(b) == 0:
			return written, nil
		case p.length < memBufferSize:
			n := p.put(b)
			b, written = b[n:], written+n
			continue
		}
		p.changed.Wait()
	}
}

// take moves bytes from the ring to b.
func (p *memPipe) take(b []byte) int {
	n := 0
	for n < len(b) && p.length > 0 {
		m := copy(b[n:], p.ring[p.start:min(p.start+p.length, len(p.ring))])
		p.start, p.length, n = (p.start+m)%len(p.ring), p.length-m, n+m
	}
	p.changed.Broadcast()
	return n
}

// put moves bytes from b to the ring.
func (p *memPipe) put(b []byte) int {
	if p.ring == nil {
		p.ring = make([]byte, memBufferSize)
	}
	n := 0
	for n < len(b) && p.length < len(p.ring) {
		end := (p.start + p.length) % len(p.ring)
		room := len(p.ring) - end
		if end < p.start {
			room = p.start - end
		}
		m := copy(p.ring[end:end+room], b[n:])
		p.length, n = p.length+m, n+m
	}
	p.changed.Broadcast()
	return n
}

func (p *memPipe) end(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended == nil {
		p.ended = err
	}
	p.writeDeadline.stop()
	p.changed.Broadcast()
}

func (p *memPipe) abandon() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.abandoned = true
	p.readDeadline.stop()
	p.changed.Broadcast()
}

func (p *memPipe) setDeadline(d *memDeadline, t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d.stop()
	d.at = t
	if wait := time.Until(t); !t.IsZero() && wait > 0 {
		d.timer = time.AfterFunc(wait, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.changed.Broadcast()
		})
	}
	p.changed.Broadcast()
}

func (d *memDeadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

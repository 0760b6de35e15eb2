package gitlabjobs

import (
	"crypto/sha256"
	"hash"
	"sync"
)

const (
	copyBufferSize = 384 << 10 // bytes; to hand one over wakes a thread, so that many small ones are slower
	copyBuffers    = 2         // one is read and written while one is hashed
)

// A digester lends the buffers of a copy, and computes the SHA-256 of what was
// in them: in the background once it is worth it, so that hashing doesn't slow
// the copy down.
type digester struct {
	state   hash.Hash
	hashed  int64
	made    int
	free    chan []byte
	work    chan []byte    // nil while all is hashed in the foreground
	pending sync.WaitGroup // chunks in work
	running sync.WaitGroup
}

func newDigester() *digester {
	return &digester{state: sha256.New(), free: make(chan []byte, copyBuffers)}
}

// buffer returns a buffer that is free. It belongs to the caller until hash.
func (d *digester) buffer() []byte {
	select {
	case buffer := <-d.free:
		return buffer
	default:
	}
	if d.made == copyBuffers {
		return <-d.free
	}
	d.made++
	return copyBufferPool.Get().(*[copyBufferSize]byte)[:]
}

// giveBack takes back a buffer with nothing to be hashed in it.
func (d *digester) giveBack(buffer []byte) { d.free <- buffer[:cap(buffer)] }

// hash adds the first n bytes of a buffer and takes the buffer back.
func (d *digester) hash(buffer []byte, n int) {
	d.hashed += int64(n)
	if d.work == nil && d.hashed <= copyBufferSize {
		d.state.Write(buffer[:n])
		d.free <- buffer
		return
	}
	if d.work == nil {
		d.work = make(chan []byte, copyBuffers)
		d.running.Go(func() {
			for chunk := range d.work {
				d.state.Write(chunk)
				d.free <- chunk[:cap(chunk)]
				d.pending.Done()
			}
		})
	}
	d.pending.Add(1)
	d.work <- buffer[:n]
}

// sum returns the digest of all that was hashed so far.
func (d *digester) sum() []byte {
	d.pending.Wait()
	return d.state.Sum(nil)
}

// reset forgets all that was hashed.
func (d *digester) reset() {
	d.pending.Wait()
	d.state.Reset()
}

// rest returns the buffers to where they are from, until there is more to copy.
func (d *digester) rest() {
	d.pending.Wait()
	for len(d.free) > 0 {
		copyBufferPool.Put((*[copyBufferSize]byte)(<-d.free))
		d.made--
	}
}

func (d *digester) close() {
	d.rest()
	if d.work != nil {
		close(d.work)
		d.running.Wait()
	}
}

var copyBufferPool = sync.Pool{New: func() any { return new([copyBufferSize]byte) }}

package gitlabjobs

import (
	"context"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
)

const (
	blockSize    = 64 << 10 // bytes; the least that is asked for
	maxReadAhead = 64       // blocks under way at once: 4 MiB
	cachedBlocks = 128      // kept of a content: 8 MiB
	maxSequences = 64       // readers whose next step is remembered
)

// A rangeReader reads a remote content at any place, by ranges of it that are
// all pinned to the validator of the first. What it got lately it keeps. A
// reader that goes on where it came to is given more and more ahead, so that
// reading all takes few requests and reading a little moves few bytes.
type rangeReader struct {
	ctx    context.Context
	stream *stream // ranges are sections of it
	size   int64   // bytes

	mu        sync.Mutex
	blocks    map[int64]*block // by number: those kept and those under way
	sequences map[int64]int64  // how many blocks to ask for where this one is missed
	clock     int64            // counts uses
	underWay  int64            // blocks
	closed    bool
	running   sync.WaitGroup
}

// A block is a part of the content. Its data, or why there is none, is there
// once it is ready.
type block struct {
	ready chan struct{}
	data  []byte
	err   error
	used  int64 // by the clock
}

// newRangeReader returns the reader of a probed stream, whose first bytes
// have been read.
func newRangeReader(s *stream, first []byte) *rangeReader {
	ready := make(chan struct{})
	close(ready)
	r := &rangeReader{
		ctx: s.ctx, stream: s, size: s.total,
		blocks:    map[int64]*block{},
		sequences: map[int64]int64{},
	}
	if len(first) == int(min(blockSize, r.size)) {
		r.blocks[0] = &block{ready: ready, data: first}
	}
	return r
}

// ReadAt is safe for concurrent use.
func (r *rangeReader) ReadAt(p []byte, offset int64) (int, error) {
	n := 0
	for n < len(p) {
		if r.ctx.Err() != nil {
			return n, r.stream.fail(r.ctx.Err())
		}
		if offset >= r.size {
			return n, io.EOF
		}
		b := r.block(offset / blockSize)
		select {
		case <-b.ready:
		case <-r.ctx.Done():
			continue
		}
		if b.err != nil {
			return n, b.err
		}
		copied := copy(p[n:], b.data[offset%blockSize:])
		n += copied
		offset += int64(copied)
	}
	return n, nil
}

// expect says that the bytes between two offsets will be read from the first
// to the last, which is worth one request.
func (r *rangeReader) expect(from, to int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	end := (min(to, r.size) + blockSize - 1) / blockSize
	for i := from / blockSize; i < end; i++ {
		if r.blocks[i] == nil {
			r.sequences[i] = end - i
			return
		}
	}
}

// close waits until nothing is under way. The context must have ended.
func (r *rangeReader) close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.running.Wait()
	return nil
}

// block returns a block, which is under way then at the latest.
func (r *rangeReader) block(i int64) *block {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clock++
	b := r.blocks[i]
	if b == nil {
		b = r.fetch(i)
	}
	b.used = r.clock
	return b
}

// fetch asks for a block that is missed, and for some after it.
func (r *rangeReader) fetch(first int64) *block {
	count := max(1, r.sequences[first])
	delete(r.sequences, first)
	count = min(count, max(1, maxReadAhead-r.underWay), (r.size-1)/blockSize+1-first)
	var run []*block
	for i := first; i < first+count && r.blocks[i] == nil; i++ {
		b := &block{ready: make(chan struct{}), used: r.clock}
		r.blocks[i] = b
		run = append(run, b)
	}
	if len(r.sequences) >= maxSequences {
		clear(r.sequences)
	}
	r.sequences[first+int64(len(run))] = 2 * int64(len(run))
	r.evict()
	if r.closed {
		r.finish(first, run, r.stream.fail(r.ctx.Err()))
		return run[0]
	}
	r.underWay += int64(len(run))
	r.running.Go(func() { r.receive(first, run) })
	return run[0]
}

// receive reads a run of blocks, each of which is ready as soon as it has come.
func (r *rangeReader) receive(first int64, run []*block) {
	from := first * blockSize
	s := r.stream.section(from, min(from+int64(len(run))*blockSize, r.size))
	var err error
	for len(run) > 0 {
		data := make([]byte, min(blockSize, s.end-s.offset))
		if _, err = io.ReadFull(s, data); err != nil {
			break
		}
		run[0].data = data
		close(run[0].ready)
		first, run = first+1, run[1:]
		r.mu.Lock()
		r.underWay--
		r.mu.Unlock()
	}
	s.Close() // it can't fail
	r.mu.Lock()
	defer r.mu.Unlock()
	r.underWay -= int64(len(run))
	r.finish(first, run, err)
}

// finish fails the blocks that didn't come, and forgets them: another read may
// have more luck.
func (r *rangeReader) finish(first int64, run []*block, err error) {
	for k, b := range run {
		delete(r.blocks, first+int64(k))
		b.err = err
		close(b.ready)
	}
}

// evict forgets the blocks used least lately where there are too many.
func (r *rangeReader) evict() {
	surplus := len(r.blocks) - cachedBlocks
	if surplus <= 0 {
		return
	}
	byUse := slices.SortedFunc(maps.Keys(r.blocks), func(a, b int64) int {
		return int(r.blocks[a].used - r.blocks[b].used)
	})
	for _, i := range byUse {
		select {
		case <-r.blocks[i].ready:
			delete(r.blocks, i)
			surplus--
		default: // under way
		}
		if surplus == 0 {
			return
		}
	}
}

// probe opens a stream by asking for its first bytes as a range, and returns
// them where the server does ranges of a content that it names by a validator.
// Else it returns none, and the stream is of the whole content.
func (s *stream) probe(length int64) ([]byte, error) {
	s.probing, s.end = true, length
	if err := s.open(); err != nil {
		return nil, err
	}
	if !s.pinned {
		return nil, nil
	}
	first := make([]byte, min(length, s.total))
	_, err := io.ReadFull(s, first)
	s.Close() // it can't fail
	s.end = -1
	return first, err
}

// endProbe takes the answer to the first range that is asked for.
func (s *stream) endProbe(resp *http.Response) error {
	s.probing = false
	start, total, ok := parseContentRange(resp.Header.Get("Content-Range"))
	validator := validatorOf(resp.Header)
	switch {
	case resp.StatusCode == http.StatusPartialContent && ok && start == 0 && total > 0 &&
		validator != "" && resp.Header.Get("Content-Encoding") == "":
		if err := s.accept(resp); err != nil {
			return s.abandon(err)
		}
		s.validator, s.total, s.pinned = validator, total, true
		s.note(resp)
		return nil
	case resp.StatusCode != http.StatusPartialContent && resp.StatusCode != http.StatusRequestedRangeNotSatisfiable:
		s.end = -1
		return s.startOver(resp)
	}
	s.end = -1
	s.body.Close() // it isn't wanted
	s.body = nil
	return s.ask()
}

// section returns a stream of a part of a pinned stream's content.
func (s *stream) section(from, to int64) *stream {
	return &stream{
		ctx: s.ctx, client: s.client, call: s.call, accept: s.accept, url: s.url,
		budget: s.client.newBudget(), offset: from, end: to, total: s.total,
		validator: s.validator, pinned: true, header: s.header, foreign: s.foreign,
	}
}

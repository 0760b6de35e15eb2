package gitlabjobs

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
)

// Ranges are handed out in rounds, of equal ones in each. They start large, for
// few requests, and end small, so that all connections come to their ends at
// about the same time. Of what a slow one is at, the others take halves.
const (
	minRange = 4 << 20  // bytes
	maxRange = 64 << 20 // bytes
)

// A parallel fetches ranges of a content side by side into a file. It is a
// source, too: its Read returns what of the file has no gaps before it.
//
// The first range is what comes over the connection that the stream already
// has. If the server doesn't say that it does ranges, a second connection finds
// out, and the others are made once it does. If it doesn't, or no longer, the
// fetching ends, and the stream has to go on alone.
//
// A worker that is at a range changes what the range has, and nobody but it
// looks at its stream; all else goes by the mutex.
type parallel struct {
	first     *stream
	call      call
	total     int64
	validator string
	file      *partial
	workers   int // at most
	budget    *sharedBudget
	ctx       context.Context // of all streams but the first
	cancel    context.CancelFunc
	group     sync.WaitGroup

	mu        sync.Mutex
	moved     sync.Cond // something below has changed
	ranges    []*span   // in order; those that are fetched and have none before them are dropped
	undivided int64     // where begins what is in no range yet
	size      int64     // of the ranges of this round
	round     int       // how many of them are left
	read      int64     // what Read has returned ends here
	started   int       // workers, ever
	running   int       // workers, now
	resumes   int
	confirmed bool  // the server does ranges
	over      bool  // what is left has to be read in one piece
	err       error // of the last worker that failed
	fatal     error // what ends all: of the file, for one
}

// A span is a range of the content.
type span struct {
	next, end int64
	busy      bool // a worker is at it
	resumes   int  // of its stream, as far as they are counted
}

// divisible reports whether what is left of a stream may come as ranges side
// by side, and is worth it.
func divisible(s *stream) bool {
	return s.validator != "" && !s.noRanges && s.total-s.offset >= 2*minRange &&
		s.header.Get("Accept-Ranges") != "none"
}

// startParallel begins to fetch what is left of a divisible stream.
func startParallel(first *stream, file *partial, workers int) *parallel {
	p := &parallel{
		first:     first,
		call:      first.call,
		total:     first.total,
		validator: first.validator,
		file:      file,
		workers:   int(min(int64(workers), (first.total-first.offset)/minRange)),
		budget:    &sharedBudget{budget: *first.budget},
		undivided: first.offset,
		read:      first.offset,
		resumes:   first.resumes,
	}
	p.moved.L = &p.mu
	p.ctx, p.cancel = context.WithCancel(first.ctx)
	r, end := p.next()
	r.resumes = first.resumes
	first.end, first.pinned = end, true
	others := 1
	if first.header.Get("Accept-Ranges") == "bytes" {
		others = p.workers - 1 // that they share a budget with the first has to wait: see advance
	} else {
		first.budget.shared = p.budget
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.start(1, func() { p.fetchFirst(r) })
	p.start(others, p.fetch)
	return p
}

// start starts so many workers.
func (p *parallel) start(workers int, work func()) {
	p.started += workers
	p.running += workers
	for range workers {
		p.group.Go(work)
	}
}

// Read returns what has come, in order. It returns io.EOF where nothing more
// comes by ranges.
func (p *parallel) Read(buffer []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.frontier() == p.read && p.running > 0 && p.fatal == nil {
		p.moved.Wait()
	}
	n := min(p.frontier()-p.read, int64(len(buffer)))
	switch {
	case p.fatal != nil:
		return 0, p.fatal
	case n == 0 && !p.over && p.read < p.total:
		return 0, p.err
	case n == 0:
		return 0, io.EOF
	}
	if _, err := p.file.file.ReadAt(buffer[:n], p.read); err != nil {
		return 0, p.file.explain(err)
	}
	p.read += n
	return int(n), nil
}

func (p *parallel) state() sourceState {
	p.mu.Lock()
	defer p.mu.Unlock()
	return sourceState{total: p.total, resumes: p.resumes, validator: p.validator}
}

// stop ends the fetching. The first stream goes on from the offset alone.
func (p *parallel) stop(offset int64) {
	p.cancel()
	p.group.Wait()
	s := p.first
	if s.offset != offset {
		s.Close()
		s.offset = offset
	}
	s.end, s.pinned, s.broken, s.resumes = -1, false, nil, p.resumes
	if s.budget.shared != nil {
		p.budget.attempts = s.budget.attempts
		s.budget = &p.budget.budget
	}
}

// fetchFirst fetches the first range. Its connection goes on to the content's
// end: it is given up only when it is sure that other ranges can be had.
func (p *parallel) fetchFirst(r *span) {
	err := p.fill(p.first, r)
	p.mu.Lock()
	for err == nil && !p.confirmed && !p.over && p.running > 1 {
		p.moved.Wait()
	}
	p.over = p.over || err == nil && !p.confirmed
	over := p.over
	p.mu.Unlock()
	if err != nil || over {
		p.leave(err)
		return
	}
	p.first.Close()
	p.fetch()
}

// fetch fetches one range after the other.
func (p *parallel) fetch() {
	for {
		r, end := p.next()
		if r == nil {
			p.leave(nil)
			return
		}
		s, err := newStream(p.ctx, p.first.client, p.call, p.first.accept)
		if err == nil {
			s.offset, s.end, s.total = r.next, end, p.total
			s.validator, s.pinned, s.budget.shared = p.validator, true, p.budget
			err = p.fill(s, r)
			s.Close()
		}
		if err != nil {
			p.leave(err)
			return
		}
	}
}

// fill fetches a range, or as much of it as is wanted.
func (p *parallel) fill(s *stream, r *span) error {
	buffer := copyBufferPool.Get().(*[copyBufferSize]byte)
	defer copyBufferPool.Put(buffer)
	defer p.release(r)
	for {
		n, err := s.Read(buffer[:])
		if err == io.EOF { //nolint:errorlint // a wrapped one is a broken connection, not the end
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := p.file.file.WriteAt(buffer[:n], r.next); err != nil {
			return p.fail(err)
		}
		if !p.advance(s, r, int64(n)) {
			return nil
		}
	}
}

// advance notes that n bytes more have come, and reports whether to go on.
func (p *parallel) advance(s *stream, r *span, n int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	r.next = min(r.next+n, r.end)
	p.resumes += s.resumes - r.resumes
	r.resumes = s.resumes
	if s != p.first && !p.confirmed {
		p.confirmed = true
		p.start(p.workers-p.started, p.fetch)
	}
	if p.confirmed { // until then, what the first gains mustn't pay for tries of the others
		s.budget.shared = p.budget
	}
	p.moved.Broadcast()
	taken := r.next == r.end && r.end < s.end // what the stream has left, by others
	return !taken && !p.over && p.fatal == nil
}

// next returns the first range that nobody is at and its end, nil where no more
// are to be fetched. While others are at the last ones, it waits: one may be
// left to it.
func (p *parallel) next() (*span, int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.over && p.fatal == nil && !p.budget.spent() {
		if r := p.free(); r != nil {
			return r, r.end
		}
		if p.frontier() == p.total {
			break
		}
		p.moved.Wait()
	}
	return nil, 0
}

// free returns the first range that nobody is at, nil while there is none.
func (p *parallel) free() *span {
	for _, r := range p.ranges {
		if !r.busy && r.next < r.end {
			r.busy, r.resumes = true, 0
			return r
		}
	}
	rest := p.total - p.undivided
	if rest == 0 {
		return p.halve()
	}
	if p.round == 0 {
		p.round = p.workers
		p.size = min(rest*5/8/int64(p.workers), maxRange)
		if p.size < 2*minRange { // the last round
			p.size = max(rest/int64(p.workers), minRange)
		}
	}
	p.round--
	size := p.size
	if rest-size < minRange {
		size = rest
	}
	r := &span{next: p.undivided, end: p.undivided + size, busy: true}
	p.undivided = r.end
	p.ranges = append(p.ranges, r)
	return r
}

// halve takes the second half of what a worker has left, of the one with the
// most, if that is worth another request.
func (p *parallel) halve() *span {
	longest, most := 0, int64(0)
	for i, r := range p.ranges {
		if missing := r.end - r.next; missing > most {
			longest, most = i, missing
		}
	}
	if most < 2*minRange {
		return nil
	}
	r := p.ranges[longest]
	half := &span{next: r.end - most/2, end: r.end, busy: true}
	r.end = half.next
	p.ranges = slices.Insert(p.ranges, longest+1, half)
	return half
}

// release leaves what is missing of a range to others.
func (p *parallel) release(r *span) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r.busy = false
	p.moved.Broadcast()
}

// frontier returns where the first gap begins.
func (p *parallel) frontier() int64 {
	for len(p.ranges) > 0 && p.ranges[0].next == p.ranges[0].end {
		p.ranges = p.ranges[1:]
	}
	if len(p.ranges) == 0 {
		return p.undivided
	}
	return p.ranges[0].next
}

// fail ends all: the file can't be written.
func (p *parallel) fail(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fatal = p.file.explain(err)
	p.moved.Broadcast()
	return p.fatal
}

// leave ends a worker. The others go on without it, unless ranges can't be had
// any more.
func (p *parallel) leave(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running--
	if err != nil {
		p.err = err
	}
	switch {
	case errors.Is(err, errRangeRefused) || errors.Is(err, ErrContentChanged):
		p.over = true
		p.cancel()
	case err != nil && !p.over && p.first.client.retry.MaxRetries == 0:
		p.fatal = cmp.Or(p.fatal, err) // to take its range over would be a retry
	}
	p.moved.Broadcast()
}

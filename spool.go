package gitlabjobs

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"os"
	"sync"
)

// A spool is a temporary file that a stream is written to. It can be read
// while it grows: a read waits until its bytes have come.
type spool struct {
	file   *os.File
	stream *stream
	hash   hash.Hash // of what was read of the stream

	mu      sync.Mutex
	arrived *sync.Cond
	written int64 // bytes that have come, from the start
	resumes int   // of the stream
	kept    int64 // from here on all was there before
	ended   bool
	err     error // why it ended before the content's end
}

// newSpool returns the spool of a stream whose first bytes have been read.
func newSpool(s *stream, first []byte) (*spool, error) {
	file, err := os.CreateTemp("", "gitlabjobs-*.zip")
	if err != nil {
		return nil, fmt.Errorf("gitlabjobs: temporary file: %w", err)
	}
	sp := &spool{file: file, stream: s, hash: sha256.New(), kept: math.MaxInt64}
	sp.arrived = sync.NewCond(&sp.mu)
	s.digest = func() []byte { return sp.hash.Sum(nil) }
	if err := sp.write(first); err != nil {
		return nil, errors.Join(err, sp.close())
	}
	return sp, nil
}

// ReadAt is safe for concurrent use.
func (sp *spool) ReadAt(p []byte, offset int64) (int, error) {
	sp.mu.Lock()
	for !sp.ended && offset < sp.kept && offset+int64(len(p)) > sp.written {
		sp.arrived.Wait()
	}
	err := sp.err
	if offset+int64(len(p)) <= sp.written || offset >= sp.kept {
		err = nil
	}
	sp.mu.Unlock()
	if sp.stream.ctx.Err() != nil {
		err = sp.stream.fail(sp.stream.ctx.Err())
	}
	if err != nil {
		return 0, err
	}
	return sp.file.ReadAt(p, offset)
}

// keep writes a part of the content in advance, up to its end. What the
// stream brings there is not written, so that it stays as it is now.
func (sp *spool) keep(part io.Reader, from int64) error {
	if _, err := io.Copy(io.NewOffsetWriter(sp.file, from), part); err != nil {
		return err
	}
	sp.kept = from
	return nil
}

// fill reads the stream to its end, and compares its digest with the one that
// GitLab states. More than limit bytes are ErrTooLarge.
func (sp *spool) fill(limit int64) error {
	err := sp.copy(limit)
	if err == nil && !sp.stream.foreign && !sp.stream.encoded {
		stated := digestOfETag(sp.stream.header.Get("ETag"))
		if got := fmt.Sprintf("%x", sp.hash.Sum(nil)); stated != "" && got != stated {
			err = sp.stream.fail(fmt.Errorf("%w: SHA-256 is %s, not %s", ErrChecksumMismatch, got, stated))
		}
	}
	sp.stream.Close() // it can't fail
	sp.mu.Lock()
	defer sp.mu.Unlock()
	sp.ended, sp.err = true, err
	sp.arrived.Broadcast()
	return err
}

func (sp *spool) copy(limit int64) error {
	buffer := copyBufferPool.Get().(*[copyBufferSize]byte)
	defer copyBufferPool.Put(buffer)
	s := sp.stream
	for {
		if max(s.total, s.offset) > limit {
			return s.fail(fmt.Errorf("%w: the archive exceeds %d bytes", ErrTooLarge, limit))
		}
		n, err := s.Read(buffer[:])
		if err == io.EOF { //nolint:errorlint // a Reader returns io.EOF itself
			return nil
		}
		if err != nil {
			return err
		}
		if err := sp.write(buffer[:n]); err != nil {
			return err
		}
	}
}

// write adds the next bytes of the content.
func (sp *spool) write(p []byte) error {
	sp.hash.Write(p)
	if fresh := min(int64(len(p)), sp.kept-sp.written); fresh > 0 {
		if _, err := sp.file.WriteAt(p[:fresh], sp.written); err != nil {
			return fmt.Errorf("gitlabjobs: temporary file: %w", err)
		}
	}
	sp.mu.Lock()
	defer sp.mu.Unlock()
	sp.written += int64(len(p))
	sp.resumes = sp.stream.resumes
	sp.arrived.Broadcast()
	return nil
}

// expect has nothing to do: the stream goes on in any case.
func (sp *spool) expect(_, _ int64) {}

// resumed returns how often the stream was resumed so far.
func (sp *spool) resumed() int {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	return sp.resumes
}

// close removes the file.
func (sp *spool) close() error {
	return errors.Join(sp.file.Close(), os.Remove(sp.file.Name()))
}

package main

import (
	"fmt"
	"strings"
	"time"
)

// How jobs are worked on while they are listed.
const (
	perPageWork  = 10 * time.Millisecond // what the consumer needs for a page of 100
	inBatches    = "batches"             // all of a page's work behind its last job
	evenly       = "evenly"              // a tenth of it behind each tenth job
	asConfigured = "defaults"            // no work, no latency: how many requests the defaults make
)

// A consumer works on the jobs of a list.
type consumer struct {
	every int // jobs
	work  time.Duration
	seen  int
}

func (w *worker) consumer() *consumer {
	switch w.Variant {
	case inBatches:
		return &consumer{every: fullPage, work: perPageWork}
	case evenly:
		return &consumer{every: fullPage / 10, work: perPageWork / 10}
	}
	return &consumer{every: fullPage}
}

func (c *consumer) next() {
	c.seen++
	if c.work > 0 && c.seen%c.every == 0 {
		time.Sleep(c.work)
	}
}

func (c *consumer) end(want int) error {
	if c.seen != want {
		return fmt.Errorf("%d jobs came, not %d", c.seen, want)
	}
	return nil
}

// cannedPage returns the transport that answers with a full page of jobs.
func cannedPage() cannedTransport {
	return cannedTransport(newJobList(fullPage).page(0, fullPage))
}

// decode measures calls of page, each of which gets a full page.
func (w *worker) decode(page func() (int, error)) error {
	get := func() error {
		n, err := page()
		if err == nil && n != fullPage {
			err = fmt.Errorf("%d jobs came", n)
		}
		return err
	}
	if err := get(); err != nil { // what is made once isn't measured
		return err
	}
	err := w.timed(w.Scale.DecodedPages, func() error {
		for range w.Scale.DecodedPages {
			if err := get(); err != nil {
				return err
			}
		}
		return nil
	})
	w.metrics[throughput] = float64(len(cannedPage())*w.Scale.DecodedPages) / 1e6 / w.metrics[wall]
	return err
}

// The logs that are followed.
const (
	smallLog  = "small log"
	largeLog  = "large log"
	withETags = ", ETags"
)

// logSize returns which of the two logs the variant asks for.
func (w *worker) logSize() int64 {
	if strings.HasPrefix(w.Variant, smallLog) {
		return w.Scale.LogSizes[0]
	}
	return w.Scale.LogSizes[1]
}

// expect checks that the writer has got the log of so many bytes.
func (h *hashingWriter) expect(size int64) error {
	want := newHashingWriter()
	buffer := make([]byte, min(size, 64<<10))
	for off := int64(0); off < size; off += int64(len(buffer)) {
		buffer = buffer[:min(int64(len(buffer)), size-off)]
		logText{}.ReadAt(buffer, off) //nolint:errcheck // it never fails
		want.Write(buffer)            //nolint:errcheck // likewise
	}
	if h.length != size || h.digest() != want.digest() {
		return fmt.Errorf("%d bytes of the log came, of %d, or other ones", h.length, size)
	}
	return nil
}

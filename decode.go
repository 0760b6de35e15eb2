package gitlabjobs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
)

// jsonSpace is what JSON takes for spaces, fewer than Unicode does.
const jsonSpace = " \t\r\n"

var null = []byte("null")

// decodeJSON decodes a whole JSON answer. It minds neither unknown keys nor
// invalid UTF-8, and of a key that stands twice the last one wins. An answer
// that ends early is io.ErrUnexpectedEOF, any other fault ErrUnexpectedContent.
func decodeJSON(data []byte, into any) error {
	data = bytes.Trim(data, jsonSpace)
	if len(data) == 0 || bytes.Equal(data, null) {
		return fmt.Errorf("%w: an empty answer instead of JSON", ErrUnexpectedContent)
	}
	if len(data) >= sideBySide {
		if l, ok := into.(interface{ decode(data []byte) bool }); ok && l.decode(data) {
			return nil
		}
	}
	err := unmarshal(data, into)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the JSON breaks off: %w", io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("%w: %w", ErrUnexpectedContent, err)
}

var errAfterJSON = errors.New("there is something after the JSON value")

// unmarshal is json.Unmarshal with what memory that takes beside the value kept
// for the next. Data that ends early is io.ErrUnexpectedEOF, and leaves the
// value as it is.
func unmarshal(data []byte, into any) error {
	d := decoderPool.Get().(*decoder)
	d.Reset(data)
	start := d.InputOffset()
	if err := d.Decode(into); err != nil {
		return err
	}
	if d.InputOffset()-start != int64(len(data)) {
		return errAfterJSON
	}
	if len(data) <= maxPooledBuffer {
		d.Reset(nil)
		decoderPool.Put(d)
	}
	return nil
}

// A decoder decodes what its reader is set to.
type decoder struct {
	*json.Decoder
	bytes.Reader
}

var decoderPool = sync.Pool{New: func() any {
	d := new(decoder)
	d.Decoder = json.NewDecoder(&d.Reader)
	return d
}}

// A list is what a page of a list is decoded into.
type list[T any] []*T

// sideBySide is how many bytes of a list are worth more goroutines than one.
const sideBySide = 48 << 10

// decode decodes the elements of an array side by side, as a large page takes
// a while with encoding/json. Where there is a fault, it leaves the list as it
// is and returns false.
func (l *list[T]) decode(data []byte) bool {
	elements := &splitter{data: data}
	items := make([]*T, 0, maxPerPage)
	var mu sync.Mutex
	next := func() (element []byte, item *T) {
		mu.Lock()
		defer mu.Unlock()
		element = elements.next()
		if element == nil {
			return nil, nil
		}
		if !bytes.Equal(element, null) {
			item = new(T)
		}
		items = append(items, item)
		return element, item
	}
	var failed atomic.Bool
	var group sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(data)/(sideBySide/2)+1) {
		group.Go(func() {
			for element, item := next(); element != nil && !failed.Load(); element, item = next() {
				if item != nil && unmarshal(element, item) != nil {
					failed.Store(true)
				}
			}
		})
	}
	group.Wait()
	if failed.Load() || elements.broken {
		return false
	}
	*l = items
	return true
}

// A splitter finds the elements of a JSON array. It doesn't look at them any
// closer than it takes to see where they end.
type splitter struct {
	data   []byte
	read   int  // bytes, with the comma or bracket after the last element
	broken bool // it isn't an array
}

// next returns the next element, nil if there is none.
func (s *splitter) next() []byte {
	last := len(s.data) - 1
	if s.read == 0 {
		s.broken = s.data[0] != '[' || s.data[last] != ']'
		s.read = 1
	}
	if s.broken || s.read > last {
		return nil
	}
	data, depth := s.data[:last], 0
	for i := s.read; i < len(data); i++ {
		switch data[i] {
		case '"':
			for i++; i < len(data) && data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
			if i >= len(data) {
				s.broken = true
				return nil
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 {
				s.broken = true
				return nil
			}
		case ',':
			if depth == 0 {
				return s.take(i)
			}
		}
	}
	return s.take(last)
}

// take returns the element that ends before end.
func (s *splitter) take(end int) []byte {
	element := bytes.Trim(s.data[s.read:end], jsonSpace)
	s.read, s.broken = end+1, len(element) == 0
	return element // nil where it is broken
}

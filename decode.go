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

// decodeJSON decodes a whole JSON answer. It minds neither unknown keys nor
// invalid UTF-8, and of a key that stands twice the last one wins. An answer
// that ends early is io.ErrUnexpectedEOF, any other fault ErrUnexpectedContent.
func decodeJSON(data []byte, into any) error {
	data = bytes.Trim(data, jsonSpace)
	if len(data) == 0 || bytes.Equal(data, []byte("null")) {
		return fmt.Errorf("%w: an empty answer instead of JSON", ErrUnexpectedContent)
	}
	if l, ok := into.(interface{ decode(elements [][]byte) bool }); ok && l.decode(splitArray(data)) {
		return nil
	}
	err := json.Unmarshal(data, into)
	if err == nil {
		return nil
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) && syntax.Offset >= int64(len(data)) {
		return fmt.Errorf("the JSON breaks off: %w", io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("%w: %w", ErrUnexpectedContent, err)
}

// A list is what a page of a list is decoded into.
type list[T any] []*T

// minShare is how many elements are worth a goroutine.
const minShare = 16

// decode decodes the elements side by side, for pages that take a while with
// encoding/json. Where there are few, or one has a fault, it leaves the list as
// it is and returns false.
func (l *list[T]) decode(elements [][]byte) bool {
	workers := min(runtime.GOMAXPROCS(0), len(elements)/minShare)
	if workers < 2 {
		return false
	}
	items := make([]*T, len(elements))
	var next atomic.Int64
	var failed atomic.Bool
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(elements)) && !failed.Load(); i = next.Add(1) - 1 {
				if json.Unmarshal(elements[i], &items[i]) != nil {
					failed.Store(true)
				}
			}
		})
	}
	group.Wait()
	if !failed.Load() {
		*l = items
	}
	return !failed.Load()
}

// splitArray returns the elements of a JSON array, nil for anything else. It
// doesn't look at them any closer than it takes to see where they end.
func splitArray(data []byte) [][]byte {
	last := len(data) - 1
	if data[0] != '[' || data[last] != ']' {
		return nil
	}
	elements := make([][]byte, 0, maxPerPage)
	start, depth := 1, 0
	for i := 1; i < last; i++ {
		switch data[i] {
		case '"':
			for i++; i < last && data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
			if i >= last {
				return nil
			}
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case ',':
			if depth == 0 {
				elements = append(elements, data[start:i])
				start = i + 1
			}
		}
		if depth < 0 {
			return nil
		}
	}
	return append(elements, data[start:last])
}

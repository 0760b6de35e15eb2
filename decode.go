package gitlabjobs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// decodeJSON decodes a whole JSON answer. It minds neither unknown keys nor
// invalid UTF-8, and of a key that stands twice the last one wins. An answer
// that ends early is io.ErrUnexpectedEOF, any other fault ErrUnexpectedContent.
func decodeJSON(data []byte, into any) error {
	data = bytes.TrimSpace(data)
	if len(data) == 0 || bytes.Equal(data, []byte("null")) {
		return fmt.Errorf("%w: an empty answer instead of JSON", ErrUnexpectedContent)
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

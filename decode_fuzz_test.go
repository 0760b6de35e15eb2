package gitlabjobs

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fuzzDecode decodes an answer into a T. Whatever the bytes are, it must fail
// in one of the two ways that callers know, and what it has decoded must
// survive a round trip.
func fuzzDecode[T any](t *testing.T, data []byte) {
	var value, again T
	err := decodeJSON(data, &value)
	if err != nil {
		known := errors.Is(err, ErrUnexpectedContent) || errors.Is(err, io.ErrUnexpectedEOF)
		assert.True(t, known, "%v", err)
		return
	}
	text, err := json.Marshal(value)
	if err != nil {
		return // a time whose year or offset RFC 3339 can't have
	}
	require.NoError(t, decodeJSON(text, &again))
	twice, err := json.Marshal(again)
	require.NoError(t, err)
	assert.JSONEq(t, string(text), string(twice))
}

func FuzzAnswers(f *testing.F) {
	names, err := filepath.Glob(filepath.Join("testdata", "*.json"))
	require.NoError(f, err)
	require.NotEmpty(f, names)
	for _, name := range names {
		f.Add([]byte(testdata(f, filepath.Base(name))))
	}
	for _, seed := range []string{
		`[null]`, `[{"id":1,"artifacts":[],"artifacts":null}]`, "{\"name\":\"\xff\"}", `{"id":1e400}`, `{"id":"1"}`, `{"created_at":""}`,
		`{"duration":0,"coverage":null}`, `[{"commit":{"trailers":{"a":"b"}},"tag_list":[""]}]`, `{"status":"asleep","failure_reason":"bored"}`,
		`{"created_at":"0000-00-00T00:00:00Z"}`, `<html>`, `null`, ``, `[`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		fuzzDecode[*Job](t, data)
		fuzzDecode[[]*Job](t, data)
		fuzzDecode[[]*Bridge](t, data)
		fuzzDecode[[]*ArtifactEntry](t, data)
		fuzzDecode[*AllowedAgents](t, data)
		var page []*Job
		if decodeJSON(bytes.Clone(data), &page) == nil {
			assert.NotContains(t, withoutNull(page), (*Job)(nil))
		}
	})
}

package gitlabjobs

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pageOf returns a JSON array of many elements, each of which follows from a
// pattern of several, so that it is decoded side by side.
func pageOf(elements ...string) string {
	return "[" + strings.Join(slices.Repeat(elements, 64), ",") + "]"
}

// oddPages are pages whose elements are hard to tell apart, or aren't JSON.
var oddPages = map[string]string{
	"plain":                pageOf(`{"id":1,"name":"a"}`, `{"id":2,"tag_list":["x","y"]}`),
	"spaces":               " \r\n[ " + strings.Repeat(" {\"id\" : 1 }\n,\t", 40) + `{"id":2} ] `,
	"brackets in names":    pageOf(`{"name":"]},{[","id":1}`, `{"name":"a,b"}`),
	"escaped quotes":       pageOf(`{"name":"\"],[\"","id":1}`, `{"name":"\\"}`, `{"name":"\\\"","stage":"\u005d\u0022"}`),
	"nulls":                pageOf(`null`, `{"id":3}`),
	"same key twice":       pageOf(`{"artifacts":[{"size":1,"filename":"x"},{"size":2}],"artifacts":[{"size":3}],"id":1,"id":2}`),
	"other case":           pageOf(`{"ID":7,"Name":"n"}`),
	"invalid UTF-8":        pageOf("{\"name\":\"a\xffb\"}"),
	"other spaces":         "\v" + pageOf(`{"id":1}`) + "\u00a0",
	"few":                  `[{"id":1},{"id":2}]`,
	"none":                 `[]`,
	"an empty element":     pageOf(`{"id":1}`, ``),
	"a comma at the end":   "[" + strings.Repeat(`{"id":1},`, 40) + "]",
	"a wrong type":         pageOf(`{"id":1}`, `{"id":"x"}`),
	"big numbers":          pageOf(`{"id":9223372036854775807,"duration":1e308}`),
	"too big a number":     pageOf(`{"id":9223372036854775808}`),
	"two values":           pageOf(`{"id":1} {"id":2}`),
	"wrong brackets":       pageOf(`{"id":1]`),
	"two arrays":           pageOf(`{"id":1}`) + "," + pageOf(`{"id":2}`),
	"an open string":       "[" + strings.Repeat(`{"id":1},`, 40) + `{"name":"]`,
	"an escape at the end": "[" + strings.Repeat(`{"id":1},`, 40) + `"\]`,
	"broken off":           pageOf(`{"id":1}`)[:300],
	"a control character":  pageOf("{\"name\":\"a\nb\"}"),
}

// decodesAsEncodingJSON checks that a page has the items, or the fault, that
// encoding/json finds in it.
func decodesAsEncodingJSON(t *testing.T, page string) {
	var want, got []*Job
	wantErr := json.Unmarshal([]byte(page), &want)
	err := decodeJSON([]byte(page), (*list[Job])(&got))
	var sideBySide list[Job]
	decoded := sideBySide.decode([]byte(strings.Trim(page, jsonSpace)))
	if wantErr != nil {
		require.Error(t, fails(t, err))
		assert.False(t, decoded)
		assert.Nil(t, sideBySide, "what has no fault isn't taken either")
		return
	}
	require.NoError(t, err)
	assert.Equal(t, want, got)
	if decoded {
		assert.Equal(t, want, []*Job(sideBySide))
	} else {
		assert.Empty(t, want, "nothing but an empty array is left to encoding/json")
	}
}

func TestPagesDecodeAsWithEncodingJSON(t *testing.T) {
	t.Parallel()
	for name, page := range oddPages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			decodesAsEncodingJSON(t, page)
		})
	}
}

func FuzzPagesDecodeAsWithEncodingJSON(f *testing.F) {
	for _, page := range oddPages {
		f.Add(page)
	}
	f.Fuzz(func(t *testing.T, page string) {
		if text := strings.Trim(page, jsonSpace); text == "" || text == "null" {
			t.Skip("decodeJSON refuses it")
		}
		decodesAsEncodingJSON(t, page)
	})
}

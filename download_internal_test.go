package gitlabjobs

import (
	"fmt"
	"mime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
)

func TestFilenameOf(t *testing.T) {
	t.Parallel()
	for disposition, want := range map[string]string{
		"":                                                               "",
		"attachment":                                                     "",
		`attachment; filename="build.zip"`:                               "build.zip",
		`attachment; filename=build.zip`:                                 "build.zip",
		`infile; filename="7.log"`:                                       "7.log",
		`attachment; filename="a\"b.zip"`:                                `a"b.zip`,
		`attachment; filename="x.zip`:                                    "",
		`attachment; filename="a/b\\c/x.zip"`:                            "x.zip",
		`attachment; filename="../../etc/pw"`:                            "pw",
		`attachment; filename="..\\..\\x.exe"`:                           "x.exe",
		`attachment; filename="C:\\x.exe"`:                               "x.exe",
		`attachment; filename=".."`:                                      "",
		`attachment; filename="x/.."`:                                    "",
		`attachment; filename="."`:                                       "",
		`attachment; filename="dir/"`:                                    "",
		"attachment; filename=\"a\tb\"":                                  "a b",
		`attachment; filename="x.zip"; filename*=UTF-8''x.zip`:           "x.zip",
		`attachment; filename="x.zip"; filename*=UTF-8''%C3%BC.zip`:      "ü.zip",
		`attachment; filename*=UTF-8''..%2F..%2Fx%00.zip`:                "x .zip",
		`attachment; filename*=UTF-8''%ff.zip`:                           "\uFFFD.zip",
		`attachment; filename="` + strings.Repeat("ü", 200) + `.zip"`:    strings.Repeat("ü", 126) + "...",
		`attachment; filename="one"; filename="another"`:                 "",
		`attachment; filename="x.zip"; filename*=UTF-8''%E2%82%AC%20.gz`: "€ .gz",
	} {
		assert.Equal(t, want, filenameOf(disposition), disposition)
	}
}

func FuzzContentDisposition(f *testing.F) {
	f.Add(`attachment; filename="x.zip"; filename*=UTF-8''x.zip`)
	f.Add(`infile; filename="7.log"`)
	f.Add(`attachment; filename*=UTF-8''..%2F..%2Fx%00.zip`)
	f.Add(mime.FormatMediaType("attachment", map[string]string{"filename": `..\ü/x`}))
	f.Fuzz(func(t *testing.T, disposition string) {
		name := filenameOf(disposition)
		if name == "." || name == ".." || strings.ContainsAny(name, "/\\\x00\r\n") || len(name) > maxFilename || !utf8.ValidString(name) {
			t.Fatalf("%q is no filename", name)
		}
	})
}

func TestParseContentRange(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		value        string
		start, total int64
		ok           bool
	}{
		{"bytes 0-99/1234", 0, 1234, true},
		{"bytes 100-199/*", 100, -1, true},
		{"bytes */1234", -1, 1234, true},
		{"bytes 0-0/1", 0, 1, true},
		{"bytes */*", 0, 0, false},
		{"bytes 99-0/1234", 0, 0, false},
		{"bytes 0-1234/1234", 0, 0, false},
		{"bytes -5-10/100", 0, 0, false},
		{"bytes 0-99", 0, 0, false},
		{"bytes=0-99/1234", 0, 0, false},
		{"bytes 0-9223372036854775808/*", 0, 0, false},
		{"items 0-99/1234", 0, 0, false},
		{"", 0, 0, false},
	} {
		start, total, ok := parseContentRange(c.value)
		assert.Equal(t, c.ok, ok, c.value)
		if c.ok {
			assert.Equal(t, c.start, start, c.value)
			assert.Equal(t, c.total, total, c.value)
		}
	}
}

func FuzzContentRange(f *testing.F) {
	f.Add("bytes 0-99/1234")
	f.Add("bytes */1234")
	f.Add("bytes 100-199/*")
	f.Fuzz(func(t *testing.T, value string) {
		start, total, ok := parseContentRange(value)
		if !ok {
			return
		}
		if start < -1 || total < -1 || start < 0 && total < 0 || start >= 0 && total >= 0 && start >= total {
			t.Fatalf("%q is taken for %d of %d", value, start, total)
		}
		if start < 0 {
			if again, _, ok := parseContentRange(fmt.Sprintf("bytes */%d", total)); !ok || again != -1 {
				t.Fatalf("%q is not read back", value)
			}
		}
	})
}

// Calls that share a budget fail together no more often than one alone.
func TestSharedBudget(t *testing.T) {
	t.Parallel()
	shared := &sharedBudget{budget: budget{left: 3}}
	one, other := &budget{left: 3, shared: shared}, &budget{left: 3, shared: shared}
	assert.True(t, one.take(1))
	assert.True(t, other.take(1))
	assert.True(t, one.take(1))
	assert.False(t, other.take(1))
	one.renew()
	assert.True(t, other.take(1))
	assert.False(t, other.take(1), "it has failed four times in a row itself")
	assert.True(t, one.take(1))
}

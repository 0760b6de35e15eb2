package joblog_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func FuzzLines(f *testing.F) {
	addSeeds(f, func(log []byte) { f.Add(log) })
	f.Fuzz(func(t *testing.T, log []byte) { checkLines(t, log) })
}

func FuzzSections(f *testing.F) {
	addSeeds(f, func(log []byte) { f.Add(log) })
	f.Fuzz(func(t *testing.T, log []byte) { checkSections(t, log) })
}

func FuzzStripper(f *testing.F) {
	addSeeds(f, func(log []byte) { f.Add(log, 5) })
	f.Fuzz(func(t *testing.T, log []byte, size int) {
		checkStripper(t, log, 1+int(uint(size)%100))
	})
}

// addSeeds adds what the fuzzers can't easily come upon, and pieces of the corpus.
func addSeeds(f *testing.F, add func(log []byte)) {
	f.Helper()
	const stamp = "2026-03-14T09:26:53.000001Z 00O"
	for _, log := range []string{
		"",
		"one\ntwo",
		"10%\r50%\r100%\r\n",
		"\x1b[0Ksection_start:1:a[collapsed=true]\r\x1b[0KA\nsection_start:2:b\r\x1b[0KB\nsection_end:3:a\r\x1b[0K\n",
		"section_section_start:1:section_start\r\x1b[0Ksection_start:99999999999999999999:x[\r",
		stamp + " section_start:1:a\r\n" + stamp + "+\x1b[0K\x1b[1mA\n" + stamp + "+not joined\x1b[3\n" + stamp + "+1m\n",
		"one\n" + stamp + "+two \x1b]0;title\n" + stamp[:30] + "E+not joined, and no title any more\n",
		stamp + " \x1b]0;title\n" + stamp + "+ goes on\x07text\n" + stamp[:20],
		"\x1b]8;;https://example.com\x1b\\link\x1b]8;;\x07\x1b(B\x1bP0\x1b[1;1H\x1b[2K\x1b[1G\x9b\xff\xc3",
	} {
		add([]byte(log))
	}
	const seedLen = 1 << 10
	for _, name := range corpus(f) {
		log, err := os.ReadFile(name)
		require.NoError(f, err)
		add(log[:min(len(log), seedLen)])
	}
}

package joblog_test

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"testing"

	"github.com/gitlabjobs/gitlabjobs/joblog"
)

const mebibyte = 1 << 20

func BenchmarkLogLines(b *testing.B) {
	benchmarkLogs(b, 8*mebibyte, func(log io.Reader) error {
		for _, err := range joblog.Lines(log) {
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func BenchmarkLogSections(b *testing.B) {
	benchmarkLogs(b, 8*mebibyte, func(log io.Reader) error {
		for _, err := range joblog.Sections(log) {
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func BenchmarkLogStripper(b *testing.B) {
	benchmarkLogs(b, 8*mebibyte, func(log io.Reader) error {
		w := joblog.NewStripper(io.Discard)
		// Without its methods, the reader can't write itself in one piece.
		if _, err := io.Copy(w, struct{ io.Reader }{log}); err != nil {
			return err
		}
		return w.Close()
	})
}

// BenchmarkLogTail shows that a long log takes the memory of a short one.
func BenchmarkLogTail(b *testing.B) {
	for _, size := range []int{mebibyte, 64 * mebibyte} {
		b.Run(fmt.Sprintf("%dMiB", size/mebibyte), func(b *testing.B) {
			benchmarkLogs(b, size, func(log io.Reader) error {
				_, err := joblog.Tail(log, 100)
				return err
			})
		})
	}
}

func benchmarkLogs(b *testing.B, size int, read func(log io.Reader) error) {
	blocks := logBlocks()
	for _, name := range slices.Sorted(maps.Keys(blocks)) {
		b.Run(name, func(b *testing.B) {
			log := bytes.Repeat(blocks[name], size/len(blocks[name])+1)[:size]
			b.SetBytes(int64(len(log)))
			b.ReportAllocs()
			for b.Loop() {
				if err := read(bytes.NewReader(log)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

package main

import (
	"archive/zip"
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
)

// An archive is a zip archive in a file.
type archive struct{ file, digest string }

const (
	smallFile     = "reports/summary.txt"
	smallFileSize = 4 << 10
	largeFileSize = 1 << 20
)

// writeArchive writes an archive of about size bytes: stored files of 1 MiB,
// none like another, and a small one among them.
func writeArchive(name string, size int64) (archive, error) {
	file, err := os.Create(name)
	if err != nil {
		return archive{}, err
	}
	defer file.Close()
	hash := sha256.New()
	buffered := bufio.NewWriterSize(io.MultiWriter(file, hash), largeFileSize)
	w := zip.NewWriter(buffered)
	store := func(name string, content []byte) error {
		entry, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		if err != nil {
			return err
		}
		_, err = entry.Write(content)
		return err
	}
	noise := make([]byte, largeFileSize)
	rand.NewChaCha8([32]byte{}).Read(noise) //nolint:errcheck // it never fails
	files := max(size/largeFileSize, 2)
	for i := range files {
		if i == files/2 {
			if err := store(smallFile, noise[:smallFileSize]); err != nil {
				return archive{}, err
			}
		}
		binary.LittleEndian.PutUint64(noise, uint64(i))
		if err := store(fmt.Sprintf("build/object-%05d.bin", i), noise); err != nil {
			return archive{}, err
		}
	}
	if err := w.Close(); err != nil {
		return archive{}, err
	}
	if err := buffered.Flush(); err != nil {
		return archive{}, err
	}
	// What is still to be written to the disk would disturb the first case.
	if err := file.Sync(); err != nil {
		return archive{}, err
	}
	return archive{name, hex.EncodeToString(hash.Sum(nil))}, nil
}

package jobstest

import (
	"archive/zip"
	"bytes"
	"maps"
	"slices"
	"strings"
	"time"
)

// zipTime is when everything in the archives made here was last changed.
var zipTime = time.Date(2024, time.January, 2, 3, 4, 6, 0, time.UTC)

// Zip makes a zip archive of files by their paths. A path that ends in a
// slash is a directory. The same files make the same bytes.
func Zip(files map[string]string) []byte {
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		header := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: zipTime}
		header.SetMode(0o644)
		if strings.HasSuffix(name, "/") {
			header.Method = zip.Store
			header.SetMode(0o755)
		}
		entry, err := w.CreateHeader(header)
		if err == nil {
			_, err = entry.Write([]byte(files[name]))
		}
		if err != nil {
			panic("jobstest: " + err.Error()) // a directory with content
		}
	}
	if err := w.Close(); err != nil {
		panic("jobstest: " + err.Error())
	}
	return buf.Bytes()
}

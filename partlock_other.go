//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd || windows)

package gitlabjobs

import (
	"io/fs"
	"os"
)

// openLocked opens or makes a file. These systems have no lock that ends with
// the process.
func openLocked(path string, permissions fs.FileMode) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, permissions)
}

// moveAndClose renames a file after closing it.
func moveAndClose(file *os.File, from, to string) error {
	if err := file.Close(); err != nil {
		return err
	}
	return os.Rename(from, to)
}

//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package gitlabjobs

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// openLocked opens or makes a file that no other process, nor another call of
// this one, has open by it. It returns nil where one has. The lock ends with
// the file's closing, and with the process, however that ends.
func openLocked(path string, permissions fs.FileMode) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, permissions)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err == nil {
		return file, nil
	}
	file.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, nil
	}
	return nil, &os.PathError{Op: "lock", Path: path, Err: err}
}

// moveAndClose renames an open file. The lock lasts until that is done.
func moveAndClose(file *os.File, from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	file.Close() // nothing can fail any more: it has been synced
	return nil
}

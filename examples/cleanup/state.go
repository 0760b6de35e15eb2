package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// A state is how far a task has come.
type state struct {
	Task   string `json:"task"`
	Page   int    `json:"page,omitempty"`
	Cursor string `json:"cursor,omitempty"`
	Jobs   int    `json:"jobs"`
	Bytes  int64  `json:"bytes"`

	file string // "" keeps none
}

// loadState returns the state in a file, the beginning where there is none. A
// file of another task is an error: its place in the list isn't this one's.
func loadState(file, task string) (*state, error) {
	s := &state{Task: task, file: file}
	if file == "" {
		return s, nil
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("%s: %w: remove it to start anew", file, err)
	}
	if s.Task != task {
		return nil, fmt.Errorf("%s is of another task (%s): give the same flags, or remove it to start anew", file, s.Task)
	}
	return s, nil
}

// save writes the state, whole or not at all. The file of a task that is done
// is removed.
func (s *state) save(done bool) error {
	if s.file == "" {
		return nil
	}
	if done {
		if err := os.Remove(s.file); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	temporary := filepath.Join(filepath.Dir(s.file), "."+filepath.Base(s.file)+".new")
	const ownerOnly = 0o600
	if err := os.WriteFile(temporary, data, ownerOnly); err != nil {
		return err
	}
	return os.Rename(temporary, s.file)
}

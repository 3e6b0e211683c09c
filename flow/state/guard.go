package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// What the original program knows nothing of is kept beside the state directory, in <dir>.guard, so that the directory itself looks as
// it expects: which key a file was written under, and how often somebody guessed at approval ids. Where that place cannot be written
// (only the state directory itself is mounted, say) it is in the state directory, in .guard.

// maxGuesses is how many unknown approval ids may be tried within guessWindow before ids are refused for as long; tokens still work.
const (
	maxGuesses  = 20
	guessWindow = time.Hour
)

// guardPaths are where a note may be, the preferred place first.
func (s *Store) guardPaths(name string) []string {
	return []string{filepath.Join(s.dir+".guard", name), filepath.Join(s.dir, ".guard", name)}
}

// readNote reads a note from where it is.
func (s *Store) readNote(name string) ([]byte, error) {
	var text []byte
	var err error
	for _, path := range s.guardPaths(name) {
		if text, err = readFile(path); err == nil || !errors.Is(err, fs.ErrNotExist) && !isReadOnly(err) {
			return text, err
		}
	}
	return nil, fs.ErrNotExist
}

// writeNote writes a note in the first place that can be written. Where none can, no state can be stored either.
func (s *Store) writeNote(name string, write func(path string) error) error {
	var err error
	for _, path := range s.guardPaths(name) {
		if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
			err = write(path)
		}
		if err == nil || !isReadOnly(err) {
			return err
		}
	}
	return fmt.Errorf("note beside the state directory who owns a key: %w", err)
}

// own notes that the file at path belongs to key, and refuses a second key that has the same file on disk: it would destroy what the first
// one stored. A file that is gone, or was written by the original program, belongs to nobody yet.
func (s *Store) own(path, key string) error {
	note := filepath.Base(path) + ".key"
	owner, err := s.readNote(note)
	switch {
	case err == nil && string(owner) == key:
		return nil
	case err == nil && exists(path):
		return fmt.Errorf("state keys %q and %q have the same file (%s), so storing one would destroy the other; choose another name", key, owner, filepath.Base(path))
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return s.writeNote(note, func(path string) error { return writeAtomic(path, []byte(key)) })
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// GuessError says that too many unknown approval ids were tried.
type GuessError struct{ Until time.Time }

func (e GuessError) Error() string {
	return "Too many unknown approval IDs were tried; IDs are refused until " + e.Until.UTC().Format(time.RFC3339) + ". Resume with --token meanwhile."
}

const guessNote = "wrong-ids"

// mayGuess refuses approval ids after too many wrong ones.
func (s *Store) mayGuess() error {
	for _, path := range s.guardPaths(guessNote) {
		info, err := os.Stat(path)
		if err != nil {
			continue // nobody guessed
		}
		if until := info.ModTime().Add(guessWindow); info.Size() >= maxGuesses && s.now().Before(until) {
			return GuessError{until}
		}
	}
	return nil
}

// countGuess notes a wrong approval id: one byte in a file whose age is that of the last guess.
func (s *Store) countGuess() error {
	err := s.writeNote(guessNote, func(path string) error {
		flags := os.O_WRONLY | os.O_CREATE | os.O_APPEND
		if info, err := os.Stat(path); err == nil && !s.now().Before(info.ModTime().Add(guessWindow)) {
			flags |= os.O_TRUNC
		}
		f, err := os.OpenFile(path, flags, 0o600)
		if err != nil {
			return err
		}
		_, err = f.WriteString(".")
		return errors.Join(err, f.Close())
	})
	if isReadOnly(err) {
		return nil // then no pause can be used up either, so there is nothing to guess at
	}
	return err
}

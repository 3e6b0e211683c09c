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
// (only the state directory itself is mounted, say) there is no such protection, and everything else works.

// maxGuesses is how many unknown approval ids may be tried within guessWindow before ids are refused for as long; tokens still work.
const (
	maxGuesses  = 20
	guessWindow = time.Hour
)

func (s *Store) guardPath(name string) string { return filepath.Join(s.dir+".guard", name) }

// own notes that the file at path belongs to key, and refuses a second key that has the same file on disk: it would destroy what the first
// one stored. A file that is gone, or was written by the original program, belongs to nobody yet.
func (s *Store) own(path, key string) error {
	note := s.guardPath(filepath.Base(path) + ".key")
	owner, err := readFile(note)
	switch {
	case err == nil && string(owner) == key:
		return nil
	case err == nil && exists(path):
		return fmt.Errorf("state keys %q and %q have the same file (%s), so storing one would destroy the other; choose another name", key, owner, filepath.Base(path))
	case err == nil:
		return unlessClosed(writeAtomic(note, []byte(key)))
	case !errors.Is(err, fs.ErrNotExist):
		return unlessClosed(err)
	}
	if err := os.MkdirAll(filepath.Dir(note), 0o700); err != nil {
		return unlessClosed(err)
	}
	return unlessClosed(writeAtomic(note, []byte(key)))
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// unlessClosed passes over a guard that cannot be written or read here.
func unlessClosed(err error) error {
	if isReadOnly(err) {
		return nil
	}
	return err
}

// GuessError says that too many unknown approval ids were tried.
type GuessError struct{ Until time.Time }

func (e GuessError) Error() string {
	return "Too many unknown approval IDs were tried; IDs are refused until " + e.Until.UTC().Format(time.RFC3339) + ". Resume with --token meanwhile."
}

// mayGuess refuses approval ids after too many wrong ones.
func (s *Store) mayGuess() error {
	info, err := os.Stat(s.guardPath("wrong-ids"))
	if err != nil {
		return nil // nobody guessed, or nobody can count
	}
	until := info.ModTime().Add(guessWindow)
	if info.Size() < maxGuesses || !s.now().Before(until) {
		return nil
	}
	return GuessError{until}
}

// countGuess notes a wrong approval id: one byte in a file whose age is that of the last guess.
func (s *Store) countGuess() error {
	path := s.guardPath("wrong-ids")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return unlessClosed(err)
	}
	flags := os.O_WRONLY | os.O_CREATE | os.O_APPEND
	if info, err := os.Stat(path); err == nil && !s.now().Before(info.ModTime().Add(guessWindow)) {
		flags |= os.O_TRUNC
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return unlessClosed(err)
	}
	_, err = f.WriteString(".")
	return errors.Join(err, f.Close())
}

package state

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestLockHasItsOwnerFromTheStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lock := filepath.Join(dir, "k.json.lock")
	release, err := takeLock(lock, "1:2:0123456789abcdef")
	if err != nil {
		t.Fatal(err)
	}
	if owner, err := os.ReadFile(filepath.Join(lock, "owner")); err != nil || string(owner) != "1:2:0123456789abcdef" {
		t.Errorf("got the owner %q, %v", owner, err)
	}
	if _, err := takeLock(lock, "3:4:fedcba9876543210"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second one got the lock: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if name := filepath.Base(beside(lock, "1:2:0123456789abcdef")); !leftover.MatchString(name) {
		t.Errorf("%s would never be collected", name)
	}
}

func TestGuardMovesIntoTheStateDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+".guard", nil, 0o600); err != nil { // where the notes would be is no directory
		t.Fatal(err)
	}
	s := Open(dir)
	if paths := s.guardPaths("x"); filepath.Dir(filepath.Dir(paths[1])) != dir {
		t.Errorf("the second place is %s, want one in %s", paths[1], dir)
	}
	if err := s.Set(t.Context(), "A/B", []byte("1\n")); err == nil {
		t.Error("a guard that cannot be written for another reason than its rights was passed over")
	}
}

func TestGuardWhereOnlyTheStateDirectoryIsWritable(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	dir := filepath.Join(parent, "state")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	asUser(t, parent, dir)
	if err := os.Chmod(parent, 0o500); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(parent, 0o700) }) // so that it can be removed
	s := Open(dir)
	if err := s.Set(t.Context(), "A/B", []byte("1\n")); err != nil {
		t.Fatal(err)
	}
	if err := s.Set(t.Context(), "a b", []byte("2\n")); err == nil {
		t.Error("another key took over the file")
	}
	if notes, err := os.ReadDir(filepath.Join(dir, ".guard")); err != nil || len(notes) == 0 {
		t.Errorf("the notes in the state directory: %v, %v", notes, err)
	}
}

package durable

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestWriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "secret.json")
	for _, want := range []string{"first", "second, longer", ""} {
		if err := WriteFile(path, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != want {
			t.Fatalf("read %q, %v; want %q", got, err, want)
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v; want 0600", info.Mode().Perm())
	}
	names, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(names) != 1 {
		t.Errorf("folder holds %v, %v; want the file alone", names, err)
	}
}

func TestWriteFileLeavesOldContent(t *testing.T) {
	dir := t.TempDir()
	blocked := filepath.Join(dir, "taken")
	if err := os.Mkdir(blocked, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(blocked, []byte("x"), 0o600); err == nil {
		t.Fatal("replaced a folder by a file")
	}
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 1 || names[0].Name() != "taken" {
		t.Errorf("folder holds %v, %v; want only what was there", names, err)
	}
}

func TestContentThatFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	if err := WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	err := Write(path, 0o600, func(w io.Writer) error {
		_, err := io.WriteString(w, "half of the n")
		return errors.Join(err, broken)
	})
	if !errors.Is(err, broken) {
		t.Errorf("Write: %v; want what the content failed with", err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "old" {
		t.Errorf("read %q, %v; want the old content", got, err)
	}
	if names, err := os.ReadDir(filepath.Dir(path)); err != nil || len(names) != 1 {
		t.Errorf("folder holds %v, %v; want the file alone", names, err)
	}
}

func TestWriteInStaysBeneathItsRoot(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(dir, "out")); err != nil {
		t.Skip("no symbolic links here:", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "in"), 0o700); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := WriteIn(root, "in/a", []byte("content"), 0o640); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "in", "a")); string(got) != "content" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	for _, name := range []string{"out/a", "../a", "in/missing/a"} {
		if err := WriteIn(root, name, []byte("content"), 0o600); err == nil {
			t.Errorf("%s was written", name)
		}
	}
	names, err := os.ReadDir(outside)
	if len(names) != 0 || err != nil {
		t.Errorf("outside lies %v, %v", names, err)
	}
	if err := WriteIn(root, "in", nil, 0o600); err == nil { // a folder cannot be replaced
		t.Error("a folder was replaced")
	}
	if names, err := os.ReadDir(dir); len(names) != 2 || err != nil {
		t.Errorf("a temporary file was left: %v, %v", names, err)
	}
}

package state

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// asUser takes from root its right to write everywhere, until the test ends: this goroutine's thread gets the rights of nobody on files,
// and nobody gets dirs, which are made by t.TempDir or lie in such.
func asUser(t *testing.T, dirs ...string) {
	t.Helper()
	const root, nobody = 0, 65534
	if os.Getuid() != root {
		return
	}
	closed := t.TempDir()
	for path, mode := range map[string]os.FileMode{closed: 0o700, filepath.Dir(closed): 0o711} { // nobody must get to dirs
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range dirs {
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
	if err := syscall.Setfsuid(nobody); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Setfsuid(root); err != nil {
			t.Error(err)
		}
	})
	if _, err := os.ReadDir(closed); err == nil {
		t.Fatal("root keeps its rights on this system, so nothing can be tested without them")
	}
	if _, err := os.ReadDir(dirs[0]); err != nil {
		t.Fatalf("nobody does not get to the folder for temporary files: %v", err)
	}
}

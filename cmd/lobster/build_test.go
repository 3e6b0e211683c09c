package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

// buildDir is where the program under test is built, for all tests of this package.
var buildDir string

func TestMain(m *testing.M) {
	var err error
	if buildDir, err = os.MkdirTemp("", "lobster-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := os.RemoveAll(buildDir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// build makes the program that users run: stripped, without the race detector, which would make each of the many starts slow.
var build = sync.OnceValues(func() (string, error) {
	path := filepath.Join(buildDir, "lobster")
	if runtime.GOOS == "windows" {
		path += ".exe"
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return path, nil
})

// executable returns a path that runs the program under a name.
func executable(t testing.TB, name string) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	if name == "lobster" && runtime.GOOS == "windows" {
		return path
	}
	link := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	return link
}

// TestSize holds the program to its limit.
func TestSize(t *testing.T) {
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() >= 15_000_000 {
		t.Errorf("the program has %d bytes, want less than 15 MB", info.Size())
	}
}

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestTranscripts runs the scripts of testdata/script, which read as what people do with the program, one journey each. Beside testscript's own
// commands they have "capture NAME REGEXP", which sets a variable from what the last command printed.
func TestTranscripts(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the scripts use a POSIX shell")
	}
	program := executable(t, "lobster")
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", filepath.Dir(program)+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("HOME", filepath.Join(env.WorkDir, ".home"))
			return os.Mkdir(filepath.Join(env.WorkDir, ".home"), 0o700)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"capture": capture, "lobster": lobster},
	})
}

// lobster runs the program, so that scripts need not say exec.
func lobster(ts *testscript.TestScript, neg bool, args []string) {
	err := ts.Exec("lobster", args...)
	if failed := err != nil; failed != neg {
		ts.Fatalf("lobster %q: got %v, want a failure: %v", args, err, neg)
	}
}

func capture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: capture NAME REGEXP")
	}
	m := regexp.MustCompile(`(?m)` + args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) != 2 {
		ts.Fatalf("%s does not match what was printed", args[1])
	}
	ts.Setenv(args[0], m[1])
}

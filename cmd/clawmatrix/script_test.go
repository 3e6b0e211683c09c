package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"lobstah/internal/testport"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"clawmatrix": main, "tlsproxy": tlsProxy})
}

// The scripts run the real program, in processes of its own. Beside testscript's
// own commands they have:
//
//	code N PROGRAM ARGS...        runs it; the exit code has to be N
//	capture VAR PATTERN ARGS...   runs clawmatrix ARGS; the first group of the pattern in its output goes into $VAR
//	until PATTERN ARGS...         runs clawmatrix ARGS until its output matches
//	port VAR                      finds a free port, into $VAR
//	mode FILE BITS                checks the permission bits of a file
//	sub VAR... FILE...            puts variables into files, which have a slash in their name
//	get PORT PATH                 prints what a port of this machine answers
//	await PORT PATH PATTERN       gets a page there until it matches
//	ask PORT MODEL                asks a model there
func TestScript(t *testing.T) {
	engine := startEngine(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("CLAWMATRIX_HOME", filepath.Join(env.WorkDir, "home"))
			env.Setenv("TZ", "UTC")
			env.Setenv("ENGINE", engine)
			env.Setenv("GORACE", "atexit_sleep_ms=0") // a second for each command otherwise
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"sub": substitute, "get": get, "await": awaitPage, "ask": ask, "code": exitCode, "capture": capture, "until": until, "port": freePort, "mode": mode,
		},
		RequireExplicitExec: true,
	})
}

func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N PROGRAM ARGS...")
	}
	got := 0
	err := ts.Exec(args[1], args[2:]...)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit code %d; want %s", got, args[0])
	}
}

const (
	patienceInTests = 90 * time.Second // for a loaded machine
	pollInTests     = 50 * time.Millisecond
)

// attempt runs the program once and returns all that it says.
func attempt(ts *testscript.TestScript, args []string) string {
	program, err := exec.LookPath("clawmatrix")
	ts.Check(err)
	cmd := exec.Command(program, args...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(os.Environ(), "CLAWMATRIX_HOME="+ts.Getenv("CLAWMATRIX_HOME"), "TZ=UTC")
	out, _ := cmd.CombinedOutput() // what it says counts, not how it ends
	return string(out)
}

func capture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: capture VAR PATTERN ARGS...")
	}
	out := attempt(ts, args[2:])
	found := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(out)
	if len(found) < 2 {
		ts.Fatalf("clawmatrix %v says nothing like %q:\n%s", args[2:], args[1], out)
	}
	ts.Setenv(args[0], found[1])
}

func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until PATTERN ARGS...")
	}
	wanted := regexp.MustCompile("(?m)" + args[0])
	deadline := time.Now().Add(patienceInTests)
	for {
		out := attempt(ts, args[1:])
		if wanted.MatchString(out) {
			fmt.Fprint(ts.Stdout(), out)
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("clawmatrix %v does not say %q; it says:\n%s", args[1:], args[0], out)
		}
		time.Sleep(pollInTests)
	}
}

func freePort(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: port VAR")
	}
	ts.Setenv(args[0], testport.Free())
}

func mode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode FILE BITS")
	}
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := fmt.Sprintf("%o", info.Mode().Perm()); got != args[1] {
		ts.Fatalf("%s has mode %s; want %s", args[0], got, args[1])
	}
}

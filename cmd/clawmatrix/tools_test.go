package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"lobstah/key"
	"lobstah/mesh/config"
	"lobstah/mesh/tool"
)

// The scripts of tools run real nodes in processes of their own. Beside the
// commands of TestScript they have:
//
//	lend HOME FILE   makes FILE, with its variables replaced, the toolProxy of the home's configuration
//	fill TO FILE     writes FILE with its variables replaced
//	await FILE       waits until a file is there
//	dead FILE        waits until the process whose number stands in FILE has ended
func TestTools(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the scripts run POSIX programs")
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/tools",
		Setup: func(env *testscript.Env) error {
			env.Setenv("CLAWMATRIX_HOME", filepath.Join(env.WorkDir, "home"))
			env.Setenv("TZ", "UTC")
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": exitCode, "capture": capture, "until": until, "port": freePort, "mode": mode,
			"lend": lend, "fill": fill, "await": awaitFile, "dead": awaitEnd,
		},
		RequireExplicitExec: true,
	})
}

func lend(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: lend HOME FILE")
	}
	path := filepath.Join(ts.MkAbs(args[0]), "config.yaml")
	before, _, found := strings.Cut(ts.ReadFile(path), "toolProxy:")
	if !found {
		ts.Fatalf("%s has no toolProxy", path)
	}
	ts.Check(os.WriteFile(path, []byte(before+os.Expand(ts.ReadFile(args[1]), ts.Getenv)), 0o600))
}

func fill(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: fill TO FILE")
	}
	ts.Check(os.MkdirAll(filepath.Dir(ts.MkAbs(args[0])), 0o700))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(os.Expand(ts.ReadFile(args[1]), ts.Getenv)), 0o600))
}

func awaitFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await FILE")
	}
	patiently(ts, args[0]+" is there", func() bool {
		_, err := os.Stat(ts.MkAbs(args[0]))
		return err == nil
	})
}

func awaitEnd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: dead FILE")
	}
	pid := strings.TrimSpace(ts.ReadFile(args[0]))
	patiently(ts, "the end of process "+pid, func() bool {
		out, err := exec.Command("ps", "-o", "stat=", "-p", pid).Output()
		if _, none := errors.AsType[*exec.ExitError](err); none {
			return true
		}
		ts.Check(err)
		return strings.HasPrefix(strings.TrimSpace(string(out)), "Z")
	})
}

func patiently(ts *testscript.TestScript, what string, done func() bool) {
	for deadline := time.Now().Add(patienceInTests); !done(); time.Sleep(pollInTests) {
		if time.Now().After(deadline) {
			ts.Fatalf("%s: not within %s", what, patienceInTests)
		}
	}
}

// The configurations in the documents are read and mean something.
func TestToolDocuments(t *testing.T) {
	t.Parallel()
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```")
	for _, name := range []string{"clawmatrix-tools.md", "clawmatrix-bridge.md"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
		if err != nil {
			t.Fatal(err)
		}
		found := blocks.FindAllStringSubmatch(string(text), -1)
		if len(found) == 0 {
			t.Errorf("%s has no configuration", name)
		}
		for _, block := range found {
			c, err := config.Parse([]byte("nodeId: a\nsecret: s\n" + block[1]))
			if err != nil {
				t.Errorf("%s: %v in\n%s", name, err, block[1])
				continue
			}
			pinned := key.ID{1}
			policy, err := tool.NewPolicy(c.ToolProxy, tool.Place{Home: t.TempDir(), Verified: true, Pin: func(name string) (key.ID, bool) { return pinned, name == "laptop" }})
			if err != nil || len(policy.Names()) == 0 {
				t.Errorf("%s grants %v, %v", name, policy.Names(), err)
			}
		}
	}
}

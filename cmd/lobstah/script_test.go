package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"lobstah/internal/cli"
	"lobstah/internal/home"
	"lobstah/key"
	"lobstah/receipt"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"lobstah": main})
}

// The scripts run the real program. Beside testscript's own commands they have:
//
//	code N PROGRAM ARGS...    runs it; the exit code has to be N
//	await VAR DIR MEMBER      waits until the process of a home says MEMBER (router, worker, pid), into $VAR
//	until PATTERN ARGS...     runs lobstah ARGS until its output matches
//	mint FILE KIND...         writes receipts as JSON Lines: good, unsigned, tampered, garbage
//	slow VAR                  starts an engine that stops in the middle of its answers, its URL into $VAR
//	release                   lets it go on
//	ollama VAR                starts an Ollama without models, its URL into $VAR
//	pull                      gives it one
//	listen VAR                takes a free port and keeps it, into $VAR
//	port VAR                  finds a free port, into $VAR
//	stranger VAR KEYVAR KIND  starts a machine that is not as it should be, its address and key into variables
//	relay VAR                 starts a Nostr relay, its URL into $VAR
//	output VAR                takes what the last command printed into $VAR
//
// $ADDRESS is an IPv4 address of this machine in a network, where it has one, which
// the condition address tells.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("LOBSTAH_HOME", filepath.Join(env.WorkDir, "home"))
			env.Setenv("LOBSTAH_ENGINE_PORTS", "1") // what else runs here is no business of a test
			env.Setenv("TZ", "UTC")
			if at, ok := networkAddress(); ok {
				env.Setenv("ADDRESS", at)
			}
			env.Setenv("GORACE", "atexit_sleep_ms=0") // a second for each command otherwise
			env.Values[engineKey{}] = &held{}
			return nil
		},
		Condition: func(name string) (bool, error) {
			if name == "bash" {
				_, err := exec.LookPath("bash")
				return err == nil, nil
			}
			if name == "address" {
				_, ok := networkAddress()
				return ok, nil
			}
			return false, fmt.Errorf("unknown condition %q", name)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": exitCode, "await": await, "until": until, "mint": mint, "listen": listen, "slow": slow, "release": releaseSlow,
			"ollama": emptyOllama, "pull": pullModel, "port": freePort, "relay": nostrRelay, "stranger": stranger,
			"output": lastOutput,
		},
		RequireExplicitExec: true,
	})
}

// networkAddress can stand before a port as it is.
func networkAddress() (string, bool) {
	own := ownAddresses()
	i := slices.IndexFunc(own, func(text string) bool {
		ip, err := netip.ParseAddr(text)
		return err == nil && ip.Is4()
	})
	if i < 0 {
		return "", false
	}
	return own[i], true
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
	pollInTests     = 20 * time.Millisecond
)

// eventually calls ready until it says yes.
func eventually(ts *testscript.TestScript, what string, ready func() bool) {
	deadline := time.After(patienceInTests)
	for !ready() {
		select {
		case <-deadline:
			ts.Fatalf("%s did not happen within %s", what, patienceInTests)
		case <-time.After(pollInTests):
		}
	}
}

func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: await VAR DIR MEMBER")
	}
	eventually(ts, args[2]+" of the process", func() bool {
		h, running, err := home.Home{Dir: ts.MkAbs(args[1])}.Holder()
		ts.Check(err)
		text, err := json.Marshal(h)
		ts.Check(err)
		var members map[string]any
		ts.Check(json.Unmarshal(text, &members))
		value, ok := members[args[2]]
		if running && ok {
			ts.Setenv(args[0], fmt.Sprint(value))
		}
		return running && ok
	})
}

func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until TEXT ARGS...")
	}
	eventually(ts, fmt.Sprintf("lobstah %v saying %q", args[1:], args[0]), func() bool {
		program, err := exec.LookPath("lobstah")
		ts.Check(err)
		cmd := exec.Command(program, args[1:]...)
		cmd.Env = append(environ(), "LOBSTAH_HOME="+ts.Getenv("LOBSTAH_HOME"))
		out, _ := cmd.CombinedOutput() // what it says counts, not how it ends
		return contains(string(out), args[0])
	})
}

func mint(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: mint FILE KIND...")
	}
	var lines []byte
	for i, kind := range args[1:] {
		lines = append(append(lines, minted(ts, kind, i)...), '\n')
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), lines, 0o600))
}

func minted(ts *testscript.TestScript, kind string, n int) []byte {
	worker, requester := key.FromSeed([32]byte{1}), key.FromSeed([32]byte{2})
	at := time.Date(2026, 11, 22, 5, 0, n, 0, time.UTC)
	body := []byte(`{"model":"m"}`)
	r := receipt.Receipt{
		JobID: receipt.NewJobID(), Nonce: fmt.Sprintf("%032x", n+1), Requester: requester.ID().String(), Worker: worker.ID(),
		Model: "m", InputTokens: 10, OutputTokens: 20, StartedAt: at, CompletedAt: at,
	}
	if kind == "good" {
		r.RequestHash, r.RequestPath, r.ResponseHash = receipt.HashBody(body), "/v1/chat/completions", receipt.HashBody(nil)
		request := receipt.Request{Method: "POST", Path: r.RequestPath, Worker: worker.ID(), Requester: requester.ID()}
		raw, err := parseHash(r.RequestHash)
		ts.Check(err)
		request.BodyHash = raw
		r.RequestSignature = request.Sign(requester, at).String()
	}
	s, err := receipt.Sign(worker, r)
	ts.Check(err)
	switch kind {
	case "good", "unsigned":
		return s.Envelope()
	case "tampered":
		return replace(s.Envelope(), `"outputTokens":20`, `"outputTokens":21`)
	case "garbage":
		return []byte(`{"receipt":`)
	}
	ts.Fatalf("mint: unknown kind %q", kind)
	return nil
}

func listen(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: listen VAR")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	ts.Setenv(args[0], strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
}

// Commands that start together on a fresh machine agree on its key.
func TestOneIdentity(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "home")
	const commands = 8
	var out [commands]bytes.Buffer
	var wg sync.WaitGroup
	for i := range commands {
		wg.Go(func() {
			streams := cli.IO{Out: &out[i], Err: &out[i], Env: []string{"LOBSTAH_HOME=" + dir, "HOME=" + dir}}
			if code := run(t.Context(), []string{"id"}, streams); code != cli.OK {
				t.Errorf("exit code %d: %s", code, out[i].String())
			}
		})
	}
	wg.Wait()
	for i := range commands {
		if out[i].String() != out[0].String() {
			t.Errorf("two keys: %s and %s", out[0].String(), out[i].String())
		}
	}
}

func TestPortHolder(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := portHolder("127.0.0.1", l.Addr().(*net.TCPAddr).Port)
	if runtime.GOOS == "linux" && !contains(got, fmt.Sprintf("(process %d)", os.Getpid())) {
		t.Errorf("the port's holder is %q; want process %d", got, os.Getpid())
	}
}

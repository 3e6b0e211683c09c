//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"lobstah/internal/testport"
)

// What breaks meshes for their users, each with real processes. The scripts test
// the rest: refusals that say what to do, restarts that keep names and keys.

// process is a node of its own.
type process struct {
	t    *testing.T
	home string
	cmd  *exec.Cmd
	log  *os.File
}

func clawmatrix(ctx context.Context, t *testing.T, home string, args ...string) *exec.Cmd {
	t.Helper()
	program, err := exec.LookPath("clawmatrix") // TestMain has put it there
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, program, append([]string{"--home", home}, args...)...)
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	return cmd
}

// say runs a command and returns all that it says; how it ends does not count.
func say(t *testing.T, home string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patienceInTests) // a node that hangs is to be told of, not waited for
	defer cancel()
	out, err := clawmatrix(ctx, t, home, args...).CombinedOutput()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatal(err)
	}
	return string(out)
}

// must is say for what has to succeed.
func must(t *testing.T, home string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patienceInTests)
	defer cancel()
	out, err := clawmatrix(ctx, t, home, args...).Output()
	if err != nil {
		t.Fatalf("clawmatrix %v: %v\n%s", args, err, say(t, home, args...))
	}
	return string(out)
}

// startNode runs a node until the test ends. When the test failed it tells what the
// node saw last, said, and was doing.
func startNode(t *testing.T, home string) *process {
	t.Helper()
	p := &process{t: t, home: home, cmd: clawmatrix(context.Background(), t, home, "start")}
	var err error
	if p.log, err = os.Create(filepath.Join(t.TempDir(), "log")); err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.signal(syscall.SIGCONT)
		if t.Failed() {
			t.Logf("%s sees:\n%s", home, say(t, home, "peers"))
			p.signal(syscall.SIGQUIT) // prints its goroutines
		}
		p.signal(syscall.SIGTERM)
		_ = p.cmd.Wait() // the tests that care have waited
		if t.Failed() {
			t.Logf("%s: %v, said:\n%s", home, p.cmd.ProcessState, p.logged())
		}
		p.log.Close()
	})
	return p
}

func (p *process) signal(s os.Signal) {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Error(err)
	}
}

func (p *process) logged() string {
	text, err := os.ReadFile(p.log.Name())
	if err != nil {
		p.t.Fatal(err)
	}
	return string(text)
}

// eventually polls what other processes do.
func eventually(t *testing.T, what string, limit time.Duration, done func() bool) time.Duration {
	t.Helper()
	begin := time.Now()
	for !done() {
		if time.Since(begin) > limit {
			t.Fatalf("%s: not within %s", what, limit)
		}
		time.Sleep(pollInTests)
	}
	return time.Since(begin)
}

func freePorts(count int) (list []string) {
	for range count {
		list = append(list, testport.Free())
	}
	return list
}

// hubAnd makes a hub and nodes that joined it, all running, and waits until the
// hub and they reach each other.
func hubAnd(t *testing.T, names ...string) (hub *process, nodes []*process) {
	t.Helper()
	dir := t.TempDir()
	ports := freePorts(len(names) + 2)
	home := func(name string) string { return filepath.Join(dir, name) }
	must(t, home("hub"), "init", "--name", "hub", "--listen", "--port", ports[0], "--proxy-port", ports[1], "--address", "127.0.0.1:"+ports[0])
	hub = startNode(t, home("hub"))
	eventually(t, "the hub runs", patienceInTests, func() bool { return strings.Contains(say(t, home("hub"), "status"), "listens") })
	for i, name := range names {
		line := strings.TrimPrefix(must(t, hub.home, "invite"), "clawmatrix join ")
		must(t, home(name), "join", strings.TrimSpace(line), "--name", name, "--proxy-port", ports[i+2])
		nodes = append(nodes, startNode(t, home(name)))
		eventually(t, "the hub reaches "+name, patienceInTests, func() bool { return seenAs(t, hub.home, name) == direct })
		eventually(t, name+" reaches the hub", patienceInTests, func() bool { return seenAs(t, home(name), "hub") == direct })
	}
	return hub, nodes
}

// seenAs is how one node sees another.
func seenAs(t *testing.T, home, name string) string {
	return look(t, home, name).State
}

func look(t *testing.T, home, name string) peerView {
	t.Helper()
	var list []peerView
	if json.Unmarshal([]byte(say(t, home, "peers", "--json")), &list) != nil {
		return peerView{} // it does not run yet
	}
	i := slices.IndexFunc(list, func(v peerView) bool { return v.Name == name })
	if i < 0 {
		return peerView{}
	}
	return list[i]
}

// answers reports whether a node answers another one end to end.
func answers(t *testing.T, home, name string) bool {
	t.Helper()
	var list []finding
	if json.Unmarshal([]byte(say(t, home, "doctor", name, "--json")), &list) != nil {
		return false
	}
	return slices.ContainsFunc(list, func(f finding) bool { return f.Step == stepAnswer && f.OK })
}

// A machine that sleeps or hangs leaves a ghost. A new process with its key takes
// its place at once, and the old one ends when it wakes.
func TestGhostIsReplacedAtOnce(t *testing.T) {
	t.Parallel()
	hub, nodes := hubAnd(t, "office")
	ghost := nodes[0]
	stopped := time.Now()
	ghost.signal(syscall.SIGSTOP)
	again := filepath.Join(t.TempDir(), "again")
	if err := os.CopyFS(again, selected{os.DirFS(ghost.home)}); err != nil {
		t.Fatal(err)
	}
	port := freePorts(1)[0]
	rewrite(t, filepath.Join(again, "config.yaml"), "proxyPort: ", "proxyPort: "+port)
	startNode(t, again)
	took := eventually(t, "the new process answers in place of the ghost", patienceInTests, func() bool { return answers(t, hub.home, "office") })
	t.Logf("from the start of the new process to its answer: %s", took)
	if asleep := time.Since(stopped); asleep > 40*time.Second { // three heartbeats are missed after 40.5 s at the earliest
		t.Errorf("the ghost slept for %s: it was waited for", asleep)
	}
	ghost.signal(syscall.SIGCONT)
	ended := make(chan error, 1)
	go func() { ended <- ghost.cmd.Wait() }()
	select {
	case err := <-ended:
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != superseded || !strings.Contains(ghost.logged(), "another process with this node's key began later") {
			t.Errorf("the ghost ended with %v and says\n%s", err, ghost.logged())
		}
	case <-time.After(patienceInTests):
		t.Fatal("the ghost goes on")
	}
	// Both were new a moment ago and outbid each other, so the hub may have to dial again.
	eventually(t, "the ghost did not take the new process with it", patienceInTests, func() bool { return answers(t, hub.home, "office") })
}

// A hub that hangs without closing its connections is noticed by the heartbeat,
// and found again when it wakes.
func TestHubThatHangs(t *testing.T) {
	t.Parallel()
	hub, nodes := hubAnd(t, "office")
	office := nodes[0]
	hub.signal(syscall.SIGSTOP)
	took := eventually(t, "the heartbeat ends", 3*time.Minute, func() bool { return seenAs(t, office.home, "hub") == unreachable })
	if took < 30*time.Second {
		t.Errorf("given up after %s, before three heartbeats were missed", took)
	}
	eventually(t, "the reason is told", patienceInTests, func() bool { return strings.Contains(office.logged(), "heartbeat timeout (4002)") })
	hub.signal(syscall.SIGCONT)
	eventually(t, "the link is back", 2*time.Minute, func() bool { return answers(t, office.home, "hub") })
}

// Nodes that lost their relay come back by themselves, and not only in lists.
func TestRelayIsKilled(t *testing.T) {
	t.Parallel()
	hub, nodes := hubAnd(t, "office", "home")
	office, home := nodes[0], nodes[1]
	eventually(t, "office reaches home", patienceInTests, func() bool { return answers(t, office.home, "home") })
	key := look(t, office.home, "home").Key
	hub.signal(syscall.SIGKILL)
	_ = hub.cmd.Wait() // says that it was killed
	eventually(t, "the loss is seen", patienceInTests, func() bool { return seenAs(t, office.home, "home") == unreachable })
	eventually(t, "it is told why the hub is not reached", patienceInTests, func() bool { return len(look(t, office.home, "hub").Why) > 0 })
	startNode(t, hub.home)
	eventually(t, "office reaches home again", 3*time.Minute, func() bool { return answers(t, office.home, "home") })
	eventually(t, "and home reaches office", patienceInTests, func() bool { return answers(t, home.home, "office") })
	// The hub's records of before and after may cross: then it is seen a moment later.
	eventually(t, "office sees home through the hub", patienceInTests, func() bool {
		got := look(t, office.home, "home")
		return got.Via == "hub" && got.State == relayed
	})
	if got := look(t, office.home, "home"); got.Key != key {
		t.Errorf("home is now %+v; want the key %s", got, key)
	}
}

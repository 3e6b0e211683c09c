package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A box is a machine of a test: a network namespace with a home of its own.
type box struct {
	t        *testing.T
	ns, home string
	port     string // of the switch
	sw       string
	address  string
}

// boxes makes machines that a switch joins. Where that cannot be done the test
// is skipped, but in CI it fails.
func boxes(t *testing.T, names ...string) []*box {
	t.Helper()
	missing := t.Skipf
	if os.Getenv("CI") != "" {
		missing = t.Fatalf
	}
	if os.Getuid() != 0 {
		missing("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		missing("install iproute2: %v", err)
	}
	run := fmt.Sprintf("lob%d-%x", os.Getpid(), rand.Uint32()) // a run that was killed may have left its own
	sw := run + "sw"
	if out, err := exec.Command("ip", "netns", "add", sw).CombinedOutput(); err != nil {
		missing("no network namespaces here: %s", out)
	}
	t.Cleanup(func() { ip(t, "netns", "del", sw) })
	ip(t, "-n", sw, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
	ip(t, "-n", sw, "link", "set", "br0", "up")
	var list []*box
	for i, name := range names {
		b := &box{
			t: t, ns: run + name, sw: sw, port: fmt.Sprintf("p%d", i),
			home: filepath.Join(t.TempDir(), "home"), address: fmt.Sprintf("10.77.0.%d", i+1),
		}
		ip(t, "netns", "add", b.ns)
		t.Cleanup(func() { ip(t, "netns", "del", b.ns) })
		ip(t, "-n", sw, "link", "add", b.port, "type", "veth", "peer", "name", "eth0", "netns", b.ns)
		ip(t, "-n", sw, "link", "set", b.port, "master", "br0")
		ip(t, "-n", b.ns, "link", "set", "lo", "up")
		ip(t, "-n", b.ns, "addr", "add", b.address+"/24", "dev", "eth0")
		ip(t, "-n", b.ns, "link", "set", "eth0", "up")
		b.plug("up")
		list = append(list, b)
	}
	return list
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Errorf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// plug puts a machine's cable in (up) or pulls it (down).
func (b *box) plug(state string) { ip(b.t, "-n", b.sw, "link", "set", b.port, state) }

func (b *box) command(ctx context.Context, line string, args ...string) *exec.Cmd {
	words := append([]string{"netns", "exec", b.ns}, strings.Fields(line)...)
	cmd := exec.CommandContext(ctx, "ip", append(words, args...)...)
	cmd.Env = append(environ(), "LOBSTAH_HOME="+b.home, "NO_COLOR=1")
	return cmd
}

// try runs a command line; what it printed on both streams comes back.
func (b *box) try(line string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(b.t.Context(), patienceInTests)
	defer cancel()
	out, err := b.command(ctx, line, args...).CombinedOutput()
	return string(out), err
}

func (b *box) run(line string, args ...string) string {
	b.t.Helper()
	out, err := b.try(line, args...)
	if err != nil {
		b.t.Fatalf("%s: %s %q: %v\n%s", b.ns, line, args, err, out)
	}
	return out
}

// start runs a command line until the test ends, or stop.
func (b *box) start(line string) (stop func()) {
	b.t.Helper()
	cmd := b.command(context.Background(), line)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM); err != nil {
			b.t.Error(err)
		}
		if err := cmd.Wait(); err != nil || b.t.Failed() {
			b.t.Logf("%s: %s: %v\n%s", b.ns, line, err, out.String())
		}
	})
	b.t.Cleanup(stop)
	b.until("running", "lobstah status")
	return stop
}

// until runs a command line again and again until it prints text.
func (b *box) until(text, line string, args ...string) {
	b.t.Helper()
	b.wait(fmt.Sprintf("saying %q", text), line, args, func(out string, _ error) bool { return strings.Contains(out, text) })
}

func (b *box) wait(what, line string, args []string, ready func(string, error) bool) {
	b.t.Helper()
	var out string
	var err error
	for deadline := time.Now().Add(patienceInTests); time.Now().Before(deadline); {
		if out, err = b.try(line, args...); ready(out, err) {
			return
		}
		select {
		case <-b.t.Context().Done():
		case <-time.After(5 * pollInTests):
		}
	}
	b.t.Fatalf("%s: %s %q: %s did not happen within %s; the last it said:\n%s(%v)", b.ns, line, args, what, patienceInTests, out, err)
}

// invited is the line that a machine's invitation prints.
func (b *box) invited(args ...string) string {
	b.t.Helper()
	for line := range strings.Lines(b.run("lobstah invite", args...)) {
		if strings.HasPrefix(line, "lobstah join ") {
			return strings.TrimSpace(line)
		}
	}
	b.t.Fatal("no invitation was printed")
	return ""
}

// Three machines in one network, joined by nothing but the lines that invite
// printed; then one is cut off, and comes back.
func TestThreeMachines(t *testing.T) {
	machines := boxes(t, "ann", "ben", "cat")
	ann, ben, cat := machines[0], machines[1], machines[2]
	ann.start("lobstah up --engine demo --no-check")
	began := time.Now()
	joined := ben.run(ann.invited("--uses", "2") + " --as ann --label ben")
	t.Logf("from the invitation to the second machine's first answer: %s", time.Since(began))
	if !regexp.MustCompile(`(?m)^asked     lobstah-demo, .*\n.+`).MatchString(joined) {
		t.Errorf("ben's joining ends without an answer:\n%s", joined)
	}
	words := regexp.MustCompile(`(?m)words:? +([a-z]+( [a-z]+){5})$`)
	theirs, ours := words.FindStringSubmatch(joined), words.FindStringSubmatch(ann.run("lobstah invite --list"))
	if theirs == nil || ours == nil || theirs[1] != ours[1] {
		t.Errorf("the words are %q at one side and %q at the other", theirs, ours)
	}
	// Ben has no engine: whoever answers him is another machine.
	ben.start("lobstah router start")
	cat.start("lobstah up --engine demo --no-check")
	ben.run(cat.invited() + " --as cat --label ben --no-ask")
	cat.run(ann.invited() + " --as ann --label cat --lend --no-ask")
	if out := ann.run("lobstah peers"); !strings.Contains(out, "cat") {
		t.Errorf("ann does not ask cat, who lends to her:\n%s", out)
	}
	ready := func(name string) {
		t.Helper()
		ben.wait(name+" being ready", "lobstah peers", nil, func(out string, err error) bool {
			return err == nil && regexp.MustCompile(`(?m) `+name+` .* ready `).MatchString(out)
		})
	}
	answers := func(name string) {
		t.Helper()
		if out, err := ben.try("lobstah ask", "hello"); err != nil || !strings.Contains(out, "["+name+" ") {
			t.Errorf("%s does not answer alone: %v\n%s", name, err, out)
		}
	}
	ready("ann")
	ready("cat")

	ann.plug("down")
	answers("cat")
	out, err := ben.try("lobstah doctor ann --timeout 1s")
	if err == nil || !strings.Contains(out, "FAIL  tcp") {
		t.Errorf("the doctor does not see that ann is cut off: %v\n%s", err, out)
	}
	ben.wait("ann being missed", "lobstah peers", nil, func(out string, err error) bool {
		return err == nil && regexp.MustCompile(`(?m) ann .* (unreachable|excluded) `).MatchString(out)
	})
	ann.plug("up")
	ready("ann") // again, with nothing typed
	if out := ben.run("lobstah doctor ann"); !strings.Contains(out, "ok    allowed") {
		t.Errorf("the doctor does not see that ann is back:\n%s", out)
	}
	cat.plug("down")
	answers("ann")
	if out := ben.run("lobstah balance"); strings.Count(out, "we owe") != 2 {
		t.Errorf("ben owes to both:\n%s", out)
	}
}

// A router finds the worker of its own network, and forgets it.
func TestNeighbours(t *testing.T) {
	machines := boxes(t, "eve", "fay")
	eve, fay := machines[0], machines[1]
	fay.start("lobstah router start --discover-from lan --discover-interval 5s")
	eve.run("lobstah allow", strings.TrimSpace(fay.run("lobstah id")), "fay")
	stop := eve.start("lobstah worker start --engine demo --host 0.0.0.0 --lan --announce-label shed")
	fay.until("shed", "lobstah peers")
	fay.until("ready", "lobstah peers")
	if out := fay.run("lobstah ask", "hello"); !strings.Contains(out, "tokens owed") {
		t.Errorf("the neighbour gave no receipt:\n%s", out)
	}
	stop()
	fay.until("no peers configured", "lobstah peers")
}

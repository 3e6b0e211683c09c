//go:build unix

package main

import (
	"strings"
	"syscall"
	"testing"
)

// A node that is stopped, as by Ctrl-Z, is told from one that does not run, and
// names its process.
func TestNodeThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	home, ports := t.TempDir(), freePorts(2)
	must(t, home, "init", "--name", "a", "--listen", "--port", ports[0], "--proxy-port", ports[1])
	p := startNode(t, home)
	eventually(t, "it runs", patienceInTests, func() bool { return strings.Contains(say(t, home, "status"), "listens") })
	p.signal(syscall.SIGSTOP)
	if out := say(t, home, "status"); !strings.Contains(out, "has not answered for 10 s") || !strings.Contains(out, "hint:") {
		t.Errorf("status says %q", out)
	}
	p.signal(syscall.SIGCONT)
}

package interop

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"lobstah/internal/testport"
)

// TestMeshClients runs the official clients of MCP and A2A against two nodes of
// a mesh.
func TestMeshClients(t *testing.T) {
	if _, err := os.Stat("js/node_modules/@a2a-js/sdk"); err != nil {
		missing(t, "run npm ci in interop/js first: %v", err)
	}
	program := filepath.Join(t.TempDir(), "clawmatrix")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../cmd/clawmatrix").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	office, home := t.TempDir(), t.TempDir()
	heard := filepath.Join(t.TempDir(), "heard") // until it is there, the patient agent goes on
	port, api, mcp := testport.Free(), testport.Free(), testport.Free()
	const secret = "secret: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n"
	configure(t, home, secret+fmt.Sprintf("nodeId: home\nproxyPort: %s\napiPort: %s\npeers: [{nodeId: office, url: ws://127.0.0.1:%s}]\n", testport.Free(), api, port))
	configure(t, office, secret+fmt.Sprintf("nodeId: office\nlisten: true\nlistenHost: 127.0.0.1\nlistenPort: %s\nproxyPort: %s\n", port, testport.Free())+`agents:
  - {id: shouter, tags: [loud], command: [tr, a-z, A-Z]}
  - {id: broken, command: [sh, -c, "exit 4"]}
`+fmt.Sprintf("  - {id: patient, command: [sh, -c, 'tr a-z A-Z; until test -e \"$0\"; do sleep 0.05; done', %q]}\n", heard)+`toolProxy: {enabled: true, allow: [exec, read]}
`)
	background(t, program, "--home", office, "start")
	background(t, program, "--home", home, "start")
	await(t, "the nodes to meet", func() bool {
		out, err := exec.CommandContext(t.Context(), program, "--home", home, "peers", "--json").Output()
		return err == nil && strings.Contains(string(out), `"shouter"`)
	})
	background(t, program, "--home", home, "mcp", "--http", "127.0.0.1:"+mcp)
	var token []byte
	await(t, "the token and the port", func() bool {
		var err error
		token, err = os.ReadFile(filepath.Join(home, "api.token"))
		if err != nil {
			return false
		}
		conn, err := net.Dial("tcp", "127.0.0.1:"+mcp)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
	cmd := exec.CommandContext(t.Context(), "node", "--test", "--test-timeout=120000", "mesh.mjs")
	cmd.Dir = "js"
	cmd.Env = append(os.Environ(), "CLAWMATRIX="+program, "HOME_NODE="+home, "HEARD="+heard, "MCP_URL=http://127.0.0.1:"+mcp+"/mcp",
		"A2A_URL=http://127.0.0.1:"+api+"/a2a", "API_TOKEN="+strings.TrimSpace(string(token)))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestA2AServer hands tasks over a mesh to agents made with the official A2A SDK:
// streamed and whole, with a question, a failure and a cancellation.
func TestA2AServer(t *testing.T) {
	if _, err := os.Stat("js/node_modules/@a2a-js/sdk"); err != nil {
		missing(t, "run npm ci in interop/js first: %v", err)
	}
	program := filepath.Join(t.TempDir(), "clawmatrix")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../cmd/clawmatrix").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	agents, port := testport.Free(), testport.Free()
	t.Setenv("PORT", agents)
	said := background(t, "node", "js/a2a-agent.mjs")
	await(t, "the agents", func() bool { return strings.Contains(said(), "ready") })
	office, home := t.TempDir(), t.TempDir()
	const secret = "secret: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n"
	configure(t, home, secret+fmt.Sprintf("nodeId: home\nproxyPort: %s\npeers: [{nodeId: office, url: ws://127.0.0.1:%s}]\n", testport.Free(), port))
	configure(t, office, secret+fmt.Sprintf("nodeId: office\nlisten: true\nlistenHost: 127.0.0.1\nlistenPort: %s\nproxyPort: %s\n", port, testport.Free())+fmt.Sprintf(`agents:
  - {id: streams, a2a: "http://127.0.0.1:%s/streams"}
  - {id: whole, a2a: "http://127.0.0.1:%[1]s/whole/.well-known/agent-card.json"}
`, agents))
	background(t, program, "--home", office, "start")
	background(t, program, "--home", home, "start")
	run := func(args ...string) string {
		out, _ := exec.CommandContext(t.Context(), program, append([]string{"--home", home}, args...)...).CombinedOutput() // what it says counts
		return string(out)
	}
	handOver := func(agent, task string) (id string) {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), program, "--home", home, "handoff", "--no-wait", agent, task).Output() // the number alone
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	met := regexp.MustCompile(`(?m)^office +direct .*whole`)
	await(t, "the nodes to meet", func() bool { return met.MatchString(run("peers")) })
	for _, agent := range []string{"streams", "whole"} {
		says := func(want string, args ...string) {
			t.Helper()
			if out := run(args...); !strings.Contains(out, want) {
				t.Errorf("%s: clawmatrix %q says %q, want %q in it", agent, args, out, want)
			}
		}
		says("good morning", "handoff", agent, "good morning")
		says("there is no such branch", "handoff", agent, "fail, please")
		id := handOver(agent, "ask me")
		says("the agent asks: "+agent+"@office: which branch?", "task", id)
		says("merged main", "task", id, "--answer", "main")
	}
	id := handOver("streams", "work on")
	await(t, "the agent to work", func() bool { return strings.Contains(run("tasks"), "working") })
	if out := run("task", id, "--cancel"); !strings.Contains(out, "cancelled") {
		t.Errorf("cancelling says %q", out)
	}
	await(t, "the agent to be told", func() bool { return strings.Contains(said(), "cancelled") })
}

func configure(t *testing.T, dir, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// background runs a program until the test ends; its log is kept with the
// test's artifacts. It returns what the program has said so far.
func background(t *testing.T, program string, args ...string) (said func() string) {
	t.Helper()
	log, err := os.CreateTemp(t.ArtifactDir(), "clawmatrix-*.log")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait() // it was asked to end
		if t.Failed() {
			text, err := os.ReadFile(log.Name())
			t.Logf("%s %q said (%v):\n%s", filepath.Base(program), args, err, text)
		}
		log.Close()
	})
	return func() string {
		text, err := os.ReadFile(log.Name())
		if err != nil {
			t.Error(err)
		}
		return string(text)
	}
}

// await looks until something is so.
func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !so() {
		if time.Now().After(deadline) {
			t.Fatalf("waited a minute for %s", what)
		}
		time.Sleep(50 * time.Millisecond) // between two looks
	}
}

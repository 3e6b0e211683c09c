package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"lobstah/grid"
	"lobstah/internal/testport"
	"lobstah/key"
	"lobstah/mesh"
	"lobstah/mesh/link"
)

const meshSecret = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// startRelay runs a node of the mesh that serves nothing and passes on what the
// others say. It returns the URL of its links.
func startRelay(t *testing.T) string {
	t.Helper()
	secret, err := link.NewSecret(meshSecret)
	if err != nil {
		t.Fatal(err)
	}
	node, err := mesh.New(mesh.Config{Pair: key.Generate(), Name: "relay", Secrets: []link.Secret{secret}})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(node)
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() {
		if err := node.Run(ctx); err != nil {
			t.Errorf("the relay: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		run.Wait()
		server.Close()
	})
	return "ws" + strings.TrimPrefix(server.URL, "http")
}

// meshConfig writes the configuration of a machine's own node, which the grid
// reads.
func meshConfig(t *testing.T, name, relay, trust string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	text := fmt.Sprintf("nodeId: %s\nsecret: %s\ntrust: %s\npeers: [{nodeId: relay, url: %q}]\n", name, meshSecret, trust, relay)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func meshWorker(t *testing.T, relay, name, router string) (m *machine, id string) {
	t.Helper()
	engine := newPacedEngine(t, time.Millisecond)
	m = newMachine(t, "worker", "start", "--engine", engine.URL, "--port", testport.Free(), "--mesh", "--mesh-config", meshConfig(t, name, relay, "secret"))
	id = m.command("id")
	m.command("allow", router, "router")
	m.start()
	return m, id
}

const meshAsk = `{"model":"m","messages":[{"role":"user","content":"hi"}]}`

// Two workers behind a relay, with no port that the router could reach: answers
// leave receipts in both ledgers, one that dies is passed over, and is asked
// again when it is back.
func TestTheGridOverTheMesh(t *testing.T) {
	t.Parallel()
	relay := startRelay(t)
	router := newMachine(t, "router", "start", "--port", testport.Free(), "--mesh", "--mesh-config", meshConfig(t, "laptop", relay, "verified"))
	asks := router.command("id")
	first, a := meshWorker(t, relay, "one", asks)
	second, b := meshWorker(t, relay, "two", asks)
	router.command("peers", "add", a, "mesh://"+a, "one")
	router.command("peers", "add", b, "mesh://"+b, "two")
	router.start()
	answered := func() bool { return router.ask(http.MethodPost, "/v1/chat/completions", meshAsk, nil) == http.StatusOK }
	by := func(name string) bool {
		return router.ask(http.MethodPost, "/v1/chat/completions", strings.Replace(meshAsk, `"m"`, `"m@`+name+`"`, 1), nil) == http.StatusOK
	}
	router.await("both answer", func() bool { return by("one") && by("two") })
	first.kill()
	for i := range 5 {
		if !answered() {
			t.Errorf("request %d after one worker died has no answer", i)
		}
	}
	first.start()
	router.await("the first answers again", func() bool { return by("one") })

	router.command("stop")
	spent := router.exported()
	for nonce := range second.exported() {
		if spent[nonce] == nil {
			t.Errorf("the worker's receipt %s is not in the router's ledger", nonce)
		}
	}
	if len(spent) < 8 {
		t.Errorf("%d receipts in the router's ledger; want one for each answer", len(spent))
	}
}

// Where the mesh trusts its secret, its workers need no naming.
func TestWorkersOfTheMeshAreFound(t *testing.T) {
	t.Parallel()
	relay := startRelay(t)
	router := newMachine(t, "router", "start", "--port", testport.Free(), "--mesh", "--mesh-config", meshConfig(t, "laptop", relay, "secret"))
	_, id := meshWorker(t, relay, "one", router.command("id"))
	router.start()
	router.await("the worker answers", func() bool { return router.ask(http.MethodPost, "/v1/chat/completions", meshAsk, nil) == http.StatusOK })
	var peers []grid.Peer
	if status := router.ask(http.MethodGet, "/peers", "", &peers); status != http.StatusOK || len(peers) != 1 || peers[0].ID.String() != id || peers[0].Origin != grid.FromMesh {
		t.Errorf("GET /peers: %d, %+v", status, peers)
	}
}

// Who leaves in the middle of a stream over the mesh stops the engine.
func TestCancellingOverTheMesh(t *testing.T) {
	t.Parallel()
	relay := startRelay(t)
	left := make(chan struct{})
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			io.WriteString(w, `{"object":"list","data":[{"id":"m","object":"model"}]}`)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, `data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}`+"\n\n")
		_ = http.NewResponseController(w).Flush() // who asked is gone when it fails
		<-r.Context().Done()
		close(left)
	}))
	t.Cleanup(engine.Close)
	router := newMachine(t, "router", "start", "--port", testport.Free(), "--mesh", "--mesh-config", meshConfig(t, "laptop", relay, "secret"))
	worker := newMachine(t, "worker", "start", "--engine", engine.URL, "--port", testport.Free(), "--mesh", "--mesh-config", meshConfig(t, "one", relay, "secret"))
	worker.command("allow", router.command("id"), "router")
	worker.start()
	router.start()
	router.await("the model is found", func() bool { return router.ask(http.MethodGet, "/v1/models/m", "", nil) == http.StatusOK })
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, router.base+"/v1/chat/completions", strings.NewReader(strings.Replace(meshAsk, "{", `{"stream":true,`, 1)))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	line, err := bufio.NewReader(response.Body).ReadString('\n')
	if err != nil || !strings.Contains(line, `"content":"a"`) {
		t.Fatalf("the stream begins with %q, %v", line, err)
	}
	leave()
	select {
	case <-left:
	case <-time.After(patienceInTests):
		t.Error("the engine works on for nobody")
	}
}

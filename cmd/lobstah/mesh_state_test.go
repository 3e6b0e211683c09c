package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lobstah/internal/testport"
	"lobstah/key"
	"lobstah/mesh"
	"lobstah/mesh/link"
	"lobstah/mesh/trust"
)

// A hub is an address where one node of the mesh after the other is.
type hub struct {
	t    *testing.T
	node atomic.Pointer[mesh.Node]
	stop func()
}

func (h *hub) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.node.Load().ServeHTTP(w, r) }

// be replaces the node at the hub by one with another secret.
func (h *hub) be(secret string) {
	h.t.Helper()
	drawn, err := link.NewSecret(secret)
	if err != nil {
		h.t.Fatal(err)
	}
	node, err := mesh.New(mesh.Config{Pair: key.Generate(), Name: "relay", Secrets: []link.Secret{drawn}})
	if err != nil {
		h.t.Fatal(err)
	}
	if h.stop != nil {
		h.stop()
	}
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() {
		if err := node.Run(ctx); err != nil {
			h.t.Errorf("the hub: %v", err)
		}
	})
	h.node.Store(node)
	h.stop = sync.OnceFunc(func() { cancel(); run.Wait() })
	h.t.Cleanup(h.stop)
}

// After a revocation the mesh has another secret. The grid's processes take it from
// the machine's own node, without a restart.
func TestTheGridFollowsANewSecret(t *testing.T) {
	t.Parallel()
	h := &hub{t: t}
	h.be(meshSecret)
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	relay := "ws" + strings.TrimPrefix(server.URL, "http")
	configs := []string{meshConfig(t, "laptop", relay, "secret"), meshConfig(t, "one", relay, "secret")}
	router := newMachine(t, "router", "start", "--port", testport.Free(), "--mesh", "--mesh-config", configs[0])
	engine := newPacedEngine(t, time.Millisecond)
	worker := newMachine(t, "worker", "start", "--engine", engine.URL, "--port", testport.Free(), "--mesh", "--mesh-config", configs[1])
	worker.command("allow", router.command("id"), "router")
	worker.start()
	router.start()
	answered := func() bool { return router.ask(http.MethodPost, "/v1/chat/completions", meshAsk, nil) == http.StatusOK }
	router.await("the worker answers", answered)

	rotation, err := trust.Rotate(key.Generate(), key.Generate().ID(), []string{meshSecret}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range configs {
		if _, err := trust.AddRotation(filepath.Join(filepath.Dir(path), "secrets.json"), rotation); err != nil {
			t.Fatal(err)
		}
	}
	h.be(rotation.Secret) // which takes nothing else
	router.await("the worker answers over the new secret", answered)
}

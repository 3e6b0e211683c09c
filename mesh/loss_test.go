package mesh_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
	"testing"
	"time"

	"lobstah/mesh"
	"lobstah/mesh/link"
)

// A relay that ends in the middle of an answer is an error at both ends, never a
// short answer that looks whole, and the next call works once there is a way.
func TestRelayEndsDuringACall(t *testing.T) {
	t.Parallel()
	left := make(chan struct{}, 1)
	hub, office, home := trio(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "half of it")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		left <- struct{}{}
	}))
	r, err := http.NewRequestWithContext(t.Context(), "GET", "mesh://"+office.ID().String()+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := home.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.ReadFull(response.Body, make([]byte, len("half of it"))); err != nil {
		t.Fatal(err)
	}
	hub.stop()
	if rest, err := io.ReadAll(response.Body); err == nil {
		t.Errorf("the broken answer ended with %q and no error", rest)
	}
	<-left
	if _, err := get(t, home, "mesh://"+office.ID().String()+"/"); err == nil {
		t.Error("a call without a way succeeded")
	}
}

// A caller that gives up while the circuit is being opened is let go at once, and
// does not spoil the dial for others.
func TestCallerGivesUpWhileDialling(t *testing.T) {
	t.Parallel()
	_, office, home := trio(t, http.HandlerFunc(whoami))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", "mesh://"+office.ID().String()+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := home.RoundTrip(r); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the cancelling", err)
	}
	if _, err := get(t, home, "mesh://"+office.ID().String()+"/"); err != nil {
		t.Errorf("the next call: %v", err)
	}
}

// Run owns every goroutine. This test runs alone, before the parallel ones.
func TestNothingIsLeft(t *testing.T) {
	secret() // drawn once, in the time before
	before := runtime.NumGoroutine()
	// None waits for a heartbeat, which takes an hour here.
	hub, office, home := trio(t, http.HandlerFunc(whoami), func(c *mesh.Config) { c.Beat = time.Hour })
	if _, err := get(t, home, "mesh://"+office.ID().String()+"/"); err != nil {
		t.Fatal(err)
	}
	for _, n := range []*running{home, office, hub} {
		n.free()
		if err := <-n.stopped; err != nil {
			t.Errorf("Run returned %v", err)
		}
	}
	// The test servers' own goroutines end a moment later.
	until(t, "all goroutines have ended", func() bool {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		return runtime.NumGoroutine() <= before
	})
}

func TestBadConfigurations(t *testing.T) {
	t.Parallel()
	good := mesh.Config{Pair: pair(1), Name: "a", Secrets: []link.Secret{secret()}}
	for name, change := range map[string]func(*mesh.Config){
		"no key":      func(c *mesh.Config) { c.Pair = mesh.Config{}.Pair },
		"no name":     func(c *mesh.Config) { c.Name = "" },
		"no secret":   func(c *mesh.Config) { c.Secrets = nil },
		"bad address": func(c *mesh.Config) { c.Peers = []mesh.Peer{{URL: "http://a"}} },
	} {
		c := good
		change(&c)
		if _, err := mesh.New(c); err == nil {
			t.Errorf("%s: a node was made", name)
		}
	}
	node, err := mesh.New(good)
	if err != nil {
		t.Fatal(err)
	}
	if err := node.SetSecrets(nil, nil); err == nil {
		t.Error("the secrets were taken away")
	}
	if err := node.Close(); err != nil { // before it ever ran
		t.Fatal(err)
	}
	if err := node.Run(t.Context()); err == nil {
		t.Error("a closed node ran")
	}
}

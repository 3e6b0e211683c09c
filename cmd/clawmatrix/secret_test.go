//go:build unix

package main

import (
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"lobstah/internal/cli"
	"lobstah/internal/control"
	"lobstah/key"
	"lobstah/mesh"
	"lobstah/mesh/link"
	"lobstah/mesh/member"
	"lobstah/mesh/trust"
)

// inProcess opens a node of a fresh home in this very process. It is in no mesh.
func inProcess(t *testing.T) *node {
	t.Helper()
	home := t.TempDir()
	ports := freePorts(2)
	must(t, home, "init", "--name", "a", "--listen", "--port", ports[0], "--proxy-port", ports[1])
	a := &app{IO: cli.IO{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard, Env: os.Environ()}, options: &commands{Home: home}}
	var err error
	if a.home, err = a.findHome(); err != nil {
		t.Fatal(err)
	}
	n, _, err := a.openNode(t.Context(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// While a node is told of a new secret that takes its time, another new one can come.
func TestRotationWaitsForNobody(t *testing.T) {
	t.Parallel()
	n := inProcess(t)
	friend := key.FromSeed([32]byte{1})
	if _, err := n.pin(t.Context(), trust.Pin{Name: "friend", Key: friend.ID(), How: trust.ByWords, Since: time.Now()}); err != nil {
		t.Fatal(err)
	}
	asked, answer := make(chan struct{}), make(chan struct{})
	first := sync.OnceFunc(func() { close(asked) })
	runBoth(t, n, friend, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		first()
		select {
		case <-answer:
		case <-r.Context().Done():
		}
		control.Reply(w, none{}, nil)
	}))
	rotated := make(chan revoked, 1)
	go func() {
		out, err := n.rotate(t.Context(), revoked{Key: key.FromSeed([32]byte{2}).ID()})
		if err != nil {
			t.Error(err)
		}
		rotated <- out
	}()
	select {
	case <-asked:
	case <-time.After(patienceInTests):
		t.Fatal("the friend was not told")
	}
	current, retired, err := n.state.texts()
	if err != nil {
		t.Fatal(err)
	}
	r, err := trust.Rotate(friend, key.FromSeed([32]byte{3}).ID(), slices.Concat(current, retired), time.Now().Add(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if err := n.considerSecret(t.Context(), friend.ID(), r); err != nil { // did wait for the answer once
		t.Error(err)
	}
	close(answer)
	if out := <-rotated; !slices.Equal(out.Told, []string{"friend"}) {
		t.Errorf("told %v; want the friend", out.Told)
	}
}

// runBoth runs a node and another one of its mesh, which answers calls by a handler,
// until the test ends. Both know each other when it returns.
func runBoth(t *testing.T, n *node, other key.Pair, handler http.Handler) {
	t.Helper()
	secret, err := link.NewSecret(n.config.Secret[0])
	if err != nil {
		t.Fatal(err)
	}
	friend, err := mesh.New(mesh.Config{
		Pair: other, Name: "friend", Secrets: []link.Secret{secret},
		Peers: []mesh.Peer{{URL: "ws://127.0.0.1:" + strconv.Itoa(n.config.ListenPort), Key: n.id.ID()}},
	})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	var running sync.WaitGroup
	running.Go(func() { _ = friend.Run(t.Context()) }) // that it was closed
	running.Go(func() { _ = n.mesh.Run(t.Context()) })
	running.Go(func() { _ = server.Serve(friend.Listener()) })
	t.Cleanup(func() {
		server.Close()
		friend.Close()
		n.mesh.Close()
		running.Wait()
	})
	eventually(t, "the two know each other", patienceInTests, func() bool {
		return slices.ContainsFunc(n.mesh.Members(), func(m member.Member) bool { return m.Key == other.ID() && m.Status == member.Alive })
	})
}

// A new secret counts only when a verified node brings one that a verified node
// has signed; else whoever was revoked could take the mesh over.
func TestNewSecretsAreTakenFromVerifiedNodesOnly(t *testing.T) {
	t.Parallel()
	n := inProcess(t)
	friend, stranger := key.FromSeed([32]byte{1}), key.FromSeed([32]byte{2})
	pin := trust.Pin{Name: "friend", Key: friend.ID(), How: trust.ByWords, Since: time.Now()}
	if _, err := n.pin(t.Context(), pin); err != nil {
		t.Fatal(err)
	}
	rotation := func(by key.Pair, without key.ID, at time.Time) trust.Rotation {
		r, err := trust.Rotate(by, without, n.config.Secret, at)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	now := time.Now()
	forged := rotation(friend, stranger.ID(), now)
	forged.Secret = trust.NewSecret()
	for name, test := range map[string]struct {
		from key.ID
		r    trust.Rotation
		want string
	}{
		"brought by a stranger": {stranger.ID(), rotation(friend, stranger.ID(), now), "verified nodes only"},
		"made by a stranger":    {friend.ID(), rotation(stranger, friend.ID(), now), "not verified here"},
		"forged":                {friend.ID(), forged, "has not signed"},
		"without this node":     {friend.ID(), rotation(friend, n.id.ID(), now), "was revoked"},
		"of the future":         {friend.ID(), rotation(friend, stranger.ID(), now.Add(time.Hour)), "compare the clocks"},
	} {
		if err := n.considerSecret(t.Context(), test.from, test.r); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v; want %q", name, err, test.want)
		}
	}
	if current, _, err := n.state.texts(); err != nil || !slices.Equal(current, n.config.Secret) {
		t.Fatalf("a refused secret is in force, or %v", err)
	}
	good := rotation(friend, stranger.ID(), now)
	for range 2 { // the second time it is known
		if err := n.considerSecret(t.Context(), friend.ID(), good); err != nil {
			t.Fatal(err)
		}
	}
	current, retired, err := n.state.texts()
	if err != nil || !slices.Equal(current, []string{good.Secret}) || !slices.Equal(retired, n.config.Secret) {
		t.Errorf("%d in force, %d retired, %v; want the new one and the configuration's", len(current), len(retired), err)
	}
	if err := n.mesh.Revoke(friend.ID(), ""); err != nil {
		t.Fatal(err)
	}
	if err := n.considerSecret(t.Context(), friend.ID(), rotation(friend, stranger.ID(), now.Add(time.Second))); err == nil {
		t.Error("a revoked node changes the secret")
	}
}

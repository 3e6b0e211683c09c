package mesh_test

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"lobstah/key"
	"lobstah/mesh"
	"lobstah/mesh/link"
	"lobstah/mesh/member"
)

func secretOf(t *testing.T, text string) link.Secret {
	t.Helper()
	s, err := link.NewSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A node that was away while the secret changed is let in by what it knows when
// its key is pinned, and stays out when it is not.
func TestRetiredSecretsCountForPinnedNodesOnly(t *testing.T) {
	t.Parallel()
	fresh := secretOf(t, strings.Repeat("0123456789abcdef", 4))
	pinned, stranger := pair(2).ID(), pair(3).ID()
	hub := start(t, 1, http.NotFoundHandler(), func(c *mesh.Config) {
		c.Secrets, c.Retired, c.Pins = []link.Secret{fresh}, []link.Secret{secret()}, map[string]key.ID{"office": pinned}
	})
	office := start(t, 2, http.NotFoundHandler(), dials(hub.url))
	thief := start(t, 3, http.NotFoundHandler(), dials(hub.url))
	hub.sees(office)
	until(t, "the stranger is refused", func() bool { d := thief.Dials()[0]; return d.Err != nil && !d.Up })
	if err := thief.Dials()[0].Err; !strings.Contains(err.Error(), "same secret") {
		t.Errorf("refused with %v; want a word about the secret", err)
	}
	if _, ok := hub.status(stranger); ok {
		t.Error("the stranger is a member")
	}
}

// When a node is verified no more, a link that a retired secret made ends with that;
// one that knows the new secret is back at once.
func TestRetiredSecretsEndWithThePin(t *testing.T) {
	t.Parallel()
	fresh := secretOf(t, strings.Repeat("0123456789abcdef", 4))
	pins := map[string]key.ID{"old": pair(2).ID(), "new": pair(3).ID()}
	hub := start(t, 1, http.NotFoundHandler(), func(c *mesh.Config) {
		c.Secrets, c.Retired, c.Pins = []link.Secret{fresh}, []link.Secret{secret()}, pins
	})
	old := start(t, 2, http.NotFoundHandler(), dials(hub.url))
	renewed := start(t, 3, http.NotFoundHandler(), dials(hub.url), func(c *mesh.Config) { c.Secrets = []link.Secret{fresh} })
	hub.sees(old, renewed)
	hub.SetPins(nil)
	until(t, "the one with the retired secret is refused", func() bool {
		d := old.Dials()[0]
		return !d.Up && d.Err != nil && strings.Contains(d.Err.Error(), "same secret")
	})
	until(t, "the other is back", func() bool { m, ok := hub.status(renewed.ID()); return ok && m.Direct && m.Status == member.Alive })
	until(t, "the link of the one with the retired secret is gone", func() bool { m, ok := hub.status(old.ID()); return !ok || !m.Direct })
}

func TestDialsTellHowItGoes(t *testing.T) {
	t.Parallel()
	hub := start(t, 1, http.NotFoundHandler())
	node := start(t, 2, http.NotFoundHandler(), dials(hub.url), dials("ws://127.0.0.1:1"))
	node.sees(hub)
	var dials []mesh.Dial
	until(t, "the second dial has failed and waits for the next", func() bool {
		dials = node.Dials()
		return dials[1].Err != nil && !dials[1].Next.IsZero()
	})
	if d := dials[0]; !d.Up || d.Err != nil || d.Reached != hub.ID() || d.URL != hub.url {
		t.Errorf("the peer that is there: %+v", d)
	}
	if d := dials[1]; d.Up || !d.Reached.IsZero() || d.Next.IsZero() {
		t.Errorf("the peer that is not: %+v", d)
	}
}

// A configured peer whose name was verified since has to have that key.
func TestPinsChangeWhileTheNodeRuns(t *testing.T) {
	t.Parallel()
	node := start(t, 2, http.NotFoundHandler())
	id := pair(1).ID()
	if _, err := node.Resolve("cloud"); err == nil || node.Pinned(id) {
		t.Fatal("pinned before it was")
	}
	node.SetPins(map[string]key.ID{"cloud": id})
	if got, err := node.Resolve("cloud"); err != nil || got != id || !node.Pinned(id) {
		t.Errorf("%s, %v", got, err)
	}
	node.SetPins(nil)
	if node.Pinned(id) {
		t.Error("still pinned")
	}
}

func TestPinnedNameWithAnotherKeyIsRefused(t *testing.T) {
	t.Parallel()
	hub := start(t, 1, http.NotFoundHandler())
	other := pair(9).ID()
	node := start(t, 2, http.NotFoundHandler(), func(c *mesh.Config) {
		c.Peers = []mesh.Peer{{URL: hub.url, Name: "node-1"}}
		c.Pins = map[string]key.ID{"node-1": other}
	})
	until(t, "the dial is refused", func() bool { return node.Dials()[0].Err != nil })
	if text := node.Dials()[0].Err.Error(); !strings.Contains(text, hub.ID().String()) || !strings.Contains(text, other.String()) {
		t.Errorf("%s; want both keys", text)
	}
}

// Revocations outlive the process that heard of them.
func TestRevocationsAreRestored(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var heard []member.Event
	first := start(t, 1, http.NotFoundHandler(), func(c *mesh.Config) {
		c.Notify = func(e member.Event) { mu.Lock(); defer mu.Unlock(); heard = append(heard, e) }
	})
	bad := pair(3).ID()
	if err := first.Revoke(bad, "lost"); err != nil {
		t.Fatal(err)
	}
	kept := first.Revocations()
	first.stop()
	mu.Lock()
	if len(kept) != 1 || len(heard) == 0 || heard[0].Change != member.Revoked || heard[0].Key != bad {
		t.Errorf("kept %d, heard %v; want the revocation", len(kept), heard)
	}
	mu.Unlock()
	again := start(t, 1, http.NotFoundHandler(), func(c *mesh.Config) { c.Revocations = kept })
	if !again.Revoked(bad) || again.Revoked(pair(2).ID()) {
		t.Error("the next process forgot it")
	}
	// It tells those that it meets, and they obey when they trust it.
	other := start(t, 2, http.NotFoundHandler(), dials(again.url), func(c *mesh.Config) { c.Pins = map[string]key.ID{"node-1": pair(1).ID()} })
	until(t, "the other obeys", func() bool { return other.Revoked(bad) })
	if _, err := mesh.New(mesh.Config{Pair: pair(1), Name: "a", Secrets: []link.Secret{secret()}, Revocations: [][]byte{[]byte("noise")}}); err == nil {
		t.Error("noise was restored")
	}
}

// What an untrusted node revoked is obeyed once it is verified.
func TestRevocationOfOneWhoIsVerifiedLater(t *testing.T) {
	t.Parallel()
	hub := start(t, 1, http.NotFoundHandler())
	node := start(t, 2, http.NotFoundHandler(), dials(hub.url))
	node.sees(hub)
	bad := pair(3).ID()
	if err := hub.Revoke(bad, ""); err != nil {
		t.Fatal(err)
	}
	until(t, "it counts once its signer is verified", func() bool {
		node.SetPins(map[string]key.ID{"hub": hub.ID()})
		return node.Revoked(bad)
	})
}

// Whoever was refused for its secret is dialled at once when that changes, and not
// after the wait of a minute that follows a refusal.
func TestNewSecretsAreTriedAtOnce(t *testing.T) {
	t.Parallel()
	other, err := link.NewSecret("another secret, which the hub does not have")
	if err != nil {
		t.Fatal(err)
	}
	hub := start(t, 1, http.NotFoundHandler())
	office := start(t, 2, http.NotFoundHandler(), func(c *mesh.Config) {
		c.Secrets, c.Peers = []link.Secret{other}, []mesh.Peer{{URL: hub.url, Key: pair(1).ID()}}
	})
	refused := func() bool {
		d := office.Dials()[0]
		return errors.Is(d.Err, link.ErrRefused) && time.Until(d.Next) > 0
	}
	until(t, "the office is refused", refused)
	if err := office.SetSecrets([]link.Secret{secret()}, nil); err != nil {
		t.Fatal(err)
	}
	office.sees(hub)
}

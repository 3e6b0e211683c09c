package interop

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"lobstah/grid/announce"
	"lobstah/grid/discover"
	"lobstah/grid/discover/nostr"
	"lobstah/key"
	"lobstah/receipt"
)

// startRelay runs a relay that we did not write and returns its URL.
func startRelay(t *testing.T) string {
	t.Helper()
	if _, err := os.Stat("js/node_modules/@nostr-relay/core"); err != nil {
		missing(t, "run npm ci in interop/js first: %v", err)
	}
	if _, err := exec.LookPath("node"); err != nil {
		missing(t, "install Node first: %v", err)
	}
	cmd := exec.Command("node", "nostr-relay.mjs")
	cmd.Dir, cmd.Stderr = "js", t.Output()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the relay: %v", err)
		}
	})
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the relay printed %q: %v", url, err)
	}
	return strings.TrimSpace(url)
}

// nostrEvent is an event as JSON.
type nostrEvent struct {
	ID        string     `json:"id,omitempty"`
	Secret    string     `json:"secret,omitempty"`
	Kind      int        `json:"kind"`
	CreatedAt int64      `json:"created_at"`
	Tags      [][]string `json:"tags"`
	Content   string     `json:"content"`
}

// nostrTools runs the client that we did not write.
func nostrTools(t *testing.T, answer any, input any, args ...string) {
	t.Helper()
	text, err := json.Marshal(input)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", append([]string{"nostr-client.mjs"}, args...)...)
	cmd.Dir, cmd.Stdin, cmd.Stderr = "js", bytes.NewReader(text), t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("nostr-tools %s: %v", args, err)
	}
	if err := json.Unmarshal(out, answer); err != nil {
		t.Fatalf("nostr-tools %s printed %.300s: %v", args, out, err)
	}
}

func nostrOffer(t *testing.T, pair key.Pair, url string) *announce.Signed {
	t.Helper()
	s, err := announce.Sign(pair, announce.Offer{
		ID: pair.ID(), URL: url, Label: "mac-ü <&> 🦞", Models: []string{"llama3.1:8b"}, TTL: 5 * time.Minute, AnnouncedAt: time.Now(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// collected returns what our client finds, by URL.
func collected(t *testing.T, r *nostr.Relay) map[string]*announce.Signed {
	t.Helper()
	found := map[string]*announce.Signed{}
	if err := r.Collect(t.Context(), func(f discover.Found) { found[f.Offer.URL] = f.Offer }); err != nil {
		t.Fatalf("Collect: %v", err)
	}
	return found
}

// TestNostr lets our client and nostr-tools meet at a relay, in both
// directions: what one publishes the other collects, and what one deletes is
// gone.
func TestNostr(t *testing.T) {
	url := startRelay(t)
	identity, err := key.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	relays, err := nostr.Relays([]string{url}, nostr.Config{Secret: identity.NostrSecret})
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := relays[0], key.Generate()

	first, second := nostrOffer(t, identity.Pair, "https://192.0.2.1:1"), nostrOffer(t, identity.Pair, "https://192.0.2.1:2")
	for _, s := range []*announce.Signed{first, second} {
		if _, err := ours.Publish(t.Context(), s); err != nil {
			t.Fatalf("Publish: %v", err)
		}
	}
	var events []nostrEvent
	nostrTools(t, &events, nil, "collect", url, "31474")
	if len(events) != 1 || events[0].Content != string(second.Envelope()) {
		t.Fatalf("nostr-tools collected %+v; want the second offer alone", events)
	}

	// As the original writes it: members in its own order.
	var members map[string]json.RawMessage
	s := nostrOffer(t, theirs, "http://192.0.2.2:1")
	if err := json.Unmarshal(s.Envelope(), &members); err != nil {
		t.Fatal(err)
	}
	content := fmt.Sprintf(`{"signature":%s, "announcement":%s}`, members["signature"], members["announcement"])
	var published nostrEvent
	nostrTools(t, &published, nostrEvent{
		Secret: strings.Repeat("33", 32), Kind: 31474, CreatedAt: time.Now().Unix(), Content: content,
		Tags: [][]string{{"d", "lobstah-peer"}, {"t", "lobstah"}, {"lobstah_pubkey", theirs.ID().String()}},
	}, "publish", url)
	found := collected(t, ours)
	if len(found) != 2 || found[second.URL] == nil || found[s.URL] == nil || string(found[s.URL].Envelope()) != string(s.Envelope()) {
		t.Errorf("we collected %v", found)
	}

	if err := ours.Withdraw(t.Context(), announce.Withdraw(identity.Pair, time.Now())); err != nil {
		t.Fatalf("Withdraw: %v", err)
	}
	nostrTools(t, &events, nil, "collect", url, "31474")
	if len(events) != 1 || events[0].ID != published.ID {
		t.Errorf("after our withdrawal nostr-tools collected %+v", events)
	}
	nostrTools(t, &published, nostrEvent{
		Secret: strings.Repeat("33", 32), Kind: 5, CreatedAt: time.Now().Unix(), Content: "lobstah unannounce", Tags: [][]string{{"e", published.ID}},
	}, "publish", url)
	if found := collected(t, ours); len(found) != 0 {
		t.Errorf("after their withdrawal we collected %v", found)
	}
}

// TestNostrReceipts does the same with receipts.
func TestNostrReceipts(t *testing.T) {
	url := startRelay(t)
	identity, err := key.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	relays, err := nostr.Relays([]string{url}, nostr.Config{Secret: identity.NostrSecret})
	if err != nil {
		t.Fatal(err)
	}
	bill := func(pair key.Pair) *receipt.Signed {
		s, err := receipt.Sign(pair, receipt.Receipt{
			JobID: receipt.NewJobID(), Nonce: receipt.NewNonce(), Requester: receipt.Anonymous, Worker: pair.ID(),
			Model: "m", InputTokens: 7, OutputTokens: 2, StartedAt: time.Now(), CompletedAt: time.Now(),
		})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	ours, theirs := bill(identity.Pair), bill(key.Generate())
	if err := relays[0].PublishReceipt(t.Context(), ours); err != nil {
		t.Fatalf("PublishReceipt: %v", err)
	}
	var published nostrEvent
	nostrTools(t, &published, nostrEvent{
		Secret: strings.Repeat("33", 32), Kind: 1474, CreatedAt: time.Now().Unix(), Content: string(theirs.Envelope()), Tags: [][]string{{"t", "lobstah-receipt"}},
	}, "publish", url)
	var events []nostrEvent
	nostrTools(t, &events, nil, "collect", url, "1474")
	if len(events) != 2 {
		t.Errorf("nostr-tools collected %+v", events)
	}
	nonces := map[string]bool{}
	if err := nostr.Receipts(t.Context(), relays, func(s *receipt.Signed) { nonces[s.Nonce] = true }); err != nil {
		t.Fatalf("Receipts: %v", err)
	}
	if len(nonces) != 2 || !nonces[ours.Nonce] || !nonces[theirs.Nonce] {
		t.Errorf("we collected %v", nonces)
	}
}

package worker

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"lobstah/grid"
	"lobstah/key"
	"lobstah/receipt"
)

const (
	lan     = "192.0.2.7:4000"
	nobody1 = "198.51.100.1:4000"
)

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// TestWhoIsServed goes through every way of saying who one is.
func TestWhoIsServed(t *testing.T) {
	t.Parallel()
	named := header(receipt.RequesterHeader, peer.ID().String())
	tests := []struct {
		name   string
		from   string // address; empty for loopback
		open   bool
		sign   []func(*http.Request)
		status int
		code   string
		says   string // part of the refusal
		as     string // requester of the receipt
	}{
		{name: "loopback, unsigned", status: 200, as: "anonymous"},
		{name: "loopback, unsigned, naming a key", sign: []func(*http.Request){named}, status: 200, as: "anonymous"},
		{name: "loopback, signed by a stranger", sign: []func(*http.Request){signedBy(stranger1)}, status: 200, as: stranger1.ID().String()},
		{name: "loopback, through a proxy", sign: []func(*http.Request){header("X-Forwarded-For", "203.0.113.9")}, status: 403, code: "not_local", says: "X-Forwarded-For"},
		{name: "loopback, from a web page", sign: []func(*http.Request){header("Origin", "https://evil.example")}, status: 403, code: "not_local", says: "evil.example"},
		{name: "loopback, from a local page", sign: []func(*http.Request){header("Origin", "http://localhost:3000")}, status: 200, as: "anonymous"},
		{name: "loopback, rebound name", sign: []func(*http.Request){func(r *http.Request) { r.Host = "evil.example:17474" }}, status: 403, code: "not_local", says: "evil.example"},
		{name: "remote, unsigned", from: lan, status: 403, code: "unsigned_request", says: "lobstah allow PUBKEY"},
		{name: "remote, naming a key", from: lan, sign: []func(*http.Request){named}, status: 403, code: "unsigned_request", says: "--legacy"},
		{name: "remote, garbage name", from: lan, sign: []func(*http.Request){header(receipt.RequesterHeader, "not-a-key")}, status: 403, code: "unsigned_request"},
		{name: "remote, allowed key", from: lan, sign: []func(*http.Request){signedBy(peer)}, status: 200, as: peer.ID().String()},
		{name: "remote, own key", from: lan, sign: []func(*http.Request){signedBy(workerPair)}, status: 200, as: workerPair.ID().String()},
		{name: "remote, unknown key", from: lan, sign: []func(*http.Request){signedBy(stranger1)}, status: 403, code: "not_allowed", says: "lobstah allow " + stranger1.ID().String()},
		{name: "legacy address", from: "192.0.2.99:5", sign: []func(*http.Request){named}, status: 200, as: peer.ID().String()},
		{name: "legacy address, another key", from: "192.0.2.99:5", sign: []func(*http.Request){header(receipt.RequesterHeader, stranger1.ID().String())}, status: 403, code: "unsigned_request"},
		{name: "legacy address, no key", from: "192.0.2.99:5", status: 403, code: "unsigned_request"},
		{name: "open, unsigned", from: nobody1, open: true, status: 200, as: "anonymous"},
		{name: "open, naming a key", from: nobody1, open: true, sign: []func(*http.Request){named}, status: 200, as: "anonymous"},
		{name: "open, unknown key", from: nobody1, open: true, sign: []func(*http.Request){signedBy(stranger1)}, status: 200, as: stranger1.ID().String()},
		{name: "signed for another worker", from: lan, sign: []func(*http.Request){signedAt(peer, stranger1.ID(), time.Now())}, status: 401, code: "bad_signature", says: workerPair.ID().String()},
		{name: "late", from: lan, sign: []func(*http.Request){signedOff(peer, -301*time.Second)}, status: 401, code: "stale_signature"},
		{name: "early", from: lan, sign: []func(*http.Request){signedOff(peer, 10*time.Minute)}, status: 401, code: "stale_signature"},
		{name: "almost early", from: lan, sign: []func(*http.Request){signedOff(peer, 290*time.Second)}, status: 200, as: peer.ID().String()},
		{name: "another's name", from: lan, sign: []func(*http.Request){signedBy(stranger1), named}, status: 401, code: "bad_signature"},
		{name: "signature without a name", from: lan, sign: []func(*http.Request){signedBy(peer), func(r *http.Request) { r.Header.Del(receipt.RequesterHeader) }}, status: 401, code: "bad_signature"},
		{name: "garbage signature", from: lan, sign: []func(*http.Request){named, header(receipt.SignatureHeader, "v1;x")}, status: 401, code: "bad_signature"},
		{name: "another path", from: lan, sign: []func(*http.Request){func(r *http.Request) { r.URL.Path = "/v1/completions" }, signedBy(peer), func(r *http.Request) { r.URL.Path = chatPath }}, status: 401, code: "bad_signature"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e, l := says(wholeChat, chatStream), &fakeLedger{}
			w := newTestWorker(e, l, func(c *Config) {
				c.Open = tt.open
				c.Admission = friends{
					labels: map[key.ID]string{peer.ID(): "friend"},
					legacy: map[netip.Addr]key.ID{netip.MustParseAddr("192.0.2.99"): peer.ID()},
				}
			})
			w.started = w.started.Add(-time.Hour) // the table was signed before
			h := http.Handler(w)
			if tt.from != "" {
				h = remote(w, tt.from)
			}
			got := do(t, post(t, serve(t, h), chatPath, chatBody, tt.sign...))
			if got.status != tt.status {
				t.Fatalf("status %d %s; want %d", got.status, got.body, tt.status)
			}
			if tt.status == 200 {
				if s := l.receipts(); len(s) != 1 || s[0].Requester != tt.as {
					t.Errorf("receipts %+v; want one for %s", s, tt.as)
				}
				return
			}
			if e.count() != 0 {
				t.Error("the engine was asked")
			}
			checkFault(t, got, tt.code, tt.says)
		})
	}
}

// checkFault wants OpenAI's error shape and the server's time in every 401.
func checkFault(t *testing.T, got response, code, says string) {
	t.Helper()
	var b struct {
		Error struct {
			Message    string
			Type       string
			Code       string
			ServerTime int64
		}
	}
	if err := json.Unmarshal([]byte(got.body), &b); err != nil || b.Error.Message == "" || b.Error.Type == "" {
		t.Fatalf("not OpenAI's error shape: %s", got.body)
	}
	if b.Error.Code != code || !strings.Contains(b.Error.Message, says) {
		t.Errorf("got %s; want code %s and %q", got.body, code, says)
	}
	if got.status == 401 {
		if age := time.Since(time.UnixMilli(b.Error.ServerTime)).Abs(); age > time.Minute {
			t.Errorf("serverTime is %s away", age)
		}
		if got.header.Get(grid.TimeHeader) != strconv.FormatInt(b.Error.ServerTime, 10) {
			t.Errorf("%s: %q", grid.TimeHeader, got.header.Get(grid.TimeHeader))
		}
	}
}

func TestSignatureCoversBody(t *testing.T) {
	t.Parallel()
	url := serve(t, remote(newTestWorker(says(wholeChat, ""), &fakeLedger{}, nil), lan))
	signed := post(t, url, chatPath, chatBody, signedBy(peer))
	other := post(t, url, chatPath, strings.Replace(chatBody, "hi", "ho", 1))
	other.Header = signed.Header
	checkFault(t, do(t, other), "bad_signature", "not made by")
}

func TestReplayIsRefused(t *testing.T) {
	t.Parallel()
	l := &fakeLedger{}
	url := serve(t, remote(newTestWorker(says(wholeChat, ""), l, nil), lan))
	first := post(t, url, chatPath, chatBody, signedBy(peer))
	if got := do(t, first); got.status != 200 {
		t.Fatalf("first: %d %s", got.status, got.body)
	}
	again := post(t, url, chatPath, chatBody)
	again.Header = first.Header
	checkFault(t, do(t, again), "replayed_signature", "before")
	if n := len(l.receipts()); n != 1 {
		t.Errorf("%d receipts; want 1", n)
	}
}

// A request recorded before a restart is not served again after it.
func TestReplayAcrossRestart(t *testing.T) {
	t.Parallel()
	now := time.Now()
	url := serve(t, remote(newTestWorker(says(wholeChat, ""), nil, func(c *Config) {
		c.Now = func() time.Time { return now }
	}), lan))
	got := do(t, post(t, url, chatPath, chatBody, signedAt(peer, workerPair.ID(), now.Add(-time.Second))))
	checkFault(t, got, "stale_signature", "started")
}

func TestConnectionProvesKey(t *testing.T) {
	t.Parallel()
	l := &fakeLedger{}
	url := serve(t, remote(newTestWorker(says(wholeChat, ""), l, func(c *Config) {
		c.Connection = func(*http.Request) (key.ID, bool) { return peer.ID(), true }
	}), "mesh"))
	if got := do(t, post(t, url, chatPath, chatBody)); got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if s := l.receipts(); len(s) != 1 || s[0].Requester != peer.ID().String() || s[0].RequestSignature != "" {
		t.Errorf("receipts %+v", s)
	}
}

// A signature says more than a connection: it makes the debt two-sided.
func TestSignatureGoesBeforeConnection(t *testing.T) {
	t.Parallel()
	l := &fakeLedger{}
	url := serve(t, remote(newTestWorker(says(wholeChat, ""), l, func(c *Config) {
		c.Connection = func(*http.Request) (key.ID, bool) { return stranger1.ID(), true }
	}), "mesh"))
	if got := do(t, post(t, url, chatPath, chatBody, signedBy(peer))); got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if s := l.receipts(); len(s) != 1 || s[0].Requester != peer.ID().String() || s[0].Countersigned() != nil {
		t.Errorf("receipts %+v", s)
	}
}

func TestNonces(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	proof := func(at time.Time) receipt.Proof { return receipt.Proof{Time: at, Nonce: receipt.NewNonce()} }
	n := newNonces()
	n.limit = 100

	p := proof(now)
	if got := n.add(peer.ID(), p, now); got != nonceNew {
		t.Errorf("first: %v", got)
	}
	if got := n.add(peer.ID(), p, now); got != nonceSeen {
		t.Errorf("again: %v", got)
	}
	if got := n.add(stranger1.ID(), p, now); got != nonceNew {
		t.Errorf("another requester's same nonce: %v", got)
	}
	early := proof(now.Add(receipt.Window))
	n.add(peer.ID(), early, now)
	for range 97 {
		n.add(peer.ID(), proof(now), now)
	}
	if got := n.add(peer.ID(), proof(now), now); got != nonceFull {
		t.Errorf("with 100 remembered: %v; want full", got)
	}
	if got := n.add(peer.ID(), p, now); got != nonceSeen {
		t.Errorf("full, and a replay: %v; want seen", got)
	}
	// All that was signed now is stale six minutes on; what was signed for then is not.
	then := now.Add(6 * time.Minute)
	if got := n.add(peer.ID(), proof(then), then); got != nonceNew {
		t.Errorf("after the window: %v", got)
	}
	if got := n.add(peer.ID(), early, then); got != nonceSeen {
		t.Errorf("the one signed early: %v; want seen", got)
	}
	if n.count != 2 {
		t.Errorf("%d remembered; want 2", n.count)
	}
}

package worker

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"lobstah/key"
)

// thirty is an answer of 30 tokens.
var thirty = strings.NewReplacer(`"prompt_tokens":7`, `"prompt_tokens":10`, `"completion_tokens":2`, `"completion_tokens":20`).Replace(wholeChat)

func TestStrangersHaveAnAllowance(t *testing.T) {
	t.Parallel()
	e, l := says(thirty, ""), &fakeLedger{balances: map[key.ID]int64{stranger1.ID(): -9950}} // 50 left
	url := serve(t, remote(newTestWorker(e, l, func(c *Config) { c.Open = true }), nobody1))
	for i, want := range []int{200, 200, 402} {
		got := do(t, post(t, url, chatPath, chatBody, signedBy(stranger1)))
		if got.status != want {
			t.Fatalf("call %d: %d %s; want %d", i, got.status, got.body, want)
		}
		if want == 402 {
			checkNoCredit(t, got, -10, stranger1.ID().String())
		}
	}
	if e.count() != 2 {
		t.Errorf("the engine was asked %d times; want 2", e.count())
	}
	for i := range 5 { // each key proves itself and has its own
		pair := key.FromSeed([32]byte{100, byte(i)})
		if got := do(t, post(t, url, chatPath, chatBody, signedBy(pair))); got.status != 200 {
			t.Errorf("new key %d: %d %s", i, got.status, got.body)
		}
	}
}

func checkNoCredit(t *testing.T, got response, left int64, who string) {
	t.Helper()
	var b struct {
		Error struct {
			Type            string
			Message         string
			AvailableTokens int64
			RequesterPubkey string
		}
	}
	if err := json.Unmarshal([]byte(got.body), &b); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("requester has %d tokens of available credit (>0 required)", left)
	if b.Error.Type != "insufficient_credit" || !strings.HasPrefix(b.Error.Message, want) || b.Error.AvailableTokens != left || b.Error.RequesterPubkey != who {
		t.Errorf("got %s; want %d left for %s", got.body, left, who)
	}
}

func TestFriendsOweWithoutLimitUnlessCredit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		credit, owed int64
		want         int
	}{
		{0, 1 << 40, 200},
		{100, 99, 200},
		{100, 100, 402},
		{100, 250, 402},
	} {
		l := &fakeLedger{owed: map[key.ID]int64{peer.ID(): tt.owed}}
		url := serve(t, remote(newTestWorker(says(thirty, ""), l, func(c *Config) { c.Credit = tt.credit }), lan))
		got := do(t, post(t, url, chatPath, chatBody, signedBy(peer)))
		if got.status != tt.want {
			t.Errorf("credit %d, owed %d: %d %s; want %d", tt.credit, tt.owed, got.status, got.body, tt.want)
		}
		if tt.want == 402 {
			checkNoCredit(t, got, tt.credit-tt.owed, peer.ID().String())
		}
	}
}

// Leaving the header out, or writing another text into it, gives nobody more
// under --open: all unsigned requests share one allowance.
func TestAnonymousStrangersShare(t *testing.T) {
	t.Parallel()
	huge := strings.Replace(wholeChat, `"completion_tokens":2`, `"completion_tokens":10000`, 1)
	w := newTestWorker(says(huge, ""), &fakeLedger{}, func(c *Config) { c.Open = true })
	url := serve(t, remote(w, nobody1))
	if got := do(t, post(t, url, chatPath, chatBody)); got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	got := do(t, post(t, url, chatPath, chatBody, header("X-Lobstah-Requester", "new-text")))
	if got.status != 402 {
		t.Fatalf("%d %s; want 402", got.status, got.body)
	}
	checkNoCredit(t, got, -7, "anonymous")
	if got := do(t, post(t, url, chatPath, chatBody, signedBy(stranger1))); got.status != 200 {
		t.Errorf("signed: %d %s; want its own allowance", got.status, got.body)
	}
}

func TestCommonsRefills(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	c := newCommons(now)
	c.spend(now, 15_000)
	if got := c.left(now); got != -5000 {
		t.Errorf("at once: %d; want -5000", got)
	}
	if got := c.left(now.Add(time.Hour)); got != 5000 {
		t.Errorf("after an hour: %d; want 5000", got)
	}
	if got := c.left(now.Add(100 * time.Hour)); got != allowance {
		t.Errorf("after days: %d; want %d", got, allowance)
	}
	if got := c.left(now); got != allowance {
		t.Errorf("after the clock went back: %d; want no change", got)
	}
}

// A guest gets the model that was lent to it, by whatever name it asks, and no
// other; the others get every model.
func TestGuestsAreHeldToTheirModels(t *testing.T) {
	t.Parallel()
	const model = "llama3.1:8b"
	for _, tt := range []struct {
		lent string
		by   key.Pair
		addr string
		want int
	}{
		{model, peer, lan, 200},
		{"another:1b", peer, lan, 403},
		{"another:1b", peer, "127.0.0.1:1", 403}, // being on this machine is no way around
		{"another:1b", workerPair, lan, 200},     // the owner itself
	} {
		e := says(thirty, "")
		w := newTestWorker(e, &fakeLedger{}, func(c *Config) {
			c.Admission = friends{labels: map[key.ID]string{peer.ID(): "guest"}, models: map[key.ID]string{peer.ID(): tt.lent}}
		})
		url := serve(t, remote(w, tt.addr))
		got := do(t, post(t, url, chatPath, chatBody, signedBy(tt.by)))
		if got.status != tt.want || tt.want == 403 && !strings.Contains(got.body, "model_not_allowed") {
			t.Errorf("%q lent to %s at %s: %d %s; want %d", tt.lent, tt.by.ID().Short(), tt.addr, got.status, got.body, tt.want)
		}
		if asked := e.count() > 0; asked != (tt.want == 200) {
			t.Errorf("%q lent: the engine was asked: %v", tt.lent, asked)
		}
	}
}

// A guest is told of the models that were lent to it and of no others, not even
// by a refusal.
func TestGuestsSeeTheirModelsAlone(t *testing.T) {
	t.Parallel()
	w := newTestWorker(says(thirty, ""), &fakeLedger{}, func(c *Config) {
		c.Admission = friends{labels: map[key.ID]string{peer.ID(): "guest", stranger1.ID(): "friend"}, models: map[key.ID]string{peer.ID(): "qwen2.5:7b"}}
	})
	url := serve(t, remote(w, lan))
	for _, path := range []string{"/capacity", "/v1/models"} {
		for _, tt := range []struct {
			by    key.Pair
			other bool
		}{{peer, false}, {stranger1, true}, {workerPair, true}} {
			got := get(url+path, signedBy(tt.by))(t)
			if got.status != 200 || !strings.Contains(got.body, "qwen2.5:7b") || strings.Contains(got.body, "llama3.1:8b") != tt.other {
				t.Errorf("%s for %s: %d %s", path, tt.by.ID().Short(), got.status, got.body)
			}
		}
	}
	for i, by := range []key.Pair{peer, stranger1} {
		other := i == 1
		got := do(t, post(t, url, chatPath, strings.ReplaceAll(chatBody, "llama3.1:8b", "llama3.1:9b"), signedBy(by)))
		if got.status != 404 || !strings.Contains(got.body, "qwen2.5:7b") || strings.Contains(got.body, "llama3.1:8b") != other {
			t.Errorf("a typo of %s: %d %s", by.ID().Short(), got.status, got.body)
		}
	}
}

package router

import (
	"regexp"
	"strings"
	"testing"
	"testing/synctest"

	"lobstah/grid"
	"lobstah/key"
	"lobstah/openai"
)

func TestMetrics(t *testing.T) {
	t.Parallel()
	inWorld(t, 1, nil, func(t *testing.T, w *world) {
		pair := key.FromSeed([32]byte{7})
		odd := w.add(pair, grid.Peer{ID: pair.ID(), URL: "http://192.0.2.7:17474", Label: `a "b" \ c`})
		odd.setDark(true)
		w.repoll()
		w.repoll()
		if got := w.chat(askWhole); got.status != 200 {
			t.Fatalf("status %d: %s", got.status, got.body)
		}
		if got := w.chat(askStream); got.status != 200 {
			t.Fatalf("status %d: %s", got.status, got.body)
		}
		synctest.Wait() // the receipts are kept
		page := w.get("/metrics")
		if got, want := page.header.Get("Content-Type"), "text/plain; version=0.0.4; charset=utf-8"; page.status != 200 || got != want {
			t.Fatalf("got %d %q, want 200 %q", page.status, got, want)
		}
		w1, other := w.workers[0].peer.ID.String(), pair.ID().String()
		for _, want := range []string{
			"lobstah_requests_total 2",
			"lobstah_requests_in_flight 0",
			"lobstah_requests_unanswered_total 0",
			`lobstah_tokens_total{direction="input"} 14`,
			`lobstah_tokens_total{direction="output"} 4`,
			`lobstah_receipts_total{result="accepted"} 2`,
			`lobstah_receipts_total{result="missing"} 0`,
			`lobstah_peer_ready{peer="w1",key="` + w1 + `"} 1`,
			`lobstah_peer_ready{peer="a \"b\" \\ c",key="` + other + `"} 0`,
		} {
			if !strings.Contains(page.body, "\n"+want+"\n") {
				t.Errorf("%s is not in\n%s", want, page.body)
			}
		}
		line := regexp.MustCompile(`^(# (HELP|TYPE) lobstah_[a-z_]+ .+|lobstah_[a-z_]+(\{[a-z]+="([^"\\]|\\["\\n])*"(,[a-z]+="([^"\\]|\\["\\n])*")*\})? [0-9.e+-]+)$`)
		for text := range strings.Lines(page.body) {
			if !line.MatchString(strings.TrimSuffix(text, "\n")) {
				t.Errorf("%q is no line of the format", text)
			}
		}
	})
}

func TestTokensOfLiars(t *testing.T) {
	t.Parallel()
	var c counters
	c.used(openai.Usage{Input: -5, Output: 1 << 62})
	c.used(openai.Usage{Input: 3, Output: 1 << 62})
	if in, out := c.input.Load(), c.output.Load(); in != 3 || out != 2<<40 {
		t.Errorf("counted %d and %d tokens, want 3 and %d", in, out, int64(2<<40))
	}
}

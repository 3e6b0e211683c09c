package tracker

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"lobstah/grid"
	"lobstah/grid/announce"
	"lobstah/key"
)

// a clock is set by hand.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.UnixMilli(1790000000000)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// start makes a tracker on a clock, with no limits of rate but those that
// change sets.
func start(t testing.TB, change func(*Config)) (*Tracker, *clock) {
	t.Helper()
	c := newClock()
	config := Config{
		Now: c.now, Logger: slog.New(slog.DiscardHandler),
		Announces: Rate{Burst: 1}, Renewals: Rate{Burst: 1}, Reads: Rate{Burst: 1}, // no time between two: no limit
	}
	if change != nil {
		change(&config)
	}
	if config.Store == nil {
		config.Store = NewMemory(c.now)
	}
	return New(config), c
}

func pair(n byte) key.Pair { return key.FromSeed([32]byte{n}) }

// offer is what worker n announces now.
func offer(n byte, at time.Time, models ...string) announce.Offer {
	return announce.Offer{
		ID: pair(n).ID(), URL: "http://192.0.2.1:17474", Label: "box " + string(rune('a'+n)), Models: models,
		TTL: 5 * time.Minute, AnnouncedAt: at,
	}
}

func signed(t testing.TB, n byte, o announce.Offer) []byte {
	t.Helper()
	s, err := announce.Sign(pair(n), o)
	if err != nil {
		t.Fatal(err)
	}
	return s.Envelope()
}

type answer struct {
	status int
	body   string
	header http.Header
}

func do(t testing.TB, h http.Handler, method, target string, body []byte, header ...string) answer {
	t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(string(body)))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
		if header[i] == "RemoteAddr" {
			r.RemoteAddr = header[i+1]
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	got, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{w.Code, string(got), w.Header()}
}

func post(t testing.TB, h http.Handler, path string, body []byte, header ...string) answer {
	t.Helper()
	return do(t, h, "POST", path, body, header...)
}

// mustAnnounce lists an offer.
func mustAnnounce(t testing.TB, h http.Handler, n byte, o announce.Offer) {
	t.Helper()
	if a := post(t, h, "/announce", signed(t, n, o)); a.status != 200 {
		t.Fatalf("announce: %d %s", a.status, a.body)
	}
}

// facts gives a model capabilities.
func facts(model string, capabilities ...string) []grid.Model {
	return []grid.Model{{ID: model, Capabilities: capabilities}}
}

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

func requestFrom(remote, forwarded string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = remote
	if forwarded != "" {
		r.Header.Set("X-Forwarded-For", forwarded)
	}
	return r
}

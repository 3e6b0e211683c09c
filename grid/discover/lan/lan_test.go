package lan

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"lobstah/grid"
	"lobstah/grid/announce"
	"lobstah/grid/discover"
	"lobstah/key"
)

func offer(t testing.TB, p key.Pair, url string) *announce.Signed {
	t.Helper()
	s, err := announce.Sign(p, announce.Offer{ID: p.ID(), URL: url, Models: []string{"m"}, TTL: 5 * time.Minute, AnnouncedAt: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestHandler(t *testing.T) {
	t.Parallel()
	b := NewBoard(1, nil)
	get := func(method string) (int, string) {
		w := httptest.NewRecorder()
		b.ServeHTTP(w, httptest.NewRequest(method, Path, nil))
		return w.Code, w.Body.String()
	}
	if status, body := get("GET"); status != 404 || !strings.Contains(body, `"error"`) {
		t.Errorf("without an offer: %d %s", status, body)
	}
	b.offer = offer(t, pair(1), "https://h:1")
	if status, body := get("GET"); status != 200 || body != string(b.offer.Envelope()) {
		t.Errorf("with an offer: %d %s", status, body)
	}
	if status, _ := get("POST"); status != 405 {
		t.Errorf("POST: %d", status)
	}
}

// machine is a TLS server that proves a key and answers what it is told to.
func machine(t *testing.T, p key.Pair, handler http.HandlerFunc) uint16 {
	t.Helper()
	config, err := p.ServerTLS()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.Listener = tls.NewListener(server.Listener, config)
	server.Start()
	t.Cleanup(server.Close)
	return uint16(server.Listener.Addr().(*net.TCPAddr).Port)
}

// pinned reaches a peer that proves its key, on loopback too.
func pinned(p grid.Peer) http.RoundTripper {
	return &http.Transport{TLSClientConfig: key.PinnedTLS(p.ID), DisableKeepAlives: true}
}

// Hints are nothing but hints: whoever they name has to prove itself, and only
// what it signed counts.
func TestVisit(t *testing.T) {
	t.Parallel()
	honest := offer(t, pair(1), "https://elsewhere:1")
	give := func(text []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != Path {
				http.NotFound(w, r)
			} else {
				w.Write(text)
			}
		}
	}
	stale, err := announce.Sign(pair(1), announce.Offer{ID: pair(1).ID(), URL: "https://h:1", TTL: time.Minute, AnnouncedAt: time.Now().Add(-time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	good := machine(t, pair(1), func(w http.ResponseWriter, r *http.Request) {
		asked++
		give(honest.Envelope())(w, r)
	})
	heard := func(id key.ID, port uint16) voice {
		return voice{hint{id: id, tag: "t", port: port, addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}, "lo"}
	}
	s := NewSource(Config{Reach: pinned})
	r, ok := s.visit(t.Context(), heard(pair(1).ID(), good), nil)
	want := discover.Found{Offer: r.found.Offer, Origin: grid.FromLAN, Where: "lo", URL: fmt.Sprintf("https://127.0.0.1:%d", good)}
	if !ok || r.found != want || string(r.found.Offer.Envelope()) != string(honest.Envelope()) {
		t.Fatalf("found %+v, %v", r, ok)
	}
	// What did not change is not fetched again, unless it is over.
	last := map[key.ID]reached{pair(1).ID(): r}
	if again, ok := s.visit(t.Context(), heard(pair(1).ID(), good), last); !ok || again != r || asked != 1 {
		t.Errorf("again: %+v, %v, asked %d times", again, ok, asked)
	}
	s.config.Now = func() time.Time { return time.Now().Add(10 * time.Minute) }
	if again, ok := s.visit(t.Context(), heard(pair(1).ID(), good), last); ok || asked != 2 {
		t.Errorf("when it is over: %+v, asked %d times", again, asked)
	}
	s.config.Now = time.Now

	for name, v := range map[string]voice{
		"another's machine": heard(pair(2).ID(), good),
		"another's offer":   heard(pair(2).ID(), machine(t, pair(2), give(honest.Envelope()))),
		"a stale offer":     heard(pair(1).ID(), machine(t, pair(1), give(stale.Envelope()))),
		"a forged offer":    heard(pair(1).ID(), machine(t, pair(1), give([]byte(strings.Replace(string(honest.Envelope()), "elsewhere", "elsewhare", 1))))),
		"a long offer":      heard(pair(1).ID(), machine(t, pair(1), give([]byte(strings.Repeat(" ", 1<<20))))),
		"no offer":          heard(pair(1).ID(), machine(t, pair(1), http.NotFound)),
		"a redirect":        heard(pair(1).ID(), machine(t, pair(1), http.RedirectHandler(fmt.Sprintf("https://127.0.0.1:%d%s", good, Path), http.StatusFound).ServeHTTP)),
		"a plain machine":   heard(pair(1).ID(), uint16(httptestPort(t, give(honest.Envelope())))),
		"nobody":            heard(pair(1).ID(), 1),
	} {
		if r, ok := s.visit(t.Context(), v, nil); ok {
			t.Errorf("%s: found %+v", name, r)
		}
	}
}

func httptestPort(t *testing.T, handler http.HandlerFunc) int {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.Listener.Addr().(*net.TCPAddr).Port
}

// A machine that takes connections and says nothing holds up nobody else.
func TestFetchIsBounded(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	silent := machine(t, pair(2), func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	honest := offer(t, pair(1), "https://h:1")
	good := machine(t, pair(1), func(w http.ResponseWriter, _ *http.Request) { w.Write(honest.Envelope()) })
	local := []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	var heard []voice
	for range fetchers - 1 {
		heard = append(heard, voice{hint{id: pair(2).ID(), port: silent, addrs: local}, "lo"})
	}
	heard = append(heard, voice{hint{id: pair(1).ID(), port: good, addrs: local}, "lo"})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	results := NewSource(Config{Reach: pinned}).fetch(ctx, heard, nil)
	if r := <-results; r.found.Offer == nil || r.found.Offer.ID != pair(1).ID() {
		t.Errorf("found %+v", r)
	}
	stop()
	if r, more := <-results; more {
		t.Errorf("found %+v after it was stopped", r)
	}
}

func TestNoNeighbours(t *testing.T) {
	t.Parallel()
	none := func() ([]net.Interface, error) { return nil, nil }
	if _, err := NewBoard(1, none).Publish(t.Context(), offer(t, pair(1), "https://h:1")); err == nil {
		t.Error("published to nobody")
	}
	if err := NewSource(Config{Interfaces: none}).Collect(t.Context(), func(discover.Found) {}); err == nil {
		t.Error("asked nobody")
	}
	if err := NewBoard(1, none).Withdraw(t.Context(), announce.Withdrawal{}); err != nil {
		t.Errorf("withdrew what was never published: %v", err)
	}
}

func TestFrom(t *testing.T) {
	t.Parallel()
	a := link{own: []netip.Prefix{netip.MustParsePrefix("10.1.0.2/24"), netip.MustParsePrefix("fd01::2/64"), netip.MustParsePrefix("fe80::1/64")}}
	a.Name = "a"
	b := link{own: []netip.Prefix{netip.MustParsePrefix("10.2.0.2/24"), netip.MustParsePrefix("fe80::2/64")}}
	b.Name = "b"
	for addr, want := range map[string]string{
		"10.1.0.9": "a", "10.2.0.255": "b", "::ffff:10.2.0.9": "b", "fd01::9": "a", "fe80::9%b": "b", "fe80::9%c": "", "8.8.8.8": "", "10.3.0.1": "",
	} {
		got := ""
		if l, ok := from([]link{a, b}, netip.MustParseAddr(addr)); ok {
			got = l.Name
		}
		if got != want {
			t.Errorf("%s came by %q; want %q", addr, got, want)
		}
	}
	if got := fmt.Sprint(a.addresses()); got != "[10.1.0.2 fd01::2]" {
		t.Errorf("addresses %s", got)
	}
}

var _ interface {
	discover.Board
	http.Handler
} = (*Board)(nil)

var _ discover.Source = (*Source)(nil)

package tracker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"lobstah/grid"
	"lobstah/grid/announce"
)

// labels asks for the labels of the listed peers, in their order.
func labels(t testing.TB, tracker *Tracker, target string) string {
	t.Helper()
	a := do(t, tracker, "GET", target, nil)
	var list struct {
		Count int
		Peers []struct{ Announcement struct{ Label string } }
	}
	if err := json.Unmarshal([]byte(a.body), &list); err != nil || a.status != 200 {
		t.Fatalf("%s: %d %s: %v", target, a.status, a.body, err)
	}
	var names []string
	for _, p := range list.Peers {
		names = append(names, p.Announcement.Label)
	}
	if list.Count != len(names) {
		t.Errorf("%s: count %d of %d", target, list.Count, len(names))
	}
	return strings.Join(names, ", ")
}

func wantStatus(t testing.TB, what string, a answer, status int, part string) {
	t.Helper()
	if a.status != status || !strings.Contains(a.body, part) {
		t.Errorf("%s: %d %s; want %d with %q", what, a.status, a.body, status, part)
	}
}

func TestOlderNeverReplacesNewer(t *testing.T) {
	tracker, c := start(t, nil)
	old := offer(1, c.now(), "old")
	old.TTL = time.Hour
	first := signed(t, 1, old)
	wantStatus(t, "first", post(t, tracker, "/announce", first), 200, `"registeredCount":1`)
	wantStatus(t, "the same again", post(t, tracker, "/announce", first), 200, `"registeredCount":1`)

	other := offer(1, c.now(), "other")
	wantStatus(t, "another of the same time", post(t, tracker, "/announce", signed(t, 1, other)), 400, "superseded")

	c.pass(10 * time.Second)
	newer := offer(1, c.now(), "new")
	newer.TTL = time.Minute
	wantStatus(t, "newer", post(t, tracker, "/announce", signed(t, 1, newer)), 200, `"ttlSeconds":60`)
	wantStatus(t, "a replay", post(t, tracker, "/announce", first), 400, `"reason":"superseded"`)

	// The newer one is over while the older would still be good.
	c.pass(2 * time.Minute)
	if got := labels(t, tracker, "/peers"); got != "" {
		t.Errorf("listed: %q; want nobody", got)
	}
	wantStatus(t, "a replay after the end", post(t, tracker, "/announce", first), 400, "superseded")
	wantStatus(t, "back", post(t, tracker, "/announce", signed(t, 1, offer(1, c.now(), "m"))), 200, `"registeredCount":1`)
}

func TestWithdrawal(t *testing.T) {
	tracker, c := start(t, nil)
	first := signed(t, 1, offer(1, c.now(), "m"))
	wantStatus(t, "announce", post(t, tracker, "/announce", first), 200, "")
	c.pass(time.Second)
	leave := announce.Withdraw(pair(1), c.now()).JSON()
	wantStatus(t, "withdraw", post(t, tracker, "/unannounce", leave), 200, `"removed":true`)
	wantStatus(t, "a replay of the announcement", post(t, tracker, "/announce", first), 400, "superseded")
	c.pass(time.Second)
	wantStatus(t, "announce anew", post(t, tracker, "/announce", signed(t, 1, offer(1, c.now(), "m"))), 200, "")
	wantStatus(t, "a replay of the withdrawal", post(t, tracker, "/unannounce", leave), 200, `"removed":false`)
	if got := labels(t, tracker, "/peers"); got != "box b" {
		t.Errorf("listed: %q; want the newer one", got)
	}

	// A withdrawal that came before what it withdraws.
	elsewhere := signed(t, 2, offer(2, c.now(), "m"))
	c.pass(time.Second)
	wantStatus(t, "of nobody", post(t, tracker, "/unannounce", announce.Withdraw(pair(2), c.now()).JSON()), 200, `"removed":false`)
	wantStatus(t, "carried here late", post(t, tracker, "/announce", elsewhere), 400, "superseded")
}

func TestEndOfAnOffer(t *testing.T) {
	tracker, c := start(t, nil)
	mustAnnounce(t, tracker, 1, offer(1, c.now(), "m"))
	ahead := offer(2, c.now().Add(5*time.Minute), "m")
	mustAnnounce(t, tracker, 2, ahead)
	c.pass(5 * time.Minute)
	if got := labels(t, tracker, "/peers"); got != "box b, box c" {
		t.Errorf("at the last moment: %q", got)
	}
	c.pass(time.Millisecond)
	for _, target := range []string{"/peers", "/peers?model=m"} {
		if got := labels(t, tracker, target); got != "box c" {
			t.Errorf("%s a moment later: %q", target, got)
		}
	}
	c.pass(time.Second)
	wantStatus(t, "count", do(t, tracker, "GET", "/", nil), 200, "(live peers: 1)")
	c.pass(24 * time.Hour)
	wantStatus(t, "count", do(t, tracker, "GET", "/", nil), 200, "(live peers: 0)")
}

func TestRefusals(t *testing.T) {
	tracker, c := start(t, func(c *Config) {
		c.Allow = func(p grid.Peer) error {
			if strings.Contains(p.URL, "127.") {
				return errors.New("not there")
			}
			return nil
		}
	})
	late, early, here := offer(1, c.now().Add(-301*time.Second)), offer(1, c.now().Add(301*time.Second)), offer(1, c.now())
	here.URL = "http://127.0.0.1:1"
	statement := fmt.Sprintf(`{"announcedAt":%d,"pubkey":%q,"ttlSeconds":-1,"url":"http://h","version":1}`, c.now().UnixMilli(), pair(1).ID())
	malformed := fmt.Sprintf(`{"announcement":%s,"signature":"%x"}`, statement, pair(1).Sign([]byte(statement)))
	for _, test := range []struct {
		name, path, body string
		status           int
		part             string
	}{
		{"stale", "/announce", string(signed(t, 1, late)), 400, `{"error":{"type":"rejected","reason":"stale"}}`},
		{"future", "/announce", string(signed(t, 1, early)), 400, `{"error":{"type":"rejected","reason":"future"}}`},
		{"loopback", "/announce", string(signed(t, 1, here)), 400, `"reason":"unsafe-url"`},
		{"malformed", "/announce", malformed, 400, `ttlSeconds: want a whole number`},
		{"too large", "/announce", strings.Repeat(" ", announce.MaxBytes+1), 413, "16384 bytes"},
		{"a large withdrawal", "/unannounce", strings.Repeat(" ", 1<<10+1), 413, "1024 bytes"},
		{"no JSON to withdraw", "/unannounce", "{nope", 400, `{"error":{"type":"bad_json"}}`},
	} {
		wantStatus(t, test.name, post(t, tracker, test.path, []byte(test.body)), test.status, test.part)
	}
	for _, request := range []string{"PUT /announce", "GET /announce", "DELETE /peers", "OPTIONS /announce", "POST /peers", "GET /peers/"} {
		method, path, _ := strings.Cut(request, " ")
		wantStatus(t, request, do(t, tracker, method, path, nil), 404, "404 Not Found")
	}
}

func TestFull(t *testing.T) {
	tracker, c := start(t, func(c *Config) { c.MaxPeers, c.MaxShare = 3, 2 })
	from := func(addr string) []string { return []string{"RemoteAddr", addr + ":1"} }
	say := func(n byte, addr string) answer {
		return post(t, tracker, "/announce", signed(t, n, offer(n, c.now(), "m")), from(addr)...)
	}
	wantStatus(t, "first", say(1, "198.51.100.1"), 200, "")
	wantStatus(t, "its neighbour", say(2, "198.51.100.2"), 200, "")
	wantStatus(t, "the share is used up", say(3, "198.51.100.3"), 503, "share_full")
	wantStatus(t, "from elsewhere", say(3, "203.0.113.1"), 200, "")
	wantStatus(t, "full", say(4, "203.0.113.2"), 503, "registry_full")
	c.pass(time.Second)
	wantStatus(t, "a renewal", say(1, "198.51.100.1"), 200, "")
	wantStatus(t, "a stranger's withdrawal", post(t, tracker, "/unannounce", announce.Withdraw(pair(5), c.now()).JSON()), 200, `"removed":false`)

	// A withdrawn key keeps its place until nothing older can be replayed.
	wantStatus(t, "leave", post(t, tracker, "/unannounce", announce.Withdraw(pair(1), c.now()).JSON()), 200, `"removed":true`)
	wantStatus(t, "still full", say(4, "203.0.113.2"), 503, "registry_full")
	c.pass(time.Second)
	wantStatus(t, "back again", say(1, "198.51.100.1"), 200, "")
	c.pass(announce.MaxTTL + 10*time.Minute)
	wantStatus(t, "after an hour", say(4, "203.0.113.2"), 200, `"registeredCount":1`)
}

func TestFullOfBytes(t *testing.T) {
	tracker, c := start(t, func(c *Config) { c.MaxBytes = 1000 })
	wantStatus(t, "small", post(t, tracker, "/announce", signed(t, 1, offer(1, c.now(), "m"))), 200, "")
	c.pass(time.Second)
	big := offer(1, c.now(), strings.Repeat("m", 200), strings.Repeat("n", 200), strings.Repeat("o", 200), strings.Repeat("p", 200))
	wantStatus(t, "grown", post(t, tracker, "/announce", signed(t, 1, big)), 503, "registry_full")
	wantStatus(t, "as small as before", post(t, tracker, "/announce", signed(t, 1, offer(1, c.now(), "m"))), 200, "")
}

func TestRates(t *testing.T) {
	tracker, c := start(t, func(c *Config) {
		c.Announces, c.Renewals, c.Reads = Rate{time.Second, 3}, Rate{10 * time.Second, 2}, Rate{time.Second, 2}
	})
	say := func(n byte, addr string) answer {
		c.pass(time.Millisecond)
		return post(t, tracker, "/announce", signed(t, n, offer(n, c.now(), "m")), "RemoteAddr", addr)
	}
	for range 2 {
		wantStatus(t, "within", say(1, "198.51.100.1:1"), 200, "")
	}
	a := say(1, "198.51.100.99:1")
	wantStatus(t, "the key's bucket is empty", a, 429, "of this key")
	if wait := a.header.Get("Retry-After"); wait != "10" {
		t.Errorf("Retry-After %s; want 10", wait)
	}
	wantStatus(t, "the network's bucket is empty", say(2, "198.51.100.7:1"), 429, "from your network")
	wantStatus(t, "another network", say(2, "[2001:db8::1]:1"), 200, "")
	c.pass(time.Second)
	wantStatus(t, "one more a second", say(3, "198.51.100.1:1"), 200, "")

	read := func() answer { return do(t, tracker, "GET", "/peers?limit=1", nil, "RemoteAddr", "198.51.100.1:1") }
	read()
	wantStatus(t, "reads", read(), 200, "")
	wantStatus(t, "too many reads", read(), 429, "rate_limit")
}

// Whoever leaves the list and comes back finds its bucket as it was.
func TestLeavingFillsNoBucket(t *testing.T) {
	tracker, c := start(t, func(c *Config) { c.Renewals = Rate{10 * time.Minute, 3} })
	say := func() answer {
		c.pass(time.Millisecond)
		return post(t, tracker, "/announce", signed(t, 1, offer(1, c.now(), "m")))
	}
	leave := func() {
		t.Helper()
		wantStatus(t, "leave", post(t, tracker, "/unannounce", announce.Withdraw(pair(1), c.now()).JSON()), 200, `"removed":true`)
	}
	for range 2 {
		wantStatus(t, "within", say(), 200, "")
		leave()
	}
	wantStatus(t, "the last token", say(), 200, "")
	wantStatus(t, "listed, without a token", say(), 429, "of this key")
	leave()
	wantStatus(t, "unlisted, without a token", say(), 429, "of this key")
	c.pass(10 * time.Minute)
	wantStatus(t, "one more", say(), 200, "")
	wantStatus(t, "not two", say(), 429, "of this key")
	c.pass(5*time.Minute + time.Second) // its offer ends
	wantStatus(t, "expired, and no token yet", say(), 429, "of this key")
	c.pass(5 * time.Minute)
	wantStatus(t, "and one more", say(), 200, "")
}

func TestClientBehindAProxy(t *testing.T) {
	tracker, _ := start(t, func(c *Config) { c.Proxies = append(c.Proxies, netip.MustParsePrefix("10.0.0.0/24")) })
	for _, test := range []struct{ remote, forwarded, want string }{
		{"198.51.100.7:1", "203.0.113.9", "198.51.100.0/24"},
		{"10.0.0.1:1", "", "10.0.0.0/24"},
		{"10.0.0.1:1", "192.0.2.1, 203.0.113.9", "203.0.113.0/24"},
		{"10.0.0.1:1", "203.0.113.9, 10.0.0.3", "203.0.113.0/24"},
		{"10.0.0.1:1", "garbage", "10.0.0.0/24"},
		{"[2001:db8:1:2::3]:1", "", "2001:db8:1::/48"},
		{"[::ffff:198.51.100.7]:1", "", "198.51.100.0/24"},
	} {
		r := requestFrom(test.remote, test.forwarded)
		want := networkOf(netip.MustParsePrefix(test.want).Addr())
		if got := tracker.client(r); got != want {
			t.Errorf("from %s for %q: %v; want that of %s", test.remote, test.forwarded, got, test.want)
		}
	}
}

func TestNetworksAreApart(t *testing.T) {
	t.Parallel()
	seen := map[network]string{{}: "no address"}
	for _, same := range [][2]string{
		{"198.51.100.0", "198.51.100.255"}, {"198.51.101.0", "198.51.101.1"}, {"0.0.0.0", "0.0.0.1"},
		{"::", "::1"}, {"2001:db8:1::", "2001:db8:1:ffff::1"}, {"2001:db8:2::", "2001:db8:2::%eth0"}, {"c633:6400::", "c633:6400:0:1::"},
	} {
		n := networkOf(addr(same[0]))
		if before, ok := seen[n]; ok {
			t.Errorf("%s is in the network of %s", same[0], before)
		}
		if seen[n] = same[0]; networkOf(addr(same[1])) != n {
			t.Errorf("%s and %s are apart", same[0], same[1])
		}
	}
}

func TestDialBack(t *testing.T) {
	asked := 0
	var fault error
	tracker, c := start(t, func(c *Config) {
		c.Reach = func(_ context.Context, p grid.Peer) error {
			if p.ID != pair(1).ID() || p.Origin.Trusted() {
				t.Errorf("asked for %+v", p)
			}
			asked++
			return fault
		}
	})
	say := func(url string) answer {
		c.pass(time.Second)
		o := offer(1, c.now(), "m")
		o.URL = url
		return post(t, tracker, "/announce", signed(t, 1, o))
	}
	fault = errors.New("connection refused by secret-host")
	a := say("http://192.0.2.1:1")
	wantStatus(t, "not reached", a, 400, `"reason":"unreachable"`)
	if strings.Contains(a.body, "secret-host") {
		t.Errorf("what the tracker saw there is told: %s", a.body)
	}
	if got := labels(t, tracker, "/peers"); got != "" {
		t.Errorf("listed: %s", got)
	}
	fault = nil
	wantStatus(t, "reached", say("http://192.0.2.1:1"), 200, "")
	wantStatus(t, "again", say("http://192.0.2.1:1"), 200, "")
	if asked != 2 {
		t.Errorf("asked %d times; want 2, since it was reached a second ago", asked)
	}
	wantStatus(t, "elsewhere", say("http://192.0.2.2:1"), 200, "")
	c.pass(probeMemory)
	wantStatus(t, "later", say("http://192.0.2.2:1"), 200, "")
	if asked != 4 {
		t.Errorf("asked %d times; want 4: another place, and after some time", asked)
	}
	fault = errors.New("gone")
	for range 4 {
		say("http://192.0.2.3:1")
	}
	say("http://192.0.2.3:1")
	wantStatus(t, "too often at one place", say("http://192.0.2.3:1"), 429, "to reach 192.0.2.3:1")
}

// failing is a store that is out of order.
type failing struct{ Store }

func (failing) Put(context.Context, Record) (Record, error) { return Record{}, errors.New("no disk") }

func TestStoreFails(t *testing.T) {
	tracker, c := start(t, func(c *Config) { c.Store = failing{} })
	wantStatus(t, "announce", post(t, tracker, "/announce", signed(t, 1, offer(1, c.now(), "m"))), 503, "store_failed")
	wantStatus(t, "withdraw", post(t, tracker, "/unannounce", announce.Withdraw(pair(1), c.now()).JSON()), 503, "store_failed")
	if got := labels(t, tracker, "/peers"); got != "" {
		t.Errorf("listed: %s", got)
	}
}

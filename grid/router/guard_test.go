package router

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"lobstah/grid"
	"lobstah/key"
)

// In the original any web page can post and spend.
func TestWebPagesCannotSpend(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		headers []string
		status  int
		says    string
	}{
		{"a program", nil, 200, ""},
		{"a program that sends JSON as text", []string{"Content-Type", "text/plain"}, 200, ""},
		{"node's fetch", []string{"Sec-Fetch-Mode", "cors"}, 200, ""},
		{"a page elsewhere", []string{"Origin", "https://evil.example"}, 403, "--allow-origin https://evil.example"},
		{"a page elsewhere, as a simple request", []string{"Origin", "https://evil.example", "Content-Type", "text/plain"}, 403, "--allow-origin"},
		{"a page in a sandbox", []string{"Origin", "null"}, 403, "--allow-origin"},
		{"a page that hides its origin", []string{"Sec-Fetch-Site", "cross-site"}, 403, "allow one with --allow-origin URL"},
		{"a page of another port", []string{"Origin", "http://localhost:3000", "Sec-Fetch-Site", "same-site"}, 403, "--allow-origin http://localhost:3000"},
		{"our own page", []string{"Origin", "http://localhost", "Sec-Fetch-Site", "same-origin"}, 200, ""},
		{"a name made to point here", []string{"Host", "evil.example", "Origin", "http://evil.example", "Sec-Fetch-Site", "same-origin"}, 403, "--allow-host evil.example"},
		{"such a name with a port", []string{"Host", "Evil.Example.:17475"}, 403, "--allow-host evil.example"},
		{"another address", []string{"Host", "192.168.1.5:17475"}, 403, "--allow-host 192.168.1.5"},
		{"loopback", []string{"Host", "127.0.0.1:17475"}, 200, ""},
		{"other loopback", []string{"Host", "127.8.9.1"}, 200, ""},
		{"loopback of IPv6", []string{"Host", "[::1]:17475"}, 200, ""},
		{"localhost", []string{"Host", "LOCALHOST:17475"}, 200, ""},
		{"a name under localhost", []string{"Host", "lobstah.localhost"}, 200, ""},
		{"an allowed name", []string{"Host", "box.lan:17475"}, 200, ""},
		{"an allowed page", []string{"Origin", "https://chat.example", "Sec-Fetch-Site", "cross-site"}, 200, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, 1, func(c *Config) {
				c.AllowedHosts, c.AllowedOrigins = []string{"Box.lan"}, []string{"https://chat.example"}
			}, func(t *testing.T, w *world) {
				got := w.chat(askWhole, test.headers...)
				if got.status != test.status || !strings.Contains(got.body, test.says) {
					t.Errorf("got %d %s, want %d %q", got.status, got.body, test.status, test.says)
				}
				if asked := w.workers[0].count() > 0; asked != (test.status == 200) {
					t.Errorf("the worker was asked: %t", asked)
				}
			})
		})
	}
}

func TestPreflightOfAllowedPagesOnly(t *testing.T) {
	t.Parallel()
	inWorld(t, 1, func(c *Config) { c.AllowedOrigins, c.Keys = []string{"https://chat.example"}, []string{"k"} }, func(t *testing.T, w *world) {
		for origin, want := range map[string]int{"https://chat.example": 204, "https://evil.example": 403} {
			got := w.do(t.Context(), http.MethodOptions, "/v1/chat/completions", "", "Origin", origin, "Access-Control-Request-Method", "POST")
			allowed := got.header.Get("Access-Control-Allow-Origin")
			if got.status != want || (allowed == origin) != (want == 204) {
				t.Errorf("%s: %d, allowed %q", origin, got.status, allowed)
			}
		}
	})
}

func TestHostMayBeTheAddressThatTheConnectionCameTo(t *testing.T) {
	t.Parallel()
	g := newGuard(Config{})
	for host, want := range map[string]bool{"192.168.1.5:17475": true, "192.168.1.6:17475": false, "evil.example": false} {
		r := httptest.NewRequest(http.MethodPost, "http://"+host+"/v1/chat/completions", nil)
		local := &net.TCPAddr{IP: net.IPv4(192, 168, 1, 5), Port: 17475}
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, local))
		if got := g.hostAllowed(r); got != want {
			t.Errorf("%s: allowed=%t, want %t", host, got, want)
		}
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		keys    []string
		path    string
		headers []string
		status  int
	}{
		{"none configured, any is accepted", nil, "/v1/models", []string{"Authorization", "Bearer anything"}, 200},
		{"none given", []string{"a", "b"}, "/v1/models", nil, 401},
		{"wrong", []string{"a", "b"}, "/v1/models", []string{"Authorization", "Bearer c"}, 401},
		{"right", []string{"a", "b"}, "/v1/models", []string{"Authorization", "Bearer b"}, 200},
		{"in small letters", []string{"a", "b"}, "/v1/models", []string{"Authorization", "bearer b"}, 200},
		{"of another scheme", []string{"a", "b"}, "/v1/models", []string{"Authorization", "Basic b"}, 401},
		{"in Anthropic's header", []string{"a", "b"}, "/v1/models", []string{"X-Api-Key", "a"}, 200},
		{"not for health", []string{"a"}, "/healthz", nil, 200},
		{"not for health where engines have it", []string{"a"}, "/health", nil, 200},
		{"for the metrics too", []string{"a"}, "/metrics", nil, 401},
		{"for the ledger too", []string{"a"}, "/ledger", nil, 401},
	} {
		inWorld(t, 1, func(c *Config) { c.Keys = test.keys }, func(t *testing.T, w *world) {
			if got := w.do(t.Context(), http.MethodGet, test.path, "", test.headers...); got.status != test.status {
				t.Errorf("%s: got %d %s, want %d", test.name, got.status, got.body, test.status)
			}
		})
	}
}

func TestConfigLacksSomething(t *testing.T) {
	t.Parallel()
	way := func(grid.Peer) http.RoundTripper { return http.DefaultTransport }
	for name, c := range map[string]Config{
		"nothing":     {},
		"no identity": {Peers: &peerList{}, RoundTripper: way},
		"no peers":    {Identity: key.FromSeed([32]byte{1}), RoundTripper: way},
		"no way":      {Identity: key.FromSeed([32]byte{1}), Peers: &peerList{}},
	} {
		if rt, err := New(c); err == nil || rt != nil {
			t.Errorf("%s: New gave %v, %v", name, rt, err)
		}
	}
}

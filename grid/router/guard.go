package router

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"lobstah/openai"
)

// guard keeps web pages and strangers from spending. Browsers tell on every
// page: by Origin and Sec-Fetch-Site when it asks from elsewhere, by the Host
// header when a name was made to point here. Programs send neither, so for them
// the content type does not matter, as with the original.
type guard struct {
	hosts    map[string]bool
	anyHost  bool
	origins  map[string]bool
	anyPage  bool
	crossing *http.CrossOriginProtection
	keys     [][32]byte // SHA-256 of each, so that all comparisons take the same time
}

func newGuard(c Config) *guard {
	g := &guard{
		hosts: map[string]bool{}, origins: map[string]bool{}, crossing: http.NewCrossOriginProtection(),
		anyHost: slices.Contains(c.AllowedHosts, "*"), anyPage: slices.Contains(c.AllowedOrigins, "*"),
	}
	for _, host := range c.AllowedHosts {
		g.hosts[strings.ToLower(strings.TrimSuffix(host, "."))] = true
	}
	for _, origin := range c.AllowedOrigins {
		g.origins[strings.ToLower(strings.TrimSuffix(origin, "/"))] = true
	}
	for _, k := range c.Keys {
		g.keys = append(g.keys, sha256.Sum256([]byte(k)))
	}
	return g
}

// check returns the refusal of a request, nil for none.
func (g *guard) check(w http.ResponseWriter, r *http.Request) *openai.Error {
	if !g.hostAllowed(r) {
		host := hostname(r.Host)
		return forbidden("host_not_allowed",
			fmt.Sprintf("this router does not answer to the name %.100q; allow it with --allow-host %.100s", host, host))
	}
	if origin := r.Header.Get("Origin"); origin != "" && (g.anyPage || g.origins[strings.ToLower(origin)]) {
		allowPage(w.Header(), origin)
	} else if g.crossing.Check(r) != nil || origin != "" && r.Method == http.MethodOptions {
		return forbidden("origin_not_allowed", pageRefused(origin))
	}
	if len(g.keys) > 0 && r.Method != http.MethodOptions && !open(r.URL.Path) && !g.keyAllowed(r.Header) {
		return &openai.Error{
			Status: http.StatusUnauthorized, Type: "invalid_request_error", Code: "invalid_api_key",
			Message: "this router wants one of its API keys: send it as Authorization: Bearer KEY",
		}
	}
	return nil
}

func pageRefused(origin string) string {
	if origin == "" { // its browser only says that it asks from elsewhere
		return "web pages of other sites may not use this router; allow one with --allow-origin URL"
	}
	return fmt.Sprintf("web pages of %.100q may not use this router; allow them with --allow-origin %.100s", origin, origin)
}

// open are the pages that tell nothing.
func open(path string) bool { return path == "/healthz" || path == "/health" || path == "/" }

func (g *guard) hostAllowed(r *http.Request) bool {
	host := hostname(r.Host)
	if g.anyHost || host == "localhost" || host == "127.0.0.1" || g.hosts[host] || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host == "" && r.ProtoMajor == 1 && r.ProtoMinor == 0
	}
	if ip.Unmap().IsLoopback() {
		return true
	}
	// An address cannot be made to point here: that it is the one that the
	// connection came to says that the client knows it.
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ok && local.AddrPort().Addr().Unmap() == ip.Unmap()
}

func hostname(hostport string) string {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	return strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
}

// ShownKey is the API key that a request shows; empty for none.
func ShownKey(h http.Header) string {
	scheme, key, ok := strings.Cut(h.Get("Authorization"), " ")
	if ok && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(key)
	}
	return h.Get("X-Api-Key") // Anthropic's clients
}

func (g *guard) keyAllowed(h http.Header) bool {
	sum := sha256.Sum256([]byte(ShownKey(h)))
	found := 0
	for _, k := range g.keys {
		found |= subtle.ConstantTimeCompare(sum[:], k[:])
	}
	return found == 1
}

func allowPage(h http.Header, origin string) {
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS")
	h.Set("Access-Control-Allow-Headers", "*, Authorization, Content-Type, X-Api-Key")
	h.Set("Access-Control-Expose-Headers", "*")
	h.Add("Vary", "Origin")
}

func forbidden(code, message string) *openai.Error {
	return &openai.Error{Status: http.StatusForbidden, Type: "invalid_request_error", Code: code, Message: message}
}

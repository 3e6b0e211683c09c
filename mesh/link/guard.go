package link

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Limits on strangers. They are counted by address prefix, since a stranger has
// many addresses of one network but not many networks.
const (
	maxUnproven       = 256 // connections that are being proven, at once
	unprovenPerPrefix = 32  // of one prefix, at once
	handshakesPerSec  = 32  // of one prefix
	maxFailures       = 5   // wrong proofs of one address in failureWindow, then it waits for backOff
	failureWindow     = time.Minute
	backOff           = 10 * time.Minute
	maxTracked        = 4096 // prefixes and addresses; when full, one that was long unseen is forgotten
	forgetAmong       = 16
	refusalDelay      = time.Second
)

// guard decides which connections are worth a handshake. The zero value is ready.
type guard struct {
	mu       sync.Mutex
	unproven int
	prefixes map[netip.Prefix]*caller // guarded by mu
}

type caller struct {
	seen     time.Time
	unproven int
	tokens   float64
	failures []time.Time
	until    time.Time // refused before
}

// admit counts a connection in; when it says yes, leave must be called.
func (g *guard) admit(now time.Time, from netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	host := g.caller(now, hostOf(from))
	network := g.caller(now, networkOf(from))
	network.tokens = min(handshakesPerSec, network.tokens+max(0, now.Sub(network.seen).Seconds())*handshakesPerSec)
	host.seen, network.seen = now, now
	if now.Before(host.until) || network.tokens < 1 || network.unproven >= unprovenPerPrefix || g.unproven >= maxUnproven {
		return false
	}
	network.tokens--
	network.unproven++
	g.unproven++
	return true
}

// leave counts a connection out.
func (g *guard) leave(now time.Time, from netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.unproven--
	g.caller(now, networkOf(from)).unproven--
}

// judge remembers whether a connection proved itself.
func (g *guard) judge(now time.Time, from netip.Addr, proven bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	host := g.caller(now, hostOf(from))
	if proven {
		host.failures = nil
		return
	}
	for len(host.failures) > 0 && now.Sub(host.failures[0]) > failureWindow {
		host.failures = host.failures[1:]
	}
	if host.failures = append(host.failures, now); len(host.failures) >= maxFailures {
		host.failures, host.until = nil, now.Add(backOff)
	}
}

func (g *guard) caller(now time.Time, p netip.Prefix) *caller {
	if c := g.prefixes[p]; c != nil {
		return c
	}
	if g.prefixes == nil {
		g.prefixes = map[netip.Prefix]*caller{}
	}
	if len(g.prefixes) >= maxTracked {
		g.forget()
	}
	c := &caller{seen: now, tokens: handshakesPerSec}
	g.prefixes[p] = c
	return c
}

// forget makes room: the longest unseen of a few that come up by chance goes. It
// spares those with connections under way, of which there are few.
func (g *guard) forget() {
	var oldest netip.Prefix
	left := forgetAmong
	for p, c := range g.prefixes {
		if c.unproven == 0 && (!oldest.IsValid() || c.seen.Before(g.prefixes[oldest].seen)) {
			oldest = p
		}
		if left--; left <= 0 && oldest.IsValid() {
			break
		}
	}
	delete(g.prefixes, oldest)
}

// hostOf is one subscriber: an IPv4 address or an IPv6 /64.
func hostOf(a netip.Addr) netip.Prefix {
	if a.Is4() {
		return netip.PrefixFrom(a, 32)
	}
	p, _ := a.Prefix(64) // never fails for an IPv6 address; the zero address has no prefix
	return p
}

// networkOf is an IPv4 /24 or an IPv6 /48. It is kept apart from hostOf by length.
func networkOf(a netip.Addr) netip.Prefix {
	bits := 48
	if a.Is4() {
		bits = 24
	}
	p, _ := a.Prefix(bits)
	return p
}

// Proxies are the addresses of proxies that are believed when they name the client
// by X-Forwarded-For. None are by default: that header is whatever a client writes.
type Proxies []netip.Prefix

func (p Proxies) has(a netip.Addr) bool {
	return slices.ContainsFunc(p, func(prefix netip.Prefix) bool { return prefix.Contains(a) })
}

// callerOf is the address that a connection is from: behind proxies that are
// believed, the last one in the header that is none of them.
func (p Proxies) callerOf(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.IPv6Unspecified() // a listener in memory
	}
	addr = addr.WithZone("").Unmap()
	named := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, text := range slices.Backward(named) {
		next, err := netip.ParseAddr(strings.TrimSpace(text))
		if !p.has(addr) || err != nil {
			break
		}
		addr = next.WithZone("").Unmap()
	}
	return addr
}

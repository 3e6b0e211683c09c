package tracker

import (
	"net/http"
	"net/netip"
	"strings"
)

// A network is an address prefix such as one subscriber commonly gets: IPv4 /24,
// IPv6 /48. It has no pointers, which tables of a hundred thousand should not
// have. The zero network is that of all who came by no address.
type network [7]byte // 4 or 6, then the first bytes of its addresses

func networkOf(addr netip.Addr) network {
	if addr.Is4() {
		a := addr.As4()
		return network{4, a[0], a[1], a[2]}
	}
	a := addr.As16()
	return network{6, a[0], a[1], a[2], a[3], a[4], a[5]}
}

// client is the network that a request came from.
func (t *Tracker) client(r *http.Request) network {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return network{} // no TCP; all of these share
	}
	addr := at.Addr().Unmap()
	if !t.isProxy(addr) {
		return networkOf(addr)
	}
	for forwarded := r.Header.Values("X-Forwarded-For"); t.isProxy(addr) && len(forwarded) > 0; {
		last := forwarded[len(forwarded)-1]
		rest, text, several := cutLast(last)
		if forwarded = forwarded[:len(forwarded)-1]; several {
			forwarded = append(forwarded, rest)
		}
		next, err := netip.ParseAddr(strings.TrimSpace(text))
		if err != nil {
			break
		}
		addr = next.Unmap()
	}
	return networkOf(addr)
}

// cutLast cuts a list at its last comma.
func cutLast(list string) (before, last string, found bool) {
	i := strings.LastIndexByte(list, ',')
	if i < 0 {
		return "", list, false
	}
	return list[:i], list[i+1:], true
}

func (t *Tracker) isProxy(addr netip.Addr) bool {
	for _, p := range t.config.Proxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// Package lan lets workers and routers of one local network find each other,
// by DNS service discovery over multicast DNS (RFC 6763, RFC 6762).
//
// A worker's [Board] answers who asks for _lobstah._tcp.local, with its key, its
// port and a tag of its offer; the offer itself, which is too long for such a
// packet, it gives over HTTP at [Path], where cmd mounts the Board. A router's
// [Source] asks, fetches each offer over a connection that is pinned to the key
// that was told, and passes on only what that key signed. So packets, which
// anybody on the network can forge, are nothing but hints where to look.
//
// cmd imports it; it imports grid, grid/announce, grid/discover and openai.
// Packets are hostile: they count only from neighbours (addresses within the
// network of the interface that they came by), are parsed within fixed bounds,
// and lead nowhere outside that network. Answers are limited by rate.
//
// golang.org/x/net parses the packets. The libraries for the whole of service
// discovery that can be had leave goroutines behind, answer strangers beyond
// the network, or keep whatever they are sent.
package lan

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// Path is where a worker gives its offer.
const Path = "/lobstah/v1/announcement"

// The places to which multicast DNS is sent.
var (
	group4 = netip.MustParseAddrPort("224.0.0.251:5353")
	group6 = netip.MustParseAddrPort("[ff02::fb]:5353")
)

const (
	maxLinks  = 16
	maxPacket = 9000 // RFC 6762, section 17
	perLink   = 4    // addresses that we tell, or try, of one machine
)

// A link is a network interface and what networks it is in.
type link struct {
	net.Interface
	own []netip.Prefix // our addresses, each with its network
}

// links lists the interfaces on which neighbours are looked for: those that are
// up and broadcast, or those of choose.
func links(choose func() ([]net.Interface, error)) ([]link, error) {
	if choose == nil {
		choose = neighbourly
	}
	interfaces, err := choose()
	if err != nil {
		return nil, fmt.Errorf("list the network interfaces: %w", err)
	}
	var list []link
	for _, i := range interfaces {
		if l := newLink(i); len(l.own) > 0 && len(list) < maxLinks {
			list = append(list, l)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("no network interface of this machine has neighbours")
	}
	return list, nil
}

func neighbourly() ([]net.Interface, error) {
	interfaces, err := net.Interfaces()
	return slices.DeleteFunc(interfaces, func(i net.Interface) bool {
		const want = net.FlagUp | net.FlagMulticast
		return i.Flags&want != want || i.Flags&(net.FlagLoopback|net.FlagPointToPoint) != 0
	}), err
}

func newLink(i net.Interface) link {
	l := link{Interface: i}
	addrs, err := i.Addrs()
	if err != nil {
		return l // it is going away
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			l.own = append(l.own, netip.PrefixFrom(p.Addr().Unmap(), p.Bits()))
		}
	}
	slices.SortFunc(l.own, func(a, b netip.Prefix) int {
		return cmp.Or(cmp.Compare(a.Addr().BitLen(), b.Addr().BitLen()), a.Addr().Compare(b.Addr()))
	})
	return l
}

// has reports whether an address is in a network of the link. Of link-local
// ones, which all links have, the zone decides.
func (l *link) has(addr netip.Addr) bool {
	if zone := addr.Zone(); zone != "" {
		return zone == l.Name
	}
	addr = addr.Unmap()
	return slices.ContainsFunc(l.own, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// speaks reports whether the link has addresses of the group's family.
func (l *link) speaks(group netip.AddrPort) bool {
	return slices.ContainsFunc(l.own, func(p netip.Prefix) bool { return p.Addr().Is4() == group.Addr().Is4() })
}

// addresses are ours that neighbours may ask us at. Link-local ones are not
// among them: routers reach no learned peer there.
func (l *link) addresses() []netip.Addr {
	var list []netip.Addr
	for _, p := range l.own {
		if a := p.Addr(); !a.IsLinkLocalUnicast() && !a.IsLoopback() && len(list) < perLink {
			list = append(list, a)
		}
	}
	return list
}

// from returns the link by which a packet came.
func from(list []link, sender netip.Addr) (*link, bool) {
	i := slices.IndexFunc(list, func(l link) bool { return l.has(sender) })
	if i < 0 {
		return nil, false
	}
	return &list[i], true
}

// sameName compares names as DNS does.
func sameName(a, b string) bool { return strings.EqualFold(a, b) }

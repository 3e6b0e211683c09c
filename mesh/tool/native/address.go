package native

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"lobstah/mesh/tool"
)

// never are the addresses that no page lies at for others: this machine, its link,
// and what tells programs in a cloud who they are.
var never = prefixes(
	"0.0.0.0/8", "127.0.0.0/8", "::/128", "::1/128", // this machine
	"169.254.0.0/16", "fe80::/10", // link-local, metadata
	"fd00:ec2::/32", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.0/24", // metadata of clouds, protocol assignments
	"224.0.0.0/4", "ff00::/8", "240.0.0.0/4", // multicast, reserved, broadcast
)

// private are the addresses of networks that the public does not reach.
var private = prefixes(
	"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fec0::/10",
	"198.18.0.0/15", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", // benchmarks, examples
)

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}

// judge says why an address may not be dialled.
func judge(addr netip.Addr, allowPrivate bool) error {
	for _, a := range meanings(addr) {
		for _, p := range never {
			if p.Contains(a) {
				return tool.Errorf(tool.CodePath, "%s is never fetched from: it is this machine, its link or a service for it (%s)", addr, p)
			}
		}
		for _, p := range private {
			if p.Contains(a) && !allowPrivate {
				return tool.Errorf(tool.CodePath, "%s lies in a private network (%s); the owner of this node can set toolProxy.web.allowPrivate", addr, p)
			}
		}
	}
	return nil
}

// meanings are the address and the IPv4 address that it wraps, if it does: mapped
// (::ffff:0:0/96) and compatible (::/96), NAT64 (RFC 6052, RFC 8215), 6to4
// (RFC 3056), Teredo (RFC 4380), ISATAP (RFC 5214).
func meanings(addr netip.Addr) []netip.Addr {
	addr = addr.WithZone("").Unmap()
	out := []netip.Addr{addr}
	if addr.Is4() {
		return out
	}
	b := addr.As16()
	v4 := func(at int) { out = append(out, netip.AddrFrom4([4]byte(b[at:at+4]))) }
	in := func(text string) bool { return netip.MustParsePrefix(text).Contains(addr) }
	switch {
	case in("::/96"), in("64:ff9b::/96"), in("64:ff9b:1::/48"), in("::ffff:0:0:0/96"):
		v4(12)
	case in("2002::/16"):
		v4(2)
	case in("2001::/32"):
		v4(4)
		for i := range 4 {
			b[12+i] = ^b[12+i] // the client is written inverted
		}
		v4(12)
	}
	if isatap := [4]byte(b[8:12]); isatap == [4]byte{0, 0, 0x5e, 0xfe} || isatap == [4]byte{2, 0, 0x5e, 0xfe} {
		v4(12)
	}
	return out
}

// control judges the address of a connection in the moment that it is dialled,
// after names were resolved, so that no second answer of a name server counts.
func control(allowPrivate bool) func(network, address string, _ syscall.RawConn) error {
	return func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("%q is no address: %w", address, err)
		}
		if err := judge(at.Addr(), allowPrivate); err != nil {
			return err
		}
		return notOwn(at.Addr())
	}
}

// notOwn refuses the addresses that this machine has in its networks: what it says
// to itself there passes no firewall, as on loopback.
func notOwn(addr netip.Addr) error {
	own, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("tell other machines from this one: %w", err)
	}
	for _, a := range own {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok && slices.Contains(meanings(addr), ip.Unmap()) {
				return tool.Errorf(tool.CodePath, "%s is never fetched from: it is this machine itself", addr)
			}
		}
	}
	return nil
}

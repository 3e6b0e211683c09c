// Package ownaddress lists the addresses under which other machines may reach
// this one.
//
// Call [List]. Only cmd/ imports it; it imports the standard library and asks the
// operating system, nobody else. What it says is a guess: networks that a machine
// is in say nothing about who can reach it.
package ownaddress

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// most is how many are told.
const most = 4

// List gives at most four addresses of this machine in networks, those first that
// others most likely reach.
func List() []string {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil
	}
	ranks := map[string]int{}
	var list []string
	for _, i := range interfaces {
		addrs, err := i.Addrs()
		if err != nil || i.Flags&net.FlagUp == 0 {
			continue
		}
		for _, a := range addrs {
			prefix, err := netip.ParsePrefix(a.String())
			if ip := prefix.Addr().Unmap(); err == nil && !ip.IsLoopback() && !ip.IsLinkLocalUnicast() {
				ranks[ip.String()] = rank(ip, i.Name)
				list = append(list, ip.String())
			}
		}
	}
	slices.SortStableFunc(list, func(a, b string) int { return cmp.Compare(ranks[a], ranks[b]) })
	return list[:min(len(list), most)]
}

var carrierNAT = netip.MustParsePrefix("100.64.0.0/10") // RFC 6598; Tailscale

// rank is low for addresses in a home's or office's network, higher for those
// of overlays, the Internet and IPv6, highest for networks inside this machine.
func rank(ip netip.Addr, name string) (n int) {
	switch {
	case ip.Is4() && ip.IsPrivate():
		n = 0
	case carrierNAT.Contains(ip):
		n = 1
	case ip.Is4():
		n = 2
	case ip.IsPrivate():
		n = 3
	default:
		n = 4
	}
	for _, inside := range []string{"docker", "veth", "br-", "virbr", "vmnet", "vEthernet", "bridge"} {
		if strings.HasPrefix(name, inside) {
			n += 10
		}
	}
	return n
}

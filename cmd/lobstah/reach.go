package main

import (
	"net"
	"net/netip"
	"os"
	"strings"

	"lobstah/internal/cli"
)

func loopbackHost(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// warnReach says who can reach a worker that listens beyond loopback, and how
// the others add it.
func (p *process) warnReach(part, host string, open bool) {
	if loopbackHost(host) {
		return
	}
	where := host
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		where = "every address of this machine"
	}
	p.warn("the %s listens on %s. Whoever reaches it there can see which models it has.", part, where)
	switch {
	case open:
		p.warn("with --open strangers can use them too, each within 10,000 tokens.")
	case len(p.allowed.Entries()) == 0:
		p.note("Nobody may use them yet but this machine. Let a key in with: lobstah allow PUBKEY [LABEL]")
	default:
		p.note("Only this machine and %s may use them: lobstah allow list", cli.Plural(len(p.allowed.Entries()), "key"))
	}
	p.say("")
	p.say("On a machine that asks this one:")
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(p.lock.Holder().Worker, "http://"))
	name, err := os.Hostname()
	if err != nil {
		name = ""
	}
	for _, address := range reachable(host) {
		p.say("  lobstah peers add %s %s %s", p.id.ID(), net.JoinHostPort(address, port), name)
	}
}

// reachable lists addresses under which others may reach a listener, IPv4
// first, at most three.
func reachable(host string) []string {
	if ip, err := netip.ParseAddr(host); err != nil || !ip.IsUnspecified() {
		return []string{host}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return []string{"ADDRESS"}
	}
	var four, six []string
	for _, a := range addrs {
		prefix, err := netip.ParsePrefix(a.String())
		ip := prefix.Addr()
		switch {
		case err != nil || ip.IsLoopback() || ip.IsLinkLocalUnicast():
		case ip.Is4():
			four = append(four, ip.String())
		default:
			six = append(six, ip.String())
		}
	}
	list := append(four, six...)
	if len(list) == 0 {
		return []string{"ADDRESS"}
	}
	return list[:min(len(list), 3)]
}

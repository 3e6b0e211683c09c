package main

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"lobstah/internal/cli"
	"lobstah/internal/ownaddress"
)

func loopbackHost(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// warnReach says who can reach a worker that listens beyond loopback.
func (p *process) warnReach(host string, open bool) {
	if loopbackHost(host) {
		return
	}
	where := host
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		where = "every address of this machine"
	}
	who := "Only this machine and " + cli.Plural(len(p.allowed.Entries()), "allowed key") + " may use it."
	switch {
	case open:
		who = "With --open strangers may use it, too, each within 10,000 tokens."
	case len(p.allowed.Entries()) == 0:
		who = "Only this machine may use it, until you let a key in: lobstah allow PUBKEY [LABEL]"
	}
	p.warn("the worker listens on %s. Whoever reaches it can see its key.\n         %s", where, who)
}

// reachable tells where others may reach the worker.
func (p *process) reachable() (list []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, opened := range p.invited {
		list = append(list, opened.address+" for invited keys, until this stops")
	}
	slices.Sort(list)
	if p.at == nil {
		return list
	}
	if host, port, err := net.SplitHostPort(p.at.String()); err == nil && !loopbackHost(host) {
		if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
			host = "every address of this machine"
		}
		list = append(list, "port "+port+" of "+host)
	}
	return list
}

// sayHowToAdd prints the line for a machine that asks this one.
func (p *process) sayHowToAdd(host string) {
	_, port, err := net.SplitHostPort(strings.TrimPrefix(p.lock.Holder().Worker, "http://"))
	if err != nil || loopbackHost(host) {
		return
	}
	name, err := os.Hostname()
	if err != nil {
		name = ""
	}
	addresses := reachable(host)
	p.say("")
	if len(addresses) == 1 {
		p.say("On a machine that asks this one:")
	} else {
		p.say("On a machine that asks this one, with the address that it reaches:")
	}
	for _, address := range addresses {
		p.say("  lobstah peers add %s %s %s", p.id.ID(), net.JoinHostPort(address, port), name)
	}
}

// reachable lists addresses under which others may reach a listener, at most
// three.
func reachable(host string) []string {
	if ip, err := netip.ParseAddr(host); err != nil || !ip.IsUnspecified() {
		return []string{host}
	}
	list := ownAddresses()
	if len(list) == 0 {
		return []string{"ADDRESS"}
	}
	return list[:min(len(list), 3)]
}

// ownAddresses are where others may reach this machine.
func ownAddresses() []string { return ownaddress.List() }

// isOwn reports whether this machine can listen at ip.
func isOwn(ip netip.Addr) bool {
	l, err := net.Listen("tcp", net.JoinHostPort(ip.String(), "0"))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// machineName is what this machine calls itself to others.
func machineName() string {
	name, err := os.Hostname()
	if err != nil || len(name) > 64 {
		return ""
	}
	name, _, _ = strings.Cut(name, ".")
	return name
}

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"lobstah/grid"
	"lobstah/grid/allow"
	"lobstah/grid/channel"
	"lobstah/grid/discover"
	"lobstah/grid/invite"
	"lobstah/internal/cli"
	"lobstah/internal/control"
	"lobstah/internal/dualport"
	"lobstah/invitation"
)

// welcome lets in who came by an invitation: it is allowed, and where it lends
// and is no guest, asked, too.
func (p *process) welcome(ctx context.Context, a invite.Applicant) (w invite.Welcome, err error) {
	if a.ID == p.id.ID() {
		return w, &invitation.Refusal{Code: "own_invitation", Message: "this invitation was made with the very key that uses it"}
	}
	words := invitation.Words(p.id.ID(), a.ID, a.Secret)
	guest := invitation.Guest{ID: a.ID, Label: a.Label, Words: words}
	var r invitation.Record
	var label string
	err = p.home.Edit(ctx, func() (err error) {
		if r, w.Again, err = invitation.Redeem(p.home.Invites, a.Secret, guest, time.Now()); err != nil {
			return err
		}
		if label, err = p.labelFor(r, a); err != nil {
			return err
		}
		if err := p.letIn(r, a, label, w.Again); err != nil {
			return err
		}
		w.Known, w.Refused, err = p.takeOffer(r, a, label)
		return err
	})
	if err == nil {
		err = p.reload()
	}
	if err != nil {
		return w, err
	}
	w.Label, w.Guest, w.Models = machineName(), r.Guest, r.Models
	if r.Guest {
		w.Expires = r.Expires
	}
	p.sayJoined(r, a, w, label, words)
	return w, nil
}

// letIn adds the joiner to the allow list. It takes nothing from who has more
// already.
func (p *process) letIn(r invitation.Record, a invite.Applicant, label string, again bool) error {
	list, err := allow.Read(p.home.Allow)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(e allow.Entry) bool { return e.ID == a.ID && !e.Address.IsValid() })
	if i >= 0 && (again || r.Guest && !list[i].Guest) {
		return nil
	}
	e := allow.Entry{ID: a.ID, Label: label, Since: time.Now().UTC().Truncate(time.Second)}
	if r.Guest {
		e.Guest, e.Models, e.Expires = true, r.Models, r.Expires
	}
	_, err = allow.Add(p.home.Allow, e)
	return err
}

// labelFor is the inviter's word for who was invited, or the joiner's own, and
// no other machine's.
func (p *process) labelFor(r invitation.Record, a invite.Applicant) (string, error) {
	label := cli.CleanLine(a.Label)
	if r.Label != "" && (r.Uses == 1 || label == "") {
		label = r.Label
	}
	all, err := nameplates(p.home)
	return distinctName(label, a.ID, all), err
}

// takeOffer adds the joiner to the peers where it lends.
func (p *process) takeOffer(r invitation.Record, a invite.Applicant, label string) (known bool, refused string, err error) {
	if r.Guest || len(a.Addresses) == 0 {
		return false, "", nil
	}
	address, ok := offeredAddress(a.Addresses, a.From)
	if !ok {
		return false, "none of its addresses is an IP address that another machine may name", nil
	}
	_, err = discover.Add(p.home.Peers, grid.Peer{ID: a.ID, URL: "https://" + address, Label: label})
	return err == nil, "", err
}

// offeredAddress picks the address from which the joiner came, or the first
// one. It may not name this machine's loopback, whose programs trust it, unless
// it is on this machine itself; names could be made to point there later.
func offeredAddress(addresses []string, from netip.Addr) (best string, ok bool) {
	for _, text := range addresses {
		at, err := netip.ParseAddrPort(text)
		if err != nil {
			continue
		}
		if channel.Forbidden(at.Addr(), false) != nil && !(at.Addr().IsLoopback() && from.IsLoopback()) {
			continue
		}
		if at.Addr() == from {
			return text, true
		}
		if best == "" {
			best = text
		}
	}
	return best, best != ""
}

func (p *process) sayJoined(r invitation.Record, a invite.Applicant, w invite.Welcome, label, words string) {
	what := "may use this machine's models"
	switch {
	case r.Guest:
		what = "is a guest until " + r.Expires.Local().Format(time.DateTime)
	case w.Known:
		what += ", and lends its own"
	}
	p.say(strings.Join([]string{ // at once: others may speak at the same time
		"",
		"joined    %s (%s) %s",
		"words     %s",
		"          The other side shows the same six. To take it back: lobstah peers revoke %s",
	}, "\n"), label, a.ID.Short(), what, words, a.ID)
	p.log.Debug("a machine joined by invitation", "key", a.ID, "invitation", r.ID, "guest", r.Guest, "again", w.Again)
}

// An openRequest names the addresses at which others should reach the worker.
type openRequest struct {
	Addresses []string `json:"addresses,omitempty"` // none means the machine's own
	Open      bool     `json:"open,omitempty"`      // open ports to invited keys where the worker listens on loopback only
}

// A reach is where others reach the worker.
type reach struct {
	Addresses []string `json:"addresses,omitempty"`
	Opened    []string `json:"opened,omitempty"` // ports that were opened for it, until the process stops
}

// reach tells where others reach this machine's worker.
func (p *process) reach(_ context.Context, in openRequest) (out reach, err error) {
	p.mu.Lock()
	at, _ := p.at.(*net.TCPAddr)
	p.mu.Unlock()
	if at == nil {
		return out, &control.Error{Message: "no worker runs here that others could use", Hint: "lobstah up runs one"}
	}
	named, err := withPort(in.Addresses, at.Port)
	switch {
	case err != nil:
		return out, err
	case at.IP.IsLoopback() && in.Open:
		return p.openPorts(named, at)
	case len(named) > 0:
		return reach{Addresses: named}, nil
	case at.IP.IsLoopback():
		return out, nil
	case !at.IP.IsUnspecified():
		return reach{Addresses: []string{at.String()}}, nil
	}
	out.Addresses, err = withPort(ownAddresses(), at.Port)
	if err == nil && len(out.Addresses) == 0 {
		err = errNoAddress
	}
	return out, err
}

var errNoAddress = &control.Error{Message: "this machine has no address in a network", Hint: "--address HOST names one under which others reach it"}

// withPort adds the port to hosts that come without one.
func withPort(hosts []string, port int) ([]string, error) {
	var list []string
	for _, text := range hosts {
		if _, _, err := net.SplitHostPort(text); err != nil {
			text = net.JoinHostPort(trimBrackets(text), strconv.Itoa(port))
		}
		if err := invitation.CheckAddress(text); err != nil {
			return nil, &control.Error{Message: "--address: " + err.Error()}
		}
		list = append(list, text)
	}
	if len(list) > invitation.MaxAddresses {
		return nil, &control.Error{Message: fmt.Sprintf("--address: at most %d addresses fit an invitation", invitation.MaxAddresses)}
	}
	return list, nil
}

func trimBrackets(host string) string {
	if len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']' {
		return host[1 : len(host)-1]
	}
	return host
}

// openPorts opens ports of this machine to invited keys: those that were named,
// or, where none was or a name leads to this machine in a way that only its
// owner knows, all of the machine's addresses.
func (p *process) openPorts(named []string, worker *net.TCPAddr) (out reach, err error) {
	hosts := ownAddresses()
	if len(named) > 0 {
		hosts = nil
	}
	for _, address := range named {
		host, _, _ := net.SplitHostPort(address)
		switch ip, err := netip.ParseAddr(host); {
		case err == nil && ip == worker.AddrPort().Addr().Unmap():
			out.Addresses = append(out.Addresses, worker.String())
		case err == nil && isOwn(ip):
			hosts = append(hosts, host)
		default:
			out.Addresses = append(out.Addresses, address)
		}
	}
	if len(out.Addresses) > 0 && len(hosts) == 0 && !slices.Contains(out.Addresses, worker.String()) {
		hosts = ownAddresses() // a name, or the address of a router that forwards
	}
	for _, host := range hosts {
		address, fresh, openErr := p.openPort(host, worker.Port)
		if openErr != nil {
			err = openErr
			continue
		}
		if fresh {
			out.Opened = append(out.Opened, address)
		}
		if len(named) == 0 || isNamed(named, host) {
			out.Addresses = append(out.Addresses, address)
		}
	}
	switch {
	case len(out.Addresses) > 0:
		return out, nil
	case err == nil:
		err = errNoAddress
	}
	return out, err
}

func isNamed(addresses []string, host string) bool {
	return slices.ContainsFunc(addresses, func(a string) bool { h, _, _ := net.SplitHostPort(a); return h == host })
}

// An openedPort serves invited keys until it is retired.
type openedPort struct {
	address string // host:port
	server  *http.Server
}

// openPort opens one port to invited keys: the worker's, or a free one where
// that is taken.
func (p *process) openPort(host string, port int) (address string, fresh bool, err error) {
	p.opening.Lock()
	defer p.opening.Unlock()
	p.mu.Lock()
	known, ok := p.invited[host]
	p.mu.Unlock()
	if ok {
		return known.address, false, nil
	}
	config, err := p.id.ServerTLS()
	if err != nil {
		return "", false, err
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if inUse(err) {
		l, err = net.Listen("tcp", net.JoinHostPort(host, "0"))
	}
	if err != nil {
		return "", false, fmt.Errorf("open a port to invited keys: %w", err)
	}
	opened := openedPort{l.Addr().String(), p.serve(dualport.Listen(l, config), p.invitedOnly(p.served()))}
	p.mu.Lock()
	if p.invited == nil {
		p.invited = map[string]openedPort{}
	}
	p.invited[host] = opened
	p.mu.Unlock()
	return opened.address, true, nil
}

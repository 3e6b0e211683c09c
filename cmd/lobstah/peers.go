package main

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"

	"lobstah/grid"
	"lobstah/grid/discover"
	"lobstah/internal/cli"
	"lobstah/key"
)

type peersCommand struct {
	List     peersListCommand     `cmd:"" default:"withargs" help:"Print the peers (what peers alone does)."`
	Add      peersAddCommand      `cmd:"" help:"Add a worker to ask, or change one."`
	Remove   peersRemoveCommand   `cmd:"" help:"Ask a worker no more."`
	Sync     peersSyncCommand     `cmd:"" help:"Ask trackers once for workers."`
	Gossip   peersGossipCommand   `cmd:"" name:"gossip-nostr" help:"Ask Nostr relays once for workers."`
	Discover peersDiscoverCommand `cmd:"" help:"Ask every place of discover.from once for workers."`
	Revoke   peersRevokeCommand   `cmd:"" help:"Have nothing more to do with a machine: ask it no more, and serve it no more."`
}

type peersAddCommand struct {
	Pubkey   string `arg:"" help:"The worker's key."`
	URL      string `arg:"" help:"Where it is: HOST, HOST:PORT or an http(s) URL."`
	Label    string `arg:"" optional:"" help:"A name for it."`
	Insecure bool   `help:"Talk to it without TLS if it knows none (a program of the original)."`
}

// Help is printed by --help.
func (peersAddCommand) Help() string {
	return `The connection is encrypted and proves the worker's key, whatever the URL says.
Adding a key again replaces its entry. A running router takes it in at once.

Examples:
  lobstah peers add lob1… 192.168.1.5 "Ann's workstation"
  lobstah peers add lob1… https://ann.example:443
  lobstah peers add lob1… http://192.168.1.9:17474 old-box --insecure

The worker's owner prints its key with lobstah id, and lets this machine in with
lobstah allow and this machine's key.`
}

func (c *peersAddCommand) Run(ctx context.Context, a *app) error {
	p, err := c.peer()
	if err != nil {
		return err
	}
	own, known := a.ownID()
	if known && own == p.ID {
		return cli.Hintf(cli.Usagef("%s is this machine's own key", p.ID.Short()),
			"lobstah up serves and asks this machine without being told; a peer's key comes from lobstah id there")
	}
	l, err := a.lists()
	if err != nil {
		return err
	}
	done, err := l.AddPeer(ctx, p)
	if err != nil {
		return err
	}
	if c.Insecure && !isLoopback(p.URL) {
		a.warn("what is asked of %s and what it answers may travel unencrypted, and anybody on the way can answer in its name", p.Name())
	}
	word := "added"
	if done.Replaced {
		word = "replaced"
	}
	a.say("%s %s at %s", word, p.Name(), p.URL)
	a.sayLive(done)
	if known && !isLoopback(p.URL) {
		a.note("Its owner lets this machine in with: lobstah allow %s", own)
	}
	return nil
}

func (c *peersAddCommand) peer() (grid.Peer, error) {
	p := grid.Peer{Insecure: c.Insecure}
	var err error
	if p.ID, err = key.ParseID(c.Pubkey); err != nil {
		return p, cli.Hintf(cli.Usagef("%v", err), "lobstah id prints it, on the machine to add")
	}
	if p.URL, err = discover.ParseURL(c.URL); err != nil {
		return p, cli.Usagef("%v", err)
	}
	if p.Label, err = discover.ParseLabel(c.Label); err != nil {
		return p, cli.Usagef("%v", err)
	}
	return p, nil
}

func isLoopback(base string) bool {
	u, err := url.Parse(base)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && addr.IsLoopback()
}

type peersRemoveCommand struct {
	Peer string `arg:"" name:"pubkey" help:"The worker's key, or its label."`
}

func (c *peersRemoveCommand) Run(ctx context.Context, a *app) error {
	id, err := a.peerID(c.Peer)
	if err != nil {
		return err
	}
	l, err := a.lists()
	if err != nil {
		return err
	}
	done, err := l.RemovePeer(ctx, id)
	if err != nil {
		return err
	}
	if len(done.Removed) == 0 {
		return cli.Hintf(fmt.Errorf("no peer has the key %s", id), "lobstah peers lists them")
	}
	a.say("removed %s", done.Removed[0])
	a.sayLive(done)
	return nil
}

type peersRevokeCommand struct {
	Name string `arg:"" help:"The machine's label, its key, or the key's beginning."`
}

// Help is printed by --help.
func (peersRevokeCommand) Help() string {
	return `Takes the key from the peers and from the allow list, and ends the invitations
by which it came. It counts at once: what it asks now is cut off.`
}

func (c *peersRevokeCommand) Run(ctx context.Context, a *app) error {
	all, err := nameplates(a.home)
	if err != nil {
		return err
	}
	id, err := keyMeant(c.Name, all)
	if err != nil {
		return err
	}
	l, err := a.lists()
	if err != nil {
		return err
	}
	denied, err := l.Disallow(ctx, id)
	if err != nil {
		return err
	}
	gone, err := l.RemovePeer(ctx, id)
	if err != nil {
		return err
	}
	if len(denied.Removed)+len(gone.Removed)+len(denied.Invites) == 0 {
		return cli.Hintf(fmt.Errorf("the key %s is neither a peer nor allowed", id), "lobstah peers and lobstah allow list print who is")
	}
	a.say("revoked %s", slices.Concat(denied.Removed, gone.Removed, []string{id.Short()})[0])
	a.sayInvites(denied)
	a.sayLive(gone)
	return nil
}

// peerID reads a key, or the label of exactly one peer.
func (a *app) peerID(text string) (key.ID, error) {
	id, notKey := key.ParseID(text)
	if notKey == nil {
		return id, nil
	}
	list, err := discover.Read(a.home.Peers)
	if err != nil {
		return id, err
	}
	list = slices.DeleteFunc(slices.Clone(list), func(p grid.Peer) bool { return p.Label != text })
	switch len(list) {
	case 1:
		return list[0].ID, nil
	case 0:
		return id, cli.Hintf(cli.Usagef("%q is neither a key nor a peer's label", text), "lobstah peers lists them")
	}
	return id, cli.Hintf(cli.Usagef("%d peers have the label %q", len(list), text), "name the one you mean by its key; lobstah peers lists them")
}

type peersListCommand struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// Help is printed by --help.
func (peersListCommand) Help() string {
	return `Those that you added, then those that announced themselves where this machine
looked: where each was learned, how long ago it was seen there, when its
announcement ends, how it does by the router that runs here, and what it offers.`
}

func (c *peersListCommand) Run(ctx context.Context, a *app) error {
	own, err := discover.Read(a.home.Peers)
	if err != nil {
		return cli.Hintf(err, "the file was left as it is; correct the line, or move the file away")
	}
	learned, err := a.learned(ctx)
	if err != nil {
		a.warn("the learned peers cannot be read: %v", err)
	}
	list := listed(own, learned, a.seenByRouter(ctx))
	if c.JSON {
		return a.json(list)
	}
	if len(list) == 0 {
		a.say("no peers configured")
		a.note("Join another machine by the line that lobstah invite prints there, or add one with: lobstah peers add PUBKEY HOST:PORT [LABEL]")
		return nil
	}
	return a.printListed(list)
}

// seenByRouter tells how the router that runs here finds the peers; nothing,
// when none runs.
func (a *app) seenByRouter(ctx context.Context) []peerReport {
	_, client, err := a.running()
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var r report
	if err := client.Call(ctx, http.MethodGet, "/status", nil, &r); err != nil {
		a.warn("what runs here does not tell how the peers do: %v", err)
	}
	return r.Peers
}

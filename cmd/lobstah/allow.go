package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"lobstah/grid/allow"
	"lobstah/grid/discover"
	"lobstah/internal/cli"
	"lobstah/key"
)

type allowCommand struct {
	Add    allowAddCommand    `cmd:"" default:"withargs" help:"Let a key use this machine's worker (what allow KEY does)."`
	List   allowListCommand   `cmd:"" help:"Print who is allowed."`
	Remove allowRemoveCommand `cmd:"" help:"Serve a key no more."`
}

// Help is printed by --help.
func (allowCommand) Help() string {
	return `Beyond this machine the worker serves nobody but the keys on this list. A
running worker takes changes in at once.

Examples:
  lobstah allow lob1… "Ann's laptop"
  lobstah allow list
  lobstah allow remove "Ann's laptop"
  lobstah allow lob1… --legacy 192.168.1.9     a program of the original, which signs nothing`
}

type allowAddCommand struct {
	Pubkey string `arg:"" help:"The key to let in; lobstah id prints it there."`
	Label  string `arg:"" optional:"" help:"A name for it."`
	Legacy string `placeholder:"ADDRESS" help:"Unsigned requests from this IP address may name the key, as programs of the original do."`
}

// Help is printed by --help.
func (allowAddCommand) Help() string { return allowCommand{}.Help() }

func (c *allowAddCommand) Run(ctx context.Context, a *app) error {
	e := allow.Entry{Since: time.Now().UTC().Truncate(time.Second)}
	var err error
	if e.ID, err = key.ParseID(c.Pubkey); err != nil {
		return cli.Hintf(cli.Usagef("%v", err), "lobstah id prints it, on the machine to let in")
	}
	if e.Label, err = discover.ParseLabel(c.Label); err != nil {
		return cli.Usagef("%v", err)
	}
	if c.Legacy != "" {
		if e.Address, err = netip.ParseAddr(c.Legacy); err != nil {
			return cli.Usagef("--legacy: %q is not an IP address", c.Legacy)
		}
	}
	l, err := a.lists()
	if err != nil {
		return err
	}
	done, err := l.Allow(ctx, e)
	if err != nil {
		return err
	}
	if e.Address.IsValid() {
		a.say("unsigned requests from %s may now name %s", e.Address, e.Name())
		a.warn("whoever can send from %s can now use this worker and run up that key's debt", e.Address)
		return nil
	}
	word := "allowed"
	if done.Replaced {
		word = "already allowed; now as"
	}
	a.say("%s %s", word, e.Name())
	a.sayLive(done)
	return nil
}

type allowListCommand struct {
	JSON bool `name:"json" help:"Print JSON."`
}

func (c *allowListCommand) Run(a *app) error {
	list, err := allow.Read(a.home.Allow)
	if err != nil {
		return cli.Hintf(err, "the file was left as it is; correct it, or move it away")
	}
	if c.JSON {
		return a.json(append([]allow.Entry{}, list...))
	}
	if len(list) == 0 {
		a.say("nobody but this machine is allowed")
		a.note("Let a key in with: lobstah allow PUBKEY [LABEL]")
		return nil
	}
	table := cli.Table{}
	table.Row("PUBKEY", "LABEL", "SINCE", "LIMITS")
	for _, e := range list {
		address, since := "", ""
		if e.Address.IsValid() {
			address = "unsigned from " + e.Address.String()
		}
		if e.Guest || !e.Expires.IsZero() {
			address = limits(e)
		}
		if !e.Since.IsZero() {
			since = e.Since.Local().Format(time.DateOnly)
		}
		table.Row(e.ID.String(), e.Label, since, address)
	}
	return table.Print(a.Out, "")
}

// limits says how a guest may use this machine.
func limits(e allow.Entry) string {
	text := lendsWhat(e.Guest, e.Models)
	switch {
	case e.Ended(time.Now()):
		return text + ", expired"
	case !e.Expires.IsZero():
		return text + ", until " + e.Expires.Local().Format(time.DateTime)
	}
	return text
}

type allowRemoveCommand struct {
	Pubkey string `arg:"" help:"The key, or its label."`
}

func (c *allowRemoveCommand) Run(ctx context.Context, a *app) error {
	id, err := a.allowedID(c.Pubkey)
	if err != nil {
		return err
	}
	l, err := a.lists()
	if err != nil {
		return err
	}
	done, err := l.Disallow(ctx, id)
	if err != nil {
		return err
	}
	if len(done.Removed) == 0 {
		return cli.Hintf(fmt.Errorf("the key %s was not allowed", id), "lobstah allow list prints who is")
	}
	a.say("removed %s", done.Removed[0])
	a.sayInvites(done)
	a.sayLive(done)
	return nil
}

// allowedID reads a key, or the label of exactly one that is allowed.
func (a *app) allowedID(text string) (key.ID, error) {
	if id, err := key.ParseID(text); err == nil {
		return id, nil
	}
	list, err := allow.Read(a.home.Allow)
	if err != nil {
		return key.ID{}, err
	}
	found := map[key.ID]bool{}
	for _, e := range list {
		if e.Label == text {
			found[e.ID] = true
		}
	}
	for id := range found {
		if len(found) == 1 {
			return id, nil
		}
	}
	if len(found) == 0 {
		return key.ID{}, cli.Hintf(cli.Usagef("%q is neither a key nor the label of one that is allowed", text), "lobstah allow list prints them")
	}
	return key.ID{}, cli.Usagef("%d keys have the label %q; name the one you mean by its key", len(found), text)
}

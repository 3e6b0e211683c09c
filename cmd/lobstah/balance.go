package main

import (
	"context"
	"errors"
	"io/fs"

	"lobstah/grid/router"
	"lobstah/internal/cli"
	"lobstah/ledger"
)

type balanceCommand struct {
	Network bool          `help:"Show also what others made public on Nostr relays, which counts in no balance here."`
	Relays  nostrSettings `embed:""`
	JSON    bool          `name:"json" help:"Print JSON, as GET /balance of a router does."`
}

// Help is printed by --help.
func (balanceCommand) Help() string {
	return `A receipt counts input and output tokens: the worker earned them, the requester
owes them. What this machine served to itself is counted apart; nobody owes it.

Examples:
  lobstah balance
  lobstah balance --json | jq .perPeer
  lobstah balance --network --nostr-relay wss://relay.example`
}

func (c *balanceCommand) Run(ctx context.Context, a *app) error {
	s, err := a.accounts(ctx)
	none := errors.Is(err, fs.ErrNotExist)
	if err != nil && (!none || c.JSON) {
		return err
	}
	var public *publicReceipts
	if c.Network {
		done := a.Progress("asking relays")
		p, err := collectPublic(ctx, c.Relays.Relays)
		done()
		if err != nil {
			return err
		}
		public = &p
	}
	switch {
	case c.JSON:
		return a.json(balanceJSON{s.Owner.String(), balances(s), s.Self.SelfServed, public})
	case none:
		a.say("no receipts yet")
		err = a.noteHints(err)
	default:
		err = a.printBalance(s)
	}
	if err == nil && public != nil {
		err = a.printPublic(*public)
	}
	return err
}

// accounts draws up the accounts of this machine's ledger.
func (a *app) accounts(ctx context.Context) (ledger.Summary, error) {
	book, err := a.readBook(ctx)
	if err != nil {
		return ledger.Summary{}, err
	}
	defer book.Close()
	return book.Balances(ctx)
}

// noteHints prints the hints of an error that is no failure here.
func (a *app) noteHints(err error) error {
	for _, hint := range cli.Hints(err) {
		a.note("%s", hint)
	}
	return nil
}

type balanceJSON struct {
	Pubkey string `json:"pubkey"`
	router.Balances
	SelfServed ledger.Tally    `json:"selfServed"`
	Network    *publicReceipts `json:"network,omitempty"` // under --network
}

func (a *app) printBalance(s ledger.Summary) error {
	facts := cli.Table{}
	facts.Row("ledger", a.home.Ledger+", "+cli.Plural(s.Receipts, "receipt"))
	facts.Row("this machine", s.Owner.String())
	facts.Row("earned", cli.Count(s.Self.Earned)+" tokens, served to others")
	facts.Row("spent", cli.Count(s.Self.Spent)+" tokens, served by others")
	facts.Row("net", cli.Signed(s.Self.Net())+" tokens")
	facts.Row("available", cli.Count(s.Self.Available())+" tokens with a worker that serves strangers ("+cli.Count(ledger.Allowance)+" plus net)")
	if own := s.Self.SelfServed; own.Served > 0 {
		facts.Row("to itself", cli.Count(own.Earned)+" tokens in "+cli.Plural(own.Served, "receipt")+"; nothing is owed")
	}
	if err := facts.Print(a.Out, ""); err != nil || len(s.Peers) == 0 {
		return err
	}
	a.say("")
	return a.printAccounts(s)
}

// printAccounts lists what stands between this machine and each other party.
func (a *app) printAccounts(s ledger.Summary) error {
	names := a.names()
	table := cli.Table{Right: []int{1, 2}}
	table.Row("PEER", "SERVED BY IT", "SERVED TO IT", "")
	for _, account := range s.Peers {
		owed, text := s.Owed(account), "even"
		switch {
		case owed > 0:
			text = "it owes " + cli.Count(owed)
		case owed < 0:
			text = "we owe " + cli.Count(-owed)
		case account.Net() != 0:
			text = "nobody owes it"
		}
		if imported := account.Imported; imported.Served+imported.Asked > 0 {
			text += "; imported and not counted: " + cli.Plural(imported.Served+imported.Asked, "receipt")
		}
		table.Row(names.of(account.Name), cli.Count(account.Earned), cli.Count(account.Spent), text)
	}
	return table.Print(a.Out, "")
}

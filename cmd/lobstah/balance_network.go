package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"lobstah/grid/discover/nostr"
	"lobstah/internal/cli"
	"lobstah/key"
	"lobstah/receipt"
)

// networkTimeout bounds asking all relays.
const networkTimeout = time.Minute

const (
	maxPublicAccounts = 50 // that are printed; JSON has all
	maxPublished      = 1000
)

// A publicAccount sums up what public receipts say of one key, in tokens.
type publicAccount struct {
	Pubkey   string `json:"pubkey"`
	Earned   int64  `json:"earned"`
	Spent    int64  `json:"spent"`
	Receipts int64  `json:"receipts"`
	Both     int64  `json:"countersigned"` // of Receipts
}

// publicReceipts are those that others made public on relays. They are genuine,
// which does not make them true, and count in no balance of this machine.
type publicReceipts struct {
	Relays   []string        `json:"relays"`
	Receipts int64           `json:"receipts"`
	Both     int64           `json:"countersigned"`
	Problems []string        `json:"problems,omitempty"` // of relays
	Accounts []publicAccount `json:"accounts"`
}

// collectPublic asks the relays for receipts.
func collectPublic(ctx context.Context, urls []string) (public publicReceipts, err error) {
	relays, err := openRelays(urls, nostr.Config{})
	if err != nil {
		return public, err
	}
	for _, r := range relays {
		public.Relays = append(public.Relays, r.URL())
	}
	ctx, cancel := context.WithTimeout(ctx, networkTimeout)
	defer cancel()
	accounts := map[string]*publicAccount{}
	err = nostr.Receipts(ctx, relays, func(s *receipt.Signed) { public.take(accounts, s) })
	for _, problem := range problems(err) {
		public.Problems = append(public.Problems, cli.CleanLine(problem.Error()))
	}
	if len(public.Problems) == len(relays) && public.Receipts == 0 {
		return public, fmt.Errorf("no relay answered: %w", err)
	}
	public.Accounts = slices.SortedFunc(values(accounts), func(a, b publicAccount) int {
		return cmp.Or(cmp.Compare(b.volume(), a.volume()), cmp.Compare(a.Pubkey, b.Pubkey))
	})
	return public, nil
}

func values(accounts map[string]*publicAccount) func(func(publicAccount) bool) {
	return func(yield func(publicAccount) bool) {
		for a := range maps.Values(accounts) {
			if !yield(*a) {
				return
			}
		}
	}
}

func (a publicAccount) volume() int64 { return added(a.Earned, a.Spent) }

// added never turns around: strangers choose the numbers.
func added(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// problems are the errors that were joined.
func problems(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

// take counts a receipt. What a key served to itself counts for nobody.
func (p *publicReceipts) take(accounts map[string]*publicAccount, s *receipt.Signed) {
	p.Receipts++
	both := int64(0)
	if s.Countersigned() == nil {
		both = 1
	}
	p.Both += both
	tokens := added(s.InputTokens, s.OutputTokens)
	if s.Worker.String() == s.Requester {
		tokens = 0
	}
	worker := accountOf(accounts, s.Worker.String())
	worker.Earned = added(worker.Earned, tokens)
	requester := accountOf(accounts, s.Requester)
	requester.Spent = added(requester.Spent, tokens)
	for _, a := range slices.Compact([]*publicAccount{worker, requester}) {
		a.Receipts++
		a.Both += both
	}
}

func accountOf(accounts map[string]*publicAccount, name string) *publicAccount {
	a := accounts[name]
	if a == nil {
		a = &publicAccount{Pubkey: name}
		accounts[name] = a
	}
	return a
}

func (a *app) printPublic(p publicReceipts) error {
	a.say("")
	a.say("made public on %s: %s, %s countersigned by the requester", cli.Plural(len(p.Relays), "relay"), cli.Plural(p.Receipts, "genuine receipt"), cli.Count(p.Both))
	for _, problem := range p.Problems {
		a.warn("%s", problem)
	}
	if len(p.Accounts) > 0 {
		table := cli.Table{Right: []int{1, 2, 3, 4}}
		table.Row("KEY", "EARNED", "SPENT", "RECEIPTS", "COUNTERSIGNED")
		for _, account := range p.Accounts[:min(len(p.Accounts), maxPublicAccounts)] {
			table.Row(account.Pubkey, cli.Count(account.Earned), cli.Count(account.Spent), cli.Count(account.Receipts), cli.Count(account.Both))
		}
		if err := table.Print(a.Out, ""); err != nil {
			return err
		}
		if more := len(p.Accounts) - maxPublicAccounts; more > 0 {
			a.say("and %s; --json has all", cli.Plural(more, "other account"))
		}
	}
	a.note("Anybody can sign receipts between keys of his own: these count in no balance of this machine.")
	return nil
}

type receiptPublishCommand struct {
	File   string        `arg:"" help:"Receipts as JSON Lines, as lobstah ledger export writes them; - reads standard input."`
	Relays nostrSettings `embed:""`
	Yes    bool          `help:"Really publish. Without it, only say what would be."`
}

// Help is printed by --help.
func (receiptPublishCommand) Help() string {
	return `Makes receipts public over Nostr relays, for good: who asked whom for which model,
how much and when. Nothing else in lobstah ever does. Only receipts in which this
machine has a part are taken; ask the other party first.

Examples:
  lobstah ledger export | lobstah receipt publish -
  lobstah receipt publish receipts.jsonl --yes --nostr-relay wss://relay.example`
}

func (c *receiptPublishCommand) Run(ctx context.Context, a *app) error {
	own, known := a.ownID()
	if !known {
		return cli.Hintf(errors.New("this machine has no key, and so no part in any receipt"), "lobstah keygen makes one")
	}
	data, err := a.input(c.File, maxReceiptsBytes)
	if err != nil {
		return err
	}
	list, err := ownReceipts(data, own)
	if err != nil {
		return fmt.Errorf("%s: %w", nameOf(c.File), err)
	}
	id, _, err := a.identity(ctx)
	if err != nil {
		return err
	}
	relays, err := openRelays(c.Relays.Relays, nostr.Config{Secret: id.NostrSecret})
	if err != nil {
		return err
	}
	if !c.Yes {
		a.say("would publish %s on %s, for everybody and for good", cli.Plural(len(list), "receipt"), cli.Plural(len(relays), "relay"))
		return cli.Hintf(errors.New("nothing was published"), "--yes publishes them")
	}
	return a.publish(ctx, relays, list)
}

// ownReceipts opens receipts, all of which have to be genuine and this
// machine's.
func ownReceipts(data []byte, own key.ID) ([]*receipt.Signed, error) {
	var list []*receipt.Signed
	for dec := json.NewDecoder(bytes.NewReader(data)); dec.More(); {
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, err
		}
		s, err := receipt.Open(raw)
		switch {
		case err != nil:
			return nil, err
		case s.Worker != own && s.Requester != own.String():
			return nil, fmt.Errorf("the receipt %s is between others", s.Nonce)
		}
		list = append(list, s)
	}
	switch {
	case len(list) == 0:
		return nil, errors.New("there is no receipt in it")
	case len(list) > maxPublished:
		return nil, fmt.Errorf("more than %d receipts, which relays would not take", maxPublished)
	}
	return list, nil
}

// publish gives every receipt to every relay.
func (a *app) publish(ctx context.Context, relays []*nostr.Relay, list []*receipt.Signed) error {
	taken := 0
	for _, s := range list {
		var faults []error
		for _, r := range relays {
			if err := r.PublishReceipt(ctx, s); err != nil {
				faults = append(faults, fmt.Errorf("%s: %w", r.URL(), err))
			}
		}
		if len(faults) == len(relays) {
			return cli.Hintf(fmt.Errorf("no relay took the receipt %s, after %d others: %w", s.Nonce, taken, errors.Join(faults...)), "run it again later; who reads a receipt twice counts it once")
		}
		for _, fault := range faults {
			a.warn("%s", cli.CleanLine(fault.Error()))
		}
		taken++
	}
	a.say("published %s", cli.Plural(taken, "receipt"))
	return nil
}

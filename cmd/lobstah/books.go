package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"lobstah/grid/allow"
	"lobstah/grid/discover"
	"lobstah/grid/router"
	"lobstah/internal/cli"
	"lobstah/key"
	"lobstah/ledger"
	"lobstah/ledger/sqlite"
	"lobstah/receipt"
)

// oldLedger is where the original keeps its receipts.
const oldLedger = "ledger.jsonl"

// openBook opens this machine's ledger for writing, and makes it if need be.
func (a *app) openBook(ctx context.Context, pair key.Pair) (*sqlite.Ledger, error) {
	if err := a.checkBookPath(); err != nil {
		return nil, err
	}
	if old := filepath.Join(a.home.Dir, oldLedger); !exists(a.home.Ledger) && exists(old) {
		a.note("The original's receipts are in %s. To take them over: lobstah ledger import %s", old, old)
	}
	l, err := sqlite.Open(ctx, a.home.Ledger, pair)
	if err != nil {
		return nil, a.bookHint(err)
	}
	if l.Owner() != pair.ID() {
		return nil, errors.Join(cli.Hintf(fmt.Errorf("the ledger %s belongs to %s, this machine's key is %s", a.home.Ledger, l.Owner(), pair.ID()),
			"put the identity back that made it, or move the ledger away to begin another"), l.Close())
	}
	return l, nil
}

// readBook opens the ledger for reading; none is an error that wraps
// [fs.ErrNotExist].
func (a *app) readBook(ctx context.Context) (*sqlite.Ledger, error) {
	if err := a.checkBookPath(); err != nil {
		return nil, err
	}
	if _, err := os.Stat(a.home.Ledger); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, a.noBook(err)
		}
		return nil, err
	}
	l, err := sqlite.OpenReadOnly(ctx, a.home.Ledger)
	return l, a.bookHint(err)
}

func (a *app) noBook(err error) error {
	err = fmt.Errorf("there is no ledger yet: %w", err)
	if old := filepath.Join(a.home.Dir, oldLedger); exists(old) {
		return cli.Hintf(err, "the original's receipts can be taken over: lobstah ledger import %s", old)
	}
	return cli.Hintf(err, "it begins with the first receipt: lobstah up, then lobstah ask")
}

// checkBookPath refuses the original's text file where the database belongs.
func (a *app) checkBookPath() error {
	if strings.HasSuffix(a.home.Ledger, ".jsonl") {
		return cli.Hintf(fmt.Errorf("the ledger is to be %s, which is the original's text form; this program keeps a database", a.home.Ledger),
			"unset LOBSTAH_LEDGER, then: lobstah ledger import %s", a.home.Ledger)
	}
	return nil
}

func (a *app) bookHint(err error) error {
	if errors.Is(err, ledger.ErrFull) {
		return cli.Hintf(err, "free some space on the disk of %s", a.home.Ledger)
	}
	return err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// workerBook is the ledger as the worker sees it.
type workerBook struct{ *sqlite.Ledger }

func (b workerBook) Record(ctx context.Context, s *receipt.Signed) error {
	err := b.Append(ctx, ledger.Worker, s)
	if errors.Is(err, ledger.ErrDuplicate) {
		return nil // an earlier try did get through
	}
	return err
}

func (b workerBook) Since(ctx context.Context, requester key.ID, after int64, limit int) ([]*receipt.Signed, int64, error) {
	entries, err := b.Ledger.Since(ctx, requester, after, limit)
	list := make([]*receipt.Signed, len(entries))
	for i, e := range entries {
		list[i], after = e.Signed, e.Seq
	}
	if len(list) == 0 && err == nil {
		last, err := b.LastServed(ctx, requester)
		return nil, min(after, last), err
	}
	return list, after, err
}

// routerBook is the ledger as the router sees it.
type routerBook struct{ *sqlite.Ledger }

func (b routerBook) Append(ctx context.Context, s *receipt.Signed) error {
	// What this machine served to itself its worker has kept already.
	err := b.Ledger.Append(ctx, ledger.SideOf(b.Owner(), &s.Receipt), s)
	switch {
	case !errors.Is(err, ledger.ErrDuplicate):
		return err
	case s.SelfServed():
		return nil
	}
	return fmt.Errorf("%w: %w", router.ErrKnown, err)
}

func (b routerBook) Balances(ctx context.Context) (router.Balances, error) {
	s, err := b.Ledger.Balances(ctx)
	return balances(s), err
}

func (b routerBook) Recent(ctx context.Context, limit int) ([]*receipt.Signed, int, error) {
	entries, err := b.Ledger.Recent(ctx, limit)
	if err != nil {
		return nil, 0, err
	}
	list := make([]*receipt.Signed, len(entries))
	for i, e := range entries {
		list[i] = e.Signed
	}
	s, err := b.Ledger.Balances(ctx)
	return list, int(s.Receipts), err
}

// balances puts a summary into the words of GET /balance.
func balances(s ledger.Summary) router.Balances {
	b := router.Balances{
		Totals:    router.Totals{Earned: s.Tokens, Spent: s.Tokens, Receipts: s.Receipts},
		Self:      balance(s.Self),
		PerPeer:   []router.Balance{},
		Allowance: ledger.Allowance,
	}
	for _, account := range s.Peers {
		b.PerPeer = append(b.PerPeer, balance(account))
	}
	return b
}

func balance(a ledger.Account) router.Balance {
	return router.Balance{
		Pubkey: a.Name, Earned: a.Earned, Spent: a.Spent, Net: a.Net(),
		Allowance: ledger.Allowance, Available: a.Available(),
	}
}

const ownName = "this machine"

// names knows what the user calls keys.
type names map[string]string

// names reads the labels from the peers and the allow list. Damaged files give
// none; who needs them says so.
func (a *app) names() names {
	n := names{}
	if id, known := a.ownID(); known {
		n[id.String()] = ownName
	}
	if list, err := allow.Read(a.home.Allow); err == nil {
		for _, e := range list {
			n.add(e.ID, e.Label)
		}
	}
	if list, err := discover.Read(a.home.Peers); err == nil {
		for _, p := range list {
			n.add(p.ID, p.Label)
		}
	}
	return n
}

func (n names) add(id key.ID, label string) {
	if label != "" && n[id.String()] == "" {
		n[id.String()] = label
	}
}

// of names a key's text: label and short key.
func (n names) of(text string) string {
	id, err := key.ParseID(text)
	if err != nil {
		return text // anonymous
	}
	switch label := n[text]; label {
	case ownName:
		return label
	case "":
		return id.Short()
	default:
		return label + " (" + id.Short() + ")"
	}
}

// json prints v for programs.
func (a *app) json(v any) error {
	enc := json.NewEncoder(a.Out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func when(t time.Time) string { return t.Local().Format(time.DateTime) }

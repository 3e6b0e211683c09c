package ledger

import (
	"cmp"
	"slices"

	"lobstah/key"
	"lobstah/receipt"
)

// A Tally is a sum over receipts.
type Tally struct {
	Earned int64 `json:"earned"` // tokens served as worker
	Spent  int64 `json:"spent"`  // tokens asked for as requester
	Served int64 `json:"served"` // receipts as worker
	Asked  int64 `json:"asked"`  // receipts as requester
}

// maxTokens keeps sums of hostile counts far from overflow.
const maxTokens = 1 << 60

// Plus returns the sum of two tallies; token sums stop at 2^60.
func (t Tally) Plus(u Tally) Tally {
	return Tally{
		min(t.Earned+u.Earned, maxTokens), min(t.Spent+u.Spent, maxTokens),
		t.Served + u.Served, t.Asked + u.Asked,
	}
}

// Net is earned minus spent.
func (t Tally) Net() int64 { return t.Earned - t.Spent }

// Available is what may still be spent on credit.
func (t Tally) Available() int64 { return Allowance + t.Net() }

// An Account is one party's sums in our ledger. Every accepted receipt has us
// on one side, so another party's tally is all between it and us.
type Account struct {
	Name       string `json:"pubkey"` // an ID's text, or [receipt.Anonymous]
	Tally             // accepted receipts, each nonce once
	SelfServed Tally  `json:"selfServed"` // worker and requester are one; nothing is owed
	Imported   Tally  `json:"imported"`   // kept apart: gives no credit
	Bound      bool   `json:"bound"`      // gave us a bound receipt once
}

// Plus returns the sum of two accounts under a's name.
func (a Account) Plus(b Account) Account {
	a.Tally = a.Tally.Plus(b.Tally)
	a.SelfServed = a.SelfServed.Plus(b.SelfServed)
	a.Imported = a.Imported.Plus(b.Imported)
	a.Bound = a.Bound || b.Bound
	return a
}

// Minus undoes Plus, but for Bound and sums that reached their end.
func (a Account) Minus(b Account) Account {
	minus := func(t, u Tally) Tally {
		return Tally{t.Earned - u.Earned, t.Spent - u.Spent, t.Served - u.Served, t.Asked - u.Asked}
	}
	a.Tally = minus(a.Tally, b.Tally)
	a.SelfServed = minus(a.SelfServed, b.SelfServed)
	a.Imported = minus(a.Imported, b.Imported)
	return a
}

// Post tells how one receipt changes accounts: the worker's and the
// requester's, or one when they are the same.
func Post(r *receipt.Receipt, side Side, imported bool) []Account {
	served := Tally{Earned: r.Total(), Served: 1}
	asked := Tally{Spent: r.Total(), Asked: 1}
	worker, requester := Account{Name: r.Worker.String()}, Account{Name: r.Requester}
	switch {
	case imported:
		worker.Imported, requester.Imported = served, asked
	case r.SelfServed():
		worker.SelfServed, requester.SelfServed = served, asked
	default:
		worker.Tally, requester.Tally = served, asked
	}
	worker.Bound = !imported && side == Requester && r.Bound()
	if r.SelfServed() {
		return []Account{worker.Plus(requester)}
	}
	return []Account{worker, requester}
}

// A Summary is everything that the accounts say.
type Summary struct {
	Owner    key.ID    `json:"pubkey"`
	Self     Account   `json:"self"`  // our own account
	Peers    []Account `json:"peers"` // all others, the largest net first
	Receipts int64     `json:"receipts"`
	Tokens   int64     `json:"tokens"` // of those receipts
}

// Owed is what the account's holder owes us; negative when we owe it. Nobody
// can be asked for what anonymous requesters used, so that owes nothing.
func (s Summary) Owed(a Account) int64 {
	if a.Name == receipt.Anonymous || a.Name == s.Owner.String() {
		return 0
	}
	return -a.Net()
}

// Summarize makes a summary of the accounts in owner's ledger.
func Summarize(owner key.ID, accounts []Account) Summary {
	s := Summary{Owner: owner, Self: Account{Name: owner.String()}, Peers: []Account{}}
	for _, a := range accounts {
		if a.Name == owner.String() {
			s.Self = a
		} else {
			s.Peers = append(s.Peers, a)
		}
	}
	slices.SortFunc(s.Peers, func(a, b Account) int {
		return cmp.Or(cmp.Compare(b.Net(), a.Net()), cmp.Compare(a.Name, b.Name))
	})
	s.Receipts = s.Self.Served + s.Self.Asked + s.Self.SelfServed.Served
	s.Tokens = s.Self.Earned + s.Self.Spent + s.Self.SelfServed.Earned
	return s
}

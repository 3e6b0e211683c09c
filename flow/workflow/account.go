package workflow

import (
	"lobstah/flow/interp"
	"lobstah/flow/value"
)

// account collects the charges of one attempt at one step; they count once it settles. It belongs to one goroutine at a time.
type account struct {
	meter   *meter
	step    string
	charges []value.Value
}

func (m *meter) account(step string) *account { return &account{meter: m, step: step} }

// branch is an account of its own, so that branches that lose are not billed.
func (a *account) branch(step string) *account { return a.meter.account(step) }

// answer notes what a model returned: a live call is charged if it says what was used, a replay is known to be paid.
func (a *account) answer(ans interp.Answer) {
	a.meter.remember(ans.Item)
	if !ans.Replayed && ans.Item.Field("usage").Kind() == value.KindObject {
		a.charges = append(a.charges, ans.Item)
	}
}

// origin is where the data of a result may have come from, which decides whether what looks like a paid answer is one.
type origin int

const (
	passedOn origin = iota // from the steps before: an answer is recognised as the very value that was paid for
	stored                 // from the state store, too: a copy of an answer is an answer
	fresh                  // from outside: nothing is known about it
)

// result charges the items of a step's result that carry usage, unless they are answers that were charged already.
func (a *account) result(v value.Value, from origin) {
	items, ok := v.AsList()
	if !ok {
		items = []value.Value{v}
	}
	for _, it := range items {
		if it.Field("usage").Kind() == value.KindObject && !a.meter.knows(it, from) {
			a.charges = append(a.charges, it)
		}
	}
}

// recall notes that the items of an earlier result were charged when they came.
func (a *account) recall(v value.Value) {
	items, ok := v.AsList()
	if !ok {
		items = []value.Value{v}
	}
	for _, it := range items {
		a.meter.remember(it)
	}
}

func (a *account) settle() {
	for _, item := range a.charges {
		a.meter.charge(a.step, item)
	}
	a.charges = nil
}

package interp

import (
	"fmt"
	"sync/atomic"

	"lobstah/flow/value"
)

// MaxCollected caps how many items a stage may gather; what streams has no cap.
const MaxCollected = 50_000_000

// MaxCollectedBytes is how much memory the items that a run holds may take, unless LOBSTER_MAX_COLLECT_BYTES says otherwise.
const MaxCollectedBytes = 2 << 30

// Budget is how much memory a run may hold: the items that its stages gather, the results of its steps, the rounds of its loops. One budget
// counts for all of a run, also for branches that work side by side and for files within files. A nil budget has no limit.
type Budget struct {
	limit  int64
	parent *Budget // nil for a whole run's
	held   atomic.Int64
}

// NewBudget returns the budget of a run, in bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Part returns a budget that takes from b, for a part of the run that gives everything back when it ends.
func (b *Budget) Part() *Budget {
	if b == nil {
		return nil
	}
	return &Budget{limit: b.limit, parent: b}
}

// Run returns how much the whole run may hold and how much it does; zeros if there is no limit.
func (b *Budget) Run() (limit, held int64) {
	if b == nil {
		return 0, 0
	}
	for b.parent != nil {
		b = b.parent
	}
	return b.limit, b.held.Load()
}

// Take notes n bytes more, or refuses them.
func (b *Budget) Take(n int64) error {
	for at := b; at != nil; at = at.parent {
		if held := at.held.Add(n); held > at.limit {
			return fmt.Errorf("the run holds more than %d bytes of items and results at once; narrow them down, or raise LOBSTER_MAX_COLLECT_BYTES", b.limit)
		}
	}
	return nil
}

// Release gives back what a part took.
func (b *Budget) Release() {
	if b == nil {
		return
	}
	held := b.held.Swap(0)
	for at := b.parent; at != nil; at = at.parent {
		at.held.Add(-held)
	}
}

// Hold returns a copy of e for a part of the run, and the function that gives back what the part held.
func (e *Env) Hold() (*Env, func()) {
	part := *e
	part.Budget = e.Budget.Part()
	return &part, part.Budget.Release
}

// Collect pulls the sequence to its end, within the run's budget.
func (e *Env) Collect(seq Seq) ([]value.Value, error) { return collect(seq, e.Budget) }

// Collect pulls the sequence to its end, within a budget of its own.
func Collect(seq Seq) ([]value.Value, error) { return collect(seq, NewBudget(MaxCollectedBytes)) }

func collect(seq Seq, budget *Budget) ([]value.Value, error) {
	var items []value.Value
	for v, err := range seq {
		if err != nil {
			return nil, err
		}
		if len(items) >= MaxCollected {
			return nil, fmt.Errorf("a stage that needs all items at once got more than %d; narrow them down before it", MaxCollected)
		}
		if err := budget.Take(v.Size()); err != nil {
			return nil, fmt.Errorf("a stage that needs all items at once has %d of them: %w", len(items), err)
		}
		items = append(items, v)
	}
	return items, nil
}

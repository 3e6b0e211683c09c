package stdlib

import (
	"slices"

	"lobstah/flow/interp"
	"lobstah/flow/value"
)

func sortCommand() interp.Command {
	return interp.Command{
		Name:        "sort",
		Description: "Sort the items",
		Help:        "sort\nsort --key size\nsort --key author.name --desc\n\nNumbers sort as numbers, everything else as text; missing and null come last (with --desc first).",
		Params:      []interp.Param{stringParam("key", "Dotted path of the field to sort by"), boolParam("desc", "Reverse the order"), positional()},
		Required:    []string{},
		Run:         eagerly(sortItems),
	}
}

func sortItems(call *interp.Call, items []value.Value) ([]value.Value, error) {
	keyed := make([]sortable, len(items))
	path, byKey := call.Args.Get("key").AsString()
	parts := segments(path)
	for i, item := range items {
		key := item
		if byKey && path != "" {
			key = lookup(item, parts)
		}
		keyed[i] = sortable{item: item, key: key}
	}
	sign := 1
	if call.Args.Truthy("desc") {
		sign = -1
	}
	sortStable(keyed, func(a, b sortable) int { return sign * compareKeys(a.key, b.key) })
	for i, k := range keyed {
		items[i] = k.item
	}
	return items, nil
}

// fewItems is below how many items JavaScript's engine sorts by insertion.
const fewItems = 64

// sortStable sorts as JavaScript's engine does. Keys of different types can compare in circles (9 < 10, "10" < "9"), and then the result hangs on
// the way of sorting; for short lists, where somebody looks, it is the same way.
func sortStable(items []sortable, compare func(a, b sortable) int) {
	if len(items) >= fewItems {
		slices.SortStableFunc(items, compare)
		return
	}
	for i := firstRun(items, compare); i < len(items); i++ {
		pivot := items[i]
		low, high := 0, i
		for low < high {
			if mid := low + (high-low)/2; compare(pivot, items[mid]) < 0 {
				high = mid
			} else {
				low = mid + 1
			}
		}
		copy(items[low+1:i+1], items[low:i])
		items[low] = pivot
	}
}

// firstRun is the length of the ordered beginning; one that falls strictly is turned round.
func firstRun(items []sortable, compare func(a, b sortable) int) int {
	if len(items) < 2 {
		return len(items)
	}
	falling := compare(items[1], items[0]) < 0
	n := 2
	for n < len(items) && (compare(items[n], items[n-1]) < 0) == falling {
		n++
	}
	if falling {
		slices.Reverse(items[:n])
	}
	return n
}

type sortable struct{ item, key value.Value }

func compareKeys(a, b value.Value) int {
	switch an, bn := a.IsNullish(), b.IsNullish(); {
	case an && bn:
		return 0
	case an:
		return 1
	case bn:
		return -1
	}
	if a.Kind() == value.KindNumber && b.Kind() == value.KindNumber {
		order, _ := value.Order(a, b)
		return order
	}
	return value.Compare16(value.Text(a), value.Text(b))
}

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
	slices.SortStableFunc(keyed, func(a, b sortable) int { return sign * compareKeys(a.key, b.key) })
	for i, k := range keyed {
		items[i] = k.item
	}
	return items, nil
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

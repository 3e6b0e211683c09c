package schema

import (
	"slices"
	"strconv"

	"lobstah/flow/value"
)

// The rules for lists.

func maxItems(n *node, k value.Value) bool {
	items, _ := n.v.AsList()
	return n.atMost(len(items), k, "items")
}

func minItems(n *node, k value.Value) bool {
	items, _ := n.v.AsList()
	return n.atLeast(len(items), k, "items")
}

func uniqueItems(n *node, k value.Value) bool {
	if !k.Truthy() {
		return true
	}
	list, _ := n.v.AsList()
	seen := make(map[string]int, len(list))
	scalars := typesOf(n.schema.Field("items").Field("type"))
	if len(scalars) > 0 && !slices.Contains(scalars, "object") && !slices.Contains(scalars, "array") {
		for i, item := range slices.Backward(list) {
			if j, twice := seen[value.Canonical(item)]; twice {
				return n.extra(n.c, "must NOT have duplicate items (items ## %d and %d are identical)", j, i)
			}
			seen[value.Canonical(item)] = i
		}
		return true
	}
	if i, j := lastTwins(list); j >= 0 {
		return n.extra(n.c, "must NOT have duplicate items (items ## %d and %d are identical)", j, i)
	}
	return true
}

// lastTwins returns the last index i whose item stands at an earlier index too, and the greatest such earlier index j; j is -1 if
// there is none.
func lastTwins(list []value.Value) (i, j int) {
	at := make(map[string]int, len(list))
	i, j = -1, -1
	for n, item := range list {
		key := value.Canonical(item)
		if earlier, twice := at[key]; twice {
			i, j = n, earlier
		}
		at[key] = n
	}
	return i, j
}

func additionalItems(n *node, k value.Value) bool {
	fixed, isList := n.schema.Field("items").AsList()
	if !isList {
		return true
	}
	list, _ := n.v.AsList()
	if allowed, isBool := k.AsBool(); isBool {
		return allowed || len(list) <= len(fixed) || n.extra(n.c, "must NOT have more than %d items", len(fixed))
	}
	return n.each(list, len(fixed), k)
}

// each applies a schema to the items from an index on.
func (n *node) each(list []value.Value, from int, schema value.Value) bool {
	ok := true
	for i := from; i < len(list); i++ {
		ok = n.apply(schema, list[i], n.c.inside(strconv.Itoa(i))) && ok
		if !ok && !n.all {
			return false
		}
	}
	return ok
}

func items(n *node, k value.Value) bool {
	list, _ := n.v.AsList()
	fixed, isList := k.AsList()
	if !isList {
		return n.each(list, 0, k)
	}
	ok := true
	for i := range min(len(fixed), len(list)) {
		ok = n.apply(fixed[i], list[i], n.c.inside(strconv.Itoa(i))) && ok
		if !ok && !n.all {
			return false
		}
	}
	return ok
}

func contains(n *node, k value.Value) bool {
	list, _ := n.v.AsList()
	from := len(n.issues)
	for i, item := range list {
		if n.apply(k, item, n.c.part().inside(strconv.Itoa(i))) {
			n.issues = n.issues[:from]
			return true
		}
	}
	return n.fault(n.c, from, "must contain at least 1 valid item(s)")
}

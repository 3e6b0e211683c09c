package schema

import (
	"slices"

	"lobstah/flow/value"
)

// The rules for values of every type.

func ref(n *node, k value.Value) bool {
	target, err := n.run.schema.resolve(value.Text(k))
	if err != nil {
		return n.extra(n.c, "%s", err.Error())
	}
	return n.apply(target, n.v, n.c.deeper())
}

func constant(n *node, k value.Value) bool {
	return value.Same(n.v, k) || n.extra(n.c, "must be equal to constant")
}

func enum(n *node, k value.Value) bool {
	allowed, _ := k.AsList()
	return slices.ContainsFunc(allowed, func(a value.Value) bool { return value.Same(a, n.v) }) || n.extra(n.c, "must be equal to one of the allowed values")
}

func not(n *node, k value.Value) bool {
	return !n.passes(k, n.v, n.c) || n.extra(n.c, "must NOT be valid")
}

func anyOf(n *node, k value.Value) bool {
	branches, _ := k.AsList()
	from := len(n.issues)
	for _, b := range branches {
		if n.apply(b, n.v, n.c.part()) {
			n.issues = n.issues[:from]
			return true
		}
	}
	return n.extra(n.c, "must match a schema in anyOf")
}

func oneOf(n *node, k value.Value) bool {
	branches, _ := k.AsList()
	from, matched := len(n.issues), 0
	for _, b := range branches {
		if n.apply(b, n.v, n.c.part()) {
			matched++
		}
		if matched > 1 {
			break
		}
	}
	if matched == 1 {
		n.issues = n.issues[:from]
		return true
	}
	return n.extra(n.c, "must match exactly one schema in oneOf")
}

func allOf(n *node, k value.Value) bool {
	branches, _ := k.AsList()
	ok := true
	for _, b := range branches {
		ok = n.apply(b, n.v, n.c.deeper()) && ok
		if !ok && !n.all {
			return false
		}
	}
	return ok
}

func ifThenElse(n *node, k value.Value) bool {
	branch := "else"
	if n.passes(k, n.v, n.c) {
		branch = "then"
	}
	s := n.schema.Field(branch)
	if s.IsUndefined() || n.apply(s, n.v, n.c.part()) {
		return true
	}
	return n.extra(n.c, "must match %q schema", branch)
}

package schema

import (
	"slices"

	"lobstah/flow/value"
)

// The rules for objects.

func maxProperties(n *node, k value.Value) bool { return n.atMost(size(n.v), k, "properties") }

func minProperties(n *node, k value.Value) bool { return n.atLeast(size(n.v), k, "properties") }

func size(v value.Value) int {
	o, _ := v.AsObject()
	return o.Len()
}

func required(n *node, k value.Value) bool {
	names, _ := k.AsList()
	ok := true
	for _, name := range names {
		if !n.v.Field(value.Text(name)).IsUndefined() {
			continue
		}
		ok = n.extra(n.c, "must have required property '%s'", value.Text(name))
		if !n.all {
			return false
		}
	}
	return ok
}

func propertyNames(n *node, k value.Value) bool {
	o, _ := n.v.AsObject()
	ok := true
	for name := range o.All() {
		if n.apply(k, value.String(name), n.c.part()) {
			continue
		}
		ok = n.extra(n.c, "property name must be valid")
		if !n.all {
			return false
		}
	}
	return ok
}

func additionalProperties(n *node, k value.Value) bool {
	o, _ := n.v.AsObject()
	ok := true
	for name, v := range o.All() {
		if n.declares(name) {
			continue
		}
		if allowed, isBool := k.AsBool(); isBool {
			ok = (allowed || n.extra(n.c, "must NOT have additional properties")) && ok
		} else {
			ok = n.apply(k, v, n.c.inside(name)) && ok
		}
		if !ok && !n.all {
			return false
		}
	}
	return ok
}

func (n *node) declares(name string) bool {
	if !n.schema.Field("properties").Field(name).IsUndefined() {
		return true
	}
	patterns, _ := n.schema.Field("patternProperties").AsObject()
	return slices.ContainsFunc(patterns.Keys(), func(p string) bool { return n.run.schema.patterns[p].MatchString(name) })
}

func dependent(n *node, k value.Value) bool {
	o, _ := k.AsObject()
	ok := true
	for name, dep := range o.All() {
		if n.v.Field(name).IsUndefined() {
			continue
		}
		ok = n.dependency(name, dep) && ok
		if !ok && !n.all {
			return false
		}
	}
	return ok
}

func (n *node) dependency(name string, dep value.Value) bool {
	needed, isList := dep.AsList()
	if !isList {
		return n.apply(dep, n.v, n.c.deeper())
	}
	for _, need := range needed {
		if !n.v.Field(value.Text(need)).IsUndefined() {
			continue
		}
		noun := "properties"
		if len(needed) == 1 {
			noun = "property"
		}
		return n.extra(n.c, "must have %s %s when property %s is present", noun, value.Join(dep, ", "), name)
	}
	return true
}

func properties(n *node, k value.Value) bool {
	o, _ := k.AsObject()
	ok := true
	for name, s := range o.All() {
		v := n.v.Field(name)
		if v.IsUndefined() {
			continue
		}
		ok = n.apply(s, v, n.c.inside(name)) && ok
		if !ok && !n.all {
			return false
		}
	}
	return ok
}

func patternProperties(n *node, k value.Value) bool {
	patterns, _ := k.AsObject()
	o, _ := n.v.AsObject()
	ok := true
	for p, s := range patterns.All() {
		for name, v := range o.All() {
			if n.run.schema.patterns[p].MatchString(name) {
				ok = n.apply(s, v, n.c.inside(name)) && ok
			}
			if !ok && !n.all {
				return false
			}
		}
	}
	return ok
}

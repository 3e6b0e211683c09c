package schema

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"lobstah/flow/value"
)

// run is one validation.
type run struct {
	schema *Schema
	all    bool // go on after a fault
	issues []Issue
	steps  *int // schemas applied so far; shared with runs inside
}

// scope is where in the value a schema applies, and how.
type scope struct {
	pointer   string
	composite bool // within anyOf and its kin, where faults pile up instead of ending the run
	depth     int
}

func (c scope) inside(key string) scope {
	c.pointer += "/" + pointerEscaper.Replace(key)
	c.depth++
	return c
}

func (c scope) deeper() scope {
	c.depth++
	return c
}

func (c scope) part() scope {
	c.composite = true
	c.depth++
	return c
}

// fault notes an issue. In a run for the first fault, outside of composites, it replaces what the keyword's inner schemas found.
func (r *run) fault(c scope, from int, format string, args ...any) bool {
	if !c.composite && !r.all {
		r.issues = r.issues[:from]
	}
	return r.extra(c, format, args...)
}

// extra notes an issue after those of inner schemas.
func (r *run) extra(c scope, format string, args ...any) bool {
	r.issues = append(r.issues, Issue{c.pointer, fmt.Sprintf(format, args...)})
	return false
}

// apply checks v against schema; false if it has a fault.
func (r *run) apply(schema, v value.Value, c scope) bool {
	if *r.steps++; c.depth > MaxDepth || *r.steps > MaxSteps {
		return r.extra(c, "needs too much work to check")
	}
	if allowed, isBool := schema.AsBool(); isBool {
		return allowed || r.extra(c, "boolean schema is false")
	}
	n := node{run: r, schema: schema, v: v, c: c}
	names := typesOf(schema.Field("type"))
	late := len(names) == 1 && n.hasRules(names[0])
	if len(names) > 0 && !late && !isType(v, names...) {
		return r.extra(c, "must be %s", strings.Join(names, ","))
	}
	ok := n.keywords(anyRules)
	for _, g := range groups {
		if !ok && !r.all {
			return false
		}
		switch {
		case !n.hasRules(g.name):
		case isType(v, g.name):
			ok = n.keywords(g.rules) && ok
		case late && names[0] == g.name:
			ok = r.extra(c, "must be %s", g.name)
		}
	}
	return ok
}

// node is a schema at a value.
type node struct {
	*run
	schema, v value.Value
	c         scope
}

// rule is a keyword and how it is checked; k is its value.
type rule struct {
	keyword string
	check   func(n *node, k value.Value) bool
}

type group struct {
	name  string
	rules []rule
}

// groups are the rules that apply to one type only, in order; anyRules come before them.
var (
	anyRules []rule
	groups   []group
)

func init() { // not in the declarations, because rules apply schemas, which have rules
	anyRules = []rule{{"$ref", ref}, {"const", constant}, {"enum", enum}, {"not", not}, {"anyOf", anyOf}, {"oneOf", oneOf}, {"allOf", allOf}, {"if", ifThenElse}}
	groups = []group{
		{"number", []rule{{"maximum", maximum}, {"minimum", minimum}, {"exclusiveMaximum", exclusiveMaximum}, {"exclusiveMinimum", exclusiveMinimum}, {"multipleOf", multipleOf}}},
		{"string", []rule{{"maxLength", maxLength}, {"minLength", minLength}, {"pattern", matches}}},
		{"array", []rule{{"maxItems", maxItems}, {"minItems", minItems}, {"uniqueItems", uniqueItems}, {"additionalItems", additionalItems}, {"items", items}, {"contains", contains}}},
		{"object", []rule{{"maxProperties", maxProperties}, {"minProperties", minProperties}, {"required", required}, {"propertyNames", propertyNames},
			{"additionalProperties", additionalProperties}, {"dependencies", dependent}, {"properties", properties}, {"patternProperties", patternProperties}}},
	}
}

func (n *node) hasRules(typeName string) bool {
	for _, g := range groups {
		if g.name == typeName {
			return slices.ContainsFunc(g.rules, func(r rule) bool { return !n.schema.Field(r.keyword).IsUndefined() })
		}
	}
	return false
}

func (n *node) keywords(rules []rule) bool {
	ok := true
	for _, r := range rules {
		k := n.schema.Field(r.keyword)
		if k.IsUndefined() {
			continue
		}
		ok = r.check(n, k) && ok
		if !ok && !n.all {
			return false
		}
	}
	return ok
}

func isType(v value.Value, names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return isOneType(v, name) })
}

func isOneType(v value.Value, name string) bool {
	switch v.Kind() {
	case value.KindNull:
		return name == "null"
	case value.KindBool:
		return name == "boolean"
	case value.KindNumber:
		f, _ := v.AsNumber()
		return name == "number" && !math.IsNaN(f) || name == "integer" && f == math.Trunc(f) && !math.IsInf(f, 0)
	case value.KindString:
		return name == "string"
	case value.KindList:
		return name == "array"
	case value.KindObject:
		return name == "object"
	}
	return false
}

// passes checks v without noting faults.
func (n *node) passes(schema, v value.Value, c scope) bool {
	quiet := run{schema: n.run.schema, steps: n.steps}
	return quiet.apply(schema, v, c.part())
}

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

func (n *node) compare(k value.Value, sign string, ok func(v, limit float64) bool) bool {
	return ok(value.ToNumber(n.v), value.ToNumber(k)) || n.extra(n.c, "must be %s %s", sign, value.Text(k))
}

func maximum(n *node, k value.Value) bool {
	return n.compare(k, "<=", func(v, l float64) bool { return v <= l })
}

func minimum(n *node, k value.Value) bool {
	return n.compare(k, ">=", func(v, l float64) bool { return v >= l })
}

func exclusiveMaximum(n *node, k value.Value) bool {
	return n.compare(k, "<", func(v, l float64) bool { return v < l })
}

func exclusiveMinimum(n *node, k value.Value) bool {
	return n.compare(k, ">", func(v, l float64) bool { return v > l })
}

func multipleOf(n *node, k value.Value) bool {
	q := value.ToNumber(n.v) / value.ToNumber(k)
	return q == math.Trunc(q) && !math.IsInf(q, 0) || n.extra(n.c, "must be multiple of %s", value.Text(k))
}

func (n *node) atMost(size int, k value.Value, what string) bool {
	return float64(size) <= value.ToNumber(k) || n.extra(n.c, "must NOT have more than %s %s", value.Text(k), what)
}

func (n *node) atLeast(size int, k value.Value, what string) bool {
	return float64(size) >= value.ToNumber(k) || n.extra(n.c, "must NOT have fewer than %s %s", value.Text(k), what)
}

func maxLength(n *node, k value.Value) bool {
	return n.atMost(utf8.RuneCountInString(value.Text(n.v)), k, "characters")
}

func minLength(n *node, k value.Value) bool {
	return n.atLeast(utf8.RuneCountInString(value.Text(n.v)), k, "characters")
}

func matches(n *node, k value.Value) bool {
	return n.run.schema.patterns[value.Text(k)].MatchString(value.Text(n.v)) || n.extra(n.c, `must match pattern "%s"`, value.Text(k))
}

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

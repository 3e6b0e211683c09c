package schema

import (
	"fmt"
	"math"
	"slices"
	"strings"

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

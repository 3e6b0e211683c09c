package schema

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"lobstah/flow/value"
)

// form is what a keyword's value must look like.
type form int

const (
	anything form = iota
	aSchema
	schemas     // a non-empty list of schemas
	schemaMap   // an object of schemas
	itemSchemas // a schema or a list of them
	number
	positive // a number above 0
	count    // an integer from 0
	boolean
	text
	pattern
	patternMap // an object of schemas whose keys are patterns
	stringList // a list of distinct strings
	list       // any list
	types
	dependencies
)

var forms = map[string]form{
	"$ref": text, "$id": text, "$schema": text, "$comment": text, "title": text, "description": text, "format": text,
	"definitions": schemaMap, "$defs": schemaMap, "properties": schemaMap, "patternProperties": patternMap,
	"not": aSchema, "if": aSchema, "then": aSchema, "else": aSchema, "contains": aSchema, "propertyNames": aSchema,
	"additionalProperties": aSchema, "additionalItems": aSchema, "items": itemSchemas,
	"allOf": schemas, "anyOf": schemas, "oneOf": schemas,
	"maximum": number, "minimum": number, "exclusiveMaximum": number, "exclusiveMinimum": number, "multipleOf": positive,
	"maxLength": count, "minLength": count, "maxItems": count, "minItems": count, "maxProperties": count, "minProperties": count,
	"uniqueItems": boolean, "pattern": pattern, "required": stringList, "enum": list, "type": types, "dependencies": dependencies,
}

var typeNames = []string{"array", "boolean", "integer", "null", "number", "object", "string"}

// check reports the first keyword of v, or of a schema within it, that has the wrong form.
func (s *Schema) check(v value.Value, at string, depth int) error {
	if depth > MaxDepth {
		return fmt.Errorf("schema is invalid: data%s nests too deep", at)
	}
	if v.Kind() == value.KindBool {
		return nil
	}
	o, ok := v.AsObject()
	if !ok {
		return fmt.Errorf("schema is invalid: data%s must be object,boolean", at)
	}
	for k, f := range o.All() {
		if err := s.checkKeyword(k, f, at+"/"+pointerEscaper.Replace(k), depth); err != nil {
			return err
		}
	}
	if ref, ok := v.Field("$ref").AsString(); ok {
		if _, err := s.resolve(ref); err != nil {
			return err
		}
	}
	return nil
}

func (s *Schema) checkKeyword(k string, v value.Value, at string, depth int) error {
	fault := func(must string) error { return fmt.Errorf("schema is invalid: data%s must %s", at, must) }
	n, isNumber := v.AsNumber()
	items, isList := v.AsList()
	_, isText := v.AsString()
	if k == "format" && isText {
		s.ignored = append(s.ignored, fmt.Sprintf("unknown format %q ignored in schema at path %q", value.Text(v), "#"+strings.TrimSuffix(at, "/format")))
	}
	switch forms[k] {
	case aSchema:
		return s.check(v, at, depth+1)
	case schemas:
		if !isList || len(items) == 0 {
			return fault("be a non-empty array")
		}
		return s.checkAll(items, at, depth)
	case itemSchemas:
		if isList {
			return s.checkAll(items, at, depth)
		}
		return s.check(v, at, depth+1)
	case schemaMap, patternMap, dependencies:
		return s.checkMap(forms[k], v, at, depth)
	case number:
		return faultUnless(isNumber, fault, "be number")
	case positive:
		return faultUnless(isNumber && n > 0, fault, "be > 0")
	case count:
		return faultUnless(isNumber && n >= 0 && n == math.Trunc(n), fault, "be a non-negative integer")
	case boolean:
		return faultUnless(v.Kind() == value.KindBool, fault, "be boolean")
	case text:
		return faultUnless(isText, fault, "be string")
	case pattern:
		return s.compile(v, fault)
	case stringList:
		return faultUnless(isList && allStrings(items), fault, "be an array of strings")
	case list:
		return faultUnless(isList, fault, "be array")
	case types:
		return faultUnless(validTypes(v), fault, "be equal to one of the allowed values")
	}
	return nil
}

func faultUnless(ok bool, fault func(string) error, must string) error {
	if ok {
		return nil
	}
	return fault(must)
}

func (s *Schema) checkAll(items []value.Value, at string, depth int) error {
	for i, item := range items {
		if err := s.check(item, fmt.Sprintf("%s/%d", at, i), depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (s *Schema) checkMap(f form, v value.Value, at string, depth int) error {
	o, ok := v.AsObject()
	if !ok {
		return fmt.Errorf("schema is invalid: data%s must be object", at)
	}
	for k, sub := range o.All() {
		where := at + "/" + pointerEscaper.Replace(k)
		if f == patternMap {
			fault := func(must string) error { return fmt.Errorf("schema is invalid: data%s must %s", where, must) }
			if err := s.compile(value.String(k), fault); err != nil {
				return err
			}
		}
		if names, isList := sub.AsList(); isList && f == dependencies && allStrings(names) {
			continue
		}
		if err := s.check(sub, where, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (s *Schema) compile(v value.Value, fault func(string) error) error {
	p, ok := v.AsString()
	if !ok {
		return fault("be string")
	}
	re, err := regexp.Compile(unicodeEscape.ReplaceAllString(p, `\x{$1$2}`))
	if err != nil {
		return fault("be a regular expression: " + err.Error())
	}
	s.patterns[p] = re
	return nil
}

// unicodeEscape matches JavaScript's \uFFFF and \u{FFFFF}, which RE2 spells \x{...}.
var unicodeEscape = regexp.MustCompile(`\\u(?:([0-9a-fA-F]{4})|\{([0-9a-fA-F]{1,6})\})`)

func allStrings(items []value.Value) bool {
	return !slices.ContainsFunc(items, func(v value.Value) bool { return v.Kind() != value.KindString })
}

func validTypes(v value.Value) bool {
	names := typesOf(v)
	return len(names) > 0 && !slices.ContainsFunc(names, func(n string) bool { return !slices.Contains(typeNames, n) })
}

// typesOf returns the names in a type keyword, nil if it has the wrong form.
func typesOf(v value.Value) []string {
	if name, ok := v.AsString(); ok {
		return []string{name}
	}
	items, _ := v.AsList()
	var names []string
	for _, item := range items {
		name, ok := item.AsString()
		if !ok {
			return nil
		}
		names = append(names, name)
	}
	return names
}

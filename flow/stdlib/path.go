package stdlib

import (
	"strings"

	"lobstah/flow/value"
)

// lookup follows a dotted path through fields, list items, characters of a text and lengths; a step beyond null or another scalar is undefined.
func lookup(v value.Value, segments []string) value.Value {
	for _, s := range segments {
		v = v.Property(s)
	}
	return v
}

// segments splits a path at its dots and drops empty parts.
func segments(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '.' })
}

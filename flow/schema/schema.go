// Package schema checks values against JSON Schema (draft-07) and words each fault as the original program does.
//
// [Compile] checks a schema and prepares it; [Schema.Validate] returns the first fault, [Schema.All] every one. Original callers
// compare the texts, so the order in which keywords are tried and the wording follow the validator that the original
// uses (Ajv 8, strict mode off): within one schema $ref, const, enum, not, anyOf, oneOf, allOf, if; then those for numbers, strings,
// lists and objects. Unknown keywords and every format are ignored. References stay within the schema.
//
// Imported by flow/stdlib, flow/workflow and flow. Schemas and values are hostile: nesting is capped at [MaxDepth] and work at
// [MaxSteps], and patterns run in linear time (RE2; a pattern that RE2 lacks makes the schema invalid).
package schema

import (
	"fmt"
	"io"
	"regexp"
	"strings"

	"lobstah/flow/value"
)

// MaxDepth caps how deep schemas apply within each other.
const MaxDepth = 500

// MaxSteps caps how many schemas one validation applies; schemas that refer to themselves twice would need exponentially many.
const MaxSteps = 2_000_000

// Schema is a checked schema. It is safe for concurrent use.
type Schema struct {
	root     value.Value
	patterns map[string]*regexp.Regexp
	ignored  []string // what the schema asks for and nobody checks
}

// Warn writes what the schema asks for and nobody checks: its formats. Each is told twice, because the original does so and callers
// compare what it writes.
func (s *Schema) Warn(w io.Writer) {
	for range 2 {
		for _, text := range s.ignored {
			fmt.Fprintln(w, text)
		}
	}
}

// Issue is one fault of a value.
type Issue struct {
	Pointer string // JSON pointer to the part that is at fault; "" is the whole
	Message string
}

// Where returns the pointer, "/" for the whole.
func (i Issue) Where() string {
	if i.Pointer == "" {
		return "/"
	}
	return i.Pointer
}

// Compile checks that v is a schema and prepares it.
func Compile(v value.Value) (*Schema, error) {
	s := &Schema{root: v, patterns: map[string]*regexp.Regexp{}}
	if err := s.check(v, "", 0); err != nil {
		return nil, err
	}
	return s, nil
}

// Validate returns the first fault of v, and whether there is one.
func (s *Schema) Validate(v value.Value) (Issue, bool) {
	r := run{schema: s, steps: new(int)}
	r.apply(s.root, v, scope{})
	if len(r.issues) == 0 {
		return Issue{}, false
	}
	return r.issues[0], true
}

// All returns every fault of v.
func (s *Schema) All(v value.Value) []Issue {
	r := run{schema: s, all: true, steps: new(int)}
	r.apply(s.root, v, scope{})
	return r.issues
}

// resolve returns the schema that a reference within the root names.
func (s *Schema) resolve(ref string) (value.Value, error) {
	pointer, ok := strings.CutPrefix(ref, "#")
	if !ok || (pointer != "" && pointer[0] != '/') {
		return value.Undefined, fmt.Errorf("can't resolve reference %s", ref)
	}
	at := s.root
	for _, part := range strings.Split(pointer, "/")[1:] {
		at = at.Property(unescape(part))
		if at.IsUndefined() {
			return value.Undefined, fmt.Errorf("can't resolve reference %s", ref)
		}
	}
	return at, nil
}

var (
	pointerUnescaper = strings.NewReplacer("~1", "/", "~0", "~")
	pointerEscaper   = strings.NewReplacer("~", "~0", "/", "~1")
)

func unescape(part string) string { return pointerUnescaper.Replace(percentDecode(part)) }

func percentDecode(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		var c byte
		if n, err := fmt.Sscanf(s[i:min(i+3, len(s))], "%%%02x", &c); n == 1 && err == nil {
			b.WriteByte(c)
			i += 2
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

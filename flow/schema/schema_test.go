package schema

import (
	"testing"

	"lobstah/flow/value"
)

func parse(t *testing.T, text string) value.Value {
	t.Helper()
	v, err := value.Parse(text)
	if err != nil {
		t.Fatalf("parse %s: %v", text, err)
	}
	return v
}

const strict = `{"type":"object","properties":{"pick":{"type":"string","enum":["red","blue"]},"n":{"type":"integer","minimum":2}},"required":["pick"],"additionalProperties":false}`

// The texts are those of the original program, recorded from it.
func TestFirstFault(t *testing.T) {
	t.Parallel()
	tests := []struct{ schema, value, want string }{
		{`{"allOf":[{"type":"number"},{"minimum":5}]}`, `3`, "/: must be >= 5"},
		{`{"anyOf":[{"type":"string"},{"type":"number"}]}`, `true`, "/: must be string"},
		{`{"const":5}`, `6`, "/: must be equal to constant"},
		{`{"contains":{"const":1}}`, `[2]`, "/: must contain at least 1 valid item(s)"},
		{`{"dependentRequired":{"a":["b"]}}`, `{"a":1}`, ""},
		{`{"type":"number","exclusiveMaximum":3}`, `3`, "/: must be < 3"},
		{`{"type":"string","format":"email"}`, `"nope"`, ""},
		{`{"if":{"properties":{"k":{"const":1}}},"then":{"required":["v"]}}`, `{"k":1}`, "/: must have required property 'v'"},
		{`{"type":"array","items":{"type":"string"}}`, `["a",3]`, "/1: must be string"},
		{`{"maximum":3}`, `4`, "/: must be <= 3"},
		{`{"type":"array","maxItems":1}`, `[1,2]`, "/: must NOT have more than 1 items"},
		{`{"type":"string","maxLength":1}`, `"ab"`, "/: must NOT have more than 1 characters"},
		{`{"maxProperties":1}`, `{"a":1,"b":2}`, "/: must NOT have more than 1 properties"},
		{`{"type":"array","minItems":2}`, `[1]`, "/: must NOT have fewer than 2 items"},
		{`{"minProperties":1}`, `{}`, "/: must NOT have fewer than 1 properties"},
		{`{"multipleOf":5}`, `12`, "/: must be multiple of 5"},
		{`{"not":{"type":"string"}}`, `"x"`, "/: must NOT be valid"},
		{`{"oneOf":[{"type":"number"},{"minimum":1}]}`, `3`, "/: must match exactly one schema in oneOf"},
		{`{"type":"string","pattern":"^a+$"}`, `"b"`, `/: must match pattern "^a+$"`},
		{`{"patternProperties":{"^n_":{"type":"number"}}}`, `{"n_a":"x"}`, "/n_a: must be number"},
		{`{"properties":{"a/b~c":{"type":"string"}}}`, `{"a/b~c":1}`, "/a~1b~0c: must be string"},
		{`{"propertyNames":{"pattern":"^[a-z]+$"}}`, `{"A1":1}`, `/: must match pattern "^[a-z]+$"`},
		{`{"definitions":{"s":{"type":"string"}},"properties":{"x":{"$ref":"#/definitions/s"}}}`, `{"x":1}`, "/x: must be string"},
		{`{"type":["string","null"]}`, `1`, "/: must be string,null"},
		{`{"type":"array","uniqueItems":true}`, `[1,2,1]`, "/: must NOT have duplicate items (items ## 0 and 2 are identical)"},
		{strict, `{"pick":"red","x":1}`, "/: must NOT have additional properties"},
		{strict, `{"pick":"green"}`, "/pick: must be equal to one of the allowed values"},
		{strict, `{"pick":"red","n":2.5}`, "/n: must be integer"},
		{strict, `{"pick":"red","n":1}`, "/n: must be >= 2"},
		{strict, `{}`, "/: must have required property 'pick'"},
		{strict, `[1]`, "/: must be object"},
		{`{"dependencies":{"a":["b"]}}`, `{"a":1}`, "/: must have property b when property a is present"},
		{`{"pattern":"^[\\u00e9\\u{1F600}]$"}`, `"é"`, ""},
		{`{"pattern":"^\\/\\d$"}`, `"/x"`, `/: must match pattern "^\/\d$"`},
		{`false`, `1`, "/: boolean schema is false"},
	}
	for _, tt := range tests {
		s, err := Compile(parse(t, tt.schema))
		if err != nil {
			t.Errorf("Compile(%s): %v", tt.schema, err)
			continue
		}
		got := ""
		if issue, bad := s.Validate(parse(t, tt.value)); bad {
			got = issue.Where() + ": " + issue.Message
		}
		if got != tt.want {
			t.Errorf("%s against %s: got %q, want %q", tt.value, tt.schema, got, tt.want)
		}
		if all := s.All(parse(t, tt.value)); (len(all) > 0) != (tt.want != "") {
			t.Errorf("%s against %s: All says %v, Validate %q", tt.value, tt.schema, all, tt.want)
		}
	}
}

func TestAllFaults(t *testing.T) {
	t.Parallel()
	s, err := Compile(parse(t, strict))
	if err != nil {
		t.Fatal(err)
	}
	got := s.All(parse(t, `{"n":"x","y":1}`))
	want := []Issue{{"", "must have required property 'pick'"}, {"", "must NOT have additional properties"}, {"/n", "must be integer"}}
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("fault %d: got %v, want %v", i, got[i], want[i])
		}
	}
}

func TestInvalidSchemas(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`1`, `{"type":"text"}`, `{"minimum":"1"}`, `{"required":"a"}`, `{"properties":[]}`, `{"$ref":"#/nowhere"}`,
		`{"$ref":"http://x/y"}`, `{"pattern":"("}`, `{"anyOf":[]}`, `{"items":{"type":5}}`} {
		if _, err := Compile(parse(t, text)); err == nil {
			t.Errorf("Compile(%s): got no error", text)
		}
	}
}

func TestRecursionEnds(t *testing.T) {
	t.Parallel()
	s, err := Compile(parse(t, `{"$ref":"#"}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, bad := s.Validate(value.Null); !bad {
		t.Error("a schema that is only itself: got no fault")
	}
}

func FuzzSchema(f *testing.F) {
	f.Add(strict, `{"pick":"red"}`)
	f.Add(`{"anyOf":[{"$ref":"#"}]}`, `[1]`)
	f.Fuzz(func(t *testing.T, schema, doc string) {
		sv, err := value.Parse(schema)
		if err != nil {
			return
		}
		v, err := value.Parse(doc)
		if err != nil {
			return
		}
		s, err := Compile(sv)
		if err != nil {
			return
		}
		if _, bad := s.Validate(v); bad != (len(s.All(v)) > 0) {
			t.Errorf("Validate says %v, All %v", bad, s.All(v))
		}
	})
}

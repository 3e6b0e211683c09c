package openai_test

import (
	"slices"
	"testing"

	"lobstah/openai"
)

func TestElements(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string][]string{
		`[]`:                                  nil,
		`[ ]`:                                 nil,
		` [ {"a":[1,2]} , "x,]\"" ,3,null ] `: {`{"a":[1,2]}`, `"x,]\""`, `3`, `null`},
		`"text"`:                              nil,
		``:                                    nil,
	} {
		var got []string
		for e := range openai.Elements([]byte(raw)) {
			got = append(got, string(e))
		}
		if !slices.Equal(got, want) {
			t.Errorf("Elements(%q) = %q; want %q", raw, got, want)
		}
	}
}

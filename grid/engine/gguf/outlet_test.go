package gguf

import (
	"slices"
	"testing"
)

func TestOutlet(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		stops   []string
		tokens  []string
		want    []string // what each token releases, then the end
		stopped bool
	}{
		{"plain", nil, []string{"a", "b"}, []string{"a", "b", ""}, false},
		{"emoji of four bytes", nil, []string{"\xf0", "\x9f", "\x99", "\x82!"}, []string{"", "", "", "🙂!", ""}, false},
		{"broken character, then another", nil, []string{"\xe2\x82", "x"}, []string{"", "\uFFFD\uFFFDx", ""}, false},
		{"stray byte", nil, []string{"\x80", "ok"}, []string{"\uFFFD", "ok", ""}, false},
		{"character cut off by the end", nil, []string{"a\xf0\x9f"}, []string{"a", ""}, false},
		{"stop over three tokens", []string{"END"}, []string{"xE", "N", "D more"}, []string{"x", "", "", ""}, true},
		{"almost a stop", []string{"END"}, []string{"xE", "N", "Ough"}, []string{"x", "", "ENOugh", ""}, false},
		{"held at the end", []string{"END"}, []string{"xEN"}, []string{"x", "EN"}, false},
		{"the first of two stops", []string{"cd", "bc"}, []string{"abcd"}, []string{"a", ""}, true},
		{"stop inside itself", []string{"aab"}, []string{"aa", "a", "b"}, []string{"", "a", "", ""}, true},
		{"stop with an emoji", []string{"🙂"}, []string{"a\xf0\x9f", "\x99\x82", "b"}, []string{"a", "", "", ""}, true},
		{"nothing after a stop", []string{"x"}, []string{"ax", "b"}, []string{"a", "", ""}, true},
	}
	for _, test := range tests {
		o := outlet{stops: test.stops}
		var got []string
		for _, token := range test.tokens {
			got = append(got, o.push(token))
		}
		if got = append(got, o.end()); !slices.Equal(got, test.want) || o.stopped != test.stopped {
			t.Errorf("%s: releases %q, stopped %v, want %q, %v", test.name, got, o.stopped, test.want, test.stopped)
		}
	}
}

package spokenwords

import (
	"slices"
	"strings"
	"testing"
)

func TestList(t *testing.T) {
	t.Parallel()
	words := list()
	if len(words) != 1024 {
		t.Fatalf("%d words; want 1024", len(words))
	}
	if !slices.IsSorted(words) || len(slices.Compact(slices.Clone(words))) != len(words) {
		t.Error("the words are not sorted and distinct")
	}
	for _, w := range words {
		if len(w) < 4 || len(w) > 8 || strings.Trim(w, "abcdefghijklmnopqrstuvwxyz") != "" {
			t.Errorf("%q: want 4 to 8 lower-case letters", w)
		}
	}
}

func TestOf(t *testing.T) {
	t.Parallel()
	first, second, last := list()[0], list()[1], list()[1023]
	for bits, want := range map[uint64]string{
		0:                  first + " " + first + " " + first + " " + first + " " + first + " " + first,
		1 << 54:            second + " " + first + " " + first + " " + first + " " + first + " " + first,
		1<<4 | 0xf:         first + " " + first + " " + first + " " + first + " " + first + " " + second, // the last four bits count for nothing
		0xffffffffffffffff: last + " " + last + " " + last + " " + last + " " + last + " " + last,
	} {
		if got := Of(bits); got != want {
			t.Errorf("Of(%#x) = %q; want %q", bits, got, want)
		}
	}
}

package spokenwords

import (
	"slices"
	"testing"
)

func TestList(t *testing.T) {
	t.Parallel()
	if len(list()) != 1024 {
		t.Fatalf("%d words; want 1024", len(list()))
	}
	sorted := slices.Sorted(slices.Values(list()))
	if len(slices.Compact(sorted)) != 1024 {
		t.Error("a word stands twice")
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

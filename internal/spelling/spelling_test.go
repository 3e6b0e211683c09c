package spelling

import "testing"

func TestDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"a", "", 1}, {"", "abc", 3}, {"kitten", "sitting", 3}, {"router", "rotuer", 2}, {"up", "up", 0}, {"llama3.1", "llama3", 2},
	} {
		if got := Distance(test.a, test.b); got != test.want || Distance(test.b, test.a) != test.want {
			t.Errorf("Distance(%q, %q) = %d; want %d both ways", test.a, test.b, got, test.want)
		}
	}
}

package filter

import (
	"errors"
	"strings"
	"testing"

	"lobstah/flow/value"
)

// TestGrowth gives short templates that would become larger than memory; each must be refused before it does.
func TestGrowth(t *testing.T) {
	t.Parallel()
	long := value.Record(value.F("v", value.String(strings.Repeat("x", 1<<20))), value.F("deep", deep(3000, 4000)))
	hundred := strings.Repeat("a", 100)
	tests := []string{
		"{{v" + strings.Repeat(" | json", 30) + "}}",
		"{{v" + strings.Repeat(" | replace '' "+hundred, 5) + "}}",
		"{{v | replace x '$`'}}", "{{v | replace x \"$'\"}}", "{{v | replace '' \"$'\"}}", "{{v | replace x " + hundred + "}}",
		"{{v | split '' | join " + hundred + "}}", "{{deep | json}}", strings.Repeat("{{v}}", 100),
	}
	for _, text := range tests {
		if got, err := Render(text, long); !errors.Is(err, errTooLarge) {
			t.Errorf("%.60s: got %d bytes and %v, want %v", text, len(got), err, errTooLarge)
		}
	}
	if got, err := RenderPlain(strings.Repeat("{{v}}", 100), long); !errors.Is(err, errTooLarge) {
		t.Errorf("without filters: got %d bytes and %v, want %v", len(got), err, errTooLarge)
	}
}

// deep is a list of n numbers within lists.
func deep(levels, n int) value.Value {
	items := make([]value.Value, n)
	for i := range items {
		items[i] = value.Int(i)
	}
	v := value.List(items...)
	for range levels {
		v = value.List(v, value.Int(1))
	}
	return value.List(v, v, v, v)
}

func TestReplacePatterns(t *testing.T) {
	t.Parallel()
	tests := map[string]string{ // as String.prototype.replaceAll answers
		"replace '' \"<$'>\"": "<ab>a<b>b<>", "replace '' '<$`>'": "<>a<a>b<ab>", "replace '' '$$'": "$a$b$", "replace '' '$&'": "ab", "replace b \"[$`|$&|$']\"": "a[a|b|]",
	}
	for call, want := range tests {
		if got, err := Apply(value.String("ab"), call); err != nil || value.Text(got) != want {
			t.Errorf("%s: got %q, %v, want %q", call, value.Text(got), err, want)
		}
	}
}

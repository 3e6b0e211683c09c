package syntax

import (
	"errors"
	"strings"
	"testing"

	"lobstah/flow/value"
)

func TestParse(t *testing.T) {
	t.Parallel()
	tests := []struct{ text, want string }{
		{`exec ls`, `[{"name":"exec","args":{"_":["ls"]},"raw":"exec ls"}]`},
		{` a | b "x | y" |`, `[{"name":"a","args":{"_":[]},"raw":"a"},{"name":"b","args":{"_":["x | y"]},"raw":"b \"x | y\""}]`},
		{`w --k=v=1 --t x --u --end`, `[{"name":"w","args":{"_":[],"k":"v=1","t":"x","u":true,"end":true},"raw":"w --k=v=1 --t x --u --end"}]`},
		{`w -x -- y --n -1`, `[{"name":"w","args":{"_":["-x"],"":"y","n":"-1"},"raw":"w -x -- y --n -1"}]`},
		{`a"b c"'d' ""`, `[{"name":"ab cd","args":{"_":[""]},"raw":"a\"b c\"'d' \"\""}]`},
		{`e "\n\"\$\\" 'it\'s \n'`, `[{"name":"e","args":{"_":["\\n\"$\\","it's \\n"]},"raw":"e \"\\n\\\"\\$\\\\\" 'it\\'s \\n'"}]`},
		{"e \"a\\\nb\" c\\d", `[{"name":"e","args":{"_":["ab","c\\d"]},"raw":"e \"a\\\nb\" c\\d"}]`},
		{`exec --json echo 1`, `[{"name":"exec","args":{"_":["echo","1"],"json":true},"raw":"exec --json echo 1"}]`},
		{`x --json echo`, `[{"name":"x","args":{"_":[],"json":"echo"},"raw":"x --json echo"}]`},
		{`x --k ""`, `[{"name":"x","args":{"_":[],"k":""},"raw":"x --k \"\""}]`},
		{`x --a 1 --2 b --a 3`, `[{"name":"x","args":{"2":"b","_":[],"a":"3"},"raw":"x --a 1 --2 b --a 3"}]`},
		{"x\u00a0y", "[{\"name\":\"x\u00a0y\",\"args\":{\"_\":[]},\"raw\":\"x\u00a0y\"}]"},
	}
	for _, tt := range tests {
		p, err := Parse(tt.text)
		want, _ := value.Parse(strings.ReplaceAll(tt.want, "\n", `\n`))
		if err != nil || p.Value().JSON() != want.JSON() {
			t.Errorf("%q: got %s, %v, want %s", tt.text, p.Value().JSON(), err, want.JSON())
		}
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text, message string
		line, column  int
	}{
		{"", "Empty pipeline", 1, 1}, {" \n ", "Empty pipeline", 1, 1}, {"| x", "Empty command stage", 1, 1}, {"a || b", "Empty command stage", 1, 4},
		{"|", "Empty command stage", 1, 1}, {"exec 'x", "Unclosed quote", 1, 6}, {"é |\nb \"", "Unclosed quote", 2, 3}, {`'a\\'`, "Unclosed quote", 1, 1},
	}
	for _, tt := range tests {
		_, err := Parse(tt.text)
		fault, ok := errors.AsType[*Error](err)
		if !ok || fault.Message != tt.message {
			t.Errorf("%q: got %v, want %s", tt.text, err, tt.message)
			continue
		}
		if line, column := fault.Position(); line != tt.line || column != tt.column {
			t.Errorf("%q: got %d:%d, want %d:%d", tt.text, line, column, tt.line, tt.column)
		}
	}
}

func TestDetail(t *testing.T) {
	t.Parallel()
	_, err := Parse("exec ls |\n\twhere 'a")
	fault, _ := errors.AsType[*Error](err)
	want := "2:8: Unclosed quote\n  \twhere 'a\n  \t      ^\nhint: end the quoted text with another '"
	if got := fault.Detail(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestFromValue(t *testing.T) {
	t.Parallel()
	for _, doc := range []string{`{}`, `[1]`, `[{"name":"x"}]`, `[{"name":1,"args":{}}]`} {
		v, err := value.Parse(doc)
		if err != nil {
			t.Fatal(err)
		}
		if p, ok := FromValue(v); ok {
			t.Errorf("%s: got %v, want it refused", doc, p)
		}
	}
}

// FuzzParse holds that what was parsed, printed and kept in a state file is the same pipeline.
func FuzzParse(f *testing.F) {
	for _, s := range []string{`exec --json 'echo [1]' | where a=1 | pick x`, `a --k "" --t`, `'\'' "\\"`, `x --=y | "" z`, "a\\|b", `--a --b`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(text)
		if err != nil {
			fault, ok := errors.AsType[*Error](err)
			if !ok {
				t.Fatalf("%q: an error without a place: %v", text, err)
			}
			_ = fault.Detail()
			return
		}
		printed := p.String()
		again, err := Parse(printed)
		if err != nil || !again.Equal(p) {
			t.Fatalf("%q was printed as %q, which is %s (%v)", text, printed, again.Value().JSON(), err)
		}
		kept, ok := FromValue(p.Value())
		if !ok || (!kept.Equal(p) && !strings.Contains(text, "--_")) {
			t.Fatalf("%q does not survive a state file: %s", text, kept.Value().JSON())
		}
	})
}

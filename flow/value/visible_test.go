package value

import "testing"

func TestVisible(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want, line string }{
		{"Ship it?", "Ship it?", "Ship it?"},
		{"one\ntwo\r\n\tthree", "one\ntwo\r\n\tthree", "one two  three"},
		{"a\x1b[2Kb\rc\x7f\u009b31m", `a\u001b[2Kb\u000dc\u007f\u009b31m`, `a\u001b[2Kb\u000dc\u007f\u009b31m`},
		{"\u202egnp.exe\u2066\ufeff\u200b", `\u202egnp.exe\u2066\ufeff\u200b`, `\u202egnp.exe\u2066\ufeff\u200b`},
		{"Größe 海 می\u200cخواهم 👩\u200d🚀️", "Größe 海 می\u200cخواهم 👩\u200d🚀️", "Größe 海 می\u200cخواهم 👩\u200d🚀️"},
		{"\U000e0001", `\U000e0001`, `\U000e0001`},
	}
	for _, tt := range tests {
		if got := Visible(tt.in); got != tt.want {
			t.Errorf("Visible(%q): got %q, want %q", tt.in, got, tt.want)
		}
		if got := VisibleLine(tt.in); got != tt.line {
			t.Errorf("VisibleLine(%q): got %q, want %q", tt.in, got, tt.line)
		}
	}
}

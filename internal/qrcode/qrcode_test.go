package qrcode

import (
	"strings"
	"testing"

	"rsc.io/qr"
)

// What is drawn is the code, module for module, with light around it.
func TestDraw(t *testing.T) {
	t.Parallel()
	const text = "LOBSTAH1AAAQEAYEAUDAOCAJBIFQYDIOB4IBCEQTCQKRMFYYDENBWHA5DYP7777"
	drawn, err := Draw(text)
	if err != nil {
		t.Fatal(err)
	}
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(drawn, "\n"), "\n")
	if want := (code.Size + 2*quiet + 1) / 2; len(lines) != want {
		t.Fatalf("%d lines; want %d", len(lines), want)
	}
	for i, line := range lines {
		line = strings.TrimSuffix(strings.TrimPrefix(line, "\x1b[38;5;16m\x1b[48;5;231m"), "\x1b[0m")
		cells := []rune(line)
		if len(cells) != code.Size+2*quiet {
			t.Fatalf("line %d has %d cells; want %d", i, len(cells), code.Size+2*quiet)
		}
		for j, c := range cells {
			x, y := j-quiet, 2*i-quiet
			if upper := c == '█' || c == '▀'; upper != code.Black(x, y) {
				t.Errorf("module %d,%d is dark: %v; want %v", x, y, upper, code.Black(x, y))
			}
			if lower := c == '█' || c == '▄'; lower != code.Black(x, y+1) {
				t.Errorf("module %d,%d is dark: %v; want %v", x, y+1, lower, code.Black(x, y+1))
			}
		}
	}
	if _, err := Draw(strings.Repeat("x", 5000)); err == nil {
		t.Error("drew more than a QR code holds")
	}
}

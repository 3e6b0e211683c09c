// Package qrcode draws a QR code (ISO/IEC 18004) for a terminal, two modules to
// a character cell.
//
// [Draw] is all there is. Only cmd/ imports it; it wraps rsc.io/qr. Text of
// capitals and digits takes the least room.
package qrcode

import (
	"fmt"
	"strings"

	"rsc.io/qr"
)

// quiet is the border in modules; the standard wants four, and readers are
// content with two.
const quiet = 2

// Draw returns lines of half blocks, each ended by LF. It is dark on light
// whatever the terminal's colours are.
func Draw(text string) (string, error) {
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return "", fmt.Errorf("draw a QR code: %w", err)
	}
	const paper, end = "\x1b[38;5;16m\x1b[48;5;231m", "\x1b[0m\n"
	var b strings.Builder
	for y := -quiet; y < code.Size+quiet; y += 2 {
		b.WriteString(paper)
		for x := -quiet; x < code.Size+quiet; x++ {
			b.WriteString(cell(code.Black(x, y), code.Black(x, y+1)))
		}
		b.WriteString(end)
	}
	return b.String(), nil
}

func cell(upper, lower bool) string {
	switch {
	case upper && lower:
		return "█"
	case upper:
		return "▀"
	case lower:
		return "▄"
	}
	return " "
}

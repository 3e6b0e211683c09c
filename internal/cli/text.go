package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"lobstah/internal/spelling"
)

// Count writes a number with its thousands apart: -1,234,567.
func Count[N ~int | ~int64](n N) string {
	digits, sign := strconv.FormatInt(int64(n), 10), ""
	if digits[0] == '-' {
		digits, sign = digits[1:], "-"
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// Signed is Count with a plus sign before what is above zero.
func Signed[N ~int | ~int64](n N) string {
	if n > 0 {
		return "+" + Count(n)
	}
	return Count(n)
}

// Plural writes a count with its noun: "1 model", "2,000 models".
func Plural[N ~int | ~int64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return Count(n) + " " + noun + "s"
}

// Duration writes d as people say it: 12 ms, 1.4 s, 2 min 5 s, 3 h 20 min, 4 d.
func Duration(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + Duration(-d)
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < time.Hour:
		return pair(d, time.Minute, "min", time.Second, "s")
	case d < 24*time.Hour:
		return pair(d, time.Hour, "h", time.Minute, "min")
	}
	return pair(d, 24*time.Hour, "d", time.Hour, "h")
}

func pair(d, big time.Duration, bigName string, small time.Duration, smallName string) string {
	text := fmt.Sprintf("%d %s", d/big, bigName)
	if rest := d % big / small; rest > 0 {
		text += fmt.Sprintf(" %d %s", rest, smallName)
	}
	return text
}

// A Table is rows of cells in aligned columns. Cells are cleaned, so they may
// come from peers.
type Table struct {
	Right []int // the columns, from 0, that hold numbers
	rows  [][]string
}

// Row adds one row; the first is the heading.
func (t *Table) Row(cells ...string) {
	for i := range cells {
		cells[i] = CleanLine(cells[i])
	}
	t.rows = append(t.rows, cells)
}

// Print writes the table, each line after indent.
func (t *Table) Print(w io.Writer, indent string) error {
	var widths []int
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range t.rows {
		var line strings.Builder
		for i, cell := range row {
			space := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if slices.Contains(t.Right, i) {
				cell = space + cell
			} else {
				cell += space
			}
			line.WriteString(cell + "  ")
		}
		if _, err := fmt.Fprintln(w, indent+strings.TrimRight(line.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}

// Nearest returns the candidates that look most like what was typed, the best
// first, at most three, none when nothing is near.
func Nearest(typed string, candidates []string) []string {
	type scored struct {
		text     string
		distance int
	}
	var near []scored
	for _, c := range candidates {
		d := spelling.Distance(strings.ToLower(typed), strings.ToLower(c))
		if d <= max(1, len(typed)/3) || len(typed) >= 3 && strings.Contains(c, typed) {
			near = append(near, scored{c, d})
		}
	}
	slices.SortStableFunc(near, func(a, b scored) int { return cmp.Compare(a.distance, b.distance) })
	var list []string
	for _, n := range near[:min(len(near), 3)] {
		list = append(list, n.text)
	}
	return list
}

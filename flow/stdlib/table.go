package stdlib

import (
	"bufio"
	"strings"

	"lobstah/flow/interp"
	"lobstah/flow/value"
)

func tableCommand() interp.Command {
	return interp.Command{
		Name:        "table",
		Description: "Print the items as a table",
		Help:        "exec --json 'gh pr list --json number,title' | table",
		Required:    []string{},
		Run:         rendering(writeTable),
	}
}

// tableSample is how many items decide about the columns.
const tableSample = 20

func writeTable(w *bufio.Writer, items []value.Value) {
	if len(items) == 0 {
		_, _ = w.WriteString("(no results)\n")
		return
	}
	columns, ok := tableColumns(items)
	if !ok {
		for _, item := range items {
			_, _ = w.WriteString(value.Clean(cell(item)) + "\n")
		}
		return
	}
	rows := make([][]string, 0, len(items)+2)
	rows = append(rows, columns, make([]string, len(columns)))
	for _, item := range items {
		rows = append(rows, row(columns, item))
	}
	writeRows(w, rows)
}

// tableColumns returns the keys of the first items in order of appearance; false if one of them is no object.
func tableColumns(items []value.Value) ([]string, bool) {
	var b value.Builder
	for _, item := range items[:min(len(items), tableSample)] {
		o, ok := item.AsObject()
		if !ok {
			return nil, false
		}
		for k := range o.All() {
			b.Set(k, value.Null)
		}
	}
	return b.Object().Keys(), true
}

// writeRows writes padded rows; the second is a line of dashes.
func writeRows(w *bufio.Writer, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, c := range row {
			widths[i] = max(widths[i], value.Len16(c), 3)
		}
	}
	for i := range rows[1] {
		rows[1][i] = strings.Repeat("-", widths[i])
	}
	for _, row := range rows {
		for i, c := range row {
			if i > 0 {
				_, _ = w.WriteString("  ")
			}
			_, _ = w.WriteString(value.Clean(c) + strings.Repeat(" ", widths[i]-value.Len16(c)))
		}
		_ = w.WriteByte('\n')
	}
}

// row is the cells of one item; a line break within one is a blank.
func row(columns []string, item value.Value) []string {
	cells := make([]string, len(columns))
	for i, c := range columns {
		cells[i] = strings.ReplaceAll(cell(item.Property(c)), "\n", " ")
	}
	return cells
}

func cell(v value.Value) string {
	if v.IsNullish() {
		return ""
	}
	text := value.Text(v)
	if v.Kind() >= value.KindList {
		text = v.JSON()
	}
	return text
}

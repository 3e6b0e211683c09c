package stdlib

import (
	"bufio"
	"context"
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
		Run:         runTable,
	}
}

// runTable needs all items at once, for the widths of the columns.
func runTable(_ context.Context, call *interp.Call) (interp.Output, error) {
	items, err := call.Collect(call.Input)
	if err != nil {
		return interp.Output{}, err
	}
	if call.OnRender != nil {
		call.OnRender(items)
	}
	return render(call, func(w *bufio.Writer) error { return writeTable(w, items) })
}

// tableSample is how many items decide about the columns.
const tableSample = 20

func writeTable(w *bufio.Writer, items []value.Value) error {
	if len(items) == 0 {
		_, err := w.WriteString("(no results)\n")
		return err
	}
	if columns, ok := tableColumns(items); ok {
		return writeRows(w, columns, items)
	}
	for _, item := range items {
		if _, err := w.WriteString(value.UTF8(cell(item)) + "\n"); err != nil {
			return err
		}
	}
	return nil
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

// writeRows writes a head, a line of dashes and a padded row for each item. Cells are made twice, once for the widths, so that the table is
// never in memory as a whole.
func writeRows(w *bufio.Writer, columns []string, items []value.Value) error {
	widths := make([]int, len(columns))
	measure := func(cells []string) {
		for i, c := range cells {
			widths[i] = max(widths[i], value.Len16(c), 3)
		}
	}
	heads := make([]string, len(columns))
	for i, c := range columns {
		heads[i] = oneLine(c)
	}
	measure(heads)
	for _, item := range items {
		measure(row(columns, item))
	}
	dashes := make([]string, len(columns))
	for i, n := range widths {
		dashes[i] = strings.Repeat("-", n)
	}
	for _, cells := range [][]string{heads, dashes} {
		if err := writeRow(w, cells, widths); err != nil {
			return err
		}
	}
	for _, item := range items {
		if err := writeRow(w, row(columns, item), widths); err != nil {
			return err
		}
	}
	return nil
}

func writeRow(w *bufio.Writer, cells []string, widths []int) error {
	for i, c := range cells {
		if i > 0 {
			_, _ = w.WriteString("  ") // errors stay in w
		}
		_, _ = w.WriteString(value.UTF8(c))
		if err := pad(w, widths[i]-value.Len16(c)); err != nil {
			return err
		}
	}
	return w.WriteByte('\n')
}

// pad writes n blanks.
func pad(w *bufio.Writer, n int) error {
	const blanks = "                                                                "
	for ; n > 0; n -= len(blanks) {
		if _, err := w.WriteString(blanks[:min(n, len(blanks))]); err != nil {
			return err
		}
	}
	return nil
}

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", " ") }

// row is the cells of one item; a line break within one is a blank, as it is in heads.
func row(columns []string, item value.Value) []string {
	cells := make([]string, len(columns))
	for i, c := range columns {
		cells[i] = oneLine(cell(item.Property(c)))
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

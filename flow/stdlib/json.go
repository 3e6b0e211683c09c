package stdlib

import (
	"bufio"
	"context"

	"lobstah/flow/interp"
	"lobstah/flow/value"
)

func jsonCommand() interp.Command {
	return interp.Command{
		Name:        "json",
		Description: "Print all items as one JSON list",
		Help:        "exec --json 'gh pr list --json title' | json",
		Required:    []string{},
		Run:         rendering(writeJSONList),
	}
}

// rendering wraps a function that prints all items as a Run; nothing is handed on.
func rendering(write func(w *bufio.Writer, items []value.Value)) func(context.Context, *interp.Call) (interp.Output, error) {
	return func(_ context.Context, call *interp.Call) (interp.Output, error) {
		items, err := call.Collect(call.Input)
		if err != nil {
			return interp.Output{}, err
		}
		if call.OnRender != nil {
			call.OnRender(items)
		}
		w := bufio.NewWriter(call.Stdout)
		write(w, items)
		return interp.Output{Rendered: true}, w.Flush()
	}
}

// writeJSONList writes one item at a time, so that the text is never in memory as a whole. Errors stay in w until its Flush.
func writeJSONList(w *bufio.Writer, items []value.Value) {
	if len(items) == 0 {
		_, _ = w.WriteString("[]\n")
		return
	}
	separator := "[\n  "
	for _, item := range items {
		if item.IsUndefined() {
			item = value.Null
		}
		_, _ = w.WriteString(separator)
		_ = value.WriteIndent(w, item, "  ")
		separator = ",\n  "
	}
	_, _ = w.WriteString("\n]\n")
}

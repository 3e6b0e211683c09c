package stdlib

import (
	"bufio"
	"context"
	"errors"

	"lobstah/flow/interp"
)

func jsonCommand() interp.Command {
	return interp.Command{
		Name:        "json",
		Description: "Print all items as one JSON list",
		Help:        "exec --json 'gh pr list --json title' | json",
		Required:    []string{},
		Run:         runJSON,
	}
}

// runJSON streams, unless somebody wants to know the items.
func runJSON(_ context.Context, call *interp.Call) (interp.Output, error) {
	items := call.Input
	if call.OnRender != nil {
		all, err := call.Collect(items)
		if err != nil {
			return interp.Output{}, err
		}
		call.OnRender(all)
		items = interp.Items(all...)
	}
	return render(call, func(w *bufio.Writer) error {
		if _, err := interp.WriteList(w, items, ""); err != nil {
			return err
		}
		return w.WriteByte('\n')
	})
}

// render prints what write makes, if it succeeds as a whole. Nothing is handed on.
func render(call *interp.Call, write func(w *bufio.Writer) error) (_ interp.Output, err error) {
	kept := call.Keep()
	defer func() { err = errors.Join(err, kept.Close()) }()
	w := bufio.NewWriter(kept)
	if err := write(w); err != nil {
		return interp.Output{}, err
	}
	if err := w.Flush(); err != nil {
		return interp.Output{}, err
	}
	return interp.Output{Rendered: true}, kept.CopyTo(call.Stdout)
}

package stdlib

import (
	"context"

	"lobstah/flow/interp"
	"lobstah/flow/value"
)

func diffLastCommand() interp.Command {
	return interp.Command{
		Name:        "diff.last",
		Description: "Compare the items with those of the last run, and store them",
		Help:        "exec --json 'gh pr view 7 --json state' | diff.last --key pr-7\n\nYields {kind, key, changed, before, after}.",
		Params:      []interp.Param{stringParam("key", "Where to keep the items"), positional()},
		Required:    []string{"key"},
		SideEffects: []string{"writes_state"},
		Run:         diffLast,
	}
}

func diffLast(ctx context.Context, call *interp.Call) (interp.Output, error) {
	given := call.Args.Get("key")
	if !given.Truthy() {
		given = value.String(call.Args.First())
	}
	key := value.Text(given)
	if key == "" {
		return interp.Output{}, fault("diff.last requires --key")
	}
	items, err := call.Collect(call.Input)
	if err != nil {
		return interp.Output{}, err
	}
	after := interp.OneOrList(items)
	before, err := swap(ctx, call.Env, key, after)
	if err != nil {
		return interp.Output{}, err
	}
	return interp.Emit(value.Record(
		value.F("kind", value.String("diff.last")),
		value.F("key", given),
		value.F("changed", value.Bool(value.Canonical(before) != value.Canonical(after))),
		value.F("before", before),
		value.F("after", after),
	)), nil
}

// swap stores v and returns what was there before: null if nothing was, or nothing readable.
func swap(ctx context.Context, env *interp.Env, key string, v value.Value) (value.Value, error) {
	if env.Store == nil {
		return value.Null, interp.ErrNoHandler
	}
	before := value.Null
	err := env.Store.Update(ctx, key, func(doc []byte) ([]byte, error) {
		if old, err := value.Parse(string(doc)); err == nil {
			before = old
		}
		return document(v), nil
	})
	return before, err
}

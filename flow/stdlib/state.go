package stdlib

import (
	"context"
	"fmt"

	"lobstah/flow/interp"
	"lobstah/flow/value"
)

func stateGetCommand() interp.Command {
	return interp.Command{
		Name:        "state.get",
		Description: "Read a value that an earlier run stored",
		Help:        "state.get last-seen",
		Params:      []interp.Param{positional()},
		Required:    []string{"_"},
		SideEffects: []string{"reads_state"},
		Run:         stateGet,
	}
}

func stateSetCommand() interp.Command {
	return interp.Command{
		Name:        "state.set",
		Description: "Store the items for later runs",
		Help:        "... | state.set last-seen\n\nOne item is stored as it is, several as a list; what was stored is handed on as one item.",
		Params:      []interp.Param{positional()},
		Required:    []string{"_"},
		SideEffects: []string{"writes_state"},
		Run:         stateSet,
	}
}

func stateGet(ctx context.Context, call *interp.Call) (interp.Output, error) {
	key := call.Args.First()
	if key == "" {
		return interp.Output{}, fault("state.get requires a key")
	}
	if err := interp.Drain(call.Input); err != nil {
		return interp.Output{}, err
	}
	v, _, err := load(ctx, call.Env, key)
	return interp.Emit(v), err
}

func stateSet(ctx context.Context, call *interp.Call) (interp.Output, error) {
	key := call.Args.First()
	if key == "" {
		return interp.Output{}, fault("state.set requires a key")
	}
	items, err := call.Collect(call.Input)
	if err != nil {
		return interp.Output{}, err
	}
	v := interp.OneOrList(items)
	if call.Store == nil {
		return interp.Output{}, interp.ErrNoHandler
	}
	return interp.Emit(v), call.Store.Set(ctx, key, document(v))
}

// load returns what is stored under a key, null if nothing is.
func load(ctx context.Context, env *interp.Env, key string) (value.Value, bool, error) {
	if env.Store == nil {
		return value.Undefined, false, interp.ErrNoHandler
	}
	doc, ok, err := env.Store.Get(ctx, key)
	if err != nil || !ok {
		return value.Null, false, err
	}
	v, err := value.Parse(string(doc))
	if err != nil {
		return value.Null, true, fmt.Errorf("%w (state key %q)", err, key)
	}
	return v, true, nil
}

// document is the text of a state file.
func document(v value.Value) []byte {
	if v.IsUndefined() {
		v = value.Null
	}
	return append(value.AppendIndent(nil, v, ""), '\n')
}

package stdlib

import (
	"lobstah/flow/interp"
	"lobstah/flow/value"
)

func dedupeCommand() interp.Command {
	return interp.Command{
		Name:        "dedupe",
		Description: "Drop items that were there before",
		Help:        "dedupe\ndedupe --key id",
		Params:      []interp.Param{stringParam("key", "Dotted path of the field that identifies an item"), positional()},
		Required:    []string{},
		Lazy:        true,
		Run:         lazily(dedupe),
	}
}

// seenBytes is about what remembering an item takes beside its text.
const seenBytes = 48

func dedupe(call *interp.Call) (interp.Seq, error) {
	path, _ := call.Args.Get("key").AsString()
	seen := map[string]struct{}{}
	return func(yield func(value.Value, error) bool) {
		for item, err := range call.Input {
			if err != nil {
				yield(value.Undefined, err)
				return
			}
			id := identity(keyOf(item, path))
			if _, twice := seen[id]; twice {
				continue
			}
			seen[id] = struct{}{}
			if err := call.Budget.Take(int64(len(id)) + seenBytes); err != nil {
				yield(value.Undefined, err)
				return
			}
			if !yield(item, nil) {
				return
			}
		}
	}, nil
}

// keyOf returns the part of an item that a path names; the whole item for an empty path.
func keyOf(item value.Value, path string) value.Value {
	if path == "" {
		return item
	}
	return lookup(item, segments(path))
}

// identity is the text by which values are told apart: their JSON, in the order of their keys. Undefined has one of its own.
func identity(v value.Value) string { return v.JSON() }

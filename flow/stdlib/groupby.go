package stdlib

import (
	"lobstah/flow/interp"
	"lobstah/flow/value"
)

func groupByCommand() interp.Command {
	return interp.Command{
		Name:        "groupBy",
		Description: "Gather the items that share a field",
		Help:        "groupBy --key status\n\nYields {key, items, count} for each value, in order of first appearance.",
		Params:      []interp.Param{stringParam("key", "Dotted path of the field to group by"), positional()},
		Required:    []string{"key"},
		Run:         eagerlyChecked(groupKey, groupBy),
	}
}

func groupKey(call *interp.Call) error {
	if key, _ := call.Args.Text("key"); value.Trim(key) == "" {
		return fault("groupBy requires --key")
	}
	return nil
}

func groupBy(call *interp.Call, items []value.Value) ([]value.Value, error) {
	path, _ := call.Args.Text("key")
	type group struct {
		key   value.Value
		items []value.Value
	}
	var groups []*group
	byKey := map[string]*group{}
	for _, item := range items {
		key := keyOf(item, value.Trim(path))
		g := byKey[identity(key)]
		if g == nil {
			g = &group{key: key}
			byKey[identity(key)] = g
			groups = append(groups, g)
		}
		g.items = append(g.items, item)
	}
	out := make([]value.Value, len(groups))
	for i, g := range groups {
		out[i] = value.Record(value.F("key", g.key), value.F("items", value.List(g.items...)), value.F("count", value.Int(len(g.items))))
	}
	return out, nil
}

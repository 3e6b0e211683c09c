package stdlib

import (
	"strings"

	"lobstah/flow/interp"
	"lobstah/flow/value"
)

func pickCommand() interp.Command {
	return interp.Command{
		Name:        "pick",
		Description: "Keep some fields of each item",
		Help:        "pick id,title,author",
		Params:      []interp.Param{positional()},
		Required:    []string{"_"},
		Lazy:        true,
		Run:         lazily(pick),
	}
}

func pick(call *interp.Call) (interp.Seq, error) {
	list := call.Args.First()
	if list == "" {
		return nil, fault("pick requires a comma-separated field list")
	}
	fields := commaList(list)
	return interp.Map(call.Input, func(item value.Value) (value.Value, error) { return pickFields(item, fields), nil }), nil
}

func commaList(text string) []string {
	var out []string
	for part := range strings.SplitSeq(text, ",") {
		if part = value.Trim(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

func pickFields(item value.Value, fields []string) value.Value {
	if item.Kind() < value.KindList {
		return item
	}
	var b value.Builder
	for _, f := range fields {
		b.Set(f, item.Property(f))
	}
	return b.Value()
}

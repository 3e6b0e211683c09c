package stdlib

import (
	"strings"

	"lobstah/flow/filter"
	"lobstah/flow/interp"
	"lobstah/flow/value"
)

func mapCommand() interp.Command {
	return interp.Command{
		Name:        "map",
		Description: "Wrap, unwrap or set fields of each item",
		Help:        "map --wrap issue\nmap --unwrap result\nmap state=done 'label={{id}}: {{title}}'",
		Params: []interp.Param{
			stringParam("wrap", "Put each item into an object under this key"),
			stringParam("unwrap", "Replace each item by its field of this name"), positional(),
		},
		Required: []string{},
		Lazy:     true,
		Run:      lazily(mapItems),
	}
}

func mapItems(call *interp.Call) (interp.Seq, error) {
	wrap, wrapping := call.Args.Get("wrap").AsString()
	unwrap, unwrapping := call.Args.Get("unwrap").AsString()
	wrapping, unwrapping = wrapping && wrap != "", unwrapping && unwrap != ""
	switch {
	case wrapping && unwrapping:
		return nil, fault("map cannot use both --wrap and --unwrap")
	case unwrapping:
		return interp.Map(call.Input, func(item value.Value) (value.Value, error) {
			return pickFields(item, []string{unwrap}).Field(unwrap), nil
		}), nil
	}
	fields := assignments(call.Args.Positional)
	return interp.Map(call.Input, func(item value.Value) (value.Value, error) {
		if wrapping {
			return assign(value.Record(value.F(wrap, item)), item, fields)
		}
		return assign(item, item, fields)
	}), nil
}

// assignment sets a field to a template.
type assignment struct{ key, template string }

func assignments(words []string) []assignment {
	var out []assignment
	for _, w := range words {
		key, text, ok := strings.Cut(w, "=")
		if key = value.Trim(key); ok && key != "" {
			out = append(out, assignment{key, text})
		}
	}
	return out
}

// assign sets fields of target, one after the other, to templates over item. A target that is no object becomes one with the field
// value first. Where target is the item itself, a later template sees an earlier field.
func assign(target, item value.Value, fields []assignment) (value.Value, error) {
	if len(fields) == 0 {
		return target, nil
	}
	o, isObject := target.AsObject()
	self, _ := item.AsObject()
	same := isObject && o == self
	if !isObject {
		o, _ = value.Record(value.F("value", target)).AsObject()
	}
	for _, f := range fields {
		text, err := filter.RenderPlain(f.template, item)
		if err != nil {
			return value.Undefined, err
		}
		o = o.With(f.key, value.String(text))
		if same {
			item = value.FromObject(o)
		}
	}
	return value.FromObject(o), nil
}

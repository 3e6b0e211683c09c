package stdlib

import (
	"context"

	"lobstah/flow/filter"
	"lobstah/flow/interp"
	"lobstah/flow/value"
)

func templateCommand() interp.Command {
	return interp.Command{
		Name:        "template",
		Description: "Render each item into text",
		Help:        "template --text '{{id}}: {{title | truncate 40}}'\ntemplate --file note.txt\n\n{{.}} is the whole item. Filters: upper lower trim string truncate replace split first last length join json default round date.",
		Params:      []interp.Param{stringParam("text", "The template"), stringParam("file", "File with the template"), positional()},
		Required:    []string{},
		Lazy:        true,
		Run:         runTemplate,
	}
}

func runTemplate(_ context.Context, call *interp.Call) (interp.Output, error) {
	text, err := templateText(call)
	if err != nil {
		return interp.Output{}, err
	}
	return interp.Output{Output: interp.Map(call.Input, func(item value.Value) (value.Value, error) {
		s, err := filter.Render(text, item)
		return value.String(s), err
	})}, nil
}

func templateText(call *interp.Call) (string, error) {
	if text, ok := call.Args.Get("text").AsString(); ok && text != "" {
		return text, nil
	}
	if name, ok := call.Args.Get("file").AsString(); ok && name != "" {
		if call.ReadFile == nil {
			return "", interp.ErrNoHandler
		}
		doc, err := call.ReadFile(name)
		return value.Clean(string(doc)), err
	}
	if text := call.Args.Joined(); text != "" {
		return text, nil
	}
	return "", fault("template requires --text or --file (or positional text)")
}

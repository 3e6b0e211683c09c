package stdlib

import (
	"context"

	"lobstah/flow/interp"
	"lobstah/flow/value"
)

func listCommand() interp.Command {
	return interp.Command{
		Name:        "commands.list",
		Description: "List the commands that pipelines can use",
		Help:        "commands.list | pick name,description\ncommands.list --all    also those that the original program lacks",
		Required:    []string{},
		Run: func(_ context.Context, call *interp.Call) (interp.Output, error) {
			if err := interp.Drain(call.Input); err != nil {
				return interp.Output{}, err
			}
			var items []value.Value
			for _, c := range call.Commands.All() {
				if !c.Extra || call.Args.Truthy("all") {
					items = append(items, describe(c))
				}
			}
			return interp.Emit(items...), nil
		},
	}
}

func describe(c interp.Command) value.Value {
	return value.Record(
		value.F("name", value.String(c.Name)),
		value.F("description", value.String(c.Description)),
		value.F("argsSchema", c.Schema()),
		value.F("examples", value.Null),
		value.F("sideEffects", value.Strings(c.SideEffects)),
	)
}

package stdlib

import (
	"context"
	"fmt"

	"lobstah/flow/interp"
	"lobstah/flow/value"
)

// builtin is a workflow that comes with the shell.
type builtin struct {
	name, description string
	params            []interp.Param
	run               func(ctx context.Context, env *interp.Env, args value.Value) (value.Value, error)
}

func builtins() []builtin {
	common := []interp.Param{stringParam("repo", "Repository as owner/name"), numberParam("pr", "Number of the pull request"), stringParam("key", "Where to keep what was seen")}
	return []builtin{
		{"github.pr.monitor", "Tell what changed in a pull request since the last look", append(common[:3:3],
			boolParam("changesOnly", "Say only that nothing changed, if so"), boolParam("summaryOnly", "Leave out the snapshot")), monitorPR},
		{"github.pr.monitor.notify", "Say in one sentence what changed in a pull request, or nothing", common, notifyPR},
	}
}

func workflowsListCommand() interp.Command {
	return interp.Command{
		Name:        "workflows.list",
		Description: "List the built-in workflows",
		Help:        "workflows.list | pick name,description",
		Required:    []string{},
		Run: func(_ context.Context, call *interp.Call) (interp.Output, error) {
			if err := interp.Drain(call.Input); err != nil {
				return interp.Output{}, err
			}
			var items []value.Value
			for _, b := range builtins() {
				items = append(items, b.describe())
			}
			return interp.Emit(items...), nil
		},
	}
}

func (b builtin) describe() value.Value {
	example := value.Record(value.F("args", value.Record(value.F("repo", value.String("openclaw/openclaw")), value.F("pr", value.Int(1152)))),
		value.F("description", value.String("Watch one pull request")))
	return value.Record(
		value.F("name", value.String(b.name)),
		value.F("description", value.String(b.description)),
		value.F("argsSchema", interp.Command{Params: b.params, Required: []string{"repo", "pr"}}.Schema()),
		value.F("examples", value.List(example)),
		value.F("sideEffects", value.List()),
	)
}

func workflowsRunCommand() interp.Command {
	return interp.Command{
		Name:        "workflows.run",
		Description: "Run a built-in workflow",
		Help:        "workflows.run --name github.pr.monitor --args-json '{\"repo\":\"o/r\",\"pr\":7}'",
		Params:      []interp.Param{stringParam("name", "Name of the workflow"), stringParam("args-json", "Its arguments as JSON"), positional()},
		Required:    []string{"name"},
		Run:         workflowsRun,
	}
}

func workflowsRun(ctx context.Context, call *interp.Call) (interp.Output, error) {
	if err := interp.Drain(call.Input); err != nil {
		return interp.Output{}, err
	}
	name, _ := call.Args.Get("name").AsString()
	if name = first(name, call.Args.First()); name == "" {
		return interp.Output{}, fault("workflows.run requires --name")
	}
	for _, b := range builtins() {
		if b.name != name {
			continue
		}
		args := value.Record()
		if text, ok := call.Args.Get("args-json").AsString(); ok && text != "" {
			var err error
			if args, err = value.Parse(text); err != nil {
				return interp.Output{}, fault("workflows.run --args-json must be valid JSON")
			}
		}
		v, err := b.run(ctx, call.Env, args)
		return interp.Emit(v), err
	}
	return interp.Output{}, fmt.Errorf("Unknown workflow: %s", name)
}

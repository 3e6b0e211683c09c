// Package stdlib holds the standard commands of pipelines, one file for each.
//
// [Commands] returns them all, for [interp.NewRegistry]. A command reads its arguments, says in an error what is wrong with them,
// and either works on its whole input at once or, where its Command says Lazy, hands on one item for each that is pulled. Commands
// with effects outside the pipeline read their whole input first, so that nothing is done when an earlier stage fails.
//
// Names, messages, defaults and the shape of every item are those of the original program; where ours go beyond it, the Command
// says Extra and commands.list shows it only with --all. Imported by flow; imports interp and what it needs below it. Arguments,
// items and whatever comes back from processes and servers are hostile.
package stdlib

import (
	"context"
	"errors"

	"lobstah/flow/interp"
	"lobstah/flow/value"
)

// Commands returns the standard commands.
func Commands() []interp.Command {
	return []interp.Command{
		approveCommand(), askCommand(), invokeCommand("clawd.invoke"), listCommand(), dedupeCommand(), diffLastCommand(), triageCommand(),
		execCommand(), gmailSearchCommand(), gmailSendCommand(), groupByCommand(), headCommand(), jqCommand(), jsonCommand(), llmCommand("llm.invoke"),
		llmCommand("llm_task.invoke"), mapCommand(), mcpCallCommand(), mcpListCommand(), agentCommand(), invokeCommand("openclaw.invoke"), pickCommand(), sortCommand(),
		stateGetCommand(), stateSetCommand(), tableCommand(), templateCommand(), whereCommand(), workflowsListCommand(), workflowsRunCommand(),
	}
}

// positional is the parameter of the words that are no flags.
func positional() interp.Param { return interp.Param{Name: "_", Type: "array"} }

func stringParam(name, description string) interp.Param {
	return interp.Param{Name: name, Type: "string", Description: description}
}

func numberParam(name, description string) interp.Param {
	return interp.Param{Name: name, Type: "number", Description: description}
}

func boolParam(name, description string) interp.Param {
	return interp.Param{Name: name, Type: "boolean", Description: description}
}

func withDefault(p interp.Param, v value.Value) interp.Param {
	p.Default = v
	return p
}

// lazily wraps a function from call to sequence as a Run.
func lazily(f func(call *interp.Call) (interp.Seq, error)) func(context.Context, *interp.Call) (interp.Output, error) {
	return func(_ context.Context, call *interp.Call) (interp.Output, error) {
		seq, err := f(call)
		return interp.Output{Output: seq}, err
	}
}

// eagerly wraps a function from all items to all items as a Run.
func eagerly(f func(call *interp.Call, items []value.Value) ([]value.Value, error)) func(context.Context, *interp.Call) (interp.Output, error) {
	return func(_ context.Context, call *interp.Call) (interp.Output, error) {
		items, err := call.Collect(call.Input)
		if err != nil {
			return interp.Output{}, err
		}
		out, err := f(call, items)
		if err != nil {
			return interp.Output{}, err
		}
		return interp.Emit(out...), nil
	}
}

// first returns the first text that is not empty.
func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// clip returns the first n UTF-16 units of s.
func clip(s string, n int) string { return value.Cut16(s, n) }

// fault is an error in the original's words, which callers compare.
func fault(text string) error { return errors.New(text) }

// eagerlyChecked is eagerly with a check of the arguments before any input is read.
func eagerlyChecked(check func(*interp.Call) error, f func(*interp.Call, []value.Value) ([]value.Value, error)) func(context.Context, *interp.Call) (interp.Output, error) {
	run := eagerly(f)
	return func(ctx context.Context, call *interp.Call) (interp.Output, error) {
		if err := check(call); err != nil {
			return interp.Output{}, err
		}
		return run(ctx, call)
	}
}

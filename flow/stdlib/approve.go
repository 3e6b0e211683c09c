package stdlib

import (
	"context"
	"math"
	"slices"
	"strings"

	"lobstah/flow/interp"
	"lobstah/flow/value"
)

func approveCommand() interp.Command {
	return interp.Command{
		Name:        "approve",
		Description: "Stop until a person approves the items",
		Help:        "... | approve --prompt 'Send these?' | ...\n\nAt a terminal it asks; in tool mode it ends the run with a resume token.",
		Params: []interp.Param{
			withDefault(stringParam("prompt", "What to ask"), value.String("Approve?")),
			boolParam("emit", "Never ask here, always end with the request"), positional(),
		},
		Required: []string{},
		Run:      approve,
	}
}

func approve(ctx context.Context, call *interp.Call) (interp.Output, error) {
	items, err := call.Collect(call.Input)
	if err != nil {
		return interp.Output{}, err
	}
	prompt := call.Args.Get("prompt")
	if prompt.IsUndefined() {
		prompt = value.String("Approve?")
	}
	if call.Args.Truthy("emit") || !call.Interactive() {
		return interp.Output{Output: interp.Items(approvalRequest(call, prompt, items)), Halt: true}, nil
	}
	answer, err := call.Ask(ctx, value.Text(prompt)+" [y/N] ")
	if err != nil {
		return interp.Output{}, err
	}
	if !IsYes(answer) {
		return interp.Output{}, fault("Not approved")
	}
	return interp.Emit(items...), nil
}

// IsYes reports whether a person's answer approves.
func IsYes(answer string) bool {
	a := strings.ToLower(value.Trim(answer))
	return a == "y" || a == "yes"
}

func approvalRequest(call *interp.Call, prompt value.Value, items []value.Value) value.Value {
	var b value.Builder
	b.Set("type", value.String("approval_request"))
	b.Set("prompt", prompt)
	b.Set("items", value.List(items...))
	if call.Args.Truthy("preview-from-stdin", "previewFromStdin") {
		if p := preview(items, previewLimit(call)); p != "" {
			b.Set("preview", value.String(p))
		}
	}
	return b.Value()
}

func previewLimit(call *interp.Call) int {
	n := value.ToNumber(call.Args.Get("limit", "previewLimit", "preview-limit"))
	if math.IsNaN(n) || math.IsInf(n, 0) {
		return 5
	}
	return int(min(max(n, 0), math.MaxInt32))
}

// previewUnits is how much of an approval's preview and of a question's subject is shown.
const previewUnits = 2000

func preview(items []value.Value, limit int) string {
	items = items[:min(limit, len(items))]
	if len(items) == 0 {
		return ""
	}
	if slices.ContainsFunc(items, func(v value.Value) bool { return v.Kind() != value.KindString }) {
		return clip(value.List(items...).Pretty(), previewUnits)
	}
	return clip(value.Join(value.List(items...), "\n"), previewUnits)
}

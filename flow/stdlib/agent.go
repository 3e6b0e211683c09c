package stdlib

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"lobstah/flow/interp"
	"lobstah/flow/value"
)

func agentCommand() interp.Command {
	return interp.Command{
		Name:        "openclaw.agent",
		Description: "Let an OpenClaw agent take one turn",
		Help:        "openclaw.agent --agent ops --prompt 'Summarise the incidents'\n... | openclaw.agent --session-key main 'What changed?'\n\nThe items are added to the prompt, one JSON line each.",
		Params: []interp.Param{
			stringParam("agent", "Agent to ask"), stringParam("prompt", "What to ask"), stringParam("message", "What to ask"),
			stringParam("model", "Model to use"), stringParam("sessionKey", "Session to continue"), stringParam("session-key", "Session to continue"),
			stringParam("sessionId", "Session to continue"), stringParam("session-id", "Session to continue"),
			stringParam("thinking", "How long to think"), numberParam("timeout", "Seconds until the turn is given up"),
			boolParam("local", "Run the agent in the command line program"), positional(),
		},
		Required:    []string{},
		SideEffects: []string{"calls_openclaw_agent"},
		Run:         runAgent,
	}
}

// agentOutputLimit caps each stream of an agent's turn.
const agentOutputLimit = 10 << 20

func runAgent(ctx context.Context, call *interp.Call) (interp.Output, error) {
	flags, err := agentFlags(call)
	if err != nil {
		return interp.Output{}, err
	}
	items, err := call.Collect(call.Input)
	if err != nil {
		return interp.Output{}, err
	}
	bin := first(value.Trim(call.Var("LOBSTER_OPENCLAW_BIN")), "openclaw")
	argv := append(script(bin), "agent", "--json", "--message", withItems(agentPrompt(call), items))
	call.MarkDispatched()
	r, err := program(ctx, call.Env, &interp.Process{Argv: append(argv, flags...)}, agentOutputLimit)
	return agentResult(r, err)
}

func agentPrompt(call *interp.Call) string {
	if p := call.Args.Get("prompt", "message"); !p.IsUndefined() {
		return value.Text(p)
	}
	return call.Args.Joined()
}

func withItems(prompt string, items []value.Value) string {
	if len(items) == 0 {
		return prompt
	}
	lines := make([]string, len(items))
	for i, item := range items {
		lines[i] = jsonLine(item)
	}
	return prompt + "\n\nPipeline input (JSONL):\n" + strings.Join(lines, "\n")
}

// agentFlags returns the flags for the program, in its order.
func agentFlags(call *interp.Call) ([]string, error) {
	if value.Trim(agentPrompt(call)) == "" {
		return nil, fault("openclaw.agent requires --prompt, --message, or positional text")
	}
	flag := func(names ...string) string { return trimmedFlag(call, names...) }
	agent, key, id := flag("agent"), flag("sessionKey", "session-key"), flag("sessionId", "session-id")
	if agent == "" && key == "" && id == "" {
		return nil, fault("openclaw.agent requires --agent, --session-key, or --session-id")
	}
	timeout, err := agentTimeout(call.Args.Get("timeout"))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, f := range [][2]string{{"--agent", agent}, {"--model", flag("model")}, {"--session-key", key}, {"--session-id", id}, {"--thinking", flag("thinking")}, {"--timeout", timeout}} {
		if f[1] != "" {
			out = append(out, f[0], f[1])
		}
	}
	if value.Same(call.Args.Get("local"), value.True) {
		out = append(out, "--local")
	}
	return out, nil
}

func agentTimeout(v value.Value) (string, error) {
	if v.IsUndefined() {
		return "", nil
	}
	n := value.ToNumber(v)
	if n != math.Trunc(n) || n < 0 || n > 1<<53 { // NaN is not its own truncation
		return "", fault("openclaw.agent --timeout must be a non-negative integer in seconds")
	}
	return value.FormatNumber(n), nil
}

func agentResult(r ran, err error) (interp.Output, error) {
	tooLarge, isTooLarge := errors.AsType[*outputTooLarge](err)
	switch {
	case isTooLarge && tooLarge.limit == agentOutputLimit:
		return interp.Output{}, fmt.Errorf("openclaw.agent output exceeded %d bytes", agentOutputLimit)
	case err != nil && interp.IsNotFound(err):
		return interp.Output{}, fault("openclaw.agent could not find the OpenClaw CLI")
	case err != nil:
		return interp.Output{}, err
	case !r.exit.OK():
		return interp.Output{}, fmt.Errorf("openclaw.agent failed: %s", first(value.Trim(r.stderr), value.Trim(r.stdout), "exited with code "+r.exit.String()))
	}
	v, err := value.Parse(value.Trim(r.stdout))
	if err != nil || v.Kind() != value.KindObject {
		return interp.Output{}, fault("openclaw.agent expected JSON output from `openclaw agent --json`")
	}
	return interp.Emit(v), nil
}

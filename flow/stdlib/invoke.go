package stdlib

import (
	"context"
	"fmt"

	"lobstah/flow/interp"
	"lobstah/flow/value"
)

func invokeCommand(name string) interp.Command {
	return interp.Command{
		Name:        name,
		Description: "Call a tool of an OpenClaw gateway",
		Help: name + " --tool message --action send --args-json '{\"to\":\"ops\",\"message\":\"hi\"}'\n... | " + name +
			" --tool message --action send --args-json '{\"to\":\"ops\"}' --each --item-key message\n\nThe gateway is --url, OPENCLAW_URL or CLAWD_URL.",
		Params: []interp.Param{
			stringParam("url", "Address of the gateway"), stringParam("token", "Bearer token for the gateway"),
			stringParam("tool", "Name of the tool"), stringParam("action", "What the tool shall do"),
			stringParam("args-json", "Arguments of the tool as JSON"),
			stringParam("sessionKey", "Session to act in"), stringParam("session-key", "Session to act in"),
			boolParam("dryRun", "Ask the tool to pretend"), boolParam("dry-run", "Ask the tool to pretend"),
			boolParam("each", "Call the tool once for each item"),
			stringParam("itemKey", "Argument that takes the item"), stringParam("item-key", "Argument that takes the item"), positional(),
		},
		Required:    []string{"tool", "action"},
		SideEffects: []string{"calls_clawd_tool"},
		Run:         runInvoke,
	}
}

func runInvoke(ctx context.Context, call *interp.Call) (interp.Output, error) {
	t, err := newToolCall(call)
	if err != nil {
		return interp.Output{}, err
	}
	items, err := call.Collect(call.Input)
	if err != nil {
		return interp.Output{}, err
	}
	if !call.Args.Truthy("each") {
		out, err := t.send(ctx, call.Env, t.args)
		return interp.Emit(out...), err
	}
	args, ok := t.args.AsObject()
	if !ok {
		return interp.Output{}, fmt.Errorf("%s --each requires --args-json to be an object", t.command)
	}
	key := "item"
	if k, ok := call.Args.Text("itemKey", "item-key"); ok {
		key = k
	}
	var all []value.Value
	for _, item := range items {
		out, err := t.send(ctx, call.Env, value.FromObject(args.With(key, item)))
		if err == nil {
			err = call.Budget.Take(value.List(out...).Size())
		}
		if err != nil {
			return interp.Output{}, err
		}
		all = append(all, out...)
	}
	return interp.Emit(all...), nil
}

// toolCall is what the flags of an invoke say.
type toolCall struct {
	command, url, token string
	tool, action        string
	args                value.Value
	session             value.Value // Undefined if none
	dryRun              value.Value // Undefined unless asked for
}

func newToolCall(call *interp.Call) (toolCall, error) {
	t := toolCall{command: call.Name, args: value.Record()}
	flag := func(names ...string) string { s, _ := call.Args.Text(names...); return s }
	fromEnv, _ := call.FirstVar("OPENCLAW_URL", "CLAWD_URL")
	raw := givenFlag(call, "url", fromEnv)
	if raw == "" {
		return t, fmt.Errorf("%s requires --url or OPENCLAW_URL", t.command)
	}
	if t.tool, t.action = flag("tool"), flag("action"); t.tool == "" || t.action == "" {
		return t, fmt.Errorf("%s requires --tool and --action", t.command)
	}
	if err := t.address(call, raw); err != nil {
		return t, err
	}
	if text := flag("args-json"); text != "" {
		var err error
		if t.args, err = value.Parse(text); err != nil {
			return t, fmt.Errorf("%s --args-json must be valid JSON", t.command)
		}
	}
	if s := flag("sessionKey", "session-key"); s != "" {
		t.session = value.String(s)
	}
	if dry := call.Args.Get("dry-run", "dryRun"); !dry.IsUndefined() {
		t.dryRun = value.Bool(dry.Truthy())
	}
	return t, nil
}

// address sets the URL and the token. A token from the environment goes to this machine only.
func (t *toolCall) address(call *interp.Call, raw string) error {
	u, err := parseHTTP(t.command, raw)
	if err != nil {
		return err
	}
	t.token = trimmedFlag(call, "token")
	if fromEnv, _ := call.FirstVar("OPENCLAW_TOKEN", "CLAWD_TOKEN"); !call.Args.Has("token") && value.Trim(fromEnv) != "" {
		if !mayGetToken(call.Env, u) {
			return tokenRefused(t.command)
		}
		t.token = value.Trim(fromEnv)
	}
	t.url = u.Scheme + "://" + u.Host + "/tools/invoke"
	return nil
}

func (t *toolCall) send(ctx context.Context, env *interp.Env, args value.Value) ([]value.Value, error) {
	env.MarkDispatched()
	body := value.Record(value.F("tool", value.String(t.tool)), value.F("action", value.String(t.action)), value.F("args", args),
		value.F("sessionKey", t.session), value.F("dryRun", t.dryRun))
	r, err := postJSON(ctx, env, t.url, t.token, body)
	if err != nil {
		return nil, err
	}
	return t.result(r)
}

// result takes the tool's result out of the answer.
func (t *toolCall) result(r reply) ([]value.Value, error) {
	if !r.ok() {
		return nil, fmt.Errorf("%s failed (%d): %s", t.command, r.status, r.quote())
	}
	v := value.Null
	if r.body != "" {
		var err error
		if v, err = value.Parse(r.body); err != nil {
			return nil, fmt.Errorf("%s expected JSON response", t.command)
		}
	}
	if o, isObject := v.AsObject(); isObject && o.Has("ok") {
		if !value.Same(v.Field("ok"), value.True) {
			message := "Unknown error"
			if m := v.Field("error").Property("message"); m.Truthy() {
				message = value.Text(m)
			}
			return nil, fmt.Errorf("%s tool error: %s", t.command, message)
		}
		v = v.Field("result")
	}
	if items, isList := v.AsList(); isList {
		return items, nil
	}
	return []value.Value{v}, nil
}

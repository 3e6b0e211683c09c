package stdlib

import (
	"context"
	"fmt"

	"lobstah/flow/interp"
	"lobstah/flow/value"
)

func gmailSearchCommand() interp.Command {
	return interp.Command{
		Name:        "gog.gmail.search",
		Description: "Search Gmail with the gog program",
		Help:        "gog.gmail.search --query 'is:unread newer_than:2d' --max 50 | email.triage",
		Params: []interp.Param{
			withDefault(stringParam("query", "Gmail search text"), value.String("newer_than:1d")),
			withDefault(numberParam("max", "How many threads at most"), value.Int(20)), numberParam("limit", "Another name for max"), positional(),
		},
		Required:    []string{},
		SideEffects: []string{"reads_email"},
		Run:         gmailSearch,
	}
}

func gmailSendCommand() interp.Command {
	return interp.Command{
		Name:        "gog.gmail.send",
		Description: "Send the items as mail with the gog program",
		Help:        "... | approve --prompt 'Send these?' | gog.gmail.send\n\nEach item needs to, and may have subject and body. --dry-run sends nothing.",
		Params:      []interp.Param{boolParam("dryRun", "Send nothing"), boolParam("dry-run", "Send nothing"), positional()},
		Required:    []string{},
		SideEffects: []string{"sends_email"},
		Run:         gmailSend,
	}
}

// gog runs the gog program, in the process's own directory.
func gog(ctx context.Context, env *interp.Env, command string, args ...string) (string, error) {
	here := *env
	here.Dir = ""
	argv := append(script(first(env.Var("GOG_BIN"), "gog")), args...)
	r, err := program(ctx, &here, &interp.Process{Argv: argv}, programLimit)
	switch {
	case err != nil && interp.IsNotFound(err):
		return "", fault("gog not found on PATH (install: https://github.com/steipete/gogcli)")
	case err != nil:
		return "", err
	case !r.exit.OK():
		return "", fmt.Errorf("%s failed (%s): %s", command, r.exit, clip(r.stderr, quotedUnits))
	}
	return r.stdout, nil
}

func gmailSearch(ctx context.Context, call *interp.Call) (interp.Output, error) {
	if err := interp.Drain(call.Input); err != nil {
		return interp.Output{}, err
	}
	query := "newer_than:1d"
	if q := call.Args.Get("query"); !q.IsUndefined() {
		query = value.Text(q)
	}
	most := "20"
	if n := call.Args.Get("max", "limit"); !n.IsUndefined() {
		most = value.FormatNumber(value.ToNumber(n))
	}
	text, err := gog(ctx, call.Env, "gog.gmail.search", "gmail", "search", query, "--json", "--max", most)
	if err != nil {
		return interp.Output{}, err
	}
	v, err := value.Parse(value.Trim(text))
	if err != nil {
		return interp.Output{}, fault("gog.gmail.search expected JSON output")
	}
	return interp.Emit(threads(v)...), nil
}

// threads flattens the forms in which gog lists threads.
func threads(v value.Value) []value.Value {
	if inner, ok := v.Field("threads").AsList(); ok {
		return inner
	}
	items, isList := v.AsList()
	if !isList {
		return []value.Value{v}
	}
	var out []value.Value
	for _, item := range items {
		if inner, ok := item.Field("threads").AsList(); ok {
			out = append(out, inner...)
			continue
		}
		out = append(out, item)
	}
	return out
}

type draft struct{ to, subject, body string }

func gmailSend(ctx context.Context, call *interp.Call) (interp.Output, error) {
	items, err := call.Collect(call.Input)
	if err != nil {
		return interp.Output{}, err
	}
	dry := call.Args.Truthy("dry-run", "dryRun")
	var out []value.Value
	for _, item := range items {
		d, err := readDraft(item)
		if err != nil {
			return interp.Output{}, err
		}
		sent := dryDraft(d)
		if !dry {
			call.MarkDispatched()
			if sent, err = d.send(ctx, call.Env); err != nil {
				return interp.Output{}, err
			}
		}
		out = append(out, sent)
	}
	return interp.Emit(out...), nil
}

func readDraft(item value.Value) (draft, error) {
	if k := item.Kind(); k != value.KindObject {
		return draft{}, fault("gog.gmail.send expects draft objects")
	}
	d := draft{to: trimmedText(item.Field("to")), subject: trimmedText(item.Field("subject")), body: trimmedText(item.Field("body"))}
	if d.to == "" {
		return d, fault("gog.gmail.send draft missing to")
	}
	return d, nil
}

// trimmedText is a value's text without blanks around it; empty for null and undefined.
func trimmedText(v value.Value) string {
	if v.IsNullish() {
		return ""
	}
	return value.Trim(value.Text(v))
}

func dryDraft(d draft) value.Value {
	return value.Record(value.F("ok", value.True), value.F("dryRun", value.True), value.F("to", value.String(d.to)),
		value.F("subject", value.String(d.subject)), value.F("body", value.String(d.body)))
}

func (d draft) send(ctx context.Context, env *interp.Env) (value.Value, error) {
	args := []string{"gmail", "send", "--to", d.to}
	if d.subject != "" {
		args = append(args, "--subject", d.subject)
	}
	if d.body != "" {
		args = append(args, "--body", d.body)
	}
	text, err := gog(ctx, env, "gog.gmail.send", append(args, "--json")...)
	if err != nil {
		return value.Undefined, err
	}
	text = value.Trim(text)
	if text == "" {
		return value.Record(value.F("ok", value.True)), nil
	}
	v, err := value.Parse(text)
	if err != nil {
		return value.Record(value.F("ok", value.True), value.F("raw", value.String(text))), nil
	}
	return v, nil
}

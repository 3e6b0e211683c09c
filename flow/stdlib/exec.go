package stdlib

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"lobstah/flow/interp"
	"lobstah/flow/value"
)

func execCommand() interp.Command {
	return interp.Command{
		Name:        "exec",
		Description: "Run a program; its lines or its JSON become the items",
		Help: "exec git log --oneline\nexec --json gh pr list --json title,url\nexec --shell 'ls | sort'\n... | exec --stdin jsonl ./consume\n\n" +
			"--stdin raw|json|jsonl feeds the items to the program. A single word with blanks runs in the shell.",
		Params: []interp.Param{
			boolParam("json", "Read the output as JSON"), stringParam("shell", "Run this text in the shell"),
			positional(),
		},
		Required:    []string{"_"},
		SideEffects: []string{"local_exec"},
		Run:         runExec,
	}
}

func runExec(ctx context.Context, call *interp.Call) (interp.Output, error) {
	argv, shown, err := execWords(call)
	if err != nil {
		return interp.Output{}, err
	}
	stdin, err := execStdin(call)
	if err != nil {
		return interp.Output{}, err
	}
	limit, err := call.LimitVar(outputLimitVar, 0)
	if err != nil {
		return interp.Output{}, err
	}
	p := &interp.Process{Argv: argv, Stdin: stdin, Grace: interp.KillGrace}
	out := startOutput(ctx, call, p, limit)
	out.settle(call.MayStopEarly)
	check := func() error { return execFailure(out, shown, call.Args.Truthy("shell") || argv[0] != shown) }
	if out.finished() {
		if err := check(); err != nil {
			return interp.Output{}, err
		}
	}
	if call.Args.Truthy("json") {
		items := func(r io.Reader) interp.Seq { return jsonItems(r, call.Budget) }
		return interp.Output{Output: out.items(items, check)}, nil
	}
	return interp.Output{Output: out.items(lines, check)}, nil
}

// execWords returns the words to run, and what errors call them: the shell text or the program.
func execWords(call *interp.Call) (argv []string, shown string, err error) {
	words := call.Args.Positional
	text, isText := call.Args.Get("shell").AsString()
	shell := call.Args.Truthy("shell") || (len(words) == 1 && strings.ContainsFunc(words[0], value.IsSpace))
	if !isText && len(words) > 0 {
		text = words[0]
	}
	switch {
	case len(words) == 0 && (!isText || text == ""):
		return nil, "", fault("exec requires a command")
	case shell:
		return call.Shell(text), text, nil
	}
	if words[0] == "" {
		return nil, "", fault("exec requires a command, not an empty word")
	}
	return words, words[0], nil
}

// execStdin drains the items and returns them in the form that --stdin asks for.
func execStdin(call *interp.Call) (io.Reader, error) {
	form := call.Args.Get("stdin")
	if !form.Truthy() {
		return nil, interp.Drain(call.Input)
	}
	name := strings.ToLower(value.Text(form))
	if name != "raw" && name != "json" && name != "jsonl" {
		return nil, fmt.Errorf("exec --stdin must be raw, json, or jsonl (got %s)", value.Text(form))
	}
	items, err := call.Collect(call.Input)
	if err != nil {
		return nil, err
	}
	return strings.NewReader(value.UTF8(stdinText(name, items))), nil
}

func stdinText(form string, items []value.Value) string {
	var b bytes.Buffer
	switch form {
	case "json":
		return value.List(items...).JSON()
	case "jsonl":
		for _, item := range items {
			b.WriteString(jsonLine(item) + "\n")
		}
	default:
		for i, item := range items {
			if i > 0 {
				b.WriteByte('\n')
			}
			b.WriteString(item.Plain())
		}
	}
	return b.String()
}

// jsonLine is a value's JSON; undefined, which has none, is an empty line.
func jsonLine(v value.Value) string {
	if v.IsUndefined() {
		return ""
	}
	return v.JSON()
}

// execFailure words how the finished process failed; nil if it did not.
func execFailure(out *output, shown string, shell bool) error {
	exit, err := out.exit()
	switch {
	case err != nil && interp.IsNotFound(err) && shell:
		return fault("exec shell not found; check LOBSTER_SHELL or ComSpec")
	case err != nil && interp.IsNotFound(err):
		return fmt.Errorf("exec command not found: %s", shown)
	case err != nil:
		return err
	case exit.OK():
		return nil
	}
	detail := first(value.Trim(out.errors()), value.Trim(out.head()), shown)
	return fmt.Errorf("exec failed (%s): %s", exit, detail)
}

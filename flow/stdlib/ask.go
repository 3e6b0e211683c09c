package stdlib

import (
	"context"
	"fmt"
	"strings"

	"lobstah/flow/interp"
	"lobstah/flow/schema"
	"lobstah/flow/value"
)

func askCommand() interp.Command {
	return interp.Command{
		Name:        "ask",
		Description: "Stop until a person answers a question",
		Help:        "... | ask --prompt 'Which one?' --schema '{\"type\":\"object\",\"required\":[\"pick\"]}'\n\nThe answer replaces the items.",
		Params: []interp.Param{
			withDefault(stringParam("prompt", "What to ask"), value.String("Input required")),
			stringParam("schema", "JSON Schema of the answer"),
			boolParam("subject-from-stdin", "Show the items with the question"),
			boolParam("emit", "Never ask here, always end with the request"), positional(),
		},
		Required: []string{},
		Run:      ask,
	}
}

const defaultAskSchema = `{"type":"object","properties":{"decision":{"type":"string","enum":["approve","reject","redraft"]},"feedback":{"type":"string","description":"Feedback for redraft"}},"required":["decision"]}`

func ask(ctx context.Context, call *interp.Call) (interp.Output, error) {
	question, check, err := question(call)
	if err != nil {
		return interp.Output{}, err
	}
	items, err := call.Collect(call.Input)
	if err != nil {
		return interp.Output{}, err
	}
	if call.Args.Truthy("subject-from-stdin", "subjectFromStdin") && len(items) > 0 {
		question.Subject = askSubject(items)
	}
	switch {
	case call.Args.Truthy("emit") || (call.Mode != interp.Tool && !call.Interactive()):
		return interp.Output{Output: interp.Items(inputRequest(question, items)), Halt: true}, nil
	case call.Interactive():
		answer, err := askTerminal(ctx, call, question, check)
		return interp.Emit(answer), err
	case !call.Response.IsUndefined():
		return interp.Emit(call.Response), nil
	}
	check.Warn(call.Stderr)
	return interp.Output{}, &interp.Suspension{Items: items, Request: question}
}

func question(call *interp.Call) (interp.InputRequest, *schema.Schema, error) {
	q := interp.InputRequest{Prompt: "Input required"}
	if p, ok := call.Args.Get("prompt").AsString(); ok && p != "" {
		q.Prompt = p
	}
	text := defaultAskSchema
	if s, ok := call.Args.Get("schema").AsString(); ok && s != "" {
		text = s
	}
	var err error
	if q.Schema, err = value.Parse(text); err != nil {
		return q, nil, fault("ask --schema must be valid JSON")
	}
	if q.Schema.Kind() != value.KindObject {
		return q, nil, fault("ask --schema must decode to a JSON schema object")
	}
	check, err := schema.Compile(q.Schema)
	if err != nil {
		return q, nil, fault("ask response schema is invalid")
	}
	return q, check, nil
}

func askSubject(items []value.Value) value.Value {
	var text strings.Builder
	for i, item := range items {
		if i > 0 {
			text.WriteString("\n")
		}
		text.WriteString(item.Plain())
		if text.Len() > 4*previewUnits {
			break
		}
	}
	return value.Record(value.F("text", value.String(clip(text.String(), previewUnits))))
}

func inputRequest(q interp.InputRequest, items []value.Value) value.Value {
	var b value.Builder
	b.Set("type", value.String("input_request"))
	b.Set("prompt", value.String(q.Prompt))
	b.Set("responseSchema", q.Schema)
	if !q.Subject.IsUndefined() {
		b.Set("subject", q.Subject)
	}
	b.Set("items", value.List(items...))
	return b.Value()
}

// askTerminal reads one line. Text that is no JSON counts as itself, else as a decision.
func askTerminal(ctx context.Context, call *interp.Call, q interp.InputRequest, check *schema.Schema) (value.Value, error) {
	line, err := call.Ask(ctx, q.Prompt+"\n> ")
	if err != nil {
		return value.Undefined, err
	}
	line = value.Trim(value.Clean(line))
	answer, err := value.Parse(line)
	if word, isText := answer.AsString(); err != nil || isText {
		if err != nil {
			word = line
		}
		if _, bad := check.Validate(value.String(word)); !bad {
			return value.String(word), nil
		}
		answer = value.Record(value.F("decision", value.String(word)))
	}
	if issue, bad := check.Validate(answer); bad {
		return value.Undefined, fmt.Errorf("ask response failed schema validation at %s: %s", issue.Where(), issue.Message)
	}
	return answer, nil
}

package workflow

import (
	"context"
	"fmt"
	"math"

	"lobstah/flow/interp"
	"lobstah/flow/schema"
	"lobstah/flow/state"
	"lobstah/flow/value"
)

const (
	envelopeLimit    = 512000 // bytes of a printed request, unless LOBSTER_MAX_TOOL_ENVELOPE_BYTES says otherwise
	subjectLimit     = 192000 // bytes of a subject, when the request is too large
	tokenPlaceholder = 220    // characters that a token may take
)

// question asks a person for data.
func (r *runner) question(ctx context.Context, s *Step) (*Outcome, error) {
	subject, err := r.subject(s)
	if err != nil {
		return r.failed(ctx, s, err)
	}
	if r.opts.Env.Interactive() {
		response, err := r.askNow(ctx, s)
		if err != nil {
			return nil, fatal{err}
		}
		r.complete(s, answered(s.ID, subject, response))
		return nil, nil
	}
	request, err := fitRequest(s.ID, inputRequest(s.Input.Prompt, s.Input.Schema, s.Input.Defaults), subject, r.opts.Env)
	if err != nil {
		return nil, err
	}
	if r.nested {
		return r.halted(NeedsInput)
	}
	doc := r.document(r.next + 1)
	doc.Set("inputStepId", value.String(s.ID))
	doc.Set("inputSchema", s.Input.Schema)
	if !subject.IsUndefined() {
		doc.Set("inputSubject", subject)
	}
	return r.pause(ctx, NeedsInput, request, r.next+1, doc)
}

// subject is what a question is about: what the step reads, else the last result.
func (r *runner) subject(s *Step) (value.Value, error) {
	if !s.Stdin.IsUndefined() {
		return job{runner: r, scope: r.scope()}.stdin(s)
	}
	res, _ := r.done.get(r.last)
	for _, key := range []string{"json", "response", "stdout"} {
		if v := res.Field(key); !v.IsUndefined() {
			return v, nil
		}
	}
	return value.Null, nil
}

func (r *runner) askNow(ctx context.Context, s *Step) (value.Value, error) {
	line, err := r.opts.Env.Ask(ctx, s.Input.Prompt+"\nEnter JSON response: ")
	if err != nil {
		return value.Undefined, err
	}
	response, err := value.Parse(value.Trim(line))
	if err != nil {
		return value.Undefined, plainError("Input response must be valid JSON")
	}
	if fault := checkResponse(s.Input.Schema, response); fault != "" {
		return value.Undefined, plainError("Workflow input step " + s.ID + " response failed schema validation at " + fault)
	}
	r.log(state.Event{Event: "input", Step: s.ID, Prompt: s.Input.Prompt, Decision: "response", By: r.approver()})
	return response, nil
}

// checkResponse returns where and why a response does not fit, or "".
func checkResponse(sch, response value.Value) string {
	compiled, err := schema.Compile(sch)
	if err != nil {
		return "/: the schema is invalid: " + err.Error()
	}
	if issue, bad := compiled.Validate(response); bad {
		return issue.Where() + ": " + issue.Message
	}
	return ""
}

func answered(id string, subject, response value.Value) value.Value {
	return value.Record(value.F("id", value.String(id)), value.F("subject", subject), value.F("response", response))
}

func inputRequest(prompt string, sch, defaults value.Value) *value.Builder {
	b := new(value.Builder)
	b.Set("type", value.String("input_request"))
	b.Set("prompt", value.String(prompt))
	b.Set("responseSchema", sch)
	if !defaults.IsUndefined() {
		b.Set("defaults", defaults)
	}
	return b
}

// fitRequest adds the subject to a request, cutting it when the printed envelope would be too large for callers.
func fitRequest(step string, request *value.Builder, subject value.Value, env *interp.Env) (value.Value, error) {
	base, _ := request.Value().AsObject()
	if subject.IsUndefined() {
		return value.FromObject(base), nil
	}
	limit := maxEnvelope(env)
	size := len(subject.JSON())
	for _, s := range []value.Value{subject, cutSubject(subject, size), omittedSubject(size)} {
		v := value.FromObject(base.With("subject", s))
		if envelopeSize(v) <= limit {
			return v, nil
		}
	}
	return value.Undefined, fatal{plainError(fmt.Sprintf("Workflow input step %s needs_input envelope exceeds %d bytes even after subject truncation", step, limit))}
}

func maxEnvelope(env *interp.Env) int {
	f := value.ParseNumber(env.Var("LOBSTER_MAX_TOOL_ENVELOPE_BYTES"))
	if !(f >= 1024) || math.IsInf(f, 0) || f > math.MaxInt32 {
		return envelopeLimit
	}
	return int(f)
}

func cutSubject(subject value.Value, size int) value.Value {
	if size <= subjectLimit {
		return subject
	}
	return truncated(size, value.Cut16(subject.JSON(), previewUnits))
}

func omittedSubject(size int) value.Value {
	return truncated(size, "[subject omitted: envelope size limit]")
}

func truncated(size int, preview string) value.Value {
	return value.Record(value.F("truncated", value.True), value.F("bytes", value.Int(size)), value.F("preview", value.String(preview)))
}

// envelopeSize is the size of the compact envelope around a request.
func envelopeSize(request value.Value) int {
	const around = `{"protocolVersion":1,"ok":true,"status":"needs_input","output":[],"requiresApproval":null,"requiresInput":}` + `,"resumeToken":""`
	return len(request.JSON()) + len(around) + tokenPlaceholder
}

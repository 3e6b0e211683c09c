package workflow

import (
	"context"
	"errors"
	"strconv"

	"lobstah/flow/interp"
	"lobstah/flow/state"
	"lobstah/flow/syntax"
	"lobstah/flow/value"
)

// document is what a paused run is resumed from, without what depends on the kind of pause. Members that the original does not know
// (run, binding) come last; it ignores them.
func (r *runner) document(next int) *value.Builder {
	b := new(value.Builder)
	b.Set("filePath", value.String(absolute(r.file.Path)))
	b.Set("resumeAtIndex", value.Int(next))
	b.Set("steps", r.done.value())
	b.Set("args", r.args)
	return b
}

// pause saves the run, which is to go on with the step at next, and ends it with a request.
func (r *runner) pause(ctx context.Context, status Status, request value.Value, next int, doc *value.Builder) (*Outcome, error) {
	if r.opts.Pauses == nil {
		return nil, fatal{errors.New("the run must wait for a person, but there is no state directory to keep it in")}
	}
	if cost := r.cost.summary(); len(cost.Charges) > 0 {
		doc.Set("cost", cost.Value())
	}
	doc.Set("supersededResumeStateKeys", value.Strings(r.superseded))
	doc.Set("createdAt", value.String(now(r.opts.Env).UTC().Format("2006-01-02T15:04:05.000Z")))
	doc.Set("runId", value.String(r.id))
	doc.Set("request", request)
	binding, err := r.bind(next)
	if err != nil {
		return nil, fatal{err}
	}
	doc.Set("binding", binding)
	text := []byte(doc.Value().Pretty() + "\n")
	p, err := r.opts.Pauses.SaveNext(ctx, state.Workflow, text, status == NeedsApproval, r.from, r.claim.done)
	if errors.Is(err, state.ErrNotFound) {
		err = ErrNotFound
	}
	if err != nil {
		return nil, fatal{err}
	}
	return &Outcome{Status: status, Request: withToken(request, p)}, nil
}

func withToken(request value.Value, p state.Pause) value.Value {
	o, _ := request.AsObject()
	o = o.With("resumeToken", value.String(p.Token))
	if p.ApprovalID != "" {
		o = o.With("approvalId", value.String(p.ApprovalID))
	}
	return value.FromObject(o)
}

// pauseInPipeline saves a run whose pipeline step asks a question. The step runs again when the answer is there, from the stage that asked.
func (r *runner) pauseInPipeline(ctx context.Context, s *Step, pause *interp.Suspension) (*Outcome, error) {
	if r.nested {
		return r.halted(NeedsInput)
	}
	if !pause.Fits() {
		return nil, fatal{plainError("Workflow step " + s.ID + " cannot wait for input: its pipeline holds more than " + strconv.Itoa(interp.MaxReplayItems) + " items or too many bytes")}
	}
	req := pause.Request
	request, err := fitRequest(s.ID, inputRequest(req.Prompt, req.Schema, req.Defaults), req.Subject, r.opts.Env)
	if err != nil {
		return nil, err
	}
	pipeline, err := syntax.Parse(r.scope().fill(s.Text))
	if err != nil {
		return nil, err
	}
	doc := r.document(r.next)
	doc.Set("inputStepId", value.String(s.ID))
	doc.Set("inputKind", value.String("pipeline_command"))
	doc.Set("inputSchema", req.Schema)
	if !req.Subject.IsUndefined() {
		doc.Set("inputSubject", req.Subject)
	}
	doc.Set("pipelineInput", value.Record(
		value.F("pipeline", pipeline.Value()), value.F("resumeAtIndex", value.Int(pause.Stage)), value.F("items", value.List(pause.Items...)),
		value.F("commandInput", pause.CommandInput()),
	))
	return r.pause(ctx, NeedsInput, request, r.next, doc)
}

func orNull(v value.Value) value.Value {
	if v.IsUndefined() {
		return value.Null
	}
	return v
}

// replay is the answer to a question within a pipeline step.
type replay struct {
	step     string
	pipeline value.Value // as it was parsed when it asked
	stage    int
	items    []value.Value
	response value.Value
}

// apply makes the step's pipeline go on from the stage that asked. The pipeline must be what it was when it asked.
func (p *replay) apply(now syntax.Pipeline, opts *interp.Options) (syntax.Pipeline, error) {
	if !value.Same(now.Value(), p.pipeline) {
		return now, fatal{plainError("workflow pipeline changed since input request")}
	}
	if p.stage < 0 || p.stage >= len(now.Stages) {
		return now, fatal{errInvalidState}
	}
	opts.Input = interp.Items(p.items...)
	opts.Response = p.response
	return now.From(p.stage), nil
}

// unchanged checks that the step which asked is still there and would still run.
func (p *replay) unchanged(f *File, next int, sc scope) error {
	if next >= len(f.Steps) || f.Steps[next].ID != p.step || f.Steps[next].Kind != Pipeline {
		return plainError("workflow input step changed since input request")
	}
	if ok, err := sc.allows(f.Steps[next].When); err != nil || !ok {
		return plainError("workflow input step condition changed since input request")
	}
	text, err := syntax.Parse(sc.fill(f.Steps[next].Text))
	if err != nil || !value.Same(text.Value(), p.pipeline) {
		return plainError("workflow pipeline changed since input request")
	}
	return nil
}

const errInvalidState = plainError("Invalid workflow resume state")

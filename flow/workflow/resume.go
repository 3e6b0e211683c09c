package workflow

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"lobstah/flow/state"
	"lobstah/flow/value"
)

// Answer is what a person decided. Exactly one of its fields is set.
type Answer struct {
	Approve  *bool
	Response value.Value // Undefined when there is none
	Cancel   bool
}

// ErrNotFound says that a paused run does not exist, was used already, or expired.
var ErrNotFound error = plainError("Workflow resume state not found")

// ErrNothingToCancel says that there is no paused run to cancel.
var ErrNothingToCancel error = plainError("Resume state not found")

// Resume goes on with the paused run under a key of opts.Pauses. A [Refusal] leaves the pause as it was.
func Resume(ctx context.Context, key string, answer Answer, opts Options) (Outcome, error) {
	opts = shared(opts)
	if answer.Cancel {
		return cancel(ctx, key, opts)
	}
	text, err := opts.Pauses.LoadPause(ctx, key)
	if errors.Is(err, state.ErrNotFound) {
		return Outcome{}, ErrNotFound
	}
	if err != nil {
		return Outcome{}, err
	}
	doc, err := value.Parse(string(text))
	if err != nil {
		return Outcome{}, err
	}
	if doc.IsNull() {
		return Outcome{}, ErrNotFound
	}
	p, err := readPaused(key, doc)
	if err != nil {
		return Outcome{}, err
	}
	if err := p.accepts(answer); err != nil {
		return Outcome{}, err
	}
	if answer.Approve != nil && !*answer.Approve {
		return reject(ctx, p, opts)
	}
	return p.resume(ctx, answer, opts)
}

func cancel(ctx context.Context, key string, opts Options) (Outcome, error) {
	err := opts.Pauses.Cancel(ctx, key)
	if errors.Is(err, state.ErrNotFound) {
		return Outcome{}, ErrNothingToCancel
	}
	if err != nil {
		return Outcome{}, err
	}
	opts.Journal.Append(state.Event{Event: "run.end", Status: string(Cancelled), Decision: "cancel", Target: key})
	return Outcome{Status: Cancelled}, nil
}

// paused is a paused run as it was read. It is hostile until checked.
type paused struct {
	key      string
	doc      value.Value
	filePath string
	next     int // -1 when the document does not say; then it can only be rejected
	steps    *value.Object
	args     value.Value
	gate     string // id of the step that waits for approval, or ""
	input    string // id of the step that waits for an answer, or ""
}

func readPaused(key string, doc value.Value) (*paused, error) {
	p := &paused{key: key, doc: doc, args: doc.Field("args")}
	var ok1, ok2 bool
	p.filePath, ok1 = doc.Field("filePath").AsString()
	next, isNumber := doc.Field("resumeAtIndex").AsNumber()
	p.steps, ok2 = doc.Field("steps").AsObject()
	p.gate, _ = doc.Field("approvalStepId").AsString()
	p.input, _ = doc.Field("inputStepId").AsString()
	if !areKeys(doc.Field("supersededResumeStateKeys")) {
		return nil, errInvalidState
	}
	if !ok1 || !ok2 || !isNumber || p.filePath == "" || p.args.Kind() != value.KindObject || p.gate != "" && p.input != "" {
		return nil, errInvalidState
	}
	p.next = -1
	if next == math.Trunc(next) && next >= 0 && next <= math.MaxInt32 {
		p.next = int(next)
	}
	return p, nil
}

// areKeys reports whether v is a list of texts, or absent, as in older documents.
func areKeys(v value.Value) bool {
	list, isList := v.AsList()
	notText := func(v value.Value) bool { return v.Kind() != value.KindString }
	return v.IsUndefined() || isList && !slices.ContainsFunc(list, notText)
}

// accepts checks that the answer is of the kind that was asked for.
func (p *paused) accepts(a Answer) error {
	switch {
	case p.input != "" && a.Response.IsUndefined():
		return Refusal("Workflow resume requires --response-json for input requests")
	case p.input == "" && a.Approve == nil:
		return Refusal("Workflow resume requires --approve yes|no for approval requests")
	}
	if p.input == "" {
		return nil
	}
	if fault := checkResponse(p.doc.Field("inputSchema"), a.Response); fault != "" {
		return Refusal("Workflow input step " + p.input + " response failed schema validation at " + fault)
	}
	return nil
}

func reject(ctx context.Context, p *paused, opts Options) (Outcome, error) {
	err := opts.Pauses.Cancel(context.WithoutCancel(ctx), p.key)
	if errors.Is(err, state.ErrNotFound) {
		return Outcome{}, ErrNotFound
	}
	if err != nil {
		return Outcome{}, err
	}
	opts.Journal.Append(p.event(opts, "run.end", "no", Cancelled))
	return Outcome{Status: Cancelled}, nil
}

func (p *paused) event(opts Options, name, decision string, status Status) state.Event {
	return state.Event{
		Run: p.runID(), Event: name, Target: p.filePath, Step: p.gate + p.input, Decision: decision, Status: string(status),
		By: value.Trim(opts.Env.Var("LOBSTER_APPROVAL_APPROVED_BY")), Prompt: value.Text(orNull(p.doc.Field("request").Field("prompt"))),
	}
}

func (p *paused) runID() string {
	id, _ := p.doc.Field("runId").AsString()
	return id
}

// superseded lists the pauses that this one replaced.
func (p *paused) superseded() []string {
	var keys []string
	list, _ := p.doc.Field("supersededResumeStateKeys").AsList()
	for _, v := range list {
		if k, ok := v.AsString(); ok && state.IsPauseKey(k) {
			keys = append(keys, k)
		}
	}
	return keys
}

// discard removes the pause and everything that it replaced.
func (p *paused) discard(ctx context.Context, store *state.Store) error {
	ctx = context.WithoutCancel(ctx)
	err := store.Discard(ctx, p.key)
	for _, key := range p.superseded() {
		err = errors.Join(err, store.Discard(ctx, key))
	}
	return err
}

func (p *paused) resume(ctx context.Context, a Answer, opts Options) (Outcome, error) {
	if p.next < 0 {
		return Outcome{}, errInvalidState
	}
	if err := opts.Pauses.Confirm(ctx, p.key, p.superseded()); errors.Is(err, state.ErrNotFound) {
		return Outcome{}, ErrNotFound
	} else if err != nil {
		return Outcome{}, err
	}
	if err := p.enter(opts); err != nil {
		return Outcome{}, err
	}
	r, err := p.runner(opts)
	if err != nil {
		return Outcome{}, err
	}
	if err := p.answer(r, a); err != nil {
		return Outcome{}, err
	}
	decision := "yes"
	if p.input != "" {
		decision = "response"
	}
	r.log(p.event(opts, "run.resume", decision, ""))
	out, err := r.finish(r.steps(ctx))
	if cleanup := p.settle(ctx, r, out, err); err == nil {
		err = cleanup
	}
	return out, err
}

// settle clears up after a resumed run. A run that failed before its first effect may be tried again; any other end uses the pause up.
func (p *paused) settle(ctx context.Context, r *runner, out Outcome, err error) error {
	store := r.opts.Pauses
	switch {
	case err != nil && !r.claim.done:
		return nil
	case err == nil && out.Status != OK:
		return nil // it waits again, under another key
	}
	return p.discard(ctx, store)
}

// enter goes back to where the run paused.
func (p *paused) enter(opts Options) error {
	dir, _ := p.doc.Field("binding").Field("workdir").AsString()
	err := opts.Env.Enter(dir)
	if err != nil && opts.AllowChanged {
		fmt.Fprintf(opts.Env.Stderr, "[WARN] %s\n", err)
		return nil
	}
	return err
}

// runner prepares a run that starts where the paused one stopped.
func (p *paused) runner(opts Options) (*runner, error) {
	f, err := Load(p.filePath)
	if err != nil {
		return nil, err
	}
	bound, err := p.bound(f, opts)
	if err != nil {
		return nil, err
	}
	id := p.runID()
	if id == "" {
		if id, err = newRunID(); err != nil {
			return nil, err
		}
	}
	r, err := newRunner(f, opts, p.args, id)
	if err != nil {
		return nil, err
	}
	r.next, r.from, r.binding = p.next, p.key, bound
	r.superseded = append(p.superseded(), p.key)
	r.claim.take = func(ctx context.Context) error {
		err := opts.Pauses.Claim(context.WithoutCancel(ctx), p.key)
		if errors.Is(err, state.ErrNotFound) {
			return ErrNotFound
		}
		return err
	}
	p.restore(r, f)
	return r, nil
}

// bound is what the run may execute. A change is refused, unless the caller allows it.
func (p *paused) bound(f *File, opts Options) (*binding, error) {
	bound, unbound, err := checkBinding(p.doc, f, p.args)
	if changed, ok := errors.AsType[*ChangedError](err); ok {
		if worse := p.pipelineChanged(f); worse != nil {
			return nil, worse
		}
		if opts.AllowChanged {
			fmt.Fprintf(opts.Env.Stderr, "[WARN] %s\n", changed)
			err = nil
		}
	}
	if err != nil {
		return nil, err
	}
	if unbound {
		fmt.Fprintf(opts.Env.Stderr, "[WARN] This run was paused by a program that does not record what was approved; %s may have changed since.\n", p.filePath)
	}
	return bound, nil
}

// pipelineChanged is the fault of a question whose step is no longer the same, which has words of its own.
func (p *paused) pipelineChanged(f *File) error {
	if !p.isPipelineQuestion() {
		return nil
	}
	done := &results{}
	for id, v := range p.steps.All() {
		done.set(id, v)
	}
	return p.replay(value.Undefined).unchanged(f, p.next, scope{p.args, done})
}

func (p *paused) isPipelineQuestion() bool {
	kind, _ := p.doc.Field("inputKind").AsString()
	return kind == "pipeline_command"
}

// restore takes up results, the place of the last one, and what was spent.
func (p *paused) restore(r *runner, f *File) {
	for id, v := range p.steps.All() {
		r.done.set(id, v)
		r.cost.account(id).recall(v.Field("json"))
	}
	for _, s := range f.Steps {
		if p.steps.Has(s.ID) {
			r.last = s.ID
		}
	}
	r.cost.restore(p.doc.Field("cost"))
}

// answer puts the person's answer where the run goes on.
func (p *paused) answer(r *runner, a Answer) error {
	switch {
	case p.isPipelineQuestion():
		r.replay = p.replay(a.Response)
		return p.pipelineChanged(r.file)
	case p.input != "":
		subject := p.doc.Field("inputSubject")
		r.done.set(p.input, answered(p.input, subject, a.Response))
		r.last = p.input
		if p.next < len(r.file.Steps) && r.file.Steps[p.next].ID == p.input {
			r.next++ // a document that points at the question itself
		}
		return nil
	case p.gate == "":
		return nil
	}
	who := identityFrom(p.doc.Field("approvalIdentity"))
	by := r.approver()
	if err := who.admits(p.gate, by); err != nil {
		return err
	}
	result, ok := r.done.get(p.gate)
	if !ok {
		result = value.Record(value.F("id", value.String(p.gate)))
	}
	r.done.set(p.gate, approved(result, by, who))
	r.last = p.gate
	return nil
}

func (p *paused) replay(response value.Value) *replay {
	in := p.doc.Field("pipelineInput")
	items, _ := in.Field("items").AsList()
	stage, _ := in.Field("resumeAtIndex").AsNumber()
	return &replay{step: p.input, pipeline: in.Field("pipeline"), stage: int(min(max(stage, -1), math.MaxInt32)), items: items, response: response}
}

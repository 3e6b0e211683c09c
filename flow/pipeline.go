package flow

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"time"

	"lobstah/flow/interp"
	"lobstah/flow/state"
	"lobstah/flow/syntax"
	"lobstah/flow/value"
	"lobstah/flow/workflow"
)

// Pipeline runs the text of a pipeline. The error is a [*ParseError] if it cannot be read.
func (s *Shell) Pipeline(ctx context.Context, text string) (Outcome, error) {
	p, err := syntax.Parse(text)
	if err != nil {
		return Outcome{}, &ParseError{err}
	}
	id, err := s.newRunID()
	if err != nil {
		return Outcome{}, err
	}
	r := &pipelineRun{shell: s, id: id, pipeline: p, began: s.now()}
	r.log(state.Event{Event: "run.start"})
	return r.start(ctx, interp.Options{})
}

func (s *Shell) now() time.Time {
	if s.Env.Now == nil {
		return time.Now()
	}
	return s.Env.Now()
}

// newRunID names a run in the journal.
func (s *Shell) newRunID() (string, error) {
	random := s.Env.Random
	if random == nil {
		random = rand.Reader
	}
	b := make([]byte, 4)
	_, err := io.ReadFull(random, b)
	return hex.EncodeToString(b), err
}

// pipelineRun is a pipeline at work, from its start or from a pause.
type pipelineRun struct {
	shell    *Shell
	id       string // in the journal, the same after every pause
	pipeline syntax.Pipeline
	began    time.Time
	// key is the pause that the run comes from, older those before it; "" and nil for a run from the start.
	key     string
	older   []string
	claimed bool // key was used up, because something with effects ran
}

// start runs the pipeline up to its end or its next pause.
func (r *pipelineRun) start(ctx context.Context, opts interp.Options) (Outcome, error) {
	res, err := interp.Run(ctx, r.shell.Env, r.pipeline, opts)
	if ask, ok := err.(*interp.Suspension); ok {
		return r.suspend(ctx, ask)
	}
	if err != nil {
		return Outcome{}, r.failed(err)
	}
	if res.Halted != nil && r.shell.Env.Mode == interp.Tool {
		return r.halt(ctx, res)
	}
	return Outcome{Status: workflow.OK, Output: r.finishing(ctx, res.Output), Rendered: res.Rendered}, nil
}

// finishing removes the pauses that led here once all items have been pulled.
func (r *pipelineRun) finishing(ctx context.Context, seq interp.Seq) interp.Seq {
	return func(yield func(value.Value, error) bool) {
		for v, err := range seq {
			if ask, ok := err.(*interp.Suspension); ok {
				err = &interp.StageError{Stage: ask.Stage, Name: ask.Name, Err: ask}
			}
			if err != nil {
				yield(value.Undefined, r.failed(err))
				return
			}
			if !yield(v, nil) {
				return
			}
		}
		if err := r.shell.discard(ctx, append(r.older, r.key)...); err != nil {
			yield(value.Undefined, err)
			return
		}
		r.log(state.Event{Event: "run.end", Status: "ok"})
	}
}

func (s *Shell) discard(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if key == "" {
			continue
		}
		if err := s.Pauses.Discard(context.WithoutCancel(ctx), key); err != nil {
			return err
		}
	}
	return nil
}

func (r *pipelineRun) failed(err error) error {
	r.log(state.Event{Event: "run.end", Status: "error", Error: err.Error()})
	return err
}

func (r *pipelineRun) log(e state.Event) {
	e.Run = r.id
	switch e.Event {
	case "run.start", "run.resume":
		e.Target = "pipeline " + strings.Join(r.pipeline.Names(), " | ") // names only: arguments may hold secrets
	default:
		e.Millis = r.shell.now().Sub(r.began).Milliseconds()
	}
	r.shell.Journal.Append(e)
}

// halt turns the request that a gate emitted into a pause.
func (r *pipelineRun) halt(ctx context.Context, res interp.Result) (Outcome, error) {
	items, err := r.shell.Env.Collect(res.Output)
	if err != nil {
		return Outcome{}, r.failed(err)
	}
	if len(items) != 1 {
		return Outcome{Status: workflow.OK, Output: r.finishing(ctx, interp.Items(items...)), Rendered: res.Rendered}, nil
	}
	request := items[0]
	p := pause{run: r.id, dir: r.shell.Env.Workdir(), pipeline: r.pipeline, next: res.Halted.Stage + 1, kind: value.Text(request.Field("type")), prompt: request.Field("prompt")}
	switch p.kind {
	case approvalRequest:
		p.items, _ = request.Field("items").AsList()
		return r.save(ctx, p, request)
	case inputRequest:
		p.mode, p.schema = nextStage, request.Field("responseSchema")
		return r.save(ctx, p, inputShown(request))
	}
	return Outcome{Status: workflow.OK, Output: r.finishing(ctx, interp.Items(items...)), Rendered: res.Rendered}, nil
}

// inputShown is an input request without the items, which its envelope does not have.
func inputShown(request value.Value) value.Value {
	o, _ := request.AsObject()
	return value.FromObject(o.Without("items"))
}

// suspend saves a stage that waits for an answer.
func (r *pipelineRun) suspend(ctx context.Context, ask *interp.Suspension) (Outcome, error) {
	if !ask.Fits() {
		return Outcome{}, r.failed(errTooMuchToReplay)
	}
	q := ask.Request
	p := pause{run: r.id, dir: r.shell.Env.Workdir(), pipeline: r.pipeline, next: ask.Stage, kind: inputRequest, prompt: value.String(q.Prompt), items: ask.Items, mode: sameStage,
		schema: q.Schema, commandInput: ask.CommandInput()}
	return r.save(ctx, p, value.Record(value.F("type", value.String(inputRequest)), value.F("prompt", value.String(q.Prompt)),
		value.F("responseSchema", q.Schema), value.F("defaults", q.Defaults), value.F("subject", q.Subject)))
}

// save stores a pause, uses up those that it replaces, and says what is asked.
func (r *pipelineRun) save(ctx context.Context, p pause, request value.Value) (Outcome, error) {
	if r.key != "" {
		p.superseded = append(r.older, r.key)
	}
	isApproval := p.kind == approvalRequest
	saved, err := r.shell.Pauses.SaveNext(ctx, state.Pipeline, p.document(r.began), isApproval, r.key, r.claimed)
	if errors.Is(err, state.ErrNotFound) {
		err = errPauseGone
	}
	if err != nil {
		return Outcome{}, r.failed(err)
	}
	o, _ := request.AsObject()
	o = o.With("resumeToken", value.String(saved.Token))
	if saved.ApprovalID != "" {
		o = o.With("approvalId", value.String(saved.ApprovalID))
	}
	out := Outcome{Status: workflow.NeedsInput, Output: interp.Empty, Input: value.FromObject(o)}
	if isApproval {
		out = Outcome{Status: workflow.NeedsApproval, Output: interp.Empty, Approval: value.FromObject(o)}
	}
	r.log(state.Event{Event: "run.pause", Status: string(out.Status), Prompt: value.Text(p.prompt), ApprovalID: saved.ApprovalID})
	return out, nil
}

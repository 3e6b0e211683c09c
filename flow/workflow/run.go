package workflow

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"lobstah/flow/interp"
	"lobstah/flow/state"
	"lobstah/flow/value"
)

// Options is the world of a run.
type Options struct {
	Env     *interp.Env    // its Mode decides whether gates pause or ask
	Pauses  *state.Store   // where gates save the run; nil makes every pause an error
	Journal *state.Journal // nil keeps none
	Args    value.Value    // provided arguments; Undefined is none
	// AllowChanged lets a run go on although its file changed since it was approved.
	AllowChanged bool
}

// Status is how a run ended, as envelopes spell it.
type Status string

// The statuses.
const (
	OK            Status = "ok"
	NeedsApproval Status = "needs_approval"
	NeedsInput    Status = "needs_input"
	Cancelled     Status = "cancelled"
)

// Outcome is the result of a run.
type Outcome struct {
	Status  Status
	Output  []value.Value // of a run that is OK
	Request value.Value   // what is asked of a person, with the token; Undefined when nothing is
	Cost    Cost
}

// Run runs a workflow file.
func Run(ctx context.Context, f *File, opts Options) (Outcome, error) {
	id, err := newRunID()
	if err != nil {
		return Outcome{}, err
	}
	r, err := newRunner(f, shared(opts), resolveArgs(f, opts.Args), id)
	if err != nil {
		return Outcome{}, err
	}
	r.log(state.Event{Event: "run.start", Target: f.Path, Hash: f.Hash, Args: argNames(r.args)})
	return r.finish(r.steps(ctx))
}

// shared makes what parallel branches write to safe for them.
func shared(opts Options) Options {
	env := *opts.Env
	env.Stderr = &lockedWriter{w: env.Stderr}
	opts.Env = &env
	return opts
}

type lockedWriter struct {
	mu sync.Mutex // guards w
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.w == nil {
		return len(p), nil
	}
	return l.w.Write(p)
}

// runner is one run at work. It belongs to one goroutine; parallel branches get what they need and touch claim and cost only, which lock.
type runner struct {
	opts    Options
	file    *File
	id      string // of the run, the same after every pause
	dir     string // of the file, for nested workflows
	env     *interp.Env
	args    value.Value
	done    *results
	last    string // id of the step whose result is the output
	next    int    // index of the step to run next
	cost    *meter
	claim   *claim
	parents []string // real paths of the files that are running, outermost first
	nested  bool
	path    string // of a nested run in the journal: the ids of the steps around it, each with a slash
	parts   *parts
	binding *binding // what was approved; nil in a run that was not resumed
	replay  *replay  // the answer to a question within a pipeline step, for the first step only
	from    string   // key of the pause that the run was resumed from, or ""

	superseded []string // pauses that the next one replaces
	began      time.Time
}

func newRunner(f *File, opts Options, args value.Value, id string) (*runner, error) {
	if err := opts.Env.Commands.MayRunShell(); err != nil && f.setsVars() {
		return nil, fmt.Errorf("%s sets environment variables, which can decide what programs run and where secrets go: %w", f.Path, err)
	}
	abs, err := filepath.Abs(f.Path)
	if err != nil {
		return nil, err
	}
	real := abs
	if p, err := filepath.EvalSymlinks(abs); err == nil {
		real = p
	}
	r := &runner{
		opts: opts, file: f, id: id, dir: filepath.Dir(abs), args: args, done: &results{}, parents: []string{real}, claim: &claim{}, parts: &parts{},
		cost: newMeter(opts.Env, f.CostLimit), began: now(opts.Env),
	}
	r.env = argEnv(opts.Env, args)
	return r, nil
}

// steps runs what is left.
func (r *runner) steps(ctx context.Context) (Outcome, error) {
	for ; r.next < len(r.file.Steps); r.next++ {
		s := r.file.Steps[r.next]
		end, err := r.step(ctx, s)
		if err != nil {
			return Outcome{}, r.located(s, err)
		}
		if end != nil {
			return *end, nil
		}
	}
	return r.completed()
}

// completed is the end of a run that went through.
func (r *runner) completed() (Outcome, error) {
	if err := r.cost.check(); err != nil {
		return Outcome{}, err
	}
	return Outcome{Status: OK, Output: r.output()}, nil
}

// located adds the step to an error; one from a nested file has its own place already, and gets that of the step that runs the file.
func (r *runner) located(s *Step, err error) error {
	if e, ok := errors.AsType[*StepError](err); ok && e.File == r.file.Path {
		return err
	}
	return &StepError{r.file.Path, s.ID, s.node.line, s.node.col, err}
}

// locatedPart adds a branch or a loop's step, by the way to it, to its error.
func (r *runner) locatedPart(path string, s *Step, err error) error {
	if err == nil {
		return nil
	}
	return &StepError{r.file.Path, path, s.node.line, s.node.col, err}
}

// step runs one step. A non-nil outcome ends the run.
func (r *runner) step(ctx context.Context, s *Step) (*Outcome, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	wanted, err := r.scope().allows(s.When)
	if err != nil {
		return nil, err
	}
	if !wanted {
		r.done.set(s.ID, value.Record(value.F("id", value.String(s.ID)), value.F("skipped", value.True)))
		r.log(state.Event{Event: "step.end", Step: s.ID, Kind: string(s.Kind), Status: "skipped"})
		return nil, nil
	}
	if s.Kind == Question {
		return r.question(ctx, s)
	}
	began := now(r.env)
	r.log(state.Event{Event: "step.start", Step: s.ID, Kind: string(s.Kind)})
	result, err := r.work(ctx, s)
	if err == nil {
		err = r.env.Budget.Take(result.Size())
	}
	if pause, ok := errors.AsType[*interp.Suspension](err); ok {
		return r.pauseInPipeline(ctx, s, pause)
	}
	r.logStep(s, began, err)
	if err != nil {
		return r.failed(ctx, s, err)
	}
	if err := r.cost.check(); err != nil {
		return nil, err
	}
	if s.Gate != nil {
		return r.gate(ctx, s, result)
	}
	r.complete(s, result)
	return nil, nil
}

func (r *runner) complete(s *Step, result value.Value) {
	r.done.set(s.ID, result)
	r.last = s.ID
}

// failed applies on_error.
func (r *runner) failed(ctx context.Context, s *Step, err error) (*Outcome, error) {
	if isFatal(err) || ctx.Err() != nil || s.OnError == Stop {
		return nil, err
	}
	r.done.set(s.ID, value.Record(value.F("id", value.String(s.ID)), value.F("error", value.True), value.F("errorMessage", value.String(value.Clean(err.Error())))))
	if err := r.cost.check(); err != nil {
		return nil, err
	}
	if s.OnError == SkipRest {
		out, err := r.completed()
		return &out, err
	}
	return nil, nil
}

// output is the result of the last completed step as items.
func (r *runner) output() []value.Value {
	res, ok := r.done.get(r.last)
	if !ok {
		return []value.Value{}
	}
	for _, key := range []string{"json", "response"} {
		if v := res.Field(key); !v.IsUndefined() {
			if items, ok := v.AsList(); ok {
				return items
			}
			return []value.Value{v}
		}
	}
	if text, _ := res.Field("stdout").AsString(); text != "" {
		return []value.Value{value.String(text)}
	}
	return []value.Value{}
}

// halted ends a nested run at its gate. Nothing is saved; but the directory is there afterwards, as callers of the original find it.
func (r *runner) halted(status Status) (*Outcome, error) {
	if r.opts.Pauses != nil {
		if err := r.opts.Pauses.Create(); err != nil {
			return nil, err
		}
	}
	return &Outcome{Status: status}, nil
}

func (r *runner) scope() scope { return scope{r.args, r.done} }

// finish writes the end of the run into the journal.
func (r *runner) finish(out Outcome, err error) (Outcome, error) {
	out.Cost = r.cost.summary()
	e := state.Event{Event: "run.end", Status: string(out.Status), Millis: since(r.env, r.began), CostUSD: out.Cost.USD}
	if err != nil {
		e.Status, e.Error = "error", err.Error()
	}
	if out.Status == NeedsApproval || out.Status == NeedsInput {
		e.Event = "run.pause"
		e.Prompt = value.Text(out.Request.Field("prompt"))
		e.ApprovalID, _ = out.Request.Field("approvalId").AsString()
	}
	r.log(e)
	return out, err
}

func (r *runner) log(e state.Event) {
	e.Run = r.id
	if r.nested { // the outer run begins and ends; of this one only the steps count
		if e.Event != "step.end" {
			return
		}
		e.Event, e.Step = "part.end", r.path+e.Step
		if !r.parts.admit(&e) {
			return
		}
	}
	r.opts.Journal.Append(e)
}

func (r *runner) logStep(s *Step, began time.Time, err error) {
	e := state.Event{Event: "step.end", Step: s.ID, Kind: string(s.Kind), Status: "ok", Millis: since(r.env, began)}
	if err != nil {
		e.Status, e.Error = "error", err.Error()
	}
	r.log(e)
}

func newRunID() (string, error) {
	var b [8]byte
	_, err := rand.Read(b[:])
	return fmt.Sprintf("%x", b), err
}

func now(env *interp.Env) time.Time {
	if env.Now == nil {
		return time.Now()
	}
	return env.Now()
}

func since(env *interp.Env, t time.Time) int64 { return now(env).Sub(t).Milliseconds() }

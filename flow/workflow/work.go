package workflow

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"lobstah/flow/interp"
	"lobstah/flow/syntax"
	"lobstah/flow/value"
)

// maxOutput bounds what one step may print, unless LOBSTER_MAX_OUTPUT_BYTES says otherwise: all of it is kept as the step's result.
const maxOutput = 256 << 20

// work does what a step does before its gate, with its retries.
func (r *runner) work(ctx context.Context, s *Step) (value.Value, error) {
	if s.Kind == NoOp {
		return r.gateResult(s, r.scope())
	}
	return r.retrying(ctx, s, func(ctx context.Context, dispatched *atomic.Bool) (value.Value, error) {
		sc := r.scope()
		if err := sc.fits(s); err != nil {
			return value.Undefined, err
		}
		env := *stepEnv(r.fileEnv(sc), sc, s.Env, s.Cwd)
		env.Dispatched = dispatched
		w := job{runner: r, scope: sc, env: &env, bill: r.cost.account(s.ID), canAsk: true}
		result, err := w.do(ctx, s)
		w.bill.settle()
		return result, err
	})
}

// job is one attempt at one step, branch or loop's sub-step.
type job struct {
	runner *runner
	scope  scope
	env    *interp.Env
	bill   *account
	canAsk bool // a question within a pipeline may pause the run
}

func (w job) do(ctx context.Context, s *Step) (value.Value, error) {
	switch s.Kind {
	case NoOp:
		return value.Record(value.F("id", value.String(s.ID))), nil
	case Shell:
		return w.shell(ctx, s)
	case Pipeline:
		return w.pipeline(ctx, s)
	case Parallel:
		return w.parallel(ctx, s)
	case ForEach:
		return w.loop(ctx, s)
	default:
		return w.nested(ctx, s)
	}
}

// stdin is what a step reads: a whole reference is the value itself, other text is a template, anything else is meant literally.
func (w job) stdin(s *Step) (value.Value, error) {
	text, ok := s.Stdin.AsString()
	if !ok {
		return s.Stdin, nil
	}
	if ref, ok := asReference(text); ok {
		return w.scope.strict(ref)
	}
	return value.String(w.scope.fill(text)), nil
}

func (w job) shell(ctx context.Context, s *Step) (value.Value, error) {
	if err := w.env.Commands.MayRunShell(); err != nil {
		return value.Undefined, err
	}
	in, err := w.stdin(s)
	if err != nil {
		return value.Undefined, err
	}
	text := value.UTF8(w.scope.fill(s.Text))
	limit, err := w.env.LimitVar("LOBSTER_MAX_OUTPUT_BYTES", maxOutput)
	if err != nil {
		return value.Undefined, err
	}
	if err := w.runner.claim.beforeEffect(ctx); err != nil {
		return value.Undefined, err
	}
	env, release := w.env.Hold()
	defer release()
	out, errOut := &capped{step: s.ID, limit: limit, budget: env.Budget}, &capped{step: s.ID, limit: limit, budget: env.Budget}
	exit, err := env.Start(ctx, &interp.Process{
		Argv: w.env.Shell(text), Stdin: strings.NewReader(value.UTF8(inText(in))), Stdout: out, Stderr: errOut, Grace: grace(s),
	})
	switch {
	case interp.IsNotFound(err):
		return value.Undefined, plainError("workflow shell not found; check LOBSTER_SHELL or ComSpec")
	case err != nil:
		return value.Undefined, err
	case !exit.OK():
		return value.Undefined, shellFailed(exit, text, out.text(), errOut.text())
	}
	result := textResult(s.ID, out.text())
	w.bill.result(result.Field("json"), fresh)
	return result, nil
}

// grace is how long children have to end: none when a time limit ended them.
func grace(s *Step) time.Duration {
	if s.Timeout > 0 {
		return 0
	}
	return interp.KillGrace
}

func shellFailed(exit interp.Exit, command, out, errOut string) error {
	for _, detail := range []string{errOut, out, command} {
		if d := value.Trim(detail); d != "" {
			return plainError(fmt.Sprintf("workflow command failed (%s): %s", exit, d))
		}
	}
	return plainError(fmt.Sprintf("workflow command failed (%s): ", exit))
}

// textResult is the result of a step that printed text: the text, and what it means if it is JSON.
func textResult(id, text string) value.Value {
	var b value.Builder
	b.Set("id", value.String(id))
	b.Set("stdout", value.String(text))
	if v, ok := asJSON(text); ok {
		b.Set("json", v)
	}
	return b.Value()
}

func asJSON(text string) (value.Value, bool) {
	trimmed := value.Trim(text)
	if trimmed == "" {
		return value.Undefined, false
	}
	v, err := value.Parse(trimmed)
	return v, err == nil
}

func (w job) pipeline(ctx context.Context, s *Step) (value.Value, error) {
	p, err := syntax.Parse(w.scope.fill(s.Text))
	if err != nil {
		return value.Undefined, plainError("Workflow step " + s.ID + " pipeline parse failed: " + err.Error())
	}
	in, err := w.stdin(s)
	if err != nil {
		return value.Undefined, err
	}
	opts := interp.Options{Input: asItems(in), BeforeUnsafe: func() error { return w.runner.claim.beforeEffect(ctx) }}
	if w.canAsk && w.runner.replay != nil {
		if p, err = w.runner.replay.apply(p, &opts); err != nil {
			return value.Undefined, err
		}
		defer func() { w.runner.replay = nil }()
	}
	return w.runPipeline(ctx, s, p, opts)
}

func (w job) runPipeline(ctx context.Context, s *Step, p syntax.Pipeline, opts interp.Options) (value.Value, error) {
	var shown []value.Value
	env, release := w.env.Hold()
	defer release()
	rendered := &capped{step: s.ID, limit: maxOutput, budget: env.Budget}
	env.Stdout = rendered
	env.OnRender = func(items []value.Value) { shown = append(shown, items...) }
	env.OnAnswer = w.bill.answer
	res, err := interp.Run(ctx, env, p, opts)
	var items []value.Value
	if err == nil {
		items, err = env.Collect(res.Output)
	}
	if err != nil {
		return value.Undefined, w.pipelineError(err)
	}
	if res.Halted != nil {
		return value.Undefined, haltError(s.ID, res.Halted.Name, items)
	}
	result := itemsResult(s.ID, items, rendered.text())
	if len(items) == 0 && w.bill.meter.knowsAll(shown) {
		w.bill.recall(result.Field("json")) // what was printed is what was paid
	}
	w.bill.result(result.Field("json"), originOf(w.env.Commands, p))
	return result, nil
}

// pipelineError says what a failed pipeline means to the step.
func (w job) pipelineError(err error) error {
	pause, ok := errors.AsType[*interp.Suspension](err)
	if !ok {
		return err
	}
	if !w.canAsk {
		return plainError("requestInput is not supported in this pipeline context")
	}
	return fatal{pause}
}

func haltError(id, stage string, items []value.Value) error {
	if len(items) == 1 && value.Text(items[0].Field("type")) == "approval_request" {
		return fatal{plainError("Workflow step " + id + " halted for approval inside pipeline stage " + stage + ". Use a separate approval step in the workflow file.")}
	}
	return fatal{plainError("Workflow step " + id + " halted before completion at pipeline stage " + stage)}
}

// asItems is a stdin as the items of a pipeline.
func asItems(v value.Value) interp.Seq {
	if v.IsNullish() {
		return interp.Empty
	}
	return interp.Spread(v)
}

// itemsResult is the result of a pipeline step.
func itemsResult(id string, items []value.Value, rendered string) value.Value {
	var b value.Builder
	b.Set("id", value.String(id))
	json, hasJSON := asJSON(rendered)
	if len(items) > 0 {
		json, hasJSON = interp.OneOrList(items), true
	}
	switch {
	case rendered != "":
		b.Set("stdout", value.String(rendered))
	case len(items) == 0:
		b.Set("stdout", value.String(""))
	default:
		b.Set("stdout", value.String(itemsText(items)))
	}
	if hasJSON {
		b.Set("json", json)
	}
	return b.Value()
}

func itemsText(items []value.Value) string {
	texts := make([]string, 0, len(items))
	for _, it := range items {
		if s, ok := it.AsString(); ok {
			texts = append(texts, s)
		}
	}
	if len(texts) == len(items) {
		return strings.Join(texts, "\n")
	}
	if one := interp.OneOrList(items); !one.IsNull() {
		return plainText(one)
	}
	return ""
}

// plainText is a value as text: strings as they are, the rest compact JSON.
func plainText(v value.Value) string {
	if s, ok := v.AsString(); ok {
		return s
	}
	if v.IsUndefined() {
		return ""
	}
	return v.JSON()
}

// originOf tells where the items of a pipeline may have come from.
func originOf(commands *interp.Registry, p syntax.Pipeline) origin {
	from := passedOn
	for _, s := range p.Stages {
		cmd, _ := commands.Lookup(s.Name)
		for _, effect := range cmd.SideEffects {
			switch effect {
			case "calls_llm":
			case "reads_state", "writes_state":
				from = max(from, stored)
			default:
				return fresh
			}
		}
	}
	return from
}

// capped collects output up to a limit and fails beyond it. What it holds counts for the run, because many branches may collect at once.
type capped struct {
	step   string
	limit  int64
	budget *interp.Budget
	buf    []byte
}

func (c *capped) Write(p []byte) (int, error) {
	if int64(len(c.buf)+len(p)) > c.limit {
		return 0, plainError(fmt.Sprintf("Process output exceeded %d bytes", c.limit))
	}
	if err := c.budget.Take(int64(len(p))); err != nil {
		return 0, plainError("Workflow step " + c.step + ": " + err.Error())
	}
	c.buf = append(c.buf, p...)
	return len(p), nil
}

func (c *capped) text() string { return value.Clean(string(c.buf)) }

// Package interp runs pipelines.
//
//   - [Run] runs a parsed pipeline in an [Env] and returns its [Result]: the items of the last stage as a [Seq], to be pulled.
//   - [Command] is one command; flow/stdlib has the standard ones, a [Registry] names them.
//   - [Handlers] is everything that a pipeline can reach outside itself: processes, files, network, clock, randomness, the person
//     at the terminal. A nil handler means that there is no such thing; flow/host has the real ones.
//
// Values stream: a stage returns a sequence and works when somebody pulls. A command that needs its whole input first
// ([Collect]) does so when its stage is reached, before the next stage starts; so effects happen in the order of the stages. Errors
// flow through the sequence and end it. Whoever pulls a sequence pulls it once.
//
// A run ends in one of four ways: items; an error; a halt (Result.Halted: a stage such as approve ended the pipeline with its
// request as items); or a [*Suspension] error (ask needs an answer before its stage can go on).
//
// Imported by flow, flow/stdlib and flow/workflow. Pipelines and the data in them are hostile. An Env is read-only while pipelines run in
// it, so several may run at once; the sequences of one run belong to one goroutine. Run itself starts no goroutine; commands
// that start one end it when their sequence ends.
package interp

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"lobstah/flow/syntax"
	"lobstah/flow/value"
)

// Options say how a pipeline starts. The zero Options starts it with no items.
type Options struct {
	// Input are the items that the first stage gets.
	Input Seq
	// Response is the answer to the request with which the first stage had suspended itself; Undefined if it had not.
	Response value.Value
	// BeforeUnsafe is called once, right before the first stage that may have effects outside; its error ends the run.
	BeforeUnsafe func() error
}

// Result is how a pipeline ended.
type Result struct {
	// Output are the items of the last stage that ran. It must be pulled to its end, or closed by breaking off, exactly once.
	Output Seq
	// Halted is the stage that ended the pipeline early, or nil.
	Halted *Halt
	// Rendered says that a stage wrote the items to Env.Stdout itself.
	Rendered bool
}

// Halt names the stage that ended a pipeline before its last stage, or in it.
type Halt struct {
	Stage int // index
	Name  string
}

// UnknownCommandError is a stage whose command does not exist.
type UnknownCommandError struct{ Name string }

func (e UnknownCommandError) Error() string { return "Unknown command: " + e.Name }

// NotAllowedError is a stage whose command exists and was left out by who started the program.
type NotAllowedError struct{ Name string }

func (e NotAllowedError) Error() string {
	return "Command not allowed here: " + e.Name + " (LOBSTER_COMMANDS names those that are)"
}

// Run runs the pipeline. An error may come from Run or later from Result.Output; the two mean the same.
func Run(ctx context.Context, env *Env, p syntax.Pipeline, opts Options) (Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	end := func() {
		cancel()
		work.Wait()
	}
	res, err := assemble(ctx, env, p, opts, work.Go)
	if err != nil {
		end()
		return Result{}, err
	}
	output := res.Output
	res.Output = func(yield func(value.Value, error) bool) {
		defer end()
		output(yield)
	}
	return res, nil
}

// assemble starts the stages one after the other. What they leave running in the background ends with ctx.
func assemble(ctx context.Context, env *Env, p syntax.Pipeline, opts Options, background func(func())) (Result, error) {
	res := Result{Output: opts.Input}
	if res.Output == nil {
		res.Output = Empty
	}
	unsafe := opts.BeforeUnsafe
	for i, stage := range p.Stages {
		cmd, ok := env.Commands.Lookup(stage.Name)
		if !ok {
			return Result{}, env.Commands.Missing(stage.Name)
		}
		if unsafe != nil && len(cmd.SideEffects) > 0 {
			if err := unsafe(); err != nil {
				return Result{}, err
			}
			unsafe = nil
		}
		call := &Call{Env: env, Go: background, Args: stage.Args, Input: res.Output, Stage: i, Name: stage.Name, MayStopEarly: mayStop(env.Commands, p.Stages[i+1:])}
		if i == 0 {
			call.Response = opts.Response
		}
		out, err := cmd.Run(ctx, call)
		if err != nil {
			return Result{}, at(err, i, stage)
		}
		res.Output = located(ctx, out.Output, i, stage)
		res.Rendered = res.Rendered || out.Rendered
		if out.Halt {
			res.Halted = &Halt{Stage: i, Name: stage.Name}
			return res, nil
		}
	}
	return res, nil
}

// mayStop reports whether the stages that follow may stop pulling before the end: all are lazy up to one that does.
func mayStop(r *Registry, rest []syntax.Stage) bool {
	for _, s := range rest {
		cmd, ok := r.Lookup(s.Name)
		switch {
		case !ok || !cmd.Lazy:
			return false
		case cmd.Stops:
			return true
		}
	}
	return false
}

// located ends the sequence when ctx does and tells in errors which stage they come from.
func located(ctx context.Context, seq Seq, i int, stage syntax.Stage) Seq {
	if seq == nil {
		return Empty
	}
	return func(yield func(value.Value, error) bool) {
		for v, err := range seq {
			if err == nil && ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			if err != nil {
				yield(value.Undefined, at(err, i, stage))
				return
			}
			if !yield(v, nil) {
				return
			}
		}
	}
}

// StageError is an error with the stage that it comes from. Its text is the cause's, without the secrets that the stage was given: a server
// that gets a token may repeat it in what it complains.
type StageError struct {
	Stage int // index
	Name  string
	Text  string // the stage, without its secrets
	Err   error

	secrets []string
}

// minSecret is the length below which a secret is not looked for, because it would be found everywhere.
const minSecret = 6

func (e *StageError) Error() string {
	text := e.Err.Error()
	for _, s := range e.secrets {
		if len(s) >= minSecret {
			text = strings.ReplaceAll(text, s, "***")
		}
	}
	return text
}

// Unwrap returns the cause.
func (e *StageError) Unwrap() error { return e.Err }

// Where names the stage for a person.
func (e *StageError) Where() string { return fmt.Sprintf("stage %d (%s)", e.Stage+1, e.Text) }

func at(err error, i int, stage syntax.Stage) error {
	switch e := err.(type) {
	case *StageError:
		return e
	case *Suspension:
		e.Stage, e.Name = i, stage.Name
		return e
	}
	return &StageError{Stage: i, Name: stage.Name, Text: stage.Redacted(), Err: err, secrets: stage.Secrets()}
}

// Unknown returns the first command name of the pipeline that the registry lacks, and whether there is one.
func (r *Registry) Unknown(p syntax.Pipeline) (string, bool) {
	i := slices.IndexFunc(p.Stages, func(s syntax.Stage) bool { _, ok := r.Lookup(s.Name); return !ok })
	if i < 0 {
		return "", false
	}
	return p.Stages[i].Name, true
}

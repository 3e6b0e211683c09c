package workflow

import (
	"context"
	"errors"
	"path/filepath"
	"slices"

	"lobstah/flow/interp"
	"lobstah/flow/value"
)

// maxNesting is how many workflow files may run inside each other.
const maxNesting = 32

// nested runs another workflow file as one step.
func (w job) nested(ctx context.Context, s *Step) (value.Value, error) {
	child, err := w.child(s)
	if err != nil {
		return value.Undefined, err
	}
	defer child.opts.Env.Budget.Release()
	out, err := child.steps(ctx)
	if err != nil {
		return value.Undefined, err
	}
	switch out.Status {
	case NeedsApproval:
		return value.Undefined, gateInChild(s.ID, "approval")
	case NeedsInput:
		return value.Undefined, gateInChild(s.ID, "input")
	}
	var b value.Builder
	b.Set("id", value.String(s.ID))
	v := interp.OneOrList(out.Output)
	text := plainText(v)
	if len(out.Output) == 0 {
		text = ""
	}
	b.Set("stdout", value.String(text))
	b.Set("json", v)
	return b.Value(), nil
}

func gateInChild(id, kind string) error {
	return plainError("Workflow step " + id + " sub-workflow halted for " + kind + ". Sub-workflow approval/input gates are not supported in composition.")
}

// child prepares the run of a nested file: its own arguments and results, the parent's environment, cost and claim.
func (w job) child(s *Step) (*runner, error) {
	path := within(w.runner.dir, w.scope.fill(s.Path))
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, plainError("Workflow step " + s.ID + " workflow file not found: " + absolute(path))
	}
	if slices.Contains(w.runner.parents, real) {
		return nil, plainError("Workflow step " + s.ID + " creates a cycle: " + real + " is already being executed")
	}
	if len(w.runner.parents) >= maxNesting {
		return nil, plainError("Workflow step " + s.ID + " nests workflow files too deeply")
	}
	f, err := loadNested(path)
	if err != nil {
		return nil, err
	}
	if err := w.runner.binding.admits(path, f.Hash); err != nil {
		return nil, fatal{err}
	}
	opts := w.runner.opts
	opts.Env, _ = w.env.Hold() // nested gives it back
	child, err := newRunner(f, opts, resolveArgs(f, w.childArgs(s)), w.runner.id)
	if err != nil {
		return nil, err
	}
	child.nested, child.claim, child.binding = true, w.runner.claim, w.runner.binding
	child.path, child.parts = w.runner.path+s.ID+"/", w.runner.parts
	child.parents = append(slices.Clone(w.runner.parents), real)
	child.cost = w.runner.cost.nested(w.bill, f.CostLimit)
	return child, nil
}

// loadNested reads a file whose name the step gives, so it may end in anything.
func loadNested(path string) (*File, error) {
	source, err := readText(path)
	if access, ok := errors.AsType[*AccessError](err); ok {
		return nil, plainError(access.Error()) // a failure of the step, not of the caller's words
	}
	if err != nil {
		return nil, err
	}
	return Parse(path, source)
}

// childArgs are the arguments that the step gives: texts are templates, anything else is meant literally.
func (w job) childArgs(s *Step) value.Value {
	o, ok := s.PathArgs.AsObject()
	if !ok {
		return value.Undefined
	}
	var b value.Builder
	for k, v := range o.All() {
		if text, ok := v.AsString(); ok {
			v = value.String(w.scope.fill(text))
		}
		b.Set(k, v)
	}
	return b.Value()
}

package workflow

import (
	"context"
	"errors"
	"fmt"

	"lobstah/flow/value"
)

var errLost = errors.New("another branch was first")

// branchResult is how a branch ended.
type branchResult struct {
	index  int
	result value.Value
	err    error
	bill   *account
}

// parallel runs the branches at the same time. They see what was done before, not each other.
func (w job) parallel(ctx context.Context, s *Step) (value.Value, error) {
	b := s.Branches
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if b.Timeout > 0 {
		var stop context.CancelFunc
		late := &timeoutError{fmt.Sprintf("Parallel step %s timed out after %dms", s.ID, b.Timeout.Milliseconds()), true}
		ctx, stop = context.WithTimeoutCause(ctx, b.Timeout, late)
		defer stop()
	}
	ended := make(chan branchResult, len(b.List))
	for i, branch := range b.List {
		go func() { ended <- w.branch(ctx, s, i, branch) }()
	}
	if b.Any {
		first := <-ended
		cancel(errLost)
		for range len(b.List) - 1 {
			<-ended
		}
		return w.winner(ctx, s, first)
	}
	all := make([]branchResult, len(b.List))
	for range b.List {
		r := <-ended
		all[r.index] = r
	}
	return w.joined(ctx, s, all)
}

func (w job) branch(ctx context.Context, s *Step, i int, branch *Step) branchResult {
	if err := w.scope.fits(branch); err != nil {
		return branchResult{i, value.Undefined, err, w.bill.branch(branch.ID)}
	}
	env := *stepEnv(w.env, w.scope, branch.Env, branch.Cwd)
	bill := w.bill.branch(branch.ID)
	own := *branch
	if s.Branches.Timeout > 0 || s.Timeout > 0 {
		own.Timeout = 1 // nothing but the missing grace: the block's own limit ends it
	}
	sub := job{runner: w.runner, scope: w.scope, env: &env, bill: bill}
	began := now(&env)
	result, err := sub.do(ctx, &own)
	w.runner.logPart(s.ID+"/"+branch.ID, branch, began, err)
	return branchResult{i, result, w.runner.locatedPart(s.ID+"/"+branch.ID, branch, err), bill}
}

// winner is the result of a race.
func (w job) winner(ctx context.Context, s *Step, first branchResult) (value.Value, error) {
	if err := blockTimeout(ctx); err != nil {
		return value.Undefined, err
	}
	first.bill.settle()
	if first.err != nil {
		return value.Undefined, first.err
	}
	branch := s.Branches.List[first.index]
	w.runner.done.set(branch.ID, first.result)
	return blockResult(s.ID, []string{branch.ID}, []value.Value{first.result}, first.result.Field("stdout")), nil
}

// joined is the result of all branches; of failures the first in the file's order counts.
func (w job) joined(ctx context.Context, s *Step, all []branchResult) (value.Value, error) {
	for _, r := range all {
		r.bill.settle()
	}
	if err := blockTimeout(ctx); err != nil {
		return value.Undefined, err
	}
	ids, results := make([]string, len(all)), make([]value.Value, len(all))
	for i, r := range all {
		if r.err != nil {
			return value.Undefined, branchFailed(r.err)
		}
		ids[i], results[i] = s.Branches.List[i].ID, r.result
	}
	for i, id := range ids {
		w.runner.done.set(id, results[i])
	}
	return blockResult(s.ID, ids, results, value.Undefined), nil
}

func branchFailed(err error) error {
	failed := &branchError{err}
	if isFatal(err) {
		return fatal{failed}
	}
	return failed
}

// branchError is the failure of a branch.
type branchError struct{ err error }

func (e *branchError) Error() string { return "Parallel branch failed: " + e.err.Error() }

// Unwrap returns the cause.
func (e *branchError) Unwrap() error { return e.err }

// blockTimeout is the block's own time limit, when that ended ctx. The step's limit is worded by the branches.
func blockTimeout(ctx context.Context) error {
	if late, ok := context.Cause(ctx).(*timeoutError); ok && late.block {
		return late
	}
	return nil
}

// blockResult is the result of a parallel block: the branches' JSON by their ids.
func blockResult(id string, ids []string, results []value.Value, stdout value.Value) value.Value {
	var json value.Builder
	for i, branch := range ids {
		if v := results[i].Field("json"); !v.IsUndefined() {
			json.Set(branch, v)
		}
	}
	all := json.Value()
	if stdout.IsUndefined() {
		stdout = value.String(all.JSON())
	}
	return value.Record(value.F("id", value.String(id)), value.F("stdout", stdout), value.F("json", all))
}

// maxLoopItems bounds a loop, unless LOBSTER_MAX_LOOP_ITEMS says otherwise: the results of all rounds are kept.
const maxLoopItems = 1_000_000

// loop runs its steps for each item, one after the other.
func (w job) loop(ctx context.Context, s *Step) (value.Value, error) {
	list, err := w.loopList(s)
	if err != nil {
		return value.Undefined, err
	}
	env, release := w.env.Hold()
	defer release()
	rounds := make([]value.Value, 0, len(list))
	for i, item := range list {
		if i > 0 && i%s.Loop.Batch == 0 && s.Loop.Pause > 0 {
			if err := w.runner.sleep(ctx, s.Loop.Pause); err != nil {
				return value.Undefined, err
			}
		}
		round, err := w.round(ctx, s, i, item)
		if err != nil {
			return value.Undefined, err
		}
		if err := env.Budget.Take(round.Size()); err != nil {
			return value.Undefined, plainError(fmt.Sprintf("Workflow step %s for_each: round %d: %v", s.ID, i, err))
		}
		rounds = append(rounds, round)
	}
	json := value.List(rounds...)
	return value.Record(value.F("id", value.String(s.ID)), value.F("stdout", value.String(json.JSON())), value.F("json", json)), nil
}

func (w job) loopList(s *Step) ([]value.Value, error) {
	over := value.String(w.scope.fill(s.Loop.Over))
	if ref, ok := asReference(s.Loop.Over); ok {
		v, err := w.scope.strict(ref)
		if err != nil {
			return nil, err
		}
		over = v
	}
	list, ok := over.AsList()
	if !ok {
		return nil, plainError("Workflow step " + s.ID + " for_each: expected array, got " + over.TypeOf())
	}
	limit, err := w.env.LimitVar("LOBSTER_MAX_LOOP_ITEMS", maxLoopItems)
	if err != nil {
		return nil, err
	}
	if int64(len(list)) > limit {
		return nil, plainError(fmt.Sprintf("Workflow step %s for_each: the list has %d items, more than %d; shorten it, or raise LOBSTER_MAX_LOOP_ITEMS", s.ID, len(list), limit))
	}
	return list, nil
}

// round runs the loop's steps for one item.
func (w job) round(ctx context.Context, s *Step, i int, item value.Value) (value.Value, error) {
	own := &results{}
	own.set(s.Loop.Item, loopVar(s.Loop.Item, item))
	own.set(s.Loop.Index, loopVar(s.Loop.Index, value.Int(i)))
	sc := scope{w.scope.args, inner{own, w.scope.steps}}
	var out value.Builder
	out.Set(s.Loop.Item, item)
	out.Set(s.Loop.Index, value.Int(i))
	for _, sub := range s.Loop.Steps {
		if ctx.Err() != nil {
			return value.Undefined, context.Cause(ctx)
		}
		result, ran, err := w.subStep(ctx, s, i, sub, sc)
		if err != nil {
			return value.Undefined, w.runner.locatedPart(roundPath(s.ID, i, sub.ID), sub, err)
		}
		own.set(sub.ID, result)
		if ran {
			out.Set(sub.ID, jsonOrText(result))
		}
	}
	return out.Value(), nil
}

func (w job) subStep(ctx context.Context, s *Step, round int, sub *Step, sc scope) (result value.Value, ran bool, err error) {
	goOn, err := sc.allows(sub.When)
	if inner, ok := errors.AsType[fatal](err); ok {
		err = inner.error // on_error of the loop covers everything in it
	}
	if err != nil {
		return value.Undefined, false, err
	}
	if !goOn {
		return value.Record(value.F("id", value.String(sub.ID)), value.F("skipped", value.True)), false, nil
	}
	if err := sc.fits(sub); err != nil {
		return value.Undefined, false, err
	}
	base := w.runner.fileEnv(sc)
	env := *stepEnv(stepEnv(base, sc, s.Env, s.Cwd), sc, sub.Env, sub.Cwd)
	env.Dispatched = w.env.Dispatched
	step := *sub
	step.Timeout = s.Timeout // only for its children's grace
	bill := w.bill.branch(s.ID + "." + sub.ID)
	began := now(&env)
	result, err = job{runner: w.runner, scope: sc, env: &env, bill: bill}.do(ctx, &step)
	w.runner.logPart(roundPath(s.ID, round, sub.ID), sub, began, err)
	bill.settle()
	if err == nil {
		err = w.runner.cost.check()
	}
	return result, true, err
}

func loopVar(id string, v value.Value) value.Value {
	return value.Record(value.F("id", value.String(id)), value.F("stdout", value.String(plainText(v))), value.F("json", v))
}

func jsonOrText(result value.Value) value.Value {
	if v := result.Field("json"); !v.IsUndefined() {
		return v
	}
	return result.Field("stdout")
}

package flow

import (
	"context"
	"errors"
	"fmt"
	"io"

	"lobstah/flow/interp"
	"lobstah/flow/schema"
	"lobstah/flow/state"
	"lobstah/flow/value"
	"lobstah/flow/workflow"
)

// Resume goes on with the paused run that a token names, or the approval id if it is not empty.
func (s *Shell) Resume(ctx context.Context, token, id string, answer workflow.Answer) (Outcome, error) {
	key, kind, err := s.find(token, id)
	if err != nil {
		return Outcome{}, &ParseError{err}
	}
	if kind == state.Workflow {
		return fromWorkflow(workflow.Resume(ctx, key, answer, s.options(value.Undefined)))
	}
	return s.resumePipeline(ctx, key, answer)
}

func (s *Shell) find(token, id string) (key string, kind state.Kind, err error) {
	if id != "" {
		key, err = s.Pauses.ApprovalKey(id)
		return key, state.KindOf(key), err
	}
	t, err := state.DecodeToken(token)
	return t.Key, t.Kind, err
}

func (s *Shell) resumePipeline(ctx context.Context, key string, answer workflow.Answer) (Outcome, error) {
	if answer.Cancel {
		err := s.end(ctx, key, key, "cancel")
		if errors.Is(err, state.ErrNotFound) {
			err = workflow.ErrNothingToCancel
		}
		return cancelled(err)
	}
	doc, err := s.Pauses.LoadPause(ctx, key)
	if errors.Is(err, state.ErrNotFound) {
		return Outcome{}, errPauseGone
	}
	if err != nil {
		return Outcome{}, err
	}
	p, err := readPause(doc)
	if err != nil {
		return Outcome{}, err
	}
	if err := p.accepts(answer, s.Env.Stderr); err != nil {
		return Outcome{}, &ParseError{err}
	}
	if answer.Approve != nil && !*answer.Approve {
		err := s.end(context.WithoutCancel(ctx), key, p.run, "no", p.superseded...)
		if errors.Is(err, state.ErrNotFound) {
			err = errPauseGone
		}
		return cancelled(err)
	}
	if err := s.Pauses.Confirm(ctx, key, p.superseded); errors.Is(err, state.ErrNotFound) {
		return Outcome{}, errPauseGone
	} else if err != nil {
		return Outcome{}, err
	}
	return s.goOn(ctx, key, p, answer)
}

// end gives a paused run up, unless it went on in the meantime, which is state.ErrNotFound.
func (s *Shell) end(ctx context.Context, key, run, decision string, older ...string) error {
	if err := s.Pauses.Cancel(ctx, key); err != nil {
		return err
	}
	if err := s.discard(ctx, older...); err != nil {
		return err
	}
	s.Journal.Append(state.Event{Event: "run.end", Run: run, Target: "pipeline", Status: string(workflow.Cancelled), Decision: decision})
	return nil
}

func cancelled(err error) (Outcome, error) {
	if err != nil {
		return Outcome{}, err
	}
	return Outcome{Status: workflow.Cancelled, Output: interp.Empty}, nil
}

// accepts says whether the answer is of the kind that was asked for, and fits.
func (p pause) accepts(a workflow.Answer, warnings io.Writer) error {
	if p.kind == approvalRequest {
		if a.Approve == nil {
			return errors.New("approval resumes require approved=true|false, not response")
		}
		return nil
	}
	if a.Approve != nil {
		return errors.New("pipeline input resumes require response")
	}
	if p.schema.IsUndefined() {
		return nil
	}
	check, err := schema.Compile(p.schema)
	if err != nil {
		return errors.New("pipeline input response schema is invalid")
	}
	check.Warn(warnings)
	if issue, bad := check.Validate(a.Response); bad {
		return fmt.Errorf("pipeline input response failed schema validation at %s: %s", issue.Where(), issue.Message)
	}
	return nil
}

// goOn runs what is left. The pause is used up right before the first stage that may have effects, so that they happen once.
func (s *Shell) goOn(ctx context.Context, key string, p pause, answer workflow.Answer) (Outcome, error) {
	if err := s.Env.Enter(p.dir); err != nil {
		return Outcome{}, err
	}
	r := &pipelineRun{shell: s, id: p.run, pipeline: p.pipeline.From(p.next), began: s.now(), key: key, older: p.superseded}
	opts := interp.Options{Input: interp.Items(p.items...), BeforeUnsafe: func() error { return r.claim(ctx) }}
	decision := "yes"
	if p.kind == inputRequest {
		decision = "response"
		if p.mode == sameStage {
			opts.Response = answer.Response
		} else {
			opts.Input = interp.Items(answer.Response)
		}
	}
	r.log(state.Event{Event: "run.resume", Decision: decision, By: s.Env.Var("LOBSTER_APPROVAL_APPROVED_BY")})
	return r.start(ctx, opts)
}

func (r *pipelineRun) claim(ctx context.Context) error {
	err := r.shell.Pauses.Claim(ctx, r.key)
	if errors.Is(err, state.ErrNotFound) {
		return errPauseGone
	}
	r.claimed = err == nil
	return err
}

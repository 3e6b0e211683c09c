package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

var (
	errIdle   = errors.New("the agent gave no sign of life")
	errAnswer = errors.New("nobody answered the agent's question in time")
)

// work runs one task to its end, or until ctx ends.
func (d *Desk) work(ctx context.Context, s *seat, e *entry) {
	defer d.left(s)
	if ctx.Err() != nil {
		return // the process stops, and the next one begins the task
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w, ok := d.begin(e, s, cancel)
	if !ok {
		return
	}
	idle := time.AfterFunc(s.Idle, func() { cancel(fmt.Errorf("%w for %v", errIdle, s.Idle)) })
	defer idle.Stop()
	d.equip(&w, e, s, idle)
	answer, err := s.Backend.Run(ctx, w)
	d.finish(ctx, e, answer, err)
}

// begin marks the task as working; false when it was stopped before, or cannot be
// kept.
func (d *Desk) begin(e *entry, s *seat, cancel context.CancelCauseFunc) (Work, bool) {
	if !d.claim(e, s, cancel) {
		return Work{}, false
	}
	err := d.keep(e)
	d.mu.Lock()
	defer d.unlock()
	if err != nil {
		// Begun without a trace, it would be done again after a restart.
		e.cancel = nil
		d.end(e, Failed, "", fmt.Sprintf("it was not begun, since the node cannot keep what it does: %v", err))
		return Work{}, false
	}
	d.tell(e)
	return Work{Task: e.task, Prompt: d.prompt(e.task)}, true
}

// claim says that the task works from now on, unless it may not.
func (d *Desk) claim(e *entry, s *seat, cancel context.CancelCauseFunc) bool {
	d.mu.Lock()
	defer d.unlock()
	if e.task.State.Final() {
		return false
	}
	if why := d.barred(e, s); why != nil {
		d.end(e, Failed, "", fmt.Sprintf("it was not begun: %v", why))
		return false
	}
	e.task.State, e.task.Question, e.task.Updated, e.cancel = Working, "", d.cfg.Now(), cancel
	return true
}

func (d *Desk) prompt(t Task) string {
	if t.Node != d.cfg.Self {
		return Prompt(t)
	}
	return strings.TrimSuffix(t.Brief.Text+"\n\n"+t.Brief.Context, "\n\n")
}

func (d *Desk) left(s *seat) {
	d.mu.Lock()
	s.running--
	d.mu.Unlock()
	d.nudge()
}

// equip gives a backend its ways to speak. Each sign of life winds the clock.
func (d *Desk) equip(w *Work, e *entry, s *seat, idle *time.Timer) {
	w.Say = func(text string) {
		idle.Reset(s.Idle)
		d.mu.Lock()
		defer d.mu.Unlock()
		e.said.say(text)
		d.tell(e)
	}
	w.Keep = func(handle string) error {
		d.mu.Lock()
		e.task.Handle = handle
		d.mu.Unlock()
		return d.keep(e)
	}
	w.Ask = func(ctx context.Context, question string) (string, error) {
		idle.Stop()
		defer idle.Reset(s.Idle)
		return d.ask(ctx, e, question)
	}
}

// ask puts a question to the asking side and waits.
func (d *Desk) ask(ctx context.Context, e *entry, question string) (string, error) {
	if len(question) > MaxQuestion {
		return "", fmt.Errorf("the agent's question is longer than %d KiB", MaxQuestion>>10)
	}
	answer := make(chan string, 1)
	d.mu.Lock()
	e.task.State, e.task.Question, e.answer = InputRequired, question, answer
	d.change(e)
	d.unlock()
	ctx, cancel := context.WithTimeoutCause(ctx, DefaultAnswer, errAnswer)
	defer cancel()
	select {
	case text := <-answer:
		return text, nil
	case <-ctx.Done():
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case text := <-answer: // in the last moment
		return text, nil
	default:
	}
	e.answer = nil // too late for one
	return "", context.Cause(ctx)
}

// finish writes down how the work ended. When the process is stopping, work
// that did not come to its end is left as it is, for the next process.
func (d *Desk) finish(ctx context.Context, e *entry, answer string, err error) {
	d.mu.Lock()
	defer d.unlock()
	e.cancel, e.answer = nil, nil
	cause := context.Cause(ctx)
	switch {
	case err == nil:
		d.end(e, Done, answer, "")
	case errors.Is(cause, ErrCancelled):
		d.end(e, Cancelled, "", cause.Error())
	case errors.Is(cause, errIdle):
		d.end(e, Failed, "", cause.Error())
	case cause != nil: // the process stops
	default:
		d.end(e, Failed, answer, err.Error())
	}
}

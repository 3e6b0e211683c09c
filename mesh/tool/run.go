package tool

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"lobstah/key"
	"lobstah/mesh/tool/audit"
)

// running is one call that runs. Those who wait for it are counted: a call
// without a key ends when the last one leaves, one with a key a while later.
type running struct {
	call   *Call
	id     callKey // key is empty without an idempotency key
	digest string
	cancel context.CancelCauseFunc
	done   chan struct{}
	end    Event // set before done is closed

	waiters int         // guarded by Server.mu
	leaving *time.Timer // guarded by Server.mu; runs while nobody waits

	mu     sync.Mutex
	queue  []Event       // output that nobody has taken yet; no more than Grant.MaxOutput
	wakeup chan struct{} // holds a token when queue is not empty
}

// Invoke runs a request of a caller and tells its events: started, output while
// it comes, and a result or an error, which is the last. An error is a refusal
// before the first event, or what on returned. When ctx ends first, a call
// without an idempotency key is ended, and nothing of it runs when Invoke
// returns.
func (s *Server) Invoke(ctx context.Context, c Caller, r *Request, on func(*Event) error) error {
	if err := s.ask(c); err != nil {
		return s.signed(err)
	}
	call := &Call{ID: rand.Text(), Caller: c, Tool: r.Tool, Args: r.Args, Key: r.IdempotencyKey}
	verdict := s.opt.Policy.Decide(c, r.Tool, r.Args)
	if verdict.Refusal != nil {
		return s.refused(call, verdict.Refusal)
	}
	call.Grant = verdict.Grant
	backend, err := s.find(ctx, r.Tool)
	if err != nil {
		return s.refused(call, err)
	}
	run, joined, err := s.begin(call, backend, r)
	if err != nil {
		return s.refused(call, err)
	}
	if joined {
		s.repeated(call)
	}
	return s.follow(ctx, run, joined, on)
}

// find returns the backend of a tool.
func (s *Server) find(ctx context.Context, tool string) (Backend, error) {
	var failure error
	for _, b := range s.opt.Backends {
		has, err := b.Has(ctx, tool)
		if has {
			return b, nil
		}
		failure = errors.Join(failure, err)
	}
	if failure != nil {
		s.log.Warn("a part of the tools cannot be asked", "err", failure)
		return nil, refuse(CodeUnknown, "", "no tool %s is known on %s, where not all could be asked just now", tool, s.opt.Self.Node)
	}
	return nil, refuse(CodeUnknown, fmt.Sprintf("clawmatrix tools %s lists them", s.opt.Self.Node), "%s has no tool %s", s.opt.Self.Node, tool)
}

func conflict(call *Call) *Error {
	return refuse(CodeConflict, "use a new key for a new call", "the idempotency key %s was used for another call", call.Key)
}

// callDigest tells one call from another.
func callDigest(call *Call) string {
	return audit.Digest(append([]byte(call.Tool+"\n"), call.Args...))
}

// begin starts a call, or joins the one that runs under its key.
func (s *Server) begin(call *Call, backend Backend, r *Request) (run *running, joined bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := callKey{call.Caller.Key, call.Key}
	if call.Key != "" {
		if run := s.keyed[id]; run != nil {
			return s.join(run, call)
		}
	}
	if err := s.room(call.Caller); err != nil {
		return nil, false, err
	}
	// A request may be long on its way, and [Server.Drop] finds what has begun.
	if c := call.Caller; c.Verified && s.opt.Verified != nil && !s.opt.Verified(c.Key) {
		return nil, false, refuse(CodeUnverified, "", "%s is not verified here any more", c)
	}
	run = &running{call: call, id: id, digest: callDigest(call), done: make(chan struct{}), wakeup: make(chan struct{}, 1), waiters: 1}
	if call.Key != "" {
		s.keyed[id] = run
	}
	s.running[call.ID] = run
	s.of(call.Caller.Key).active++
	var ctx context.Context
	ctx, run.cancel = context.WithCancelCause(s.ctx)
	s.calls.Go(func() { s.execute(ctx, run, backend, r.deadline()) })
	return run, false, nil
}

func (s *Server) join(run *running, call *Call) (*running, bool, error) {
	if run.digest != callDigest(call) {
		return nil, false, conflict(call)
	}
	if run.waiters >= maxCallsOfCaller {
		return nil, false, refuse(CodeBusy, "", "%d wait for this call already", run.waiters)
	}
	run.waiters++
	if run.leaving != nil {
		run.leaving.Stop()
		run.leaving = nil
	}
	return run, true, nil
}

func (s *Server) room(c Caller) error {
	switch {
	case s.closed:
		return refuse(CodeStopping, "", "the node %s is stopping", s.opt.Self.Node)
	case s.of(c.Key).active >= maxCallsOfCaller:
		return refuse(CodeBusy, "", "%d calls of yours run here already", maxCallsOfCaller)
	case len(s.running) >= maxCalls:
		return refuse(CodeBusy, "", "%d calls run here already", maxCalls)
	}
	return nil
}

// execute runs a call to its end. It is the goroutine of the call.
func (s *Server) execute(ctx context.Context, run *running, backend Backend, deadline time.Duration) {
	defer run.cancel(nil)
	if deadline > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, deadline, refuse(CodeTimeout, "", "the call was not finished within the caller's %s", deadline))
		defer stop()
	}
	if run.id.key == "" {
		outcome, _ := s.perform(ctx, run, backend)
		s.settle(run, s.ending(outcome))
		return
	}
	s.settle(run, s.once(ctx, run, backend))
}

// once performs a call under a key, unless that has been done before.
func (s *Server) once(ctx context.Context, run *running, backend Backend) Event {
	before, err := s.opt.Memory.begin(run.id, run.digest)
	switch {
	case err != nil:
		return s.ending(&Outcome{Error: s.refused(run.call, err)})
	case before != nil && before.digest != run.digest:
		return s.ending(&Outcome{Error: s.refused(run.call, conflict(run.call))})
	case before != nil:
		s.repeated(run.call)
		end := s.ending(before.outcome)
		end.Replayed = true
		return end
	}
	outcome, ran := s.perform(ctx, run, backend)
	if ran {
		err = s.opt.Memory.end(run.id, run.digest, outcome)
	} else {
		err = s.opt.Memory.forget(run.id) // it has done nothing and may be tried again
	}
	if err != nil {
		s.log.Error("how a call ended cannot be remembered", "call", run.call.ID, "err", err)
	}
	return s.ending(outcome)
}

// perform asks for approval, keeps the call in the audit log, runs it, and keeps
// how it ended. ran tells whether the backend was called.
func (s *Server) perform(ctx context.Context, run *running, backend Backend) (outcome *Outcome, ran bool) {
	call, entry := run.call, s.entry(run.call)
	if err := s.approve(ctx, call); err != nil {
		return &Outcome{Error: s.refused(call, err)}, false
	}
	entry.Phase = audit.Began
	if err := s.opt.Audit.Append(entry); err != nil {
		s.log.Error("a call was refused because it cannot be kept", "err", err)
		return &Outcome{Error: s.signed(refuse(CodeAudit, "the owner of this node finds why in its log", "the call cannot be kept in the audit log, so it was not run"))}, false
	}
	began := time.Now()
	outcome = s.protect(ctx, run, backend)
	entry.Phase, entry.Args = audit.Ended, ""
	entry.Time, entry.DurationMS = time.Now().UTC(), time.Since(began).Milliseconds()
	describe(&entry, outcome)
	if err := s.opt.Audit.Append(entry); err != nil {
		s.log.Error("how a call ended cannot be kept", "call", call.ID, "err", err)
	}
	return outcome, true
}

func (s *Server) approve(ctx context.Context, call *Call) error {
	if s.opt.Approve == nil {
		return nil
	}
	return s.opt.Approve.Approve(ctx, Question{ID: call.ID, Caller: call.Caller, Executor: s.opt.Self, Tool: call.Tool, Args: call.Args})
}

// protect calls the backend and makes whatever comes of it an outcome.
func (s *Server) protect(ctx context.Context, run *running, backend Backend) (outcome *Outcome) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("a tool panicked", "tool", run.call.Tool, "panic", p, "stack", string(debug.Stack()))
			outcome = &Outcome{Error: s.signed(refuse(CodeFailed, "", "the tool %s broke down", run.call.Tool))}
		}
	}()
	result, err := backend.Call(ctx, run.call, run.output)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = ended(cause)
	}
	if err != nil {
		return &Outcome{Error: s.signed(err)}
	}
	result.capTo(run.call.Grant.MaxOutput)
	return &Outcome{Result: result}
}

// ended says why a call was ended from outside.
func ended(cause error) error {
	if _, ok := errors.AsType[*Error](cause); ok {
		return cause
	}
	return refuse(CodeFailed, "", "the call was ended: %s", cause)
}

// output queues what a tool wrote.
func (run *running) output(stream string, data []byte) {
	run.mu.Lock()
	run.queue = append(run.queue, outputEvent(stream, append([]byte{}, data...)))
	run.mu.Unlock()
	select {
	case run.wakeup <- struct{}{}:
	default:
	}
}

func (run *running) take() []Event {
	run.mu.Lock()
	defer run.mu.Unlock()
	events := run.queue
	run.queue = nil
	return events
}

// settle makes the end of a call known to those who wait.
func (s *Server) settle(run *running, end Event) {
	run.end = end
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.running, run.call.ID)
	if s.keyed[run.id] == run {
		delete(s.keyed, run.id)
	}
	if run.leaving != nil {
		run.leaving.Stop()
	}
	s.of(run.call.Caller.Key).active--
	close(run.done)
}

// ending is the last event of an outcome.
func (s *Server) ending(o *Outcome) Event {
	e := Event{Type: EventResult, Executor: new(s.opt.Self), Result: o.Result}
	if o.Error != nil {
		e.Type, e.Error = EventError, s.signed(o.Error)
	}
	return e
}

// follow tells the events of a call to one who waits for it.
func (s *Server) follow(ctx context.Context, run *running, joined bool, on func(*Event) error) error {
	defer s.leave(run)
	err := on(&Event{Type: EventStarted, Executor: new(s.opt.Self), Replayed: joined})
	for err == nil {
		select {
		case <-run.wakeup:
			err = tell(run.take(), on)
		case <-run.done:
			if err = tell(run.take(), on); err == nil {
				err = on(&run.end)
			}
			return err
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	if run.id.key == "" {
		run.cancel(refuse(CodeLeft, "", "the caller left, so the call was ended"))
		<-run.done
	}
	return err
}

func tell(events []Event, on func(*Event) error) error {
	for i := range events {
		if err := on(&events[i]); err != nil {
			return err
		}
	}
	return nil
}

// leave counts one who waited out; the last one lets a call under a key linger.
func (s *Server) leave(run *running) {
	s.mu.Lock()
	defer s.mu.Unlock()
	run.waiters--
	if run.waiters > 0 || run.id.key == "" || s.running[run.call.ID] == nil {
		return
	}
	run.leaving = time.AfterFunc(s.opt.Linger, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if run.waiters == 0 {
			run.cancel(refuse(CodeLeft, "", "the caller left and did not come back within %s, so the call was ended", s.opt.Linger))
		}
	})
}

// cancelKeyed ends a call that runs under a key.
func (s *Server) cancelKeyed(id callKey) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	run := s.keyed[id]
	if run == nil {
		return false
	}
	run.cancel(refuse(CodeLeft, "", "the caller cancelled the call"))
	return true
}

// Drop ends all calls of a caller that is not trusted any more.
func (s *Server) Drop(id key.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, run := range s.running {
		if run.call.Caller.Key == id {
			run.cancel(refuse(CodeUnverified, "", "the call was ended because %s is not trusted here any more", run.call.Caller))
		}
	}
}

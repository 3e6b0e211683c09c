package jobs

import (
	"errors"
	"time"

	"lobstah/grid"
)

// A Status is where a job stands in its life.
type Status uint8

// The statuses. A queued job waits to be claimed, a running one is held under a
// lease; the others are ends.
const (
	Queued Status = iota + 1
	Running
	Done
	Failed
)

// Ended reports whether nothing will change any more.
func (s Status) Ended() bool { return s == Done || s == Failed }

// String is the word on the wire.
func (s Status) String() string {
	switch s {
	case Queued:
		return "queued"
	case Running:
		return "running"
	case Done:
		return "done"
	case Failed:
		return "error"
	}
	return "unknown"
}

// Why a state does not change as wished.
var (
	ErrNotHeld  = errors.New("the job's lease is not held")
	ErrEnded    = errors.New("the job has ended")
	ErrNotReady = errors.New("the job cannot be claimed now")
)

// maxCrashes is how often a job may lose who ran it before it is taken for the
// reason.
const maxCrashes = 3

// A State is what decides a job's life. It is pure: each method returns the
// state after an event, or an error and the state as it was.
//
//	          Claim            Finish
//	(new) → Queued ⇄ Running ─────────→ Done
//	          │  Release, Lapse │ Fail
//	          └──── Cancel ─────┴─────→ Failed
type State struct {
	Status    Status
	Created   time.Time
	Due       time.Time // not to be claimed before
	Started   time.Time // the answer was begun; zero until then
	Completed time.Time
	Expires   time.Time      // it is given up then; once it has ended, deleted
	Holder    string         // who has the lease
	Lease     time.Time      // until when
	Attempts  int            // claims that ended in a crash, and the present one
	Cancel    bool           // it was asked for
	Placed    bool           // somebody else may have it, so only its holder can end it
	Fault     *grid.JobError // why it has no result; of one that waits, why it did not come to anything last time
}

// Lives is how long things are kept.
type Lives struct {
	Open   time.Duration // a job may wait and run
	Done   time.Duration // a result is kept
	Failed time.Duration // an error is kept
	Taken  time.Duration // a result is kept after it was fetched; 0 for as long as before
}

func (s State) held(holder string) bool { return s.Status == Running && s.Holder == holder }

// Claim gives the job to holder until the lease ends or is renewed.
func (s State) Claim(holder string, now, lease time.Time) (State, error) {
	if s.Status != Queued || now.Before(s.Due) {
		return s, ErrNotReady
	}
	s.Status, s.Holder, s.Lease = Running, holder, lease
	s.Attempts++
	return s, nil
}

// Begin notes when the answer was begun.
func (s State) Begin(holder string, at time.Time) (State, error) {
	if !s.held(holder) {
		return s, ErrNotHeld
	}
	s.Started = at
	return s, nil
}

// Place notes that somebody else may have the job from now on.
func (s State) Place(holder string) (State, error) {
	if !s.held(holder) {
		return s, ErrNotHeld
	}
	s.Placed = true
	return s, nil
}

// Finish ends the job with a result. A wish to cancel that came too late is
// forgotten.
func (s State) Finish(holder string, now time.Time, l Lives) (State, error) {
	if !s.held(holder) {
		return s, ErrNotHeld
	}
	return s.end(Done, nil, now, l.Done), nil
}

// Fail ends the job without one.
func (s State) Fail(holder string, fault grid.JobError, now time.Time, l Lives) (State, error) {
	if !s.held(holder) {
		return s, ErrNotHeld
	}
	return s.end(Failed, &fault, now, l.Failed), nil
}

// Release gives the job back, to be claimed again from due on, and says why
// unless that is nil. It did not crash anybody.
func (s State) Release(holder string, due time.Time, why *grid.JobError) (State, error) {
	if !s.held(holder) {
		return s, ErrNotHeld
	}
	s.Attempts--
	s.Fault = why
	return s.requeue(due), nil
}

// Lapse takes the job from who let the lease end, which is how a crash looks.
func (s State) Lapse(now time.Time, l Lives) (State, error) {
	switch {
	case s.Status != Running || now.Before(s.Lease):
		return s, ErrNotReady
	case s.Placed: // it goes on elsewhere
		s.Attempts--
	case s.Cancel:
		return s.end(Failed, cancelled(), now, l.Failed), nil
	case s.Attempts >= maxCrashes:
		return s.end(Failed, &grid.JobError{
			Type: "crashed", Message: "the program ended while it ran this job, three times", Status: 500,
		}, now, l.Failed), nil
	}
	return s.requeue(now), nil
}

// WishCancel ends a job that nobody has; whoever has it is to end it.
func (s State) WishCancel(now time.Time, l Lives) (State, error) {
	switch {
	case s.Status.Ended():
		return s, ErrEnded
	case s.Status == Queued && !s.Placed:
		return s.end(Failed, cancelled(), now, l.Failed), nil
	case s.Status == Queued:
		s.Due = now
	}
	s.Cancel = true
	return s, nil
}

// Expire gives up a job that nobody has run in time. One that has ended is to
// be deleted instead.
func (s State) Expire(now time.Time, l Lives) (State, error) {
	if s.Status != Queued || now.Before(s.Expires) {
		return s, ErrNotReady
	}
	return s.end(Failed, overdue(), now, l.Failed), nil
}

// Take notes that the end was told to who asked for it.
func (s State) Take(now time.Time, l Lives) (State, error) {
	until := now.Add(l.Taken)
	if !s.Status.Ended() || l.Taken == 0 || !until.Before(s.Expires) {
		return s, ErrNotReady
	}
	s.Expires = until
	return s, nil
}

func (s State) requeue(due time.Time) State {
	s.Status, s.Holder, s.Lease, s.Due = Queued, "", time.Time{}, due
	return s
}

func (s State) end(status Status, fault *grid.JobError, now time.Time, keep time.Duration) State {
	s.Status, s.Fault, s.Completed, s.Expires = status, fault, now, now.Add(keep)
	s.Holder, s.Lease, s.Cancel, s.Placed = "", time.Time{}, false, false
	return s
}

// Shown is the status that clients are told: a job that somebody holds but has
// not begun is queued to them.
func (s State) Shown() Status {
	if s.Status == Queued && !s.Started.IsZero() && s.Placed {
		return Running // it goes on where it is
	}
	if s.Status == Running && s.Started.IsZero() {
		return Queued
	}
	return s.Status
}

// Waiting is why the job waits, empty when it does not, or for its turn alone.
func (s State) Waiting() string {
	looking := s.Status == Running && s.Started.IsZero() && !s.Placed // for somebody who takes it
	if s.Fault == nil || s.Status != Queued && !looking {
		return ""
	}
	return s.Fault.Message
}

func cancelled() *grid.JobError {
	return &grid.JobError{Type: "cancelled", Message: "cancelled before it was answered"}
}

func overdue() *grid.JobError {
	return &grid.JobError{Type: "expired", Message: "not answered within the time that jobs are kept for", Status: 504}
}

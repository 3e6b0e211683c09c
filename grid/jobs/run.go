package jobs

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"lobstah/grid"
	"lobstah/openai"
	"lobstah/receipt"
)

const (
	sweepEvery  = 5 * time.Minute
	writeRetry  = 3 * time.Second // after the file failed a write
	leastPause  = time.Second     // before a job is tried again
	mostPause   = 5 * time.Minute
	farTomorrow = 100 * 365 * 24 * time.Hour
)

// Run claims jobs and has them fulfilled until ctx ends; then it gives back
// what runs and returns when nothing of it does any more. The caller holds the
// lock of the home that the file is in, so at first nobody else runs any:
// whoever did has crashed. Call it once.
func (s *Service) Run(ctx context.Context) {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	s.takeOver(ctx)
	tasks.Go(func() { s.sweepOften(ctx) })
	tasks.Go(func() { s.renewOften(ctx) })
	for ctx.Err() == nil {
		tier, err := s.awaitWork(ctx)
		if err != nil {
			s.complain(ctx, "cannot look for jobs", err)
			continue
		}
		release, err := s.reserve(ctx, tier)
		if err != nil {
			s.rest(ctx, leastPause) // the backend stops, or something better came
			continue
		}
		now := s.Now()
		j, err := s.store.claim(ctx, s.Holder, now, now.Add(s.Lease), s.order)
		if err != nil {
			release()
			if !errors.Is(err, ErrNone) {
				s.complain(ctx, "cannot claim a job", err)
			}
			continue
		}
		tasks.Go(func() { s.run(ctx, j, sync.OnceFunc(release)) })
	}
}

// takeOver makes what ran when the program ended wait again.
func (s *Service) takeOver(ctx context.Context) {
	now := s.Now()
	n, err := s.store.lapse(ctx, s.Holder, now.Add(farTomorrow), now, s.Lives)
	if err != nil {
		s.complain(ctx, "cannot take up the jobs that ran", err)
	} else if n > 0 {
		s.Logger.LogAttrs(ctx, slog.LevelInfo, "took up jobs that ran when the program ended", slog.Int("jobs", n))
	}
}

// awaitWork returns the tier of the next job once there is one to be claimed.
func (s *Service) awaitWork(ctx context.Context) (grid.Tier, error) {
	for {
		now := s.Now()
		tier, due, err := s.store.next(ctx, now, s.order)
		if err != nil || tier != "" {
			return tier, err
		}
		pause := sweepEvery
		if !due.IsZero() {
			pause = min(pause, max(due.Sub(now), time.Millisecond))
		}
		timer := time.NewTimer(pause)
		select {
		case <-s.wake:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return "", context.Cause(ctx)
		}
		timer.Stop()
	}
}

// reserve waits for a place for a job of this tier, but no longer than until
// one of a tier that goes before it comes.
func (s *Service) reserve(ctx context.Context, tier grid.Tier) (release func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel()
	watch.Go(func() {
		for {
			select {
			case <-s.wake:
				if best, _, err := s.store.next(ctx, s.Now(), s.order); err == nil && best != tier {
					cancel()
					return
				}
			case <-ctx.Done():
				return
			}
		}
	})
	return s.Backend.Reserve(ctx, tier)
}

// run has one job fulfilled and writes down how it ended.
func (s *Service) run(ctx context.Context, j *Job, release func()) {
	defer release()
	defer s.hub.tell(j.ID)
	defer s.nudge()
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	overdue := time.AfterFunc(j.Expires.Sub(s.Now()), func() { cancel(grid.ErrJobOverdue) })
	defer overdue.Stop()
	s.started(j.ID, cancel)
	defer s.stopped(j.ID)
	if s.unwanted(ctx, j) {
		cancel(grid.ErrJobCancelled)
	}
	log := &jobLog{service: s, job: j, release: release}
	fault, again := s.Backend.Fulfil(work, j.Order, log)
	if log.ended {
		return
	}
	s.unfulfilled(context.WithoutCancel(ctx), j, log, fault, again, context.Cause(work))
}

// unfulfilled writes down that a job has no answer, for now or for good. cause
// is why its context ended, nil if it did not.
func (s *Service) unfulfilled(ctx context.Context, j *Job, log *jobLog, fault *openai.Error, again bool, cause error) {
	event := func(st State) (State, error) {
		now := s.Now()
		switch {
		case again && !now.Before(j.Expires):
			return st.Fail(s.Holder, *overdue(), now, s.Lives)
		case again && (st.Cancel || cause == grid.ErrJobCancelled) && !st.Placed:
			return st.Fail(s.Holder, *cancelled(), now, s.Lives)
		case again:
			pause, why := leastPause, st.Fault
			if fault != nil {
				pause = min(max(fault.RetryAfter, leastPause), mostPause)
			}
			if fault != nil && cause == nil { // else it is only that this program stops
				why = new(jobError(fault))
			}
			return st.Release(s.Holder, now.Add(pause), why)
		case fault == nil:
			return st.Fail(s.Holder, *cancelled(), now, s.Lives)
		}
		return st.Fail(s.Holder, jobError(fault), now, s.Lives)
	}
	after, err := s.insist(ctx, func() (State, error) { return s.store.change(ctx, j.Seq, event) })
	if errors.Is(err, ErrNotHeld) || errors.Is(err, ErrUnknown) {
		return // it is not ours any more
	}
	if err != nil {
		s.complain(ctx, "cannot write down how a job ended", err)
		return
	}
	attrs := []slog.Attr{slog.String("status", after.Status.String()), slog.String("model", j.Model), slog.Int("side", int(s.Side))}
	if fault != nil {
		attrs = append(attrs, slog.Int("http", fault.Status), slog.String("type", fault.Type), slog.String("code", fault.Code))
	}
	s.Logger.LogAttrs(ctx, slog.LevelInfo, "job without an answer", attrs...)
}

// insist repeats a write that the file failed, for nothing else remembers it,
// until the lease has surely gone to somebody else.
func (s *Service) insist(ctx context.Context, write func() (State, error)) (after State, err error) {
	for range int(s.Lease/writeRetry) + 1 {
		after, err = write()
		if err == nil || errors.Is(err, ErrNotHeld) || errors.Is(err, ErrUnknown) {
			return after, err
		}
		s.complain(ctx, "cannot write a job down", err)
	}
	return after, err
}

func jobError(e *openai.Error) grid.JobError {
	out := grid.JobError{Type: e.Type, Message: e.Message, Code: e.Code, Status: e.Status}
	if len(out.Message) > maxFault {
		out.Message = out.Message[:maxFault]
	}
	return out
}

const maxFault = 4096

// nudge lets Run look whether there is something to claim.
func (s *Service) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Service) started(id string, cancel context.CancelCauseFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs[id] = cancel
}

func (s *Service) stopped(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.runs, id)
}

func (s *Service) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.runs) == 0
}

// stop cancels a job that runs here.
func (s *Service) stop(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cancel := s.runs[id]; cancel != nil {
		cancel(grid.ErrJobCancelled)
	}
}

// unwanted reports whether a job that runs is to be cancelled. It is asked once
// stop can find the job: a wish between its claim and then stands in the file only.
func (s *Service) unwanted(ctx context.Context, j *Job) bool {
	if j.Cancel {
		return true
	}
	kept, err := s.store.find(ctx, j.ID)
	if err != nil {
		if ctx.Err() == nil { // what the job writes next will fail too
			s.Logger.LogAttrs(ctx, slog.LevelError, "cannot look whether a job is wanted", slog.Any("err", err))
		}
		return false
	}
	return kept.Cancel
}

// renewOften keeps the leases of what runs here.
func (s *Service) renewOften(ctx context.Context) {
	for s.rest(ctx, s.Lease/3) {
		if s.idle() {
			continue
		}
		if err := s.store.renew(ctx, s.Holder, s.Now().Add(s.Lease)); err != nil {
			s.complain(ctx, "cannot renew the leases of jobs", err)
		}
	}
}

// sweepOften gives up what is overdue and deletes what was kept long enough.
func (s *Service) sweepOften(ctx context.Context) {
	for {
		now := s.Now()
		lapsed, err := s.store.lapse(ctx, s.Holder, now, now, s.Lives)
		if err == nil && lapsed > 0 {
			s.nudge()
		}
		if err == nil {
			_, err = s.store.expire(ctx, now, s.Lives)
		}
		if err == nil {
			_, err = s.store.collect(ctx, now)
		}
		if err != nil && ctx.Err() == nil {
			s.complain(ctx, "cannot sweep jobs", err)
		}
		if !s.rest(ctx, sweepEvery) {
			return
		}
	}
}

// complain logs what the file refuses and waits a moment.
func (s *Service) complain(ctx context.Context, what string, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	s.Logger.LogAttrs(ctx, slog.LevelError, what, slog.Any("err", err))
	s.rest(ctx, writeRetry)
}

// rest waits, and reports whether to go on.
func (s *Service) rest(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// A jobLog is a [grid.JobLog]. The goroutine that runs the job owns it.
type jobLog struct {
	service *Service
	job     *Job
	release func()
	ended   bool // it has its result
}

func (l *jobLog) Noted() []byte { return l.job.note }

func (l *jobLog) Note(ctx context.Context, note []byte) error {
	s := l.service
	_, err := s.store.change(ctx, l.job.Seq, func(st State) (State, error) { return st.Place(s.Holder) }, column{"note", string(note)})
	if err == nil {
		l.job.note = note
	}
	return err
}

func (l *jobLog) Begun(ctx context.Context, at time.Time) error {
	s := l.service
	_, err := s.store.change(ctx, l.job.Seq, func(st State) (State, error) { return st.Begin(s.Holder, at) })
	if err == nil {
		s.hub.tell(l.job.ID)
	}
	return err
}

// Done gives the place on first, so that an engine never waits for a disk.
func (l *jobLog) Done(ctx context.Context, result []byte, signed *receipt.Signed) error {
	s := l.service
	l.release()
	ctx = context.WithoutCancel(ctx)
	finish := func(st State) (State, error) { return st.Finish(s.Holder, s.Now(), s.Lives) }
	_, err := s.insist(ctx, func() (State, error) {
		if signed == nil {
			return s.store.change(ctx, l.job.Seq, finish, column{"result", result})
		}
		return s.store.earn(ctx, l.job.Seq, signed, finish, column{"result", result}, column{"receipt", signed.Envelope()})
	})
	l.ended = err == nil
	return err
}

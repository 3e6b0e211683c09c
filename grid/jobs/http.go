package jobs

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"lobstah/grid"
	"lobstah/key"
	"lobstah/openai"
)

// Path is where a [Service] is mounted, with everything below it.
const Path = "/v1/jobs"

const (
	maxKey       = 255
	maxPairs     = 16 // of metadata, as OpenAI has it
	maxName      = 64
	maxValue     = 512
	maxWait      = time.Minute
	defaultPage  = 20
	maxPage      = 100
	cancelWait   = 10 * time.Second // for who has the job to end it
	writeTimeout = time.Minute
)

// Before returns a handler that serves jobs here and everything else by next.
func (s *Service) Before(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == Path || strings.HasPrefix(r.URL.Path, Path+"/") {
			s.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ServeHTTP answers POST and GET /v1/jobs, and GET and DELETE /v1/jobs/ID.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id, one := strings.CutPrefix(r.URL.Path, Path+"/")
	serve, allowed := s.submit, "GET, POST"
	switch {
	case one && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		serve = s.show
	case one && r.Method == http.MethodDelete:
		serve = s.cancel
	case one:
		serve, allowed = nil, "DELETE, GET"
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		serve = s.index
	case r.Method != http.MethodPost:
		serve = nil
	}
	var fault *openai.Error
	if serve == nil {
		w.Header().Set("Allow", allowed)
		fault = &openai.Error{
			Status: http.StatusMethodNotAllowed, Type: "invalid_request_error", Code: "method_not_allowed",
			Message: fmt.Sprintf("%.20s is not answered here; %s is", r.Method, allowed),
		}
	} else {
		fault = serve(w, r, id)
	}
	if fault != nil {
		s.fail(w, r, fault)
	}
}

// submit keeps a job.
func (s *Service) submit(w http.ResponseWriter, r *http.Request, _ string) *openai.Error {
	order, refusal := s.Backend.Receive(w, r)
	if order == nil {
		return refusal
	}
	once, fault := s.onceOf(r, order)
	if fault == nil {
		fault = checkOrder(order, s.MaxBody)
	}
	if fault != nil {
		return fault
	}
	now := s.Now()
	j := &Job{Order: *order, State: State{Status: Queued, Created: now, Due: now, Expires: now.Add(s.Lives.Open)}}
	if order.Waits != "" {
		j.Fault = new(jobError(&openai.Error{Type: "waiting", Message: order.Waits}))
	}
	kept, again, err := s.store.submit(r.Context(), j, once, refusal != nil, s.Quota)
	switch {
	case errors.Is(err, ErrUnknown):
		return refusal
	case err != nil:
		return s.explain(r.Context(), err)
	}
	if again {
		w.Header().Set(grid.RepeatedHeader, "true")
	} else {
		s.nudge()
	}
	s.answer(w, http.StatusAccepted, grid.Job{
		ID: kept.ID, Status: kept.Shown().String(), CreatedAt: milli(kept.Created), Metadata: kept.Metadata,
		Waiting: kept.Waiting(),
	})
	return nil
}

// onceOf is what a submission is known again by. Its owner is part of it, so
// nobody finds another's job by guessing keys; nobody in particular has none.
func (s *Service) onceOf(r *http.Request, o *grid.Order) ([]byte, *openai.Error) {
	text := r.Header.Get(grid.IdempotencyHeader)
	switch {
	case text == "":
		return nil, nil
	case len(text) > maxKey:
		return nil, openai.BadMember(grid.IdempotencyHeader, "longer than %d bytes", maxKey)
	case o.Owner == "":
		return nil, openai.BadMember(grid.IdempotencyHeader, "the request is not signed, so the key could be anybody's; sign it, or leave the key out")
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "lobstah-job-v1\n%d\n%s\n%s", s.Side, o.Owner, text))
	return sum[:], nil
}

// checkOrder refuses what is not kept.
func checkOrder(o *grid.Order, maxBody int) *openai.Error {
	if len(o.Body) > maxBody {
		return &openai.Error{
			Status: http.StatusRequestEntityTooLarge, Type: "invalid_request_error", Code: "request_too_large",
			Message: fmt.Sprintf("the job is larger than the %d bytes that are kept of one", maxBody),
		}
	}
	if len(o.Metadata) > maxPairs {
		return openai.BadMember("metadata", "more than %d members", maxPairs)
	}
	for name, value := range o.Metadata {
		if len(name) > maxName || len(value) > maxValue {
			return openai.BadMember("metadata", "%.80q: a name has at most %d bytes, a value %d", name, maxName, maxValue)
		}
	}
	return nil
}

// lookUp returns a job if who asks may know of it.
func (s *Service) lookUp(ctx context.Context, asker grid.Asker, id string) (*Job, *openai.Error) {
	if len(id) > maxName {
		return nil, notFound()
	}
	j, err := s.store.find(ctx, id)
	switch {
	case errors.Is(err, ErrUnknown) || err == nil && !mayKnow(asker, j.Owner):
		return nil, notFound()
	case err != nil:
		return nil, s.explain(ctx, err)
	}
	return j, nil
}

// mayKnow reports whether somebody who has the id may know of a job. The id is
// enough for jobs whose submitter proved nothing, and only to those who prove
// nothing either.
func mayKnow(a grid.Asker, owner string) bool {
	if a.Owner != "" && a.Owner == owner {
		return true
	}
	_, err := key.ParseID(owner)
	return a.Bearer && err != nil
}

// show tells how a job stands. ?wait=SECONDS holds the answer back until that
// changes, at most a minute: from what it is now, or from ?seen=STATUS, which the
// client was told before.
func (s *Service) show(w http.ResponseWriter, r *http.Request, id string) *openai.Error {
	wait, fault := waitOf(r)
	if fault != nil {
		return fault
	}
	asker, fault := s.Backend.Identify(r)
	if fault != nil {
		return fault
	}
	seen := r.URL.Query().Get("seen")
	j, fault := s.await(r.Context(), asker, id, wait, func(j *Job) bool {
		seen = cmp.Or(seen, j.Shown().String())
		return j.Status.Ended() || j.Shown().String() != seen
	})
	if fault != nil {
		return fault
	}
	record := s.record(j)
	if j.Status == Queued && j.Started.IsZero() {
		if n, err := s.store.ahead(r.Context(), j, s.order); err == nil {
			record.Position = n + 1
		}
	}
	s.answer(w, http.StatusOK, record)
	if _, err := j.Take(s.Now(), s.Lives); err == nil {
		_, err := s.store.change(context.WithoutCancel(r.Context()), j.Seq, func(st State) (State, error) { return st.Take(s.Now(), s.Lives) })
		if err != nil && !errors.Is(err, ErrNotReady) {
			s.Logger.Error("cannot note that a job was fetched", "err", err)
		}
	}
	return nil
}

// await returns a job once it is as it should be, or as it is when the time is
// over or ctx ends.
func (s *Service) await(ctx context.Context, asker grid.Asker, id string, limit time.Duration, enough func(*Job) bool) (*Job, *openai.Error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		changed, leave, ok := s.hub.join(id)
		j, fault := s.lookUp(ctx, asker, id)
		if fault != nil || !ok || limit == 0 || enough(j) {
			leave()
			return j, fault
		}
		select {
		case <-changed:
			continue // which has left
		case <-timer.C:
		case <-s.hurry:
		case <-ctx.Done():
		}
		leave()
		return j, nil
	}
}

func waitOf(r *http.Request) (time.Duration, *openai.Error) {
	text := r.URL.Query().Get("wait")
	if text == "" {
		return 0, nil
	}
	seconds, err := strconv.Atoi(text)
	if err != nil || seconds < 0 {
		return 0, openai.BadMember("wait", "want a number of seconds")
	}
	return min(time.Duration(min(seconds, 3600))*time.Second, maxWait), nil
}

// cancel ends a job that has not ended. One that runs is stopped.
func (s *Service) cancel(w http.ResponseWriter, r *http.Request, id string) *openai.Error {
	asker, fault := s.Backend.Identify(r)
	if fault != nil {
		return fault
	}
	j, fault := s.lookUp(r.Context(), asker, id)
	if fault != nil {
		return fault
	}
	st, err := s.store.change(r.Context(), j.Seq, func(st State) (State, error) { return st.WishCancel(s.Now(), s.Lives) })
	if err != nil && !errors.Is(err, ErrEnded) {
		return s.explain(r.Context(), err)
	}
	if err == nil {
		s.hub.tell(id)
	}
	if err == nil && !st.Status.Ended() { // somebody has it
		s.stop(id)
		s.nudge()
		if j, fault = s.await(r.Context(), asker, id, cancelWait, func(j *Job) bool { return j.Status.Ended() }); fault != nil {
			return fault
		}
		st = j.State
	}
	switch {
	case !st.Status.Ended():
		return &openai.Error{
			Status: http.StatusBadGateway, Type: "peer_unreachable",
			Message: "who has the job does not answer now; it is noted that it is to be cancelled, which happens as soon as it answers",
		}
	case err != nil || st.Status == Done:
		return &openai.Error{
			Status: http.StatusConflict, Type: "not_cancellable", Message: "the job has ended",
		}
	}
	s.answer(w, http.StatusOK, grid.Job{ID: id, Status: Failed.String(), CreatedAt: milli(j.Created), CompletedAt: milli(st.Completed), Error: st.Fault})
	return nil
}

func notFound() *openai.Error {
	return &openai.Error{Status: http.StatusNotFound, Type: "not_found", Message: "job not found"}
}

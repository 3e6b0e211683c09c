package tracker

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"lobstah/openai"
)

const (
	streamBeat  = 15 * time.Second // a comment at least so often
	writeLimit  = 30 * time.Second // a reader may take no bytes for so long
	streamAgain = 5 * time.Second  // what a reader that was cut off should wait
)

// readers counts who reads a stream.
type readers struct {
	max, share int

	mu   sync.Mutex
	all  int             // guarded by mu
	from map[network]int // guarded by mu
}

func (rs *readers) enter(from network) bool {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.all >= rs.max || rs.from[from] >= rs.share {
		return false
	}
	rs.all++
	rs.from[from]++
	return true
}

func (rs *readers) leave(from network) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.all--
	if rs.from[from]--; rs.from[from] == 0 {
		delete(rs.from, from)
	}
}

// serveStream tells all that matches a query, then every change of it, as
// server-sent events:
//
//	event: reset   what was told before does not hold; everything follows
//	event: peer    data is an envelope: it came, or was renewed
//	event: gone    data is {"pubkey","reason"}: withdrawn, expired or changed
//	event: ready   all that was there, or was missed, is told
//
// A reader that comes back with Last-Event-ID hears only what it missed, while
// the ring has it.
func (t *Tracker) serveStream(w http.ResponseWriter, r *http.Request) {
	shareReading(w)
	q, fault := t.admitQuery(r, r.URL.Query())
	if fault != nil {
		fail(w, fault)
		return
	}
	q.limit, q.after = 0, 0
	from := t.client(r)
	if !t.readers.enter(from) {
		fail(w, &openai.Error{
			Status: http.StatusServiceUnavailable, Type: "server_error", Code: "too_many_streams",
			Message: "too many read the stream of changes; ask GET /peers from time to time instead", RetryAfter: time.Minute,
		})
		return
	}
	defer t.readers.leave(from)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would hold events back
	s := &stream{t: t, q: q, control: http.NewResponseController(w), w: w}
	_ = s.control.SetReadDeadline(time.Time{}) // it would end the stream
	s.run(r.Context(), r.Header.Get("Last-Event-ID"))
}

// stream is one reader. It belongs to its request's goroutine.
type stream struct {
	t       *Tracker
	q       query
	w       http.ResponseWriter
	control *http.ResponseController
	next    uint64 // the change to tell next
	out     []byte // what is not sent yet
}

func (s *stream) run(ctx context.Context, last string) {
	s.out = fmt.Appendf(s.out, "retry: %d\n\n", streamAgain.Milliseconds())
	if !s.resume(last) && s.all(ctx, last != "") != nil {
		return
	}
	beat := time.NewTicker(streamBeat)
	defer beat.Stop()
	for ready := false; ; {
		steps, more, ok := s.t.changes.since(s.next)
		if !ok {
			s.out = append(s.out, ": too slow; come back\n\n"...)
			_ = s.flush() // it is cut off either way
			return
		}
		for _, step := range steps {
			s.next++
			s.tell(step)
		}
		if !ready && more != nil {
			ready = true
			s.event("ready", "{}")
		}
		if len(s.out) > 0 && s.flush() != nil {
			return
		}
		if more == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-more:
		case <-beat.C:
			s.out = append(s.out, ": \n\n"...)
		}
	}
}

// resume goes on after the event called last, if it is of this run and the ring
// still has what followed.
func (s *stream) resume(last string) bool {
	run, number, _ := strings.Cut(last, ".")
	n, err := strconv.ParseUint(number, 36, 64)
	if err != nil || run != s.t.epoch {
		return false
	}
	_, _, ok := s.t.changes.since(n)
	s.next = n
	return ok
}

// all tells everything that is there. The position is taken before, so that
// nothing is missed; some of it may be told twice.
func (s *stream) all(ctx context.Context, again bool) error {
	s.next = s.t.changes.position()
	if again {
		s.event("reset", "{}")
	}
	answer, err := s.t.find(ctx, s.q, false)
	if err != nil {
		return err
	}
	for _, v := range answer.views {
		s.event("peer", v.envelope)
		if len(s.out) > readAtATime {
			if err := s.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// tell tells one change, as far as it concerns the query.
func (s *stream) tell(step change) {
	was := step.before != nil && s.q.matches(step.before)
	switch {
	case step.after != nil && s.q.matches(step.after):
		s.event("peer", step.after.envelope)
	case was && step.after != nil:
		s.gone(step.before, changed)
	case was:
		s.gone(step.before, step.why)
	}
}

func (s *stream) gone(v *view, why string) {
	s.event("gone", fmt.Sprintf(`{"pubkey":%q,"reason":%q}`, v.id.String(), why))
}

// event adds one event; data has no line breaks.
func (s *stream) event(name, data string) {
	s.out = fmt.Appendf(s.out, "id: %s\nevent: %s\ndata: ", cursor(s.next, s.t.epoch), name)
	s.out = append(append(s.out, data...), "\n\n"...)
}

func (s *stream) flush() error {
	// A connection that knows no deadlines has other ways to end.
	_ = s.control.SetWriteDeadline(time.Now().Add(writeLimit))
	if _, err := s.w.Write(s.out); err != nil {
		return err
	}
	s.out = s.out[:0]
	return s.control.Flush()
}

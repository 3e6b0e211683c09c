package batch

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"lobstah/openai"
)

// grace is how long lines that are being asked may take to be answered after
// their batch was cancelled or expired.
const grace = 10 * time.Minute

// round is one process's work on a batch. A goroutine for each model feeds the
// lines in, one for each line asks it, and one watches for an early end.
type round struct {
	*job
	file    *os.File
	index   *index
	journal *journal
	dialect openai.Dialect

	more   context.Context // new lines may be asked
	enough context.CancelFunc
	asking context.Context // lines may be answered
	giveUp context.CancelFunc
	askers sync.WaitGroup

	broken error // guarded by mu; what makes going on impossible
}

// answer asks every line and keeps what comes back. It returns as what the
// batch is to be closed.
func (j *job) answer(ctx, feeding context.Context, index *index) (as Status, err error) {
	file, err := os.Open(j.input)
	if err != nil {
		return "", err
	}
	defer file.Close()
	r := &round{job: j, file: file, index: index, dialect: openai.DialectOf(j.endpoint)}
	r.more, r.enough = context.WithCancel(feeding)
	defer r.enough()
	r.asking, r.giveUp = context.WithCancel(ctx)
	defer r.giveUp()
	if err := r.recover(); err != nil {
		return "", err
	}
	go r.journal.run(ctx) // finish waits for it
	as = r.all()
	if as != Completed && ctx.Err() == nil && r.failure() == nil {
		r.writeOff(ctx, as)
	}
	err = errors.Join(r.failure(), r.journal.finish())
	if err == nil && r.left() > 0 {
		err = errStopped
	}
	return as, err
}

// recover takes up what a former process kept.
func (r *round) recover() (err error) {
	var queues []*queue
	lists := r.index.byModel()
	for i, model := range r.index.models {
		queues = append(queues, newQueue(model, lists[i], r.service.Now))
	}
	done := make([]bool, len(r.index.entries))
	log := r.service.Logger.With("batch", r.id)
	r.journal, err = openJournal(r.service.store, r.id, log, func(kept recovered) {
		at, known := r.index.ids[hashID(kept.customID)]
		if !known || done[at] {
			return // we write none of these, and they do no harm
		}
		done[at] = true
		usage := Usage{}
		if !kept.failed {
			usage = usageOf(r.dialect, kept.body)
			queues[r.index.entries[at].model].heard(&task{}, http.StatusOK)
		}
		r.count(kept.failed, usage)
	})
	r.index.ids = nil // no longer needed
	for _, q := range queues {
		q.without(done)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queues = queues
	return err
}

// all asks until every line has its result, or the batch ends early, or the
// process stops. It returns as what the batch ends.
func (r *round) all() Status {
	if early := r.endedAlready(); early != "" {
		return early
	}
	as, finished := Completed, make(chan struct{})
	var watching, feeding sync.WaitGroup
	watching.Go(func() {
		if early := r.awaitEnd(finished); early != "" {
			as = early
			r.enough()
			r.awaitGrace(finished)
		}
	})
	for _, q := range r.queues {
		feeding.Go(func() { r.feed(q) })
	}
	feeding.Wait()
	r.askers.Wait()
	r.journal.settle()
	close(finished)
	watching.Wait()
	return as
}

// endedAlready tells whether the batch was over before it had its turn.
func (r *round) endedAlready() Status {
	select {
	case <-r.cancel:
		return Cancelled
	default:
	}
	if r.service.Now().Unix() >= r.record.ExpiresAt {
		return Expired
	}
	return ""
}

// awaitEnd waits for a reason to end early; there is none when all lines are
// done before.
func (r *round) awaitEnd(finished <-chan struct{}) Status {
	timer := time.NewTimer(time.Unix(r.record.ExpiresAt, 0).Sub(r.service.Now()))
	defer timer.Stop()
	select {
	case <-r.cancel:
		return Cancelled
	case <-timer.C:
		return Expired
	case <-finished:
		return ""
	}
}

// awaitGrace ends what is still being asked after a while.
func (r *round) awaitGrace(finished <-chan struct{}) {
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-timer.C:
		r.giveUp()
	case <-finished:
	}
}

// feed asks a model's lines as there is room.
func (r *round) feed(q *queue) {
	for {
		t, ok := q.next(r.more)
		if !ok {
			return
		}
		size := int64(r.index.entries[t.entry].length)
		at, err := r.service.pool.enter(r.more, q.model, size, q.waiting)
		if err != nil {
			q.putBack(t)
			return
		}
		r.askers.Go(func() {
			defer r.service.pool.leave(at)
			r.running.Add(1)
			defer r.running.Add(-1)
			if err := r.one(q, t, at); err != nil {
				q.putBack(t)
				r.fail(err)
			}
		})
	}
}

// one asks one line. The error makes going on impossible.
func (r *round) one(q *queue, t task, at place) error {
	request, err := readEntry(r.file, r.index.entries[t.entry])
	if err != nil {
		return fmt.Errorf("read the input: %w", err)
	}
	id := r.lineID(t.entry)
	a := r.service.ask(r.asking, r.endpoint, id, at.peer, request.Body)
	if r.asking.Err() != nil && a.status != http.StatusOK {
		q.putBack(t)
		return nil
	}
	v := r.service.judge(&t, &a, q.heard(&t, a.status))
	if !v.done {
		r.retries.Add(1)
		r.service.pool.failed(at)
		if v.full {
			r.service.pool.pauseFor(q.model, a.retryAfter, v.reason)
		}
		t.at = r.service.Now().Add(v.wait)
		q.putBack(t)
		return nil
	}
	if a.status < 500 {
		r.service.pool.answered(at, a.peer)
	}
	return r.keep(q, resultOf(id, *request.CustomID, &a, r.service.Limits.Answer))
}

// keep hands a line's result to the journal.
func (r *round) keep(q *queue, result result) error {
	failed := result.Response == nil || result.Response.StatusCode != http.StatusOK
	usage := Usage{}
	if !failed {
		usage = usageOf(r.dialect, result.Response.Body)
	}
	return r.journal.put(&result, failed, func() {
		r.count(failed, usage)
		q.settled()
	})
}

// writeOff puts the lines that were not asked into the error file.
func (r *round) writeOff(ctx context.Context, as Status) {
	why := failure{"batch_cancelled", "The batch was cancelled before this request was answered."}
	if as == Expired {
		why = failure{"batch_expired", "The batch's window ended before this request was answered."}
	}
	for _, q := range r.queues {
		for _, at := range q.rest() {
			request, err := readEntry(r.file, r.index.entries[at])
			if err == nil {
				err = r.keep(q, result{ID: r.lineID(at), CustomID: *request.CustomID, Error: &why})
			}
			if err != nil || ctx.Err() != nil {
				r.fail(err)
				return
			}
		}
	}
}

// lineID is the id of a line's request, the same for each process and try.
func (r *round) lineID(at int32) string {
	sum := sha256.Sum256(binary.BigEndian.AppendUint32([]byte(r.id), uint32(at)))
	return "batch_req_" + hex.EncodeToString(sum[:12])
}

func (r *round) fail(err error) {
	r.mu.Lock()
	if r.broken == nil {
		r.broken = err
	}
	r.mu.Unlock()
	r.enough()
}

func (r *round) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.broken
}

// left tells how many lines have no result.
func (r *round) left() int {
	n := 0
	for _, q := range r.queues {
		n += q.missing()
	}
	return n
}

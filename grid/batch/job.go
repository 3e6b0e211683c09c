package batch

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// job is a batch that has not ended.
type job struct {
	service  *Service
	id       string
	endpoint string
	input    string // path

	running atomic.Int64
	retries atomic.Int64

	mu     sync.Mutex
	record batchRecord // guarded by mu
	queues []*queue    // guarded by mu; one for each model, none before the input was read

	cancel    chan struct{} // closed when somebody cancels it
	cancelled sync.Once
}

func newJob(s *Service, r *batchRecord) *job {
	j := &job{
		service: s, id: r.ID, endpoint: r.Endpoint, input: s.store.filePath(r.InputFileID),
		record: *r, cancel: make(chan struct{}),
	}
	if r.Status == Cancelling {
		j.stop()
	}
	return j
}

// stop ends the batch early.
func (j *job) stop() { j.cancelled.Do(func() { close(j.cancel) }) }

// view is the batch as it is now.
func (j *job) view() Batch {
	j.mu.Lock()
	defer j.mu.Unlock()
	b := j.record.Batch
	b.Now = &Now{Running: int(j.running.Load()), Retries: int(j.retries.Load())}
	for _, q := range j.queues {
		if q.waiting() > 0 && b.Now.Waiting == "" {
			b.Now.Waiting = j.service.pool.waitingFor(q.model)
		}
	}
	return b
}

// change changes the record, and saves it.
func (j *job) change(do func(*batchRecord)) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	do(&j.record)
	saved := j.record
	return j.service.store.saveBatch(&saved)
}

// closing says as what the batch is being closed, if a former process began to.
func (j *job) closing() Status {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.record.ClosingAs
}

// await waits for the batch's turn to run, which comes with one of the slots;
// leave gives it back. One that ends early needs none. It reports false when the
// program stops before.
func (j *job) await(feeding context.Context, slots chan struct{}) (leave func(), ok bool) {
	expiry := time.NewTimer(time.Unix(j.record.ExpiresAt, 0).Sub(j.service.Now()))
	defer expiry.Stop()
	select {
	case slots <- struct{}{}:
		return func() { <-slots }, true
	case <-j.cancel:
	case <-expiry.C:
	case <-feeding.Done():
		return nil, false
	}
	return func() {}, true
}

// troublePause is how long a batch rests after our own disk failed it.
const troublePause = time.Minute

// run takes the batch to its end, unless a context ends before: feeding for
// new lines, ctx for those that are being asked.
func (j *job) run(ctx, feeding context.Context) {
	log := j.service.Logger.With("batch", j.id)
	for {
		err := j.work(ctx, feeding)
		switch {
		case err == nil:
			b := j.view()
			j.service.ended(j.id)
			log.Info("a batch ended", "status", b.Status, "completed", b.RequestCounts.Completed, "failed", b.RequestCounts.Failed)
			return
		case errors.Is(err, errStopped):
			return
		}
		log.Error("a batch cannot go on; trying again", "err", err, "in", troublePause)
		select {
		case <-time.After(troublePause):
		case <-feeding.Done():
			return
		}
	}
}

// errStopped ends work that the next process takes up.
var errStopped = errors.New("the program stops")

func (j *job) work(ctx, feeding context.Context) error {
	if as := j.closing(); as != "" {
		return j.close(as)
	}
	index, err := j.read()
	if err != nil {
		return err
	}
	if index == nil {
		return j.close(Failed)
	}
	as, err := j.answer(ctx, feeding, index)
	if err != nil {
		return err
	}
	return j.close(as)
}

// read checks the input. It returns nil when the batch has failed: as a rule
// before anything was asked, or because the input was damaged since.
func (j *job) read() (*index, error) {
	index, faults, err := checkFile(j.input, j.endpoint, j.service.Limits)
	if err != nil {
		return nil, err
	}
	now := j.service.Now().Unix()
	if len(faults) > 0 {
		return nil, j.change(func(r *batchRecord) { r.Errors = &Faults{"list", faults} })
	}
	return index, j.change(func(r *batchRecord) {
		if r.Status == Validating {
			r.Status, r.InProgressAt = InProgress, &now
		}
		r.Model = index.model()
		r.RequestCounts, r.Usage = Counts{Total: len(index.entries)}, Usage{}
	})
}

// count takes a kept result into the record, which is saved at the end: until
// then the files of results are what counts.
func (j *job) count(failed bool, u Usage) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if failed {
		j.record.RequestCounts.Failed++
	} else {
		j.record.RequestCounts.Completed++
		j.record.Usage.add(u)
	}
}

// Package jobs keeps requests whose answers are fetched later, and sees to it
// that each is answered once, whatever ends in the meantime.
//
// Start from [New] with a [Config]; run [Service.Run] beside the server, and
// mount the [Service], which serves /v1/jobs and what is below it (http.go, list.go). A
// worker and a router each have one, of another [Side], on the same tables of
// the ledger's file. What a job's life can be stands in state.go and is pure;
// store.go, rows.go and sweep.go write it down; run.go claims jobs under leases and has
// them fulfilled by the [Backend], which is the worker or the router itself.
//
// It may import grid, key, receipt and openai; cmd gives it the database and
// the backend. Bodies, headers and ids from clients are hostile: they are
// capped, and an id is a secret that is looked up by its hash. What a backend
// hands over it has checked.
//
// # What holds
//
// A job that was acknowledged is in the file. Who runs it holds a lease; a crash
// is a lease that ends, and the job waits again. A worker's result and receipt
// are one transaction, so a job is billed once, however often it was begun. A
// router notes where it sends a job before it does, so after a crash it asks
// there again, with the same idempotency key, before it asks anybody else.
package jobs

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"lobstah/grid"
	"lobstah/openai"
	"lobstah/receipt"
)

// A Backend accepts orders and fulfils them.
type Backend interface {
	// Receive does all that comes before a job is kept: who asks, whether it
	// may, and what it asks. It makes the job's id. An order with a fault is
	// genuine but not accepted now: it may be one that was accepted before.
	Receive(w http.ResponseWriter, r *http.Request) (*grid.Order, *openai.Error)
	// Identify tells who asks about jobs; the request has no body.
	Identify(r *http.Request) (grid.Asker, *openai.Error)
	// Reserve waits until a job of the tier may begin. What it returns gives
	// the place back and is called once.
	Reserve(ctx context.Context, tier grid.Tier) (release func(), err error)
	// Fulfil answers an order and gives the answer to log.Done, or says why
	// there is none; with again, the job is to be tried once more after
	// RetryAfter. When ctx ends by [grid.ErrJobCancelled], it makes sure that
	// nobody goes on with the job. A nil error without Done means that the job
	// is no longer its own.
	Fulfil(ctx context.Context, o grid.Order, log grid.JobLog) (fault *openai.Error, again bool)
}

// A Config says whose jobs these are. Side, Database and Backend are needed, the
// last one before anything is served or run.
type Config struct {
	Side     Side
	Database Database
	Backend  Backend
	Tier     grid.Tier // of the machine: jobs of it go first; empty means best-effort
	Holder   string    // of leases: one and the same for this run of the program

	Lives   Lives         // zero members have their defaults
	Quota   Quota         // zero members have their defaults
	Lease   time.Duration // 1 min
	MaxBody int           // bytes of a request that are kept; 8 MiB

	Logger *slog.Logger     // nil: none
	Now    func() time.Time // nil: time.Now
}

func (c Config) withDefaults() Config {
	l, q := &c.Lives, &c.Quota
	l.Open = cmp.Or(l.Open, 72*time.Hour)
	l.Done = cmp.Or(l.Done, 7*24*time.Hour)
	l.Failed = cmp.Or(l.Failed, 24*time.Hour)
	if c.Side == ForOthers {
		l.Taken = cmp.Or(l.Taken, 24*time.Hour)
	}
	q.Open = cmp.Or(q.Open, 2000)
	q.Bytes = cmp.Or(q.Bytes, 512<<20)
	q.All = cmp.Or(q.All, 20_000)
	c.Holder = cmp.Or(c.Holder, receipt.NewNonce())
	c.Lease = cmp.Or(c.Lease, time.Minute)
	c.MaxBody = cmp.Or(c.MaxBody, 8<<20)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// A Service is the jobs of one side. Make it with [New]; its methods are safe
// for concurrent use.
type Service struct {
	Config
	store store
	order []grid.Tier // of claims
	hub   hub
	wake  chan struct{} // a job may be claimed
	hurry chan struct{} // closed by Hurry
	once  sync.Once     // of Hurry

	counted struct {
		mu     sync.Mutex
		counts grid.JobCounts // guarded by mu
		at     time.Time      // guarded by mu
	}

	mu   sync.Mutex
	runs map[string]context.CancelCauseFunc // guarded by mu; by id, the jobs that run here
}

// New makes a service. It serves at once; jobs are run while [Service.Run] runs.
func New(c Config) *Service {
	s := &Service{
		Config: c.withDefaults(), store: store{c.Database, c.Side},
		order: []grid.Tier{grid.Interactive, grid.Batch, grid.BestEffort},
		wake:  make(chan struct{}, 1), hurry: make(chan struct{}), runs: map[string]context.CancelCauseFunc{},
	}
	if c.Tier == grid.Batch {
		s.order = []grid.Tier{grid.Batch, grid.Interactive, grid.BestEffort}
	}
	return s
}

// Hurry ends the waits of clients, so that a server can stop.
func (s *Service) Hurry() { s.once.Do(func() { close(s.hurry) }) }

// Counts tells how many jobs are kept, by status, as of the last second:
// anybody may ask a worker, and counting takes long when there are many.
func (s *Service) Counts(ctx context.Context) (counts grid.JobCounts, err error) {
	s.counted.mu.Lock()
	defer s.counted.mu.Unlock()
	if c := &s.counted; !c.at.IsZero() && time.Since(c.at) < time.Second {
		return c.counts, nil
	}
	if counts, err = s.store.counts(ctx); err == nil {
		s.counted.counts, s.counted.at = counts, time.Now()
	}
	return counts, err
}

// hub tells who waits for a job that it has changed. The zero value is ready.
type hub struct {
	mu      sync.Mutex
	waiting map[string][]chan struct{} // guarded by mu; by id
	n       int                        // guarded by mu
}

const maxWaiting = 4096

// join returns a channel that is closed when the job changes, and what gives it
// up; ok is false when too many wait.
func (h *hub) join(id string) (changed <-chan struct{}, leave func(), ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.n >= maxWaiting {
		return nil, func() {}, false
	}
	if h.waiting == nil {
		h.waiting = map[string][]chan struct{}{}
	}
	c := make(chan struct{})
	h.waiting[id] = append(h.waiting[id], c)
	h.n++
	return c, func() { h.leave(id, c) }, true
}

func (h *hub) leave(id string, c chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := h.waiting[id]
	for i := range list {
		if list[i] == c {
			list = append(list[:i], list[i+1:]...)
			h.n--
			break
		}
	}
	if h.waiting[id] = list; len(list) == 0 {
		delete(h.waiting, id)
	}
}

// tell wakes those who wait for the job.
func (h *hub) tell(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.waiting[id] {
		close(c)
		h.n--
	}
	delete(h.waiting, id)
}

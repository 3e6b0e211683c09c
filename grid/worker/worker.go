package worker

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"lobstah/grid"
	"lobstah/grid/engine"
	"lobstah/key"
)

// A Config says what a worker serves, and to whom. Identity and Engine are
// required; every other zero value means the default that is named.
type Config struct {
	Identity key.Pair
	Engine   engine.Engine

	Ledger    Ledger    // where receipts go; nil makes none
	Admission Admission // who may use it from beyond loopback; nil means nobody
	Open      bool      // strangers may use it too, each within the allowance
	Credit    int64     // tokens that an allowed peer may owe; 0 means no limit
	// Connection tells the key that a connection itself has proved (a mesh
	// link, a client certificate), for requests that are not signed, whose
	// debts have one signature only; nil means that none does.
	Connection func(*http.Request) (key.ID, bool)

	Tier        grid.Tier // empty means best-effort
	Concurrency int       // answers at a time, streams included; 0 means 1
	MaxQueue    int       // requests that may wait; 0 means 64, negative none
	MaxBody     int64     // bytes of a request; 0 means 32 MiB

	Silence       time.Duration // an engine may say nothing in a stream; 0 means 10 minutes
	AnswerTimeout time.Duration // a whole answer may take; 0 means 30 minutes
	WriteTimeout  time.Duration // a client may take no bytes; 0 means 30 seconds

	// JobCounts tells how many jobs are kept for later, for GET /capacity; nil
	// means that there are none.
	JobCounts func(context.Context) (grid.JobCounts, error)
	Version   string           // of the program, for GET /capacity
	Logger    *slog.Logger     // nil means slog.Default
	Now       func() time.Time // nil means time.Now
}

func (c *Config) setDefaults() {
	c.Tier = cmp.Or(c.Tier, grid.BestEffort)
	c.Concurrency = max(c.Concurrency, 1)
	c.MaxQueue = max(cmp.Or(c.MaxQueue, 64), 0)
	c.MaxBody = cmp.Or(c.MaxBody, 32<<20)
	c.Silence = cmp.Or(c.Silence, 10*time.Minute)
	c.AnswerTimeout = cmp.Or(c.AnswerTimeout, 30*time.Minute)
	c.WriteTimeout = cmp.Or(c.WriteTimeout, 30*time.Second)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Admission == nil {
		c.Admission = nobody{}
	}
}

// maxSettling answers may wait for the ledger after their engine is done and
// their slot given on; more of them keep their slots.
const maxSettling = 64

// A Worker serves one engine. Get one from [New]; it is safe for concurrent
// use.
type Worker struct {
	config  Config
	id      key.ID
	started time.Time
	facts   *facts
	queue   *queue
	nonces  struct{ known, strangers *nonces }
	repeats repeats
	commons *commons
	book    *book // nil without a ledger
	bodies  *budget
	settles chan struct{}               // answers whose receipts are being kept, at most maxSettling
	routes  map[string]http.HandlerFunc // of GET; fixed

	halt     context.Context // ends when a drain's time is over
	haltNow  context.CancelCauseFunc
	requests sync.WaitGroup // POST requests that are being served
	mu       sync.Mutex     // guards draining, and requests against Add after Wait
	draining bool
}

// New makes a worker from c.
func New(c Config) *Worker {
	c.setDefaults()
	w := &Worker{
		config:  c,
		id:      c.Identity.ID(),
		started: c.Now().Truncate(time.Millisecond), // as precise as a request's time
		facts:   newFacts(c.Engine),
		queue:   newQueue(c.Concurrency, c.MaxQueue, c.Tier),
		commons: newCommons(c.Now()),
		bodies:  newBudget(max(256<<20, 8*c.MaxBody)),
		settles: make(chan struct{}, maxSettling),
	}
	w.nonces.known, w.nonces.strangers = newNonces(), newNonces()
	if c.Ledger != nil {
		w.book = &book{ledger: c.Ledger, log: c.Logger}
	}
	w.routes = w.reads()
	w.halt, w.haltNow = context.WithCancelCause(context.Background())
	return w
}

// Run keeps the engine's facts fresh and retries a ledger that failed, until
// ctx ends.
func (w *Worker) Run(ctx context.Context) {
	var tasks sync.WaitGroup
	tasks.Go(func() { w.facts.run(ctx) })
	if w.book != nil {
		tasks.Go(func() { w.book.run(ctx) })
	}
	tasks.Wait()
}

// Drain refuses new requests, sends those that wait in the queue away with 503
// (nothing of their answer is out, so a router asks the next peer), and lets
// running answers finish. When ctx ends first it stops them, and returns ctx's
// error after they were wound up. A worker does not serve again after it.
func (w *Worker) Drain(ctx context.Context) error {
	w.mu.Lock()
	w.draining = true
	w.mu.Unlock()
	w.queue.close()
	stop := context.AfterFunc(ctx, func() { w.haltNow(errStopping) })
	defer stop()
	w.requests.Wait()
	if w.book != nil {
		w.book.last()
	}
	if w.halt.Err() != nil { // they had to be stopped
		return ctx.Err()
	}
	return nil
}

// begin counts a request in, unless the worker drains.
func (w *Worker) begin() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.draining {
		w.requests.Add(1)
	}
	return !w.draining
}

func (w *Worker) isDraining() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.draining
}

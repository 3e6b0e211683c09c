// Package batch is OpenAI's Files and Batch API over a handler that answers
// one request at a time: a file of requests goes in, each line is asked when
// there is room for it, and files of answers and errors come out.
//
// Start from [Open] with a [Config]; serve the [Service] at /v1/files and
// /v1/batches, run [Service.Run] beside the server, call [Service.Drain] to
// stop. A batch's life is read in job.go: check the input (check.go), find out
// what a former process did (journal.go), take lines (queue.go) while there is
// room (pool.go), ask (ask.go), judge the answer (verdict.go), keep it
// (journal.go), publish the results (close.go). Handlers are in files.go, upload.go
// and batches.go, what lies on disk in store.go.
//
// It may import grid, openai and internal packages; cmd gives it the router as
// an [http.Handler] and tells how much room there is. Hostile are the uploads,
// which are streamed to disk within limits and parsed line by line, and the
// answers, which are capped.
//
// # Decisions
//
// The file of answers is the journal: a line is done when its answer is synced
// there, so a crash at any moment leaves one truth to read back, and a torn
// last line is cut off. What was in flight then is asked again under the same
// request id; what was answered never is.
//
// A pool that is away or full is waited for until the window ends. Only what
// is the request's own fault, or fails again and again while others succeed,
// becomes an error.
package batch

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"lobstah/openai"
)

// A Config says what a service works with. Dir and Ask are needed.
type Config struct {
	Dir string // of files and batches; made when missing

	// Ask answers one request. Header goes along with each.
	Ask    http.Handler
	Header http.Header
	// Peers tells who can be asked for a model now. It is called often. Nil: Ask
	// takes four requests at a time.
	Peers func(model string) []Peer
	// Owner tells whose files a request may see. Nil: everybody shares all.
	Owner func(*http.Request) string

	// Patience is how long a model that was never answered in a batch may be one
	// that nobody has, before its lines fail. 2 minutes.
	Patience time.Duration

	Limits Limits
	Logger *slog.Logger     // nil: none
	Now    func() time.Time // nil: time.Now
}

// Limits bound what clients can make a service hold. A zero member has its
// default.
type Limits struct {
	File    int64 // bytes of an upload; 512 MiB
	Input   int64 // bytes of a batch's input; 200 MiB
	Lines   int   // of an input; 50,000
	Line    int   // bytes of one; 8 MiB
	Models  int   // that one input names; 64
	Answer  int   // bytes of one; 16 MiB
	Files   int   // of one owner; 1,000
	Batches int   // of one owner that have not ended; 100
	Active  int   // batches that run at a time; others wait; 32
	Disk    int64 // bytes of everything; 16 GiB
	Flight  int64 // bytes of the requests that are being asked; 256 MiB
}

func (l Limits) withDefaults() Limits {
	l.File = cmp.Or(l.File, 512<<20)
	l.Input = cmp.Or(l.Input, 200<<20)
	l.Lines = cmp.Or(l.Lines, 50_000)
	l.Line = cmp.Or(l.Line, 8<<20)
	l.Models = cmp.Or(l.Models, 64)
	l.Answer = cmp.Or(l.Answer, 16<<20)
	l.Files = cmp.Or(l.Files, 1000)
	l.Batches = cmp.Or(l.Batches, 100)
	l.Active = cmp.Or(l.Active, 32)
	l.Disk = cmp.Or(l.Disk, 16<<30)
	l.Flight = cmp.Or(l.Flight, 256<<20)
	return l
}

func (c Config) withDefaults() Config {
	c.Limits = c.Limits.withDefaults()
	if c.Peers == nil {
		c.Peers = func(string) []Peer { return []Peer{{Slots: 4}} }
	}
	if c.Owner == nil {
		c.Owner = func(*http.Request) string { return "" }
	}
	if c.Patience == 0 {
		c.Patience = 2 * time.Minute
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// A Service is the handler of /v1/files and /v1/batches, and runs the batches.
// Make one with [Open].
type Service struct {
	Config
	mux   *http.ServeMux
	store *store
	pool  *pool

	mu       sync.Mutex
	jobs     map[string]*job // guarded by mu; batches that have not ended
	starting []*job          // guarded by mu; not yet seen by Run, which wake tells
	wake     chan struct{}
	draining chan struct{} // closed by Drain
	drain    sync.Once
	idle     chan struct{} // closed when Run has no running line left after Drain
}

// Open reads what is in the folder, and makes it when it is missing. What a
// former process did not finish goes on in [Service.Run].
func Open(config Config) (*Service, error) {
	if config.Dir == "" || config.Ask == nil {
		return nil, errors.New("batch: Dir and Ask are needed")
	}
	s := &Service{
		Config: config.withDefaults(), jobs: map[string]*job{},
		wake: make(chan struct{}, 1), draining: make(chan struct{}), idle: make(chan struct{}),
	}
	var err error
	if s.store, err = openStore(s.Dir, s.Limits); err != nil {
		return nil, err
	}
	s.pool = newPool(s.Peers, s.Limits.Flight, s.Now)
	for _, r := range s.store.unfinished() {
		s.start(newJob(s, r))
	}
	s.mux = s.routes()
	return s, nil
}

func (s *Service) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/files", s.upload)
	mux.HandleFunc("GET /v1/files", s.listFiles)
	mux.HandleFunc("GET /v1/files/{id}", s.file)
	mux.HandleFunc("GET /v1/files/{id}/content", s.content)
	mux.HandleFunc("DELETE /v1/files/{id}", s.deleteFile)
	mux.HandleFunc("POST /v1/batches", s.create)
	mux.HandleFunc("GET /v1/batches", s.listBatches)
	mux.HandleFunc("GET /v1/batches/{id}", s.batch)
	mux.HandleFunc("POST /v1/batches/{id}/cancel", s.cancel)
	mux.HandleFunc("/", notFound)
	return mux
}

// Paths are where a service is to be served, as patterns of [http.ServeMux].
func Paths() []string {
	return []string{"/v1/files", "/v1/files/", "/v1/batches", "/v1/batches/"}
}

// Endpoints are the paths that a batch's lines may ask, in order.
func Endpoints() []string {
	list := slices.DeleteFunc(openai.Paths(), func(p string) bool { return openai.DialectOf(p) == openai.CountTokens })
	slices.SortFunc(list, strings.Compare)
	return list
}

// ServeHTTP implements [http.Handler]. Who may ask at all is for the caller to
// check.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Run runs the batches until ctx is done; then lines that are being asked are
// given up, to be asked again by the next process. Call it once.
func (s *Service) Run(ctx context.Context) {
	var background, jobs sync.WaitGroup
	defer background.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	background.Go(func() { s.pool.run(ctx) })
	background.Go(func() { s.sweep(ctx) })
	feeding, stop := context.WithCancel(ctx)
	defer stop()
	background.Go(func() {
		select {
		case <-s.draining:
			stop()
		case <-ctx.Done():
		}
	})
	slots := make(chan struct{}, s.Limits.Active) // taken by those that run
	for feeding.Err() == nil {
		for _, j := range s.takeStarting() {
			jobs.Go(func() {
				if leave, ok := j.await(feeding, slots); ok {
					j.run(ctx, feeding)
					leave()
				}
			})
		}
		select {
		case <-s.wake:
		case <-feeding.Done():
		}
	}
	jobs.Wait()
	close(s.idle)
}

// start hands a job to Run.
func (s *Service) start(j *job) {
	s.mu.Lock()
	s.jobs[j.id] = j
	s.starting = append(s.starting, j)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Service) takeStarting() []*job {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.starting
	s.starting = nil
	return list
}

// Drain takes no new line, and waits for those that are being asked to be
// answered and kept. Batches go on where they are with the next process.
func (s *Service) Drain(ctx context.Context) error {
	s.drain.Do(func() { close(s.draining) })
	select {
	case <-s.idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// job returns a batch that has not ended, nil for another.
func (s *Service) job(id string) *job {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.jobs[id]
}

// Running returns the batches that have not ended, of all owners, the oldest
// first.
func (s *Service) Running() []Batch {
	var list []Batch
	for _, r := range s.store.unfinished() {
		list = append(list, s.current(r))
	}
	return list
}

// ended forgets a job whose record says all there is to say.
func (s *Service) ended(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.jobs, id)
}

const sweepEvery = 10 * time.Minute

// sweep deletes what has expired.
func (s *Service) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := s.store.deleteExpired(s.Now()); err != nil {
			s.Logger.Error("cannot delete what has expired", "err", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

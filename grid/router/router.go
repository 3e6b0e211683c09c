// Package router is the client side of the grid: an [http.Handler] with one
// OpenAI-compatible address that finds a peer for each request, forwards the
// body's bytes, fails over, and checks the signed receipt that comes back.
//
// Start from [New] with a [Config]; run [Router.Run] beside the server and call
// [Router.Drain] to stop. The life of a request is read from top to bottom in
// [Router.ServeHTTP] and then exchange.go: guard (guard.go), read, pick
// (pick.go, tier.go, affinity.go, score.go), forward (attempt.go, judge.go), pass the
// answer on (whole.go, stream.go, client.go) or say why there is none
// (verdict.go), settle (settle.go). In the background go the polls of each
// peer's capacity (poll.go) and late receipts (pending.go, asked.go), and what
// they learn (roster.go, health.go, ailing.go, clock.go). Jobs, which are answered later,
// are accepted in order.go and seen through at a peer in follow.go (submit.go,
// deliver.go, withdraw.go); grid/jobs keeps them. Pages that only tell are in pages.go,
// models.go and metrics.go.
//
// It may import grid, key, receipt and openai; cmd composes it with a source of
// peers, a ledger and a round tripper, each behind an interface that stands
// here. Everything is hostile: web pages that would spend (guard.go), bodies of
// clients (capped, checked before use), and most of all what peers answer.
//
// # Decisions
//
// A peer that failed twice in a row is left out for 30 s, then gets one probe;
// where it told that its engine failed, it is left out for that model only.
// When all peers of a model are out, the one that has been out longest may be
// probed after 5 s already: somebody who repaired the only worker should not
// wait. A capacity poll that fails twice leaves a peer out until one succeeds.
//
// After a first attempt at a peer whose model digest is known, only peers with
// that digest are asked, unless the client sends "X-Lobstah-Failover: any" or
// [Config.AnyDigest] is set.
//
// The receipt header of a whole answer goes to the client unverified, since
// the check comes after the last byte; it only has to look like one.
package router

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"lobstah/grid"
	"lobstah/key"
	"lobstah/openai"
	"lobstah/receipt"
)

// Peers is the source of peers.
type Peers interface {
	// List returns the peers of this moment. It is called for each request, so
	// it has to be cheap, and best returns the same slice until something
	// changes. The router does not modify it.
	List() []grid.Peer
}

// Ledger keeps the receipts of what this router asked for. It is called from
// several goroutines.
type Ledger interface {
	// Append keeps a receipt for good. The error is [ErrKnown] when it is kept
	// already.
	Append(ctx context.Context, r *receipt.Signed) error
	// Bound reports whether a receipt of worker that is bound to request and
	// response was ever kept.
	Bound(ctx context.Context, worker key.ID) (bool, error)
	// Balances draws up the accounts.
	Balances(ctx context.Context) (Balances, error)
	// Recent returns the newest receipts first, at most limit, and how many
	// there are in all.
	Recent(ctx context.Context, limit int) (list []*receipt.Signed, total int, err error)
}

// ErrKnown is what a [Ledger] answers when it has a receipt already.
var ErrKnown = errors.New("the receipt is in the ledger already")

// Balances is the answer of GET /balance, less our own key.
type Balances struct {
	Totals  Totals    `json:"totals"`
	Self    Balance   `json:"self"`
	PerPeer []Balance `json:"perPeer"`
	// Allowance is what a stranger may owe, in tokens.
	Allowance int64 `json:"bootstrapAllowance"`
}

// Totals sums over all receipts, in tokens.
type Totals struct {
	Earned   int64 `json:"earned"`
	Spent    int64 `json:"spent"`
	Receipts int64 `json:"receipts"`
}

// Balance is the account of one key, in tokens.
type Balance struct {
	Pubkey    string `json:"pubkey"`
	Earned    int64  `json:"earned"`
	Spent     int64  `json:"spent"`
	Net       int64  `json:"net"`
	Allowance int64  `json:"allowance"`
	Available int64  `json:"available"`
}

// Timeouts bound the waits of a request. A zero member has its default.
type Timeouts struct {
	FirstByte time.Duration // until a peer shows a sign of life on a stream; 5 min
	Idle      time.Duration // silence on a stream after that; 2 min
	Answer    time.Duration // until a whole answer is complete; 15 min
	Total     time.Duration // all attempts together; 1 h
	KeepAlive time.Duration // between keep-alive comments to a silent stream's client; 10 s
	Accepted  time.Duration // from a peer's acceptance to the first keep-alive; 1 s
	Poll      time.Duration // between polls of a peer's capacity, at most; 30 s
	Capacity  time.Duration // one poll; 5 s
}

// A Config says what a router works with. Identity, Peers and RoundTripper are
// needed.
type Config struct {
	Identity     key.Pair
	Peers        Peers
	RoundTripper func(grid.Peer) http.RoundTripper // called once for each peer
	Ledger       Ledger                            // nil: no receipts are kept
	Asked        *Asked                            // nil: receipts that come after a kill -9 are missed
	Extra        map[string]http.Handler           // more pages, by pattern, behind the router's guard
	NoPeers      string                            // what clients are told when Peers are none; empty: how lobstah adds one
	Learns       bool                              // peers may come by themselves, so jobs wait for them
	Unsigned     bool                              // requests are not signed (the channel proves us)
	Scorer       Scorer                            // nil: [LeastWait]

	Keys           []string // API keys; none: every client may ask
	AllowedHosts   []string // names in the Host header beside loopback ones, "*" for any
	AllowedOrigins []string // origins of web pages that may ask, "*" for any

	Timeouts    Timeouts
	MaxBody     int64 // of a request; 64 MiB
	MaxAnswer   int64 // of a whole answer; 64 MiB
	MaxAttempts int   // peers tried for one request; 8
	MaxPlaced   int   // jobs that are at peers at a time; 64
	AnyDigest   bool  // a failover may go to other weights of the same name

	Logger *slog.Logger     // nil: none
	Now    func() time.Time // nil: time.Now
}

func (c Config) withDefaults() Config {
	t := &c.Timeouts
	for d, fallback := range map[*time.Duration]time.Duration{
		&t.FirstByte: 5 * time.Minute, &t.Idle: 2 * time.Minute, &t.Answer: 15 * time.Minute, &t.Total: time.Hour,
		&t.KeepAlive: 10 * time.Second, &t.Accepted: time.Second, &t.Poll: 30 * time.Second, &t.Capacity: 5 * time.Second,
	} {
		if *d == 0 {
			*d = fallback
		}
	}
	if c.MaxBody == 0 {
		c.MaxBody = 64 << 20
	}
	if c.MaxAnswer == 0 {
		c.MaxAnswer = 64 << 20
	}
	if c.MaxAttempts == 0 {
		c.MaxAttempts = 8
	}
	if c.MaxPlaced == 0 {
		c.MaxPlaced = 64
	}
	if c.Scorer == nil {
		c.Scorer = LeastWait{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// A Router is the handler. Make one with [New].
type Router struct {
	Config
	self     string // our key's text
	started  time.Time
	mux      *http.ServeMux
	guard    *guard
	roster   *roster
	affinity *affinity
	budget   budget
	settler  *settler
	pending  pending
	counts   counters
	places   chan struct{} // jobs that are at peers, at most MaxPlaced

	mu       sync.Mutex
	inFlight int           // guarded by mu
	draining bool          // guarded by mu
	idle     chan struct{} // guarded by mu; closed when draining and nothing is in flight
}

// New makes a router. It serves at once; capacities are polled and receipts
// kept while [Router.Run] runs.
func New(config Config) (*Router, error) {
	if config.Peers == nil || config.RoundTripper == nil {
		return nil, errors.New("router: Peers and RoundTripper are needed")
	}
	if config.Identity.IsZero() {
		return nil, errors.New("router: an identity is needed")
	}
	rt := &Router{Config: config.withDefaults(), self: config.Identity.ID().String()}
	rt.started = rt.Now()
	rt.guard = newGuard(rt.Config)
	rt.roster = newRoster(rt.RoundTripper)
	rt.affinity = newAffinity()
	rt.settler = newSettler(rt)
	rt.pending.asked = rt.Asked
	rt.idle = make(chan struct{})
	rt.places = make(chan struct{}, rt.MaxPlaced)
	rt.mux = rt.routes()
	return rt, nil
}

func (rt *Router) routes() *http.ServeMux {
	mux := http.NewServeMux()
	for _, path := range openai.Paths() {
		d := openai.DialectOf(path)
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) { rt.infer(w, r, d) })
	}
	for pattern, handler := range rt.Extra {
		mux.Handle(pattern, handler)
	}
	mux.HandleFunc("GET /v1/models", rt.models)
	mux.HandleFunc("GET /v1/models/{id...}", rt.model)
	mux.HandleFunc("GET /balance", rt.balance)
	mux.HandleFunc("GET /ledger", rt.ledger)
	mux.HandleFunc("GET /peers", rt.peers)
	mux.HandleFunc("GET /pubkey", rt.pubkey)
	mux.HandleFunc("GET /healthz", rt.healthz)
	mux.HandleFunc("GET /health", rt.healthz) // where those of engines are, at which watchers look
	mux.HandleFunc("GET /metrics", rt.metrics)
	mux.HandleFunc("GET /{$}", rt.root)
	mux.HandleFunc("/", rt.notFound)
	return mux
}

// ServeHTTP implements [http.Handler].
func (rt *Router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if e := rt.guard.check(w, r); e != nil {
		rt.refuse(w, r, e)
		return
	}
	if r.Method == http.MethodOptions && r.Header.Get("Origin") != "" {
		w.WriteHeader(http.StatusNoContent) // the preflight of an allowed page
		return
	}
	rt.mux.ServeHTTP(w, r)
}

// Run polls the peers and keeps receipts until ctx is done; then it keeps what
// is still queued and returns. Call it once.
func (rt *Router) Run(ctx context.Context) {
	rt.resume(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { rt.settler.run(ctx) })
	wg.Go(func() { rt.pollAll(ctx) })
	wg.Wait()
}

// Drain refuses new requests and waits for the running ones and their receipts,
// asking the peers once for those that are still to come. Run has to run.
func (rt *Router) Drain(ctx context.Context) error {
	rt.mu.Lock()
	if !rt.draining {
		rt.draining = true
		if rt.inFlight == 0 {
			close(rt.idle)
		}
	}
	rt.mu.Unlock()
	select {
	case <-rt.idle:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	rt.pullRest(ctx)
	return rt.settler.flush(ctx)
}

// enter counts a request in, unless the router drains.
func (rt *Router) enter() bool {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if rt.draining {
		return false
	}
	rt.inFlight++
	return true
}

func (rt *Router) leave() {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if rt.inFlight--; rt.draining && rt.inFlight == 0 {
		close(rt.idle)
	}
}

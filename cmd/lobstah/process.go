package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"lobstah/grid"
	"lobstah/grid/allow"
	"lobstah/grid/channel"
	"lobstah/grid/discover"
	"lobstah/grid/discover/lan"
	"lobstah/grid/invite"
	"lobstah/grid/jobs"
	"lobstah/grid/router"
	"lobstah/grid/worker"
	"lobstah/internal/cli"
	"lobstah/internal/control"
	"lobstah/internal/dualport"
	"lobstah/internal/home"
	"lobstah/internal/portowner"
	"lobstah/key"
	"lobstah/ledger/sqlite"
	"lobstah/receipt"
)

const (
	engineLook     = 2 * time.Second
	headerPatience = 10 * time.Second
	idlePatience   = 2 * time.Minute
	maxHeader      = 64 << 10
)

// A process is this program while it serves: a worker, a router or both, on one
// home. Its parts are opened in order by openProcess and the serve methods, and
// closed in the reverse order by close.
type process struct {
	*app
	settings processSettings
	id       key.Identity
	created  bool // the identity was made now
	log      *slog.Logger
	level    *slog.LevelVar // of log
	lock     *home.Lock
	book     *sqlite.Ledger
	awaited  *router.Asked // nil without a router
	peers    *discover.File
	allowed  *allow.List
	control  *control.Listener
	door     *invite.Door
	sharing  sharing
	opening  sync.Mutex // held while a port is opened to invited keys
	guests   guests

	mu           sync.Mutex
	closing      bool                  // guarded by mu; nothing more is served
	at           net.Addr              // guarded by mu; where the worker listens
	toAll        bool                  // guarded by mu; the worker serves strangers, too
	invited      map[string]openedPort // guarded by mu; ports opened to invited keys, by host
	worker       *worker.Worker        // guarded by mu; nil without one, or not yet
	router       *router.Router        // guarded by mu; nil without one, or not yet
	batches      *batches              // guarded by mu; the router's
	engines      *engines              // guarded by mu; nil without a worker, or not yet
	asked        *peerList             // guarded by mu; the router's peers, nil without one
	workerServer *http.Server          // guarded by mu; nil without a worker
	serving      http.Handler          // guarded by mu; the worker and its jobs, nil without
	ours, lent   *jobs.Service         // guarded by mu; the router's jobs and the worker's, nil without
	learner      *discover.Learner     // guarded by mu; of strangers for the router, nil without one
	blockPrivate bool                  // guarded by mu; what learner may not bring
	neighbours   *lan.Board            // guarded by mu; nil while the local network is not told of the worker
	announcing   *announcing           // guarded by mu; nil while nobody is told of the worker
	mesh         *meshed               // guarded by mu; nil without --mesh

	keys []string // that the router asks for
	run  string   // names this run of the program to its jobs

	halt       context.CancelFunc // begins to stop
	background context.Context    // ends when everything is drained
	cancel     context.CancelFunc
	tasks      sync.WaitGroup
	servers    []*http.Server // guarded by mu
	failed     chan error     // the first server that failed; buffered
	draining   atomic.Bool
}

// openProcess takes the home and opens what is in it. Everything that is
// damaged is found here, before anything is served. The context that it returns
// ends with ctx, or when the owner asks to stop.
func (a *app) openProcess(ctx context.Context, what string, s processSettings) (*process, context.Context, error) {
	p := &process{app: a, settings: s, run: receipt.NewNonce(), failed: make(chan error, 1)}
	p.background, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
	ctx, p.halt = context.WithCancel(ctx)
	p.log, p.level = logger(a.IO, s)
	if err := p.open(ctx, what); err != nil {
		return nil, nil, errors.Join(err, p.close())
	}
	p.serveControl()
	p.task(p.watchGuests)
	return p, ctx, nil
}

func (p *process) open(ctx context.Context, what string) (err error) {
	if p.lock, err = p.app.lock(what); err != nil {
		return err
	}
	if p.id, p.created, err = p.app.identity(ctx); err != nil {
		return err
	}
	if p.peers, err = discover.Open(p.home.Peers, p.log); err != nil {
		return cli.Hintf(err, "the file was left as it is; correct the line, or move the file away")
	}
	if p.allowed, err = allow.Open(p.home.Allow, p.log); err != nil {
		return cli.Hintf(err, "the file was left as it is; correct it, or move it away")
	}
	if p.book, err = p.openBook(ctx, p.id.Pair); err != nil {
		return err
	}
	p.door = &invite.Door{Self: p.id.ID(), Admit: p.welcome, Log: p.log.With("part", "door")}
	if p.control, err = control.Listen(p.home.Dir); err != nil {
		return err
	}
	return p.announce(func(h *home.Holder) { h.Socket = p.control.Path() })
}

// logger writes text or JSON lines to the error stream. Until the process has
// said what it is, only warnings are shown, unless everything is wanted.
func logger(streams cli.IO, s processSettings) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	if wanted := s.level(); wanted > slog.LevelDebug {
		level.Set(max(wanted, slog.LevelWarn))
	} else {
		level.Set(wanted)
	}
	options := &slog.HandlerOptions{Level: level}
	if s.LogJSON {
		return slog.New(slog.NewJSONHandler(streams.Err, options)), level
	}
	return slog.New(slog.NewTextHandler(streams.Err, options)), level
}

func (s processSettings) level() (level slog.Level) {
	if err := level.UnmarshalText([]byte(s.LogLevel)); err != nil {
		return slog.LevelInfo // the parser let only the known ones pass
	}
	return level
}

// announce changes what the lock file says about this process.
func (p *process) announce(change func(*home.Holder)) error {
	h := p.lock.Holder()
	change(&h)
	return p.lock.Update(h)
}

// serveWorker opens the worker's port and serves the engines on it; life is how
// long it looks after itself. It returns the base URL for this machine.
func (p *process) serveWorker(life context.Context, at workerAddress, s servingSettings, found *engines) (string, error) {
	config, err := p.id.ServerTLS()
	if err != nil {
		return "", err
	}
	l, err := p.listen("worker", at.Host, at.Port)
	if err != nil {
		return "", err
	}
	queue := s.Queue
	if queue == 0 {
		queue = -1 // none may wait
	}
	kept := p.keepJobs(jobs.ForOthers, s.Tier, "jobs for others")
	w := worker.New(worker.Config{
		Identity: p.id.Pair, Engine: &found.live, Ledger: workerBook{p.book}, Admission: p.allowed,
		Open: s.Open, Credit: s.Credit, Tier: s.Tier, Concurrency: s.Concurrency, MaxQueue: queue,
		JobCounts: kept.Counts, Version: version(), Logger: p.log.With("part", "worker"),
	})
	kept.Backend = w
	p.task(func() { w.Run(life) })
	p.task(func() { kept.Run(life) })
	handler := kept.Before(w)
	server := p.serve(dualport.Listen(l, config), p.behindDoor(handler))
	server.RegisterOnShutdown(kept.Hurry)
	p.serveOnMesh(p.behindDoor(handler))
	p.mu.Lock()
	p.worker, p.engines, p.at, p.toAll, p.workerServer, p.serving, p.lent = w, found, l.Addr(), s.Open, server, handler, kept
	p.mu.Unlock()
	base := "http://" + localAddress(l.Addr())
	return base, p.announce(func(h *home.Holder) { h.Worker = base })
}

// serveRouter opens the router's port. The peers are those of the file, those
// that were learned and, when worker is not empty, this machine's own at that
// URL.
func (p *process) serveRouter(at routerAddress, s askingSettings, worker string) (string, error) {
	source, learns := p.peerSource(worker)
	transport := &channel.Transport{BlockPrivate: s.BlockPrivate, ConnectTimeout: s.Timeout.Connect, Warn: func(peer grid.Peer) {
		p.log.Warn("talking to a peer without encryption, as --insecure allows", "peer", peer.Name(), "url", peer.URL)
	}}
	batches, err := p.openBatches(s)
	if err != nil {
		return "", err
	}
	if p.awaited, err = router.OpenAsked(filepath.Join(p.home.Dir, "awaited"), p.log); err != nil {
		return "", err
	}
	ours := p.keepJobs(jobs.Ours, grid.BestEffort, "jobs")
	r, err := router.New(router.Config{
		Identity: p.id.Pair, Peers: source, RoundTripper: p.overMesh(transport.RoundTripper), Ledger: routerBook{p.book}, Asked: p.awaited, Learns: learns,
		Keys: s.APIKey, AllowedHosts: s.AllowHost, AllowedOrigins: s.AllowOrigin, AnyDigest: s.AnyDigest,
		Timeouts: router.Timeouts{FirstByte: s.Timeout.FirstByte, Idle: s.Timeout.Idle, Answer: s.Timeout.Answer, Total: s.Timeout.Total},
		Extra:    withJobs(ours, batches.pages()),
		Logger:   p.log.With("part", "router"),
	})
	if err != nil {
		return "", err
	}
	l, err := p.listen("router", at.Host, at.Port)
	if err != nil {
		return "", err
	}
	ours.Backend = r
	p.mu.Lock()
	p.router, p.asked, p.batches, p.ours = r, source, batches, ours
	p.mu.Unlock()
	p.task(func() { batches.run(p.background, r) })
	p.tasks.Go(func() {
		var run sync.WaitGroup
		run.Go(func() { ours.Run(p.background) })
		r.Run(p.background)
		run.Wait()
		transport.Close()
	})
	p.serve(l, r).RegisterOnShutdown(ours.Hurry)
	base := "http://" + localAddress(l.Addr())
	return base, p.announce(func(h *home.Holder) { h.Router = base })
}

// peerSource lists whom the router may ask, and says whether there is a place
// from which it may hear of more.
func (p *process) peerSource(worker string) (source *peerList, learns bool) {
	p.mu.Lock()
	source = &peerList{file: p.peers, learner: p.learner, mesh: p.mesh}
	learns = p.mesh != nil || p.learner != nil && len(p.learner.Sources()) > 0
	p.mu.Unlock()
	if worker != "" {
		source.setSelf(p.self(worker))
	}
	return source, learns
}

// self is this machine's own worker as a peer of its router.
func (p *process) self(base string) *grid.Peer {
	return &grid.Peer{ID: p.id.ID(), URL: base, Label: ownName, Origin: grid.FromSelf}
}

// task runs f beside the others, unless nothing more is begun.
func (p *process) task(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closing {
		p.tasks.Go(f)
	}
}

// serve answers on a listener until close.
func (p *process) serve(l net.Listener, handler http.Handler) *http.Server {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: headerPatience, IdleTimeout: idlePatience, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		l.Close() // nobody will come
		return server
	}
	p.servers = append(p.servers, server)
	p.tasks.Go(func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			select {
			case p.failed <- fmt.Errorf("serve on %s: %w", l.Addr(), err):
			default:
			}
		}
	})
	return server
}

// listen opens a port, and says who has it when it is taken.
func (p *process) listen(part, host string, port int) (net.Listener, error) {
	address := net.JoinHostPort(host, strconv.Itoa(port))
	l, err := net.Listen("tcp", address)
	if err == nil {
		return l, nil
	}
	flag := "--port"
	if part == "worker" && p.lock.Holder().What == upName {
		flag = "--worker-port"
	}
	if !inUse(err) {
		return nil, cli.Hintf(fmt.Errorf("the %s cannot listen on %s: %w", part, address, err), "%s takes another port, --host another address", flag)
	}
	return nil, cli.Hintf(fmt.Errorf("the %s cannot listen on %s: %s has that port", part, address, portHolder(host, port)),
		"stop that, or take another port: %s N", flag)
}

// portHolder says who listens on a port.
func portHolder(host string, port int) string {
	who := "another program"
	if owner, ok := portowner.Find(port); ok {
		who = owner.String()
	}
	if id, ok := lobstahAt(host, port); ok {
		who += ", a lobstah with the key " + id
	}
	return who
}

// localAddress is how programs on this machine reach a listener.
func localAddress(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return addr.String()
	}
	host := tcp.IP.String()
	if tcp.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, strconv.Itoa(tcp.Port))
}

// parts returns what is served by now.
func (p *process) parts() (*worker.Worker, *router.Router, *engines) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.worker, p.router, p.engines
}

// wait serves until ctx ends or a server fails; then it finishes running
// answers.
func (p *process) wait(ctx context.Context) error {
	p.level.Set(p.settings.level())
	var failure error
	select {
	case <-ctx.Done():
	case failure = <-p.failed:
	}
	return errors.Join(failure, p.drain(ctx))
}

// close gives everything back, in the reverse order of opening.
func (p *process) close() error {
	p.mu.Lock()
	p.closing = true
	p.mu.Unlock()
	var errs []error
	for _, server := range p.servers { // final by now
		errs = append(errs, server.Close())
	}
	p.halt()
	p.cancel()
	p.tasks.Wait()
	if p.control != nil {
		errs = append(errs, ignoreClosed(p.control.Close()))
	}
	if p.awaited != nil {
		errs = append(errs, p.awaited.Close())
	}
	if p.book != nil {
		errs = append(errs, p.book.Close())
	}
	if p.lock != nil {
		errs = append(errs, p.lock.Unlock())
	}
	return errors.Join(errs...)
}

// ignoreClosed forgives a listener that its server closed already.
func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// peerList is the file's peers, after this machine itself and before the
// learned ones: of a key that comes twice the first mention counts.
type peerList struct {
	file    *discover.File
	learner *discover.Learner // nil when nobody is learned
	mesh    *meshed           // nil without --mesh

	mu   sync.Mutex
	self *grid.Peer     // guarded by mu; nil while this machine serves nothing
	from [3][]grid.Peer // guarded by mu; what list was made of
	list []grid.Peer    // guarded by mu
}

func (l *peerList) setSelf(self *grid.Peer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.self, l.list = self, nil
}

// List returns the same slice until the file or what was learned changes, or
// this machine begins or ends serving.
func (l *peerList) List() []grid.Peer {
	from := [3][]grid.Peer{l.file.Peers(), 1: l.mesh.peers()}
	if l.learner != nil {
		from[2] = l.learner.Peers()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	same := func(i int) bool { return sameSlice(from[i], l.from[i]) }
	if l.list == nil || !same(0) || !same(1) || !same(2) {
		l.from, l.list = from, slices.Concat([]grid.Peer{}, from[0], from[1], from[2])
		if l.self != nil {
			l.list = slices.Insert(l.list, 0, *l.self)
		}
	}
	return l.list
}

// sameSlice reports whether both are one and the same, not only equal.
func sameSlice(a, b []grid.Peer) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"lobstah/grid/engine/lent"
	"lobstah/grid/worker"
	"lobstah/internal/cli"
	"lobstah/internal/control"
	"lobstah/internal/dualport"
	"lobstah/internal/home"
	"lobstah/internal/portowner"
	"lobstah/key"
	"lobstah/mesh"
	"lobstah/mesh/agent"
	"lobstah/mesh/config"
	"lobstah/mesh/link"
	"lobstah/mesh/member"
	"lobstah/mesh/tool"
)

// A node is this program while it runs. It serves five kinds of callers, each by
// its own mux; mount says who they are and what they get.
type node struct {
	*app
	config *config.Config
	id     key.Identity
	log    *slog.Logger
	lock   *home.Lock
	mesh   *mesh.Node
	state  *state

	ways     http.RoundTripper // to all nodes, this one too
	problems []string          // what the owner should know, for status
	models   []*lent.Model     // that this node lends
	tools    *tool.Server      // lends this node's tools
	worker   *worker.Worker    // lends this node's models
	desk     *agent.Desk       // takes tasks for this node's agents
	exchange *agent.Exchange   // hands tasks to agents of all nodes

	onPort   *http.ServeMux // port 19000: anybody
	onMesh   *http.ServeMux // other members; mesh.Caller tells whose key
	onLocal  *http.ServeMux // 127.0.0.1:19001: any program of this machine, web pages excluded
	onSocket *http.ServeMux // the control socket: the owner
	onGuests *http.ServeMux // port 19000, without the secret: who was invited, and who was lent models

	halt    context.CancelFunc // begins to stop
	tasks   sync.WaitGroup
	servers []*http.Server // closed in reverse order
	closers []func(context.Context) error
	failed  chan error    // the first server that failed; buffered
	banned  *notice       // for keepHouse: revoked nodes
	woken   chan struct{} // for handOn; capacity 1
	joined  chan struct{} // for keepHouse; capacity 1

	rotating sync.Mutex // held while the secret changes

	mu    sync.Mutex
	offer member.Offer // guarded by mu; what the mesh is told
}

// mount is the one place where handlers meet their callers.
//
// To add something: put a handler on the mux of those who may call it, tell the
// mesh of it by n.offers, and give what must be closed to n.atEnd. A handler on
// onMesh gets the caller's proven key by mesh.Caller(r) and decides itself what
// that key may do: n.verified(key) says whether this node trusts it with more
// than models. Calls to others go through n.mesh.RoundTrip with the URL
// mesh://KEY/path; n.find(name) gives the key of a node's name or says why not.
func (n *node) mount() {
	n.onPort.Handle(link.Path, n.mesh)

	// /v1/...               models of this node           (openModels)
	// tool.Path             tools of this node            (openTools)
	// agent.Path            agents of this node           (openAgents)
	n.onMesh.HandleFunc("GET /mesh/v1/hello", n.hello)
	n.onMesh.HandleFunc("POST "+secretPath, n.takeSecret)

	// /v1/...               models of all nodes           (openModels)
	// /v1/nodes/...         tools of all nodes, on the socket (openTools)

	n.mountGuests()
	n.mountControl()
}

// offers changes what the mesh is told that this node has.
func (n *node) offers(change func(*member.Offer)) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	offer := n.offer
	change(&offer)
	if err := n.mesh.SetOffer(offer); err != nil {
		return err
	}
	n.offer = offer
	return nil
}

// atEnd closes something when the node stops, before its connections go. What
// came last is closed first.
func (n *node) atEnd(do func(context.Context) error) { n.closers = append(n.closers, do) }

// openNode takes the home and makes the node of its configuration. Everything
// that is damaged is found here, before anything is served. The context that it
// returns ends with ctx, or when the owner asks to stop.
func (a *app) openNode(ctx context.Context, log *slog.Logger) (*node, context.Context, error) {
	n := &node{
		app: a, log: log, failed: make(chan error, 1), banned: newNotice(), woken: make(chan struct{}, 1), joined: make(chan struct{}, 1),
		onPort: http.NewServeMux(), onMesh: http.NewServeMux(), onLocal: http.NewServeMux(), onSocket: http.NewServeMux(),
		onGuests: http.NewServeMux(),
	}
	ctx, n.halt = context.WithCancel(ctx)
	if err := n.open(ctx); err != nil {
		return nil, nil, errors.Join(err, n.close())
	}
	return n, ctx, nil
}

func (n *node) open(ctx context.Context) (err error) {
	if n.config, err = n.app.config(); err != nil {
		return err
	}
	if n.lock, err = n.app.lock(); err != nil {
		return err
	}
	if n.id, err = n.identity(ctx); err != nil {
		return err
	}
	if n.state, err = openState(n.home, n.config); err != nil {
		return err
	}
	n.models, n.problems = n.lend(ctx, n.config.Models)
	n.problems = append(n.problems, agentProblems(n.config.Agents)...)
	if err := n.join(); err != nil {
		return err
	}
	n.mount()
	n.ways = n.withSelf()
	if err := errors.Join(n.openModels(ctx), n.openAgents(ctx), n.openTools()); err != nil {
		return err
	}
	return n.listen()
}

// join makes the mesh's node of the configuration and of what was learned.
func (n *node) join() (err error) {
	done := n.Progress("drawing the key from the secret, which is slow on purpose")
	secrets, retired, err := n.state.secrets()
	done()
	if err != nil {
		return err
	}
	n.offer = n.config.Offer()
	n.offer.Models = slices.DeleteFunc(n.offer.Models, n.lendsNot)
	cfg := mesh.Config{
		Pair: n.id.Pair, Name: n.config.NodeID, Secrets: secrets, Retired: retired, Log: n.log.With("part", "mesh"),
		Offer: n.offer, Pins: n.state.pinned(), Revocations: n.state.revocations, Trusts: n.obeys, Notify: n.heard, Guests: n.config.Listen,
		Proxies: n.config.TrustedProxies(),
	}
	for _, p := range n.config.Peers {
		cfg.Peers = append(cfg.Peers, mesh.Peer{URL: p.URL, Name: p.NodeID, Key: p.ID()})
	}
	n.mesh, err = mesh.New(cfg)
	return err
}

// listen opens all ports before anything is served on them.
func (n *node) listen() error {
	owner, err := control.Listen(n.home.Dir)
	if err != nil {
		return err
	}
	local, err := n.port("proxyPort", "127.0.0.1", n.config.ProxyPort)
	if err != nil {
		return errors.Join(err, owner.Close())
	}
	if n.config.Listen {
		open, err := n.port("listenPort", n.config.ListenHost, n.config.ListenPort)
		if err != nil {
			return errors.Join(err, owner.Close(), local.Close())
		}
		tls, err := n.certificate()
		if err != nil {
			return errors.Join(err, owner.Close(), local.Close(), open.Close())
		}
		n.serveAs(dualport.Listen(open, tls), n.openServer())
		n.serve(n.mesh.GuestListener(), n.onGuests)
	}
	n.serve(local, localOnly(n.config.ProxyPort, n.onLocal))
	n.serve(n.mesh.Listener(), n.onMesh)
	n.serve(owner, n.onSocket)
	h := n.lock.Holder()
	h.Socket = owner.Path()
	return n.lock.Update(h)
}

// port opens a port that a field of the configuration names.
func (n *node) port(field, host string, number int) (net.Listener, error) {
	return openPort(host, number, field+" in "+n.home.Config)
}

// openPort opens a port, and says who has it when it is taken. Setting tells where
// another one is chosen.
func openPort(host string, number int, setting string) (net.Listener, error) {
	address := hostPort(host, number)
	l, err := net.Listen("tcp", address)
	if err == nil {
		return l, nil
	}
	err = fmt.Errorf("cannot listen on %s: %w", address, err)
	if owner, ok := portowner.Find(number); ok {
		err = fmt.Errorf("%w: %s has that port", err, owner)
	}
	return nil, cli.Hintf(err, "stop that, or choose another port: %s", setting)
}

const (
	headerPatience = 10 * time.Second
	idlePatience   = 2 * time.Minute
	maxHeader      = 64 << 10

	strangersHeader = 8 << 10         // of requests to the open port
	lastBytes       = 2 * time.Second // for answers that are finished to leave
)

// serve answers on a listener until close.
func (n *node) serve(l net.Listener, handler http.Handler) { n.serveAs(l, n.server(handler)) }

func (n *node) server(handler http.Handler) *http.Server {
	return &http.Server{
		Handler: handler, ReadHeaderTimeout: headerPatience, IdleTimeout: idlePatience, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(n.log.Handler(), slog.LevelDebug),
	}
}

// openServer answers anybody who reaches the machine: with little patience, and few
// at a time.
func (n *node) openServer() *http.Server {
	server := n.server(n.onPort)
	server.IdleTimeout, server.MaxHeaderBytes, server.ConnState = headerPatience, strangersHeader, new(strangers).note
	return server
}

func (n *node) serveAs(l net.Listener, server *http.Server) {
	n.servers = append(n.servers, server)
	n.tasks.Go(func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			select {
			case n.failed <- fmt.Errorf("serve on %s: %w", l.Addr(), err):
			default:
			}
		}
	})
}

// run keeps the node in the mesh until ctx ends or a part of it fails.
func (n *node) run(ctx context.Context) error {
	meshed := make(chan error, 1)
	// The node leaves the mesh in close, after its handlers have finished.
	n.tasks.Go(func() { meshed <- n.mesh.Run(context.WithoutCancel(ctx)) })
	n.tasks.Go(func() { n.keepHouse(ctx) })
	n.tasks.Go(func() { n.handOn(ctx) })
	select {
	case <-ctx.Done():
		return nil
	case err := <-meshed:
		if errors.Is(err, mesh.ErrSuperseded) {
			err = cli.Hintf(err, "clawmatrix id shows the key; a copied home folder needs an identity.json of its own")
		}
		return err
	case err := <-n.failed:
		return err
	}
}

// close gives everything back, in the reverse order of opening.
func (n *node) close() error {
	n.halt()
	ctx, cancel := context.WithTimeout(context.Background(), lastBytes)
	defer cancel()
	var errs []error
	for _, do := range slices.Backward(n.closers) {
		errs = append(errs, do(ctx))
	}
	for _, server := range slices.Backward(n.servers) {
		if server.Shutdown(ctx) != nil {
			errs = append(errs, server.Close())
		}
	}
	if n.mesh != nil {
		errs = append(errs, n.mesh.Close())
	}
	n.tasks.Wait()
	if n.lock != nil {
		errs = append(errs, n.lock.Unlock())
	}
	return errors.Join(errs...)
}

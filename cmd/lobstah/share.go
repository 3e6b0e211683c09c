package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"

	"lobstah/grid"
	"lobstah/internal/cli"
	"lobstah/internal/control"
	"lobstah/internal/home"
)

type shareCommand struct {
	On     shareOnCommand     `cmd:"" help:"Lend this machine's models to the keys that are allowed."`
	Off    shareOffCommand    `cmd:"" help:"Stop lending, after running answers are finished."`
	Status shareStatusCommand `cmd:"" default:"withargs" help:"Say whether this machine lends (what share alone does)."`
}

// Help is printed by --help.
func (shareCommand) Help() string {
	return `Turns what runs here (lobstah up, or a router) into a worker for others, and back,
without a restart: it opens a port to the keys that are allowed, by TLS, until it is
turned off or what runs here stops. Who is let in: lobstah invite, lobstah allow.`
}

type shareOnCommand struct {
	workerAddress   `embed:""`
	servingSettings `embed:""`
	engineSettings  `embed:""`
	Address         []string `placeholder:"HOST[:PORT]" help:"Where others reach this machine, when its own addresses do not lead to it; repeatable."`
	JSON            bool     `name:"json" help:"Print JSON."`
}

type shareOffCommand struct {
	JSON bool `name:"json" help:"Print JSON."`
}

type shareStatusCommand struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// Help is printed by --help.
func (shareOnCommand) Help() string {
	return `The flags count where no worker runs yet; lobstah up has its own.

Examples:
  lobstah share on
  lobstah share on --engine http://127.0.0.1:9000 --concurrency 2`
}

func (c *shareOnCommand) Run(ctx context.Context, a *app) error {
	if err := c.check(); err != nil {
		return err
	}
	in := shareRequest{Worker: c.workerAddress, Serving: c.servingSettings, Engines: c.engineSettings, Addresses: c.Address}
	return a.share(ctx, http.MethodPost, in, c.JSON)
}

func (c *shareOffCommand) Run(ctx context.Context, a *app) error {
	return a.share(ctx, http.MethodDelete, struct{}{}, c.JSON)
}

func (c *shareStatusCommand) Run(ctx context.Context, a *app) error {
	return a.share(ctx, http.MethodGet, nil, c.JSON)
}

// A shareRequest says how to serve where no worker runs yet.
type shareRequest struct {
	Worker    workerAddress   `json:"worker"`
	Serving   servingSettings `json:"serving"`
	Engines   engineSettings  `json:"engines"`
	Addresses []string        `json:"addresses,omitempty"`
}

// A shareReport says whether and what a process lends.
type shareReport struct {
	Sharing   bool     `json:"sharing"`
	Addresses []string `json:"addresses,omitempty"` // where others reach it
	Models    []string `json:"models,omitempty"`
	OnlyDemo  bool     `json:"onlyDemo,omitempty"` // there is no engine with a model yet
	Allowed   int      `json:"allowed"`            // keys beside this machine's own
	Finishing int      `json:"finishing,omitempty"`
}

func (a *app) share(ctx context.Context, method string, in any, asJSON bool) error {
	_, client, err := a.running()
	if errors.Is(err, errNothingRuns) {
		err = cli.Hintf(errors.New("nothing runs here that could lend"), "start it first: lobstah up")
	}
	if err != nil {
		return err
	}
	var r shareReport
	if err := client.Call(ctx, method, "/share", in, &r); err != nil {
		return err
	}
	if asJSON {
		return a.json(r)
	}
	a.printShare(r)
	return nil
}

func (a *app) printShare(r shareReport) {
	if !r.Sharing {
		a.say("not sharing")
		if r.Finishing > 0 {
			a.note("It still finishes %s.", cli.Plural(r.Finishing, "answer"))
		}
		return
	}
	a.say("sharing   %s", strings.Join(r.Models, ", "))
	a.say("at        %s", strings.Join(r.Addresses, ", "))
	a.say("with      %s", cli.Plural(r.Allowed, "allowed key"))
	if r.OnlyDemo {
		a.note("The demo model answers nothing; an engine is taken in as soon as it has a model. lobstah up names some.")
	}
	if r.Allowed == 0 {
		a.note("Let a machine in: lobstah invite")
	}
}

// sharing is what share on began in a process, one change at a time.
type sharing struct {
	change sync.Mutex
	on     bool               // guarded by change
	end    context.CancelFunc // guarded by change; ends the worker that share began, nil when it began none

	mu      sync.Mutex
	retired []<-chan struct{} // guarded by mu; closed when the answers of a server that was turned off are finished
}

// await adds what awaitRetired waits for, and forgets what is over.
func (s *sharing) await(done <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retired = append(slices.DeleteFunc(s.retired, func(old <-chan struct{}) bool {
		select {
		case <-old:
			return true
		default:
			return false
		}
	}), done)
}

// awaitRetired waits for the answers of what was turned off, or for ctx.
func (s *sharing) awaitRetired(ctx context.Context) {
	s.mu.Lock()
	retired := slices.Clone(s.retired)
	s.mu.Unlock()
	for _, done := range retired {
		select {
		case <-done:
		case <-ctx.Done():
			return
		}
	}
}

func (p *process) shareOn(ctx context.Context, in shareRequest) (shareReport, error) {
	p.sharing.change.Lock()
	defer p.sharing.change.Unlock()
	if worker, _, _ := p.parts(); worker == nil {
		if err := p.beginWorker(ctx, in); err != nil {
			return shareReport{}, err
		}
	}
	if _, err := p.reach(ctx, openRequest{Addresses: in.Addresses, Open: true}); err != nil {
		if ended := p.endWorker(); ended != nil {
			p.log.Warn("a worker did not end as it should", "err", ended)
		}
		return shareReport{}, err
	}
	p.sharing.on = true
	return p.shareReport(ctx), nil
}

// beginWorker starts a worker in a process that had none, for others and for
// this machine's own router.
func (p *process) beginWorker(ctx context.Context, in shareRequest) error {
	life, end := context.WithCancel(p.background)
	found, err := p.startEngines(ctx, life, in.Engines)
	var base string
	if err == nil {
		base, err = p.serveWorker(life, in.Worker, in.Serving, found)
	}
	if err != nil {
		end()
		return shared(err)
	}
	p.sharing.end = end
	p.ownWorker(base)
	return nil
}

// shared takes the hints of an error along to the command.
func shared(err error) error {
	return &control.Error{Message: err.Error(), Hint: strings.Join(cli.Hints(err), "\n")}
}

// ownWorker makes this machine's worker, or none, a peer of its router.
func (p *process) ownWorker(base string) {
	p.mu.Lock()
	peers := p.asked
	p.mu.Unlock()
	if peers == nil {
		return
	}
	if base == "" {
		peers.setSelf(nil)
		return
	}
	peers.setSelf(p.self(base))
}

func (p *process) shareOff(ctx context.Context, _ struct{}) (shareReport, error) {
	p.sharing.change.Lock()
	defer p.sharing.change.Unlock()
	p.mu.Lock()
	at, _ := p.at.(*net.TCPAddr)
	p.mu.Unlock()
	if p.sharing.end == nil && at != nil && !at.IP.IsLoopback() {
		return shareReport{}, &control.Error{
			Message: fmt.Sprintf("the worker was started to listen on %s, for as long as it runs", at),
			Hint:    "lobstah stop ends it; start it again without --worker-host (or --host)",
		}
	}
	running := p.closePorts(ctx)
	p.sharing.on = false
	err := p.endWorker()
	r := p.shareReport(ctx)
	r.Finishing = running
	return r, err
}

// closePorts closes what was opened to invited keys, and returns how many
// answers run. Those are finished.
func (p *process) closePorts(ctx context.Context) (running int) {
	p.mu.Lock()
	opened, worker := p.invited, p.worker
	p.invited = nil
	p.mu.Unlock()
	for _, port := range opened {
		p.retire(port.server, func(context.Context) error { return nil })
	}
	if worker != nil {
		var capacity grid.Capacity
		p.ask(ctx, worker, "/capacity", &capacity)
		running = capacity.Running
	}
	return running
}

// endWorker ends the worker that share began: it takes nothing new, finishes
// what runs and is gone.
func (p *process) endWorker() error {
	end := p.sharing.end
	if end == nil {
		return nil
	}
	p.sharing.end = nil
	p.mu.Lock()
	worker, server := p.worker, p.workerServer
	p.worker, p.engines, p.at, p.workerServer, p.serving, p.lent = nil, nil, nil, nil, nil, nil
	p.mu.Unlock()
	p.ownWorker("")
	p.retire(server, func(ctx context.Context) error {
		defer end()
		return worker.Drain(ctx)
	})
	return p.announce(func(h *home.Holder) { h.Worker = "" })
}

// retire closes a server's listener at once, and its connections after drain
// and after their last answers.
func (p *process) retire(server *http.Server, drain func(context.Context) error) {
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if err := server.Shutdown(gone); err != nil && !errors.Is(err, context.Canceled) {
		p.log.Warn("a listener did not close as it should", "err", err)
	}
	done := make(chan struct{})
	p.sharing.await(done)
	p.task(func() {
		defer close(done)
		err := errors.Join(drain(p.background), server.Shutdown(p.background))
		if err != nil && p.background.Err() == nil {
			p.log.Warn("a server did not end as it should", "err", err)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.closing {
			p.servers = slices.DeleteFunc(p.servers, func(s *http.Server) bool { return s == server })
		}
	})
}

func (p *process) shareReport(ctx context.Context) shareReport {
	r := shareReport{Allowed: len(p.allowed.Entries())}
	worker, _, _ := p.parts()
	if worker == nil {
		return r
	}
	p.mu.Lock()
	at, _ := p.at.(*net.TCPAddr)
	for _, port := range p.invited {
		r.Addresses = append(r.Addresses, port.address)
	}
	p.mu.Unlock()
	if len(r.Addresses) == 0 && at != nil && (p.sharing.on || !at.IP.IsLoopback()) {
		r.Addresses = []string{at.String()}
	}
	slices.Sort(r.Addresses)
	r.Sharing = len(r.Addresses) > 0
	var capacity grid.Capacity
	p.ask(ctx, worker, "/capacity", &capacity)
	r.Models = capacity.Models
	r.OnlyDemo = len(r.Models) > 0 && !slices.ContainsFunc(capacity.ModelFacts, func(m grid.Model) bool { return !m.Demo })
	return r
}

func (p *process) shareStatus(ctx context.Context) shareReport {
	p.sharing.change.Lock()
	defer p.sharing.change.Unlock()
	return p.shareReport(ctx)
}

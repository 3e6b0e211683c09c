package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"lobstah/grid"
	"lobstah/grid/batch"
	"lobstah/grid/router"
	"lobstah/internal/control"
	"lobstah/internal/home"
	"lobstah/key"
)

// A report is what a running process says of itself.
type report struct {
	home.Holder
	Version  string          `json:"version"`
	Pubkey   key.ID          `json:"pubkey"`
	Draining bool            `json:"draining"`
	Stats    *router.Stats   `json:"routerStats,omitempty"`
	Peers    []peerReport    `json:"peers,omitempty"` // as the router sees them
	Worker   *grid.Capacity  `json:"workerCapacity,omitempty"`
	Engines  []string        `json:"engines,omitempty"`
	Ports    []string        `json:"workerPorts,omitempty"` // where others may reach the worker
	Allowed  int             `json:"allowed"`
	Boards   []placeReport   `json:"announced,omitempty"`  // where the worker announces itself
	Sources  []placeReport   `json:"discovered,omitempty"` // where the router learns of peers
	Batches  []batch.Batch   `json:"batches,omitempty"`    // that have not ended
	Jobs     *grid.JobCounts `json:"jobs,omitempty"`       // that the router has
	Lent     *grid.JobCounts `json:"jobsForOthers,omitempty"`
	Problems []string        `json:"problems,omitempty"`
}

// peerReport is an entry of the router's GET /peers.
type peerReport struct {
	grid.Peer
	State struct {
		Status    string   `json:"status"`
		Models    []string `json:"models,omitempty"`
		InFlight  int64    `json:"inFlight"`
		Queue     int      `json:"queue"`
		Speed     float64  `json:"tokensPerSecond,omitempty"`
		Version   string   `json:"version,omitempty"`
		Failing   []string `json:"failingModels,omitempty"`
		LastError string   `json:"lastError,omitempty"`
	} `json:"state"`
}

// serveControl answers the owner's commands on the control socket until close.
func (p *process) serveControl() {
	mux := http.NewServeMux()
	files := fileLists{p.home}
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		control.Reply(w, p.report(r.Context()), nil)
	})
	mux.HandleFunc("POST /stop", func(w http.ResponseWriter, r *http.Request) {
		p.halt()
		control.Reply(w, struct{}{}, nil)
	})
	mux.HandleFunc("POST /reload", func(w http.ResponseWriter, r *http.Request) { control.Reply(w, struct{}{}, p.reload()) })
	route(mux, "POST /peers", p, files.AddPeer)
	route(mux, "DELETE /peers", p, files.RemovePeer)
	route(mux, "POST /allow", p, files.Allow)
	route(mux, "DELETE /allow", p, files.Disallow)
	mux.HandleFunc("GET /share", func(w http.ResponseWriter, r *http.Request) {
		control.Reply(w, p.shareStatus(r.Context()), nil)
	})
	answerCall(mux, "POST /share", p.shareOn)
	answerCall(mux, "DELETE /share", p.shareOff)
	answerCall(mux, "POST /invite", p.invite)
	answerCall(mux, "POST /reach", p.reach)
	answerCall(mux, "POST /try", p.try)
	answerCall(mux, "POST /discover", p.discover)
	p.serve(p.control, mux)
}

// route makes a change of the lists a command of the socket.
func route[In any](mux *http.ServeMux, pattern string, p *process, do func(context.Context, In) (change, error)) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		var in In
		err := control.Read(r, &in)
		var done change
		if err == nil {
			done, err = do(r.Context(), in)
		}
		if err == nil {
			err = p.reload()
		}
		p.guests.evict(p.isGuest)
		done.Live = err == nil
		control.Reply(w, done, err)
	})
}

// answerCall makes do a command of the socket.
func answerCall[In, Out any](mux *http.ServeMux, pattern string, do func(context.Context, In) (Out, error)) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		var in In
		err := control.Read(r, &in)
		var out Out
		if err == nil {
			out, err = do(r.Context(), in)
		}
		control.Reply(w, out, err)
	})
}

// reload takes the files in as they are now.
func (p *process) reload() error {
	_, peers := p.peers.Reload()
	_, allowed := p.allowed.Reload()
	return errors.Join(peers, allowed)
}

func (p *process) report(ctx context.Context) report {
	r := report{Holder: p.lock.Holder(), Version: version(), Pubkey: p.id.ID(), Draining: p.draining.Load(), Allowed: len(p.allowed.Entries())}
	if err := p.reload(); err != nil {
		r.Problems = append(r.Problems, strings.Split(err.Error(), "\n")...)
	}
	worker, router, engines := p.parts()
	if router != nil {
		stats := router.Stats()
		r.Stats = &stats
		p.ask(ctx, router, "/peers", &r.Peers)
		r.Sources = p.sourceReports()
		r.Batches = p.runningBatches()
	}
	r.Jobs, r.Lent = p.jobReports(ctx)
	r.Boards = p.boardReports()
	if worker != nil {
		p.ask(ctx, worker, "/capacity", &r.Worker)
		r.Engines, r.Ports = engines.live.state.Load().facts, p.reachable()
	}
	return r
}

// ask gets a page of one of our own handlers, without a connection. What does
// not answer (a worker whose engine is gone) is left out.
func (p *process) ask(ctx context.Context, h http.Handler, path string, out any) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		panic(err) // our own paths always parse
	}
	r.RemoteAddr = "127.0.0.1:1"
	if len(p.keys) > 0 {
		r.Header.Set("Authorization", "Bearer "+p.keys[0])
	}
	w := &page{header: http.Header{}, status: http.StatusOK}
	h.ServeHTTP(w, r)
	if w.status != http.StatusOK {
		return
	}
	if err := json.Unmarshal(w.Bytes(), out); err != nil {
		p.log.Error("cannot read our own answer", "path", path, "err", err)
	}
}

// page is a response that stays in memory.
type page struct {
	bytes.Buffer
	header http.Header
	status int
}

func (p *page) Header() http.Header    { return p.header }
func (p *page) WriteHeader(status int) { p.status = status }

// running returns the socket of the process that runs here.
func (a *app) running() (home.Holder, control.Client, error) {
	h, ok, err := a.home.Holder()
	switch {
	case err != nil:
		return h, control.Client{}, err
	case !ok:
		return h, control.Client{}, errNothingRuns
	case h.Socket == "":
		return h, control.Client{}, errors.New(h.What + " is still starting")
	}
	return h, control.Client{Path: h.Socket}, nil
}

var errNothingRuns = errors.New("nothing runs here")

// callTimeout bounds a question to the running process.
const callTimeout = 10 * time.Second

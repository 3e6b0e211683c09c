package main

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"lobstah/grid"
	"lobstah/grid/engine"
	"lobstah/grid/engine/lent"
	"lobstah/grid/engine/pool"
	"lobstah/grid/router"
	"lobstah/grid/worker"
	"lobstah/key"
	"lobstah/mesh"
	"lobstah/mesh/member"
)

// modelsAtOnce is how many answers of this node's models run at a time; engines
// have queues of their own.
const modelsAtOnce = 16

// openModels lends this node's models to the mesh by the grid's worker, and
// finds those of all nodes, its own too, by the grid's router. Neither has a
// ledger: members of one mesh do not bill each other.
func (n *node) openModels(ctx context.Context) error {
	engines := make([]engine.Engine, len(n.models))
	for i, m := range n.models {
		m.Failed = func(err error) { n.log.Warn("an engine failed", "model", m.ID, "err", err) }
		engines[i] = m
	}
	n.worker = worker.New(worker.Config{
		Identity: n.id.Pair, Engine: pool.New(engines...), Admission: members{n}, Connection: n.asker,
		Concurrency: modelsAtOnce, Version: version(), Logger: n.log.With("part", "worker"),
	})
	for _, pattern := range []string{"/v1/", "GET /capacity", "GET /healthz"} {
		n.onMesh.Handle(pattern, n.worker)
	}
	local := "127.0.0.1:" + strconv.Itoa(n.config.ProxyPort)
	finder, err := router.New(router.Config{
		Identity: n.id.Pair, Peers: &modelPeers{node: n}, RoundTripper: func(grid.Peer) http.RoundTripper { return n.ways },
		NoPeers:  "no node of the mesh lends a model now: add one to models in the configuration of any node, or see clawmatrix peers",
		Unsigned: true, AllowedHosts: []string{local}, Logger: n.log.With("part", "router"),
	})
	if err != nil {
		return err
	}
	for _, pattern := range []string{"/v1/", "GET /healthz", "GET /peers"} {
		n.onLocal.Handle(pattern, finder)
	}
	n.tasks.Go(func() { n.worker.Run(ctx) })
	n.tasks.Go(func() { finder.Run(ctx) })
	n.atEnd(n.worker.Drain)
	n.atEnd(finder.Drain)
	return nil
}

func (n *node) lendsNot(offered member.Model) bool {
	return !slices.ContainsFunc(n.models, func(m *lent.Model) bool { return m.ID == offered.ID })
}

// lookTime is how long the owner waits to hear of engines that do not answer.
const lookTime = 5 * time.Second

// missing says which models that are lent cannot be used just now, and why.
func (n *node) missing(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	faults := make([]string, len(n.models))
	var looking sync.WaitGroup
	for i, m := range n.models {
		looking.Go(func() {
			if err := m.Check(ctx); err != nil {
				faults[i] = fmt.Sprintf("the model %s cannot be used now: %v", m.ID, err)
			}
		})
	}
	looking.Wait()
	return slices.DeleteFunc(faults, func(fault string) bool { return fault == "" })
}

// asker tells the worker whose connection a request came by.
func (n *node) asker(r *http.Request) (key.ID, bool) {
	if r.Context().Value(selfKey{}) != nil {
		return n.id.ID(), true
	}
	id, err := mesh.Caller(r)
	return id, err == nil
}

// members admits every member of the mesh to the models that this node lends.
type members struct{ *node }

func (m members) Allowed(id key.ID) (label string, ok bool) {
	return m.nameOf(id), !m.mesh.Revoked(id)
}

func (members) MayUse(key.ID, grid.Model) bool { return true }

func (members) Legacy(netip.Addr, key.ID) bool { return false }

// modelPeers are the nodes that lend models.
type modelPeers struct {
	*node

	mu   sync.Mutex // guards what follows
	list []grid.Peer
	made time.Time
}

// peersAge is how old the list may be.
const peersAge = time.Second

// List returns the same slice until a node with models comes or goes.
func (p *modelPeers) List() []grid.Peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); p.list == nil || now.Sub(p.made) > peersAge {
		if list := p.look(); !slices.Equal(list, p.list) {
			p.list = list
		}
		p.made = now
	}
	return p.list
}

func (p *modelPeers) look() []grid.Peer {
	list := []grid.Peer{}
	if len(p.models) > 0 {
		list = append(list, peerOf(p.id.ID(), p.config.NodeID))
	}
	for _, m := range p.mesh.Members() {
		if m.Status != member.Dead && len(m.Offer.Models) > 0 && !p.mesh.Revoked(m.Key) {
			list = append(list, peerOf(m.Key, p.nameOf(m.Key)))
		}
	}
	return list
}

func peerOf(id key.ID, name string) grid.Peer {
	return grid.Peer{ID: id, URL: "mesh://" + id.String(), Label: name, Origin: grid.FromMesh}
}

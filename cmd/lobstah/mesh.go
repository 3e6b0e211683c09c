package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"lobstah/grid"
	"lobstah/internal/cli"
	"lobstah/mesh"
	"lobstah/mesh/config"
	"lobstah/mesh/member"
)

// meshPatience is how long starting waits for the first link.
const meshPatience = 5 * time.Second

// workerTag marks in the mesh the nodes that serve as workers of the grid.
const workerTag = "lobstah-worker"

// meshSettings let the grid go over the mesh, through NAT.
type meshSettings struct {
	Mesh       bool   `setting:"mesh" help:"Go over the clawmatrix mesh of this machine too, which needs no open port."`
	MeshConfig string `setting:"mesh-config" placeholder:"FILE" help:"The mesh's configuration; by default that of clawmatrix in CLAWMATRIX_HOME or ~/.clawmatrix."`
}

// joinMesh makes this process a node of the mesh, with the identity of the grid.
// Of the mesh's configuration it reads the secret, the peers and the pins. It
// does nothing without --mesh.
func (p *process) joinMesh(ctx context.Context, s meshSettings, tags ...string) error {
	if !s.Mesh {
		return nil
	}
	path := p.meshConfig(s)
	c, err := config.Read(path)
	if err != nil {
		return cli.Hintf(fmt.Errorf("--mesh: %w", err), "clawmatrix init begins a mesh, clawmatrix join LINE joins one; --mesh-config FILE names another file")
	}
	shared, err := readMeshState(path)
	if err != nil {
		return fmt.Errorf("--mesh: %w", err)
	}
	settings, err := p.meshNode(c, shared)
	if err != nil {
		return fmt.Errorf("--mesh: %w", err)
	}
	settings.Offer = member.Offer{Tags: tags}
	joined := make(chan struct{})
	first := sync.OnceFunc(func() { close(joined) })
	settings.Notify = func(member.Event) { first() }
	node, err := mesh.New(settings)
	if err != nil {
		return fmt.Errorf("--mesh: %w", err)
	}
	p.mu.Lock()
	p.mesh = &meshed{node: node, trust: c.Trust, self: settings.Name}
	p.mu.Unlock()
	p.task(func() {
		if err := node.Run(p.background); err != nil && p.background.Err() == nil {
			p.log.Error("the mesh is left", "err", err)
		}
	})
	p.task(func() { p.shareMesh(node, path, shared) })
	p.awaitMesh(ctx, joined)
	return nil
}

// awaitMesh gives the first link its time, so that the first request finds its
// way. A mesh that cannot be reached now is tried on.
func (p *process) awaitMesh(ctx context.Context, joined <-chan struct{}) {
	defer p.Progress("joining the mesh")()
	select {
	case <-joined:
	case <-time.After(meshPatience):
		p.warn("the mesh is not reached yet; it is tried on")
	case <-ctx.Done():
	}
}

// meshConfig is the file that --mesh-config names, else that of clawmatrix.
func (p *process) meshConfig(s meshSettings) string {
	if s.MeshConfig != "" {
		return s.MeshConfig
	}
	dir := cmp.Or(p.Getenv("CLAWMATRIX_HOME"), filepath.Join(cmp.Or(p.Getenv("HOME"), p.Getenv("USERPROFILE")), ".clawmatrix"))
	path := filepath.Join(dir, "config.yaml")
	if other := filepath.Join(dir, "config.json"); !exists(path) && exists(other) {
		return other
	}
	return path
}

// meshNode is the grid's node: it dials whom the machine's own node dials, and
// that one too when it listens.
func (p *process) meshNode(c *config.Config, shared *meshState) (settings mesh.Config, err error) {
	settings = mesh.Config{Pair: p.id.Pair, Name: c.NodeID + "-grid", Pins: shared.pins, Log: p.log.With("part", "mesh")}
	done := p.Progress("drawing the mesh's key from its secret, which is slow on purpose")
	defer done()
	if settings.Secrets, settings.Retired, err = shared.draw(); err != nil {
		return settings, err
	}
	if c.Listen {
		url := "ws://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(c.ListenPort))
		settings.Peers = append(settings.Peers, mesh.Peer{URL: url, Name: c.NodeID})
	}
	for _, peer := range c.Peers {
		settings.Peers = append(settings.Peers, mesh.Peer{URL: peer.URL, Name: peer.NodeID, Key: peer.ID()})
	}
	if len(settings.Peers) == 0 {
		return settings, errors.New("its configuration neither listens nor dials anybody: set listen or peers")
	}
	return settings, nil
}

// A meshed is the mesh as the grid uses it.
type meshed struct {
	node  *mesh.Node
	trust config.Trust
	self  string // this node's name

	mu   sync.Mutex // guards what follows
	list []grid.Peer
	made time.Time
}

// serveOnMesh answers what comes over the mesh, if this process is in it.
func (p *process) serveOnMesh(handler http.Handler) {
	p.mu.Lock()
	m := p.mesh
	p.mu.Unlock()
	if m == nil {
		return
	}
	p.serve(m.node.Listener(), handler)
}

// sayMesh says how others reach the worker over the mesh.
func (p *process) sayMesh() {
	p.mu.Lock()
	m := p.mesh
	p.mu.Unlock()
	if m == nil {
		return
	}
	p.say("In the mesh as %s. A router with --mesh reaches this worker, with no open port, by:", m.self)
	p.say("  lobstah peers add %s mesh://%s", p.id.ID(), p.id.ID())
}

// overMesh is the way to a peer: by the mesh where its address says so.
func (p *process) overMesh(otherwise func(grid.Peer) http.RoundTripper) func(grid.Peer) http.RoundTripper {
	return func(peer grid.Peer) http.RoundTripper {
		if !strings.HasPrefix(peer.URL, "mesh://") {
			return otherwise(peer)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		return &meshWay{p.mesh, peer}
	}
}

// A meshWay leads to one peer. Its node has to have the peer's key.
type meshWay struct {
	mesh *meshed // nil without --mesh
	peer grid.Peer
}

func (w *meshWay) RoundTrip(r *http.Request) (*http.Response, error) {
	if w.mesh == nil {
		return nil, errors.New("its address is in the mesh; start the router with --mesh")
	}
	id, err := w.mesh.node.Resolve(strings.TrimPrefix(w.peer.URL, "mesh://"))
	if err != nil {
		return nil, err
	}
	if id != w.peer.ID {
		return nil, fmt.Errorf("the node at %s has the key %s, not the peer's, %s", w.peer.URL, id, w.peer.ID)
	}
	return w.mesh.node.RoundTrip(r)
}

// meshAge is how old the list of workers in the mesh may be.
const meshAge = time.Second

// peers are the nodes of the mesh that say they are workers, where the mesh's
// configuration trusts whoever has its secret; nobody otherwise. It returns the
// same slice until one comes or goes.
func (m *meshed) peers() []grid.Peer {
	if m == nil || m.trust != config.BySecret {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := time.Now(); now.Sub(m.made) > meshAge {
		var list []grid.Peer
		for _, one := range m.node.Members() {
			if one.Status != member.Dead && slices.Contains(one.Offer.Tags, workerTag) {
				list = append(list, grid.Peer{ID: one.Key, URL: "mesh://" + one.Key.String(), Label: one.Name, Origin: grid.FromMesh})
			}
		}
		if !slices.Equal(list, m.list) {
			m.list = list
		}
		m.made = now
	}
	return m.list
}

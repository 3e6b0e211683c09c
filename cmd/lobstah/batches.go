package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"path/filepath"
	"sync/atomic"

	"lobstah/grid/batch"
	"lobstah/grid/router"
	"lobstah/internal/cli"
)

// batches are the router's batches: a service that asks the router's own
// handler, and whose pages stand behind the router's guard.
type batches struct {
	*batch.Service
	router atomic.Pointer[router.Router]
}

// openBatches reads the batches of this home. They go on once there is a router.
func (p *process) openBatches(s askingSettings) (*batches, error) {
	b, keys := &batches{}, s.APIKey
	if s.BatchDisk < 0 {
		return nil, cli.Usagef("--batch-disk %d: want a number of GiB", s.BatchDisk)
	}
	header := http.Header{}
	if len(keys) > 0 {
		header.Set("Authorization", "Bearer "+keys[0])
	}
	service, err := batch.Open(batch.Config{
		Dir: filepath.Join(p.home.Dir, "batches"), Ask: b, Header: header, Peers: b.peers,
		Owner: ownerOf(keys), Limits: batch.Limits{Disk: int64(s.BatchDisk) << 30}, Logger: p.log.With("part", "batch"),
	})
	b.Service = service
	return b, err
}

// ServeHTTP answers a line of a batch.
func (b *batches) ServeHTTP(w http.ResponseWriter, r *http.Request) { b.router.Load().ServeHTTP(w, r) }

func (b *batches) peers(model string) []batch.Peer {
	rooms := b.router.Load().Rooms(model)
	list := make([]batch.Peer, len(rooms))
	for i, room := range rooms {
		list[i] = batch.Peer{ID: room.ID.String(), Slots: room.Slots}
	}
	return list
}

// pages are what the router serves besides its own.
func (b *batches) pages() map[string]http.Handler {
	pages := map[string]http.Handler{}
	for _, pattern := range batch.Paths() {
		pages[pattern] = b.Service
	}
	return pages
}

// run asks r, until ctx is done.
func (b *batches) run(ctx context.Context, r *router.Router) {
	b.router.Store(r)
	b.Run(ctx)
}

// runningBatches are those of this process's router.
func (p *process) runningBatches() []batch.Batch {
	p.mu.Lock()
	b := p.batches
	p.mu.Unlock()
	return b.Running()
}

// ownerOf tells whose files a request may see: who shows another API key sees
// others. Without keys everybody who reaches the router shares all.
func ownerOf(keys []string) func(*http.Request) string {
	if len(keys) == 0 {
		return nil
	}
	return func(r *http.Request) string {
		sum := sha256.Sum256([]byte(router.ShownKey(r.Header)))
		return hex.EncodeToString(sum[:16])
	}
}

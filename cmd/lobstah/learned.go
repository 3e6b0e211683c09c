package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"lobstah/grid"
	"lobstah/grid/announce"
	"lobstah/grid/discover"
	"lobstah/key"
	"lobstah/ledger/sqlite"
)

// learnedPeers keeps in the ledger's file what sources told of peers; it is a
// [discover.Store].
type learnedPeers struct{ book *sqlite.Ledger }

// Load implements [discover.Store]. What has ended is left out.
func (l learnedPeers) Load(ctx context.Context) (list []discover.Kept, err error) {
	rows, err := l.book.Reading().QueryContext(ctx, `SELECT source, pubkey, origin, place, url, first, last, envelope
		FROM learned_peers WHERE expires >= ? ORDER BY source, pubkey`, time.Now().UnixMilli())
	if err != nil {
		return nil, fmt.Errorf("read the learned peers: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var k discover.Kept
		var id []byte
		var first, last int64
		if err := rows.Scan(&k.Source, &id, &k.Origin, &k.Where, &k.URL, &first, &last, &k.Envelope); err != nil {
			return nil, fmt.Errorf("read the learned peers: %w", err)
		}
		if len(id) != len(k.ID) {
			continue // the envelope would not fit it either
		}
		k.ID, k.First, k.Last = key.ID(id), time.UnixMilli(first).UTC(), time.UnixMilli(last).UTC()
		list = append(list, k)
	}
	return list, rows.Err()
}

// Save implements [discover.Store], and drops what has ended of all sources.
func (l learnedPeers) Save(ctx context.Context, source string, kept []discover.Kept) error {
	return l.book.Update(ctx, func(ctx context.Context, tx *sql.Conn) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM learned_peers WHERE source = ? OR expires < ?", source, time.Now().UnixMilli()); err != nil {
			return err
		}
		put, err := tx.PrepareContext(ctx, "INSERT INTO learned_peers (source, pubkey, origin, place, url, first, last, expires, models, envelope) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
		if err != nil {
			return err
		}
		defer put.Close()
		for _, k := range kept {
			offer, err := announce.Open(k.Envelope, time.Now())
			if err != nil {
				continue // it ended meanwhile
			}
			models, err := json.Marshal(slices.Concat([]string{}, offer.Models))
			if err != nil {
				return err
			}
			if _, err := put.ExecContext(ctx, source, k.ID[:], string(k.Origin), k.Where, k.URL,
				k.First.UnixMilli(), k.Last.UnixMilli(), offer.Expires().UnixMilli(), string(models), k.Envelope); err != nil {
				return err
			}
		}
		return nil
	})
}

// learned tells of the learned peers, from what runs here or from the file.
func (a *app) learned(ctx context.Context) ([]discover.Learned, error) {
	book, err := a.readBook(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer book.Close()
	own, _ := a.ownID()
	l := discover.NewLearner(discover.LearnerConfig{Self: own, Store: learnedPeers{book}, Limits: learnerLimits})
	if err := l.Restore(ctx); err != nil {
		return nil, err
	}
	return l.List(), nil
}

// A listedPeer is a line of lobstah peers list: a peer, where it was learned
// and, where it announced itself, what it offers.
type listedPeer struct {
	grid.Peer
	Learned  []sighting `json:"learned,omitempty"` // by source; none of the user's own
	LastSeen time.Time  `json:"lastSeen,omitzero"`
	Expires  time.Time  `json:"expires,omitzero"`
	Tier     grid.Tier  `json:"tier,omitempty"`
	Models   []string   `json:"models,omitempty"`
	Health   string     `json:"health,omitempty"` // as the router that runs here sees it
	Error    string     `json:"lastError,omitempty"`
}

// A sighting says that a source showed a peer.
type sighting struct {
	Source string      `json:"source"`
	Origin grid.Origin `json:"origin"`
	Where  string      `json:"where,omitempty"`
	First  time.Time   `json:"firstSeen"`
	Last   time.Time   `json:"lastSeen"`
}

// listed merges the user's peers, those learned, and what a router knows.
func listed(own []grid.Peer, learned []discover.Learned, seen []peerReport) []listedPeer {
	list := []listedPeer{}
	at := map[key.ID]int{}
	for _, p := range own {
		at[p.ID] = len(list)
		list = append(list, listedPeer{Peer: p})
	}
	for _, l := range learned {
		i, known := at[l.Peer.ID]
		if !known {
			i = len(list)
			at[l.Peer.ID] = i
			list = append(list, listedPeer{Peer: l.Peer})
		}
		list[i].announced(l)
	}
	for _, r := range seen {
		i, known := at[r.ID]
		if !known && r.Origin != grid.FromMesh { // this machine's own worker, or one that has just gone
			continue
		}
		if !known { // no file keeps those of the mesh
			i = len(list)
			at[r.ID] = i
			list = append(list, listedPeer{Peer: r.Peer})
		}
		list[i].Health, list[i].Error = r.State.Status, r.State.LastError
		if len(r.State.Models) > 0 {
			list[i].Models = r.State.Models
		}
	}
	return list
}

// announced takes up what a peer said of itself.
func (p *listedPeer) announced(l discover.Learned) {
	p.Expires, p.Tier, p.Models = l.Offer.Expires().UTC(), l.Offer.Tier, l.Offer.Models
	for _, s := range l.Seen {
		p.Learned = append(p.Learned, sighting{s.Source, s.Origin, s.Where, s.First.UTC(), s.Last.UTC()})
		if s.Last.After(p.LastSeen) {
			p.LastSeen = s.Last.UTC()
		}
	}
}

// Package discover tells a router which workers there are, and the grid that a
// worker is there.
//
// What the user keeps is peers.json, an array of
//
//	{"pubkey": "lob1…", "url": "https://host:17474", "label": "…", "insecure": false}
//
// whose first three members are the original's. [Open] gives the live list,
// [Read], [Add] and [Remove] are for commands; they keep members that they do
// not know, and write the whole file or nothing. Callers see to it that no two
// of them write at a time.
//
// What machines tell each other goes over places: a [Board] takes a worker's
// offer, a [Source] shows offers. An [Announcer] keeps an offer on boards, a
// [Learner] asks sources and keeps a bounded table of peers. The folders below
// are the places: trackers, nostr and lan.
//
// cmd/ imports it; it imports grid, grid/announce, key and internal packages.
// The file is written by people: a damaged one is refused with its line and
// never overwritten. Sources are hostile, each of its own: they only count with
// offers that their workers signed, and none can push out another's.
package discover

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"lobstah/grid"
	"lobstah/internal/durable"
	"lobstah/internal/livefile"
	"lobstah/key"
)

// MaxPeers caps the list.
const MaxPeers = 10_000

// A File is the live list of the user's peers. It is safe for concurrent use.
type File struct{ live *livefile.File[[]grid.Peer] }

// Open reads the list, which has to be sound; a missing file is an empty one.
// When the file is damaged later, the last good list stays, and the log says so.
func Open(path string, log *slog.Logger) (*File, error) {
	live, err := livefile.Open(path, log, parsePeers)
	if err != nil {
		return nil, fmt.Errorf("peers file %w", err)
	}
	return &File{live}, nil
}

// Peers returns the list, at most a second old. The caller must not change it.
func (f *File) Peers() []grid.Peer { return f.live.Get() }

// Reload reads the file at once and tells what is wrong with it.
func (f *File) Reload() ([]grid.Peer, error) {
	list, err := f.live.Reload()
	if err != nil {
		return list, fmt.Errorf("peers file %w", err)
	}
	return list, nil
}

// Read returns the list as the file has it now.
func Read(path string) ([]grid.Peer, error) {
	list, err := livefile.Read(path, parsePeers)
	if err != nil {
		return nil, fmt.Errorf("peers file %w", err)
	}
	return list, nil
}

// Add writes p to the end of the list, in the place of an entry with the same
// key, whose members that we do not know it keeps.
func Add(path string, p grid.Peer) (replaced bool, err error) {
	p.Origin = "" // the file is the user's own
	err = rewrite(path, func(list []entry) ([]entry, error) {
		kept := entry{peer: p}
		if i := slices.IndexFunc(list, func(e entry) bool { return e.peer.ID == p.ID }); i >= 0 {
			kept.raw, replaced = list[i].raw, true
			list = slices.Delete(list, i, i+1)
		}
		if len(list) >= MaxPeers {
			return nil, fmt.Errorf("more than %d peers", MaxPeers)
		}
		raw, err := merge(kept.raw, p)
		if err != nil {
			return nil, err
		}
		return append(list, entry{p, raw}), nil
	})
	return replaced, err
}

// Remove takes the entry with this key from the list and returns it.
func Remove(path string, id key.ID) (removed grid.Peer, found bool, err error) {
	err = rewrite(path, func(list []entry) ([]entry, error) {
		i := slices.IndexFunc(list, func(e entry) bool { return e.peer.ID == id })
		if i < 0 {
			return list, nil
		}
		removed, found = list[i].peer, true
		return slices.Delete(list, i, i+1), nil
	})
	return removed, found, err
}

// An entry is a peer and the JSON object that it was read from.
type entry struct {
	peer grid.Peer
	raw  json.RawMessage
}

func rewrite(path string, change func([]entry) ([]entry, error)) error {
	list, err := livefile.Read(path, parse)
	if err != nil {
		return fmt.Errorf("peers file %w", err)
	}
	before := len(list)
	list, err = change(list)
	if err != nil {
		return fmt.Errorf("peers file %s: %w", path, err)
	}
	if before == 0 && len(list) == 0 {
		return nil // nothing to say, and perhaps no file
	}
	raws := make([]json.RawMessage, len(list))
	for i, e := range list {
		raws[i] = e.raw
	}
	data, err := encode(raws)
	if err != nil {
		return fmt.Errorf("peers file %s: %w", path, err)
	}
	return durable.WriteFile(path, data, 0o600)
}

// encode writes JSON as people read it, without HTML's escapes.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(v)
	return b.Bytes(), err
}

var known = []string{"pubkey", "url", "label", "insecure", "origin"}

// sameName compares as encoding/json matches members: whatever their case.
func sameName(name string) func(string) bool {
	return func(other string) bool { return strings.EqualFold(name, other) }
}

// merge writes p's members over those of an older object.
func merge(old json.RawMessage, p grid.Peer) (json.RawMessage, error) {
	fresh, err := encode(p)
	if err != nil || old == nil {
		return fresh, err
	}
	var members, ours map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(old, &members), json.Unmarshal(fresh, &ours)); err != nil {
		return nil, err
	}
	maps.DeleteFunc(members, func(name string, _ json.RawMessage) bool { return slices.ContainsFunc(known, sameName(name)) })
	if len(members) == 0 {
		return fresh, nil
	}
	rest, err := encode(members)
	if err != nil {
		return nil, err
	}
	// {our members} and {others} become {our members, others}.
	head := bytes.TrimRight(bytes.TrimSpace(fresh), "}\n ")
	return append(append(head, ','), bytes.TrimSpace(rest)[1:]...), nil
}

// Package allow is the list of keys that a worker serves beyond its own
// machine, kept in a file that the owner changes while the worker runs:
//
//	{"version": 1,
//	 "keys":   [{"pubkey": "lob1…", "label": "Ann's laptop", "since": "2026-11-22T05:00:00Z"},
//	          {"pubkey": "lob1…", "guest": true, "models": ["qwen3:4b"], "expires": "2026-11-23T05:00:00Z"}],
//	 "legacy": [{"address": "192.168.1.7", "pubkey": "lob1…", "since": "…"}]}
//
// [Open] gives the live list to a worker; [Read], [Add] and [Remove] are for
// commands, no two of which may write at a time. A guest may use the named
// models, or all when none is named, until the permission expires. From a legacy address unsigned
// requests may name that key: programs of the original sign nothing.
//
// cmd/ imports it; it imports grid, key and internal packages. The file decides who
// may use the machine, so it is read strictly: a member that it should not have
// is damage, and a damaged file is never overwritten.
package allow

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"lobstah/grid"
	"lobstah/internal/durable"
	"lobstah/internal/livefile"
	"lobstah/key"
)

const (
	version    = 1
	maxEntries = 10_000
	maxLabel   = 128
	maxModels  = 100
)

// An Entry is one permission. With an address it is a legacy one.
type Entry struct {
	Address netip.Addr `json:"address,omitzero"`
	ID      key.ID     `json:"pubkey"`
	Label   string     `json:"label,omitempty"`
	Since   time.Time  `json:"since,omitzero"`
	Guest   bool       `json:"guest,omitempty"`  // came by invitation, for models only
	Models  []string   `json:"models,omitempty"` // that it may use; none named means all
	Expires time.Time  `json:"expires,omitzero"` // zero means never
}

// Ended reports whether the permission has expired.
func (e Entry) Ended(now time.Time) bool { return !e.Expires.IsZero() && !now.Before(e.Expires) }

// Name is the label, or the short key of an entry that has none.
func (e Entry) Name() string {
	if e.Label != "" {
		return e.Label
	}
	return e.ID.Short()
}

// same reports whether two entries permit the same thing.
func (e Entry) same(other Entry) bool {
	return e.Address == other.Address && e.ID == other.ID
}

func (e Entry) check() error {
	switch {
	case e.ID.IsZero():
		return errors.New("an entry needs the member pubkey")
	case len(e.Label) > maxLabel || strings.ContainsFunc(e.Label, func(r rune) bool { return r < ' ' || r == 0x7F }):
		return fmt.Errorf("label: want at most %d bytes on one line", maxLabel)
	case e.Address.IsValid() && (e.Guest || len(e.Models) > 0 || !e.Expires.IsZero()):
		return errors.New("guest, models and expires belong to keys, not to legacy addresses")
	case len(e.Models) > maxModels:
		return fmt.Errorf("models: want at most %d", maxModels)
	}
	return nil
}

// file is the JSON form.
type file struct {
	Version int     `json:"version"`
	Keys    []Entry `json:"keys"`
	Legacy  []Entry `json:"legacy,omitempty"`
}

// table is a parsed file, made for looking up.
type table struct {
	file
	keys   map[key.ID]Entry
	legacy map[claim]bool
}

// A claim is an address and the key that it may name.
type claim struct {
	address netip.Addr
	id      key.ID
}

// A List is the live list. It is safe for concurrent use.
type List struct{ live *livefile.File[table] }

// Open reads the list, which has to be sound; a missing file allows nobody.
// When the file is damaged later, the last good list stays, and the log says so.
func Open(path string, log *slog.Logger) (*List, error) {
	live, err := livefile.Open(path, log, parse)
	if err != nil {
		return nil, fmt.Errorf("allow file %w", err)
	}
	return &List{live}, nil
}

// Allowed reports whether id is on the list, as it is or was within the last
// second, has not expired, and under which label.
func (l *List) Allowed(id key.ID) (label string, ok bool) {
	e, ok := l.live.Get().keys[id]
	return e.Label, ok && !e.Ended(time.Now())
}

// MayUse reports whether id may use this model.
func (l *List) MayUse(id key.ID, model grid.Model) bool {
	e, ok := l.live.Get().keys[id]
	return ok && !e.Ended(time.Now()) && (len(e.Models) == 0 || slices.ContainsFunc(e.Models, model.Serves))
}

// Legacy reports whether unsigned requests from addr may name id.
func (l *List) Legacy(addr netip.Addr, id key.ID) bool {
	return l.live.Get().legacy[claim{addr.Unmap().WithZone(""), id}]
}

// Entries returns the keys, then the legacy addresses.
func (l *List) Entries() []Entry { return l.live.Get().entries() }

// Reload reads the file at once and tells what is wrong with it.
func (l *List) Reload() ([]Entry, error) {
	t, err := l.live.Reload()
	if err != nil {
		err = fmt.Errorf("allow file %w", err)
	}
	return t.entries(), err
}

// Read returns the entries as the file has them now.
func Read(path string) ([]Entry, error) {
	t, err := livefile.Read(path, parse)
	if err != nil {
		return nil, fmt.Errorf("allow file %w", err)
	}
	return t.entries(), nil
}

// Add writes e to the list, in the place of an entry that permits the same.
func Add(path string, e Entry) (replaced bool, err error) {
	e.Address = e.Address.Unmap().WithZone("")
	if err := e.check(); err != nil {
		return false, err
	}
	err = rewrite(path, func(list []Entry) []Entry {
		if i := slices.IndexFunc(list, e.same); i >= 0 {
			replaced, list[i] = true, e
			return list
		}
		return append(list, e)
	})
	return replaced, err
}

// Remove takes from the list the entries for which match says so, and returns
// them.
func Remove(path string, match func(Entry) bool) (removed []Entry, err error) {
	err = rewrite(path, func(list []Entry) []Entry {
		return slices.DeleteFunc(list, func(e Entry) bool {
			if match(e) {
				removed = append(removed, e)
				return true
			}
			return false
		})
	})
	return removed, err
}

func rewrite(path string, change func([]Entry) []Entry) error {
	t, err := livefile.Read(path, parse)
	if err != nil {
		return fmt.Errorf("allow file %w", err)
	}
	before := t.entries()
	out := file{Version: version, Keys: []Entry{}}
	for _, e := range change(slices.Clone(before)) {
		if e.Address.IsValid() {
			out.Legacy = append(out.Legacy, e)
		} else {
			out.Keys = append(out.Keys, e)
		}
	}
	if len(before) == 0 && len(out.Keys)+len(out.Legacy) == 0 {
		return nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(out); err != nil {
		return fmt.Errorf("allow file %s: %w", path, err)
	}
	return durable.WriteFile(path, b.Bytes(), 0o600)
}

func (t table) entries() []Entry { return slices.Concat(t.Keys, t.Legacy) }

func parse(data []byte) (table, error) {
	t := table{keys: map[key.ID]Entry{}, legacy: map[claim]bool{}}
	if data == nil {
		return t, nil
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&t.file); err != nil {
		return t, decodeFault(data, dec.InputOffset(), err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return t, livefile.At(data, dec.InputOffset(), errors.New("text after the list"))
	}
	if t.Version != version {
		return t, livefile.At(data, 0, fmt.Errorf("version %d is unknown; this program reads %d", t.Version, version))
	}
	if len(t.Keys)+len(t.Legacy) > maxEntries {
		return t, fmt.Errorf("more than %d entries", maxEntries)
	}
	return t, t.index()
}

// decodeFault gives an error of the decoder its line; those without a place of
// their own happened in the value that was being read.
func decodeFault(data []byte, offset int64, err error) error {
	placed := livefile.JSON(data, err)
	if _, ok := errors.AsType[*livefile.DamagedError](placed); ok {
		return placed
	}
	return livefile.At(data, offset, err)
}

func (t *table) index() error {
	for i, e := range t.Keys {
		if err := e.check(); err != nil {
			return fmt.Errorf("keys, entry %d: %w", i+1, err)
		}
		if e.Address.IsValid() {
			return fmt.Errorf("keys, entry %d: an address belongs to legacy", i+1)
		}
		t.keys[e.ID] = e
	}
	for i, e := range t.Legacy {
		if err := e.check(); err != nil {
			return fmt.Errorf("legacy, entry %d: %w", i+1, err)
		}
		if !e.Address.IsValid() {
			return fmt.Errorf("legacy, entry %d: it needs the member address", i+1)
		}
		t.legacy[claim{e.Address.Unmap().WithZone(""), e.ID}] = true
	}
	return nil
}

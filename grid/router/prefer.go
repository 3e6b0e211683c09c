package router

import (
	"net/http"
	"slices"

	"lobstah/grid"
	"lobstah/key"
)

// preferred reads whom a request wants; zero for nobody.
func preferred(h http.Header) key.ID {
	text := h.Get(grid.PreferHeader)
	if text == "" {
		return key.ID{}
	}
	id, _ := key.ParseID(text) // what is no key names nobody
	return id
}

// wanted returns the candidate that the request wants.
func wanted(list []candidate, id key.ID) (candidate, bool) {
	at := slices.IndexFunc(list, func(c candidate) bool { return c.ID == id })
	if id.IsZero() || at < 0 {
		return candidate{}, false
	}
	return list[at], true
}

// A Room is what a peer could take up now.
type Room struct {
	ID    key.ID
	Slots int // answers at once, less those that others make it do; at least 1
}

// Rooms lists the peers that can be asked for a model now, for requests that
// nobody waits for: peers that are meant for people only when there are no
// others.
func (rt *Router) Rooms(model string) []Room {
	now := rt.Now()
	var rooms, peoples []Room
	for _, o := range rt.roster.sync(rt.Peers.List()).serving(model) {
		if !o.ready(now, false) {
			continue
		}
		load := o.load(now, grid.Batch)
		room := Room{o.ID, int(max(1, load.Slots-load.Others))}
		if o.tier == grid.Interactive {
			peoples = append(peoples, room)
		} else {
			rooms = append(rooms, room)
		}
	}
	if len(rooms) == 0 {
		return peoples
	}
	return rooms
}

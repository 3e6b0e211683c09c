package tracker

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
)

//go:embed web
var web embed.FS

// part is a file of the page.
type part struct {
	kind, tag string
	body      []byte
}

// parts are the page's files by their paths; fixed.
var parts = map[string]part{
	"/":            load("index.html", "text/html; charset=utf-8"),
	"/tracker.js":  load("tracker.js", "text/javascript; charset=utf-8"),
	"/tracker.css": load("tracker.css", "text/css; charset=utf-8"),
	"/icon.svg":    load("icon.svg", "image/svg+xml"),
}

func load(name, kind string) part {
	body, err := web.ReadFile("web/" + name)
	if err != nil {
		panic(err) // it is part of the program
	}
	sum := sha256.Sum256(body)
	return part{kind, `"` + hex.EncodeToString(sum[:8]) + `"`, body}
}

// policy lets the page run its own script, ask its own tracker, and nothing
// else: whatever a stranger's text may try.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'"

func servePage(w http.ResponseWriter, r *http.Request) {
	serveBody(w, r, parts["/"])
}

// servePart serves a file of the page and reports whether there is one.
func servePart(w http.ResponseWriter, r *http.Request) bool {
	p, ok := parts[r.URL.Path]
	if ok {
		serveBody(w, r, p)
	}
	return ok
}

func serveBody(w http.ResponseWriter, r *http.Request, p part) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", p.tag)
	if matchesTag(r.Header.Values("If-None-Match"), p.tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", p.kind)
	send(w, p.body)
}

// What the page asks for: GET /search with the parameters of GET /peers.
type (
	searchAnswer struct {
		Now    int64         `json:"now"`  // the tracker's clock, Unix milliseconds
		Live   int           `json:"live"` // peers that are listed in all
		Day    []uint32      `json:"day"`  // the same over the last day, in half hours, oldest first
		Peers  []searchPeer  `json:"peers"`
		Next   string        `json:"next,omitempty"`
		Models []searchModel `json:"models"`
	}
	searchPeer struct {
		Offer json.RawMessage `json:"offer"` // the envelope
		Load  []*int          `json:"load"`  // percent of its places in use over the last day; null where it was not seen
	}
	searchModel struct {
		ID    string   `json:"id"`
		Peers int      `json:"peers"`
		Day   []uint32 `json:"day"` // how many served it over the last day
	}
)

const shownModels = 24

func (t *Tracker) serveSearch(w http.ResponseWriter, r *http.Request) {
	values := r.URL.Query()
	if values.Get("limit") == "" {
		values.Set("limit", "50")
	}
	q, found, fault := t.ask(r, values, true)
	if fault != nil {
		fail(w, fault)
		return
	}
	live, day := t.index.total()
	answer := searchAnswer{
		Now: t.config.Now().UnixMilli(), Live: live, Day: day,
		Peers: make([]searchPeer, len(found.views)), Models: []searchModel{},
	}
	slot := slotOf(t.config.Now())
	for i, v := range found.views {
		answer.Peers[i] = searchPeer{json.RawMessage(v.envelope), percents(found.loads[i].read(slot, 0))}
	}
	if found.more {
		answer.Next = cursor(found.next, t.epoch)
	}
	if q.after == 0 {
		for _, m := range t.index.findModels(q, shownModels) {
			answer.Models = append(answer.Models, searchModel{m.name, m.live, m.day})
		}
	}
	body, err := json.Marshal(answer)
	if err != nil {
		panic(err) // envelopes are JSON, the rest is ours
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	send(w, body)
}

// percents turns slots into what the page plots.
func percents(slots []uint8) []*int {
	list := make([]*int, len(slots))
	for i, n := range slots {
		if n > 0 {
			list[i] = new(int(n) - 1)
		}
	}
	return list
}

// total is how many are listed, now and over the day.
func (ix *index) total() (live int, over []uint32) {
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	return ix.all.live, ix.all.day.read(slotOf(ix.now()), uint32(ix.all.live))
}

// wantsPage tells browsers from programs.
func wantsPage(r *http.Request) bool { return strings.Contains(r.Header.Get("Accept"), "text/html") }

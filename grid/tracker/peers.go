package tracker

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"lobstah/openai"
)

// shareReading lets pages from anywhere read an answer, without credentials.
// Nothing that changes the list is shared so.
func shareReading(w http.ResponseWriter) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Access-Control-Expose-Headers", "ETag, Link, Retry-After")
}

// servePreflight answers a browser that asks whether a page may read.
func servePreflight(w http.ResponseWriter) {
	shareReading(w)
	w.Header().Set("Access-Control-Allow-Methods", "GET, HEAD")
	w.Header().Set("Access-Control-Allow-Headers", "If-None-Match, Last-Event-ID, Cache-Control")
	w.Header().Set("Access-Control-Max-Age", "86400")
	w.WriteHeader(http.StatusNoContent)
}

func badQuery(err error) *openai.Error {
	e := &openai.Error{Status: http.StatusBadRequest, Type: "invalid_request_error", Message: err.Error()}
	if errors.Is(err, errCursor) {
		e.Status, e.Code = http.StatusGone, "cursor_gone"
	}
	return e
}

// ask reads a query, takes what it costs from the client's bucket, and answers
// it.
func (t *Tracker) ask(r *http.Request, values url.Values, withLoads bool) (query, page, *openai.Error) {
	q, fault := t.admitQuery(r, values)
	if fault != nil {
		return q, page{}, fault
	}
	answer, err := t.find(r.Context(), q, withLoads)
	if err != nil {
		return q, page{}, &openai.Error{Status: http.StatusServiceUnavailable, Type: "server_error", Message: "the search was given up"}
	}
	return q, answer, nil
}

func (t *Tracker) admitQuery(r *http.Request, values url.Values) (query, *openai.Error) {
	q, err := parseQuery(values, t.epoch)
	if err != nil {
		return q, badQuery(err)
	}
	cost := 1
	if q.long() {
		cost = searchCost
	}
	if wait := t.reads.take(t.client(r), cost, t.config.Now()); wait > 0 {
		return q, tooMany(wait, "from your network")
	}
	return q, nil
}

// long reports whether q may look at every entry.
func (q query) long() bool { return len(q.words) > 0 || q.capability != "" || q.limit == 0 }

// find lets only some long searches run at a time; the others wait for them.
func (t *Tracker) find(ctx context.Context, q query, withLoads bool) (page, error) {
	if q.long() {
		select {
		case t.searching <- struct{}{}:
			defer func() { <-t.searching }()
		case <-ctx.Done():
			return page{}, ctx.Err()
		}
	}
	return t.index.find(ctx, q, withLoads)
}

func (t *Tracker) servePeers(w http.ResponseWriter, r *http.Request) {
	shareReading(w)
	values := r.URL.Query()
	if strings.Contains(r.Header.Get("Accept"), "text/event-stream") && r.Method == http.MethodGet {
		t.serveStream(w, r)
		return
	}
	_, answer, fault := t.ask(r, values, false)
	if fault != nil {
		fail(w, fault)
		return
	}
	tag := answer.tag()
	w.Header().Set("ETag", tag)
	w.Header().Set("Cache-Control", "no-cache") // ask again, with the tag
	next := ""
	if answer.more {
		next = cursor(answer.next, t.epoch)
		values.Set("after", next)
		w.Header().Set("Link", "</peers?"+values.Encode()+`>; rel="next"`)
	}
	if matchesTag(r.Header.Values("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if r.Method != http.MethodHead {
		answer.write(w, next)
	}
}

// tag names what the page holds: which announcement of which keys.
func (p page) tag() string {
	h := sha256.New()
	var b [48]byte
	for _, v := range p.views {
		copy(b[:32], v.id[:])
		binary.BigEndian.PutUint64(b[32:], uint64(v.at))
		h.Write(b[:40])
	}
	binary.BigEndian.PutUint64(b[:8], p.next)
	h.Write(b[:8])
	return `"` + hex.EncodeToString(h.Sum(nil)[:16]) + `"`
}

// matchesTag compares as RFC 9110, section 13.1.2, says: weakly.
func matchesTag(fields []string, tag string) bool {
	for _, field := range fields {
		for one := range strings.SplitSeq(field, ",") {
			if one = strings.TrimSpace(one); one == "*" || strings.TrimPrefix(one, "W/") == tag {
				return true
			}
		}
	}
	return false
}

// write writes the original's answer; next is ours.
func (p page) write(w http.ResponseWriter, next string) {
	head := `{"version":1,"count":` + strconv.Itoa(len(p.views)) + `,"peers":[`
	tail := `]}`
	if next != "" {
		tail = `],"next":"` + next + `"}`
	}
	size := len(head) + len(tail) + max(len(p.views)-1, 0)
	for _, v := range p.views {
		size += len(v.envelope)
	}
	w.Header().Set("Content-Length", strconv.Itoa(size))
	part := append(make([]byte, 0, min(size, readAtATime+len(tail))), head...)
	for i, v := range p.views {
		if i > 0 {
			part = append(part, ',')
		}
		if len(part)+len(v.envelope) > readAtATime {
			send(w, part)
			part = part[:0]
		}
		part = append(part, v.envelope...)
	}
	send(w, append(part, tail...))
}

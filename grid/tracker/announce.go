package tracker

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"lobstah/grid"
	"lobstah/grid/announce"
	"lobstah/key"
	"lobstah/openai"
)

// A rejection is the original's answer to a statement that does not count.
// Message is ours; it is left out where the original's answer is known.
type rejection struct {
	Type    string `json:"type"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

func reject(w http.ResponseWriter, why rejection) {
	body, _ := json.Marshal(map[string]rejection{"error": why}) // strings only
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadRequest)
	send(w, body)
}

// rejectionOf says why a statement was not opened.
func rejectionOf(err error) rejection {
	switch {
	case errors.Is(err, announce.ErrJSON):
		return rejection{Type: "bad_json"}
	case errors.Is(err, announce.ErrStale):
		return rejection{Type: "rejected", Reason: "stale"}
	case errors.Is(err, announce.ErrFuture):
		return rejection{Type: "rejected", Reason: "future"}
	case errors.Is(err, announce.ErrMalformed):
		return rejection{"rejected", "malformed", err.Error()}
	}
	return rejection{Type: "rejected", Reason: "bad-signature"}
}

// bodies are buffers for requests that are being read and for short answers.
var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// read reads a statement of at most limit bytes into a buffer of the pool.
func (t *Tracker) read(w http.ResponseWriter, r *http.Request, from network, limit int64) (*bytes.Buffer, *openai.Error) {
	if wait := t.announces.take(from, 1, t.config.Now()); wait > 0 {
		return nil, tooMany(wait, "from your network")
	}
	body := bodies.Get().(*bytes.Buffer)
	body.Reset()
	_, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, limit))
	if err == nil {
		return body, nil
	}
	bodies.Put(body)
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, &openai.Error{
			Status: http.StatusRequestEntityTooLarge, Type: "invalid_request_error", Code: "too_large",
			Message: fmt.Sprintf("a statement takes at most %d bytes", limit),
		}
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("it ended early")
	}
	return nil, &openai.Error{Status: http.StatusBadRequest, Type: "bad_json", Message: fmt.Sprintf("read the request: %v", err)}
}

func (t *Tracker) serveAnnounce(w http.ResponseWriter, r *http.Request) {
	from := t.client(r)
	body, fault := t.read(w, r, from, announce.MaxBytes)
	if fault != nil {
		fail(w, fault)
		return
	}
	s, err := announce.Open(body.Bytes(), t.config.Now())
	bodies.Put(body)
	if err != nil {
		reject(w, rejectionOf(err))
		return
	}
	if t.config.Allow != nil {
		if err := t.config.Allow(s.Peer(grid.FromTracker)); err != nil {
			reject(w, rejection{"rejected", "unsafe-url", err.Error()})
			return
		}
	}
	listed, why, fault := t.list(r.Context(), s, from)
	switch {
	case fault != nil:
		fail(w, fault)
	case why != rejection{}:
		reject(w, why)
	default:
		welcome(w, s, listed)
	}
}

// welcome is the original's answer to an announcement that counts.
func welcome(w http.ResponseWriter, s *announce.Signed, listed int) {
	w.Header().Set("Content-Type", "application/json")
	room := bodies.Get().(*bytes.Buffer)
	defer bodies.Put(room)
	room.Reset()
	body := append(room.AvailableBuffer(), `{"ok":true,"pubkey":"lob1`...)
	body = hex.AppendEncode(body, s.ID[:])
	body = strconv.AppendInt(append(body, `","ttlSeconds":`...), int64(s.Lifetime()/time.Second), 10)
	body = strconv.AppendInt(append(body, `,"registeredCount":`...), int64(listed), 10)
	send(w, append(body, '}'))
}

// list puts an offer that was opened on the list and returns how many are there
// then, or why it is not.
func (t *Tracker) list(ctx context.Context, s *announce.Signed, from network) (int, rejection, *openai.Error) {
	if wait := t.index.renew(s.ID); wait > 0 {
		return 0, rejection{}, tooMany(wait, "of this key")
	}
	record := Record{s.ID, s.AnnouncedAt.UnixMilli(), s.String()}
	if fault := full(t.index.admits(s.ID, from, len(record.Envelope))); fault != nil {
		return 0, rejection{}, fault
	}
	reached, why, fault := t.probe(ctx, s)
	if fault != nil || why != (rejection{}) {
		return 0, why, fault
	}
	kept, err := t.config.Store.Put(ctx, record)
	switch {
	case err != nil:
		t.config.Logger.Error("the store did not take an announcement", "key", s.ID, "error", err)
		return 0, rejection{}, storeFault()
	case kept != record:
		return 0, rejection{"rejected", "superseded", "a newer announcement or withdrawal of this key is known"}, nil
	}
	// Superseded here means that the same one was listed before.
	_, listed := t.index.put(s, kept.Envelope, from, reached)
	return listed, rejection{}, nil
}

func storeFault() *openai.Error {
	return &openai.Error{
		Status: http.StatusServiceUnavailable, Type: "server_error", Code: "store_failed",
		Message: "the tracker cannot keep announcements now", RetryAfter: 30 * time.Second,
	}
}

// full is the answer when there is no room.
func full(v verdict) *openai.Error {
	code, message := "registry_full", "the tracker is full: it takes no new keys until others leave; use another tracker"
	switch v {
	case registryFull:
	case shareFull:
		code, message = "share_full", "too many keys are announced from your network"
	default:
		return nil
	}
	return &openai.Error{Status: http.StatusServiceUnavailable, Type: "server_error", Code: code, Message: message, RetryAfter: time.Minute}
}

// probe asks the worker for its key where it says that it is, unless that was
// done lately. Only the step that failed is told, never what answered there.
func (t *Tracker) probe(ctx context.Context, s *announce.Signed) (probe, rejection, *openai.Error) {
	if t.config.Reach == nil {
		return probe{}, rejection{}, nil
	}
	now := t.config.Now()
	last := t.index.reached(s.ID)
	if last.url == s.URL && now.UnixNano()-last.at < int64(probeMemory) {
		return last, rejection{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, probePatience)
	defer cancel()
	if u, err := url.Parse(s.URL); err == nil {
		if wait := t.probes.take(u.Host, 1, now); wait > 0 {
			return probe{}, rejection{}, tooMany(wait, "to reach "+u.Host)
		}
	}
	select {
	case t.probing <- struct{}{}:
		defer func() { <-t.probing }()
	case <-ctx.Done():
		return probe{}, rejection{}, &openai.Error{
			Status: http.StatusServiceUnavailable, Type: "server_error", Code: "busy",
			Message: "the tracker reaches for too many workers now; try again later", RetryAfter: 30 * time.Second,
		}
	}
	if err := t.config.Reach(ctx, s.Peer(grid.FromTracker)); err != nil {
		t.config.Logger.Info("a worker was not reached where it says it is", "key", s.ID, "url", s.URL, "error", err)
		return probe{}, rejection{"rejected", "unreachable", "this tracker lists only workers that it can reach, and it could not reach " + s.URL}, nil
	}
	return probe{s.URL, now.UnixNano()}, rejection{}, nil
}

func (t *Tracker) serveUnannounce(w http.ResponseWriter, r *http.Request) {
	body, fault := t.read(w, r, t.client(r), 1<<10)
	if fault != nil {
		fail(w, fault)
		return
	}
	statement, err := announce.OpenWithdrawal(body.Bytes(), t.config.Now())
	bodies.Put(body)
	if err != nil {
		reject(w, rejectionOf(err))
		return
	}
	removed, err := t.remove(r.Context(), statement.ID, statement.At.UnixMilli())
	if err != nil {
		t.config.Logger.Error("the store did not take a withdrawal", "key", statement.ID, "error", err)
		fail(w, storeFault())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	send(w, fmt.Appendf(nil, `{"ok":true,"removed":%t}`, removed))
}

// remove takes what id offered up to a time off the list. When the registry is
// full, the withdrawal of a key that it does not know is not remembered.
func (t *Tracker) remove(ctx context.Context, id key.ID, at int64) (bool, error) {
	if !t.index.remembers(id) {
		return false, nil
	}
	if _, err := t.config.Store.Put(ctx, Record{ID: id, At: at}); err != nil {
		return false, err
	}
	return t.index.withdraw(id, at), nil
}

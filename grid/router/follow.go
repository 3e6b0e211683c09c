package router

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"lobstah/grid"
	"lobstah/key"
	"lobstah/openai"
	"lobstah/receipt"
)

const (
	jobsPath      = "/v1/jobs"
	jobWait       = 25 * time.Second // that a worker of ours holds an answer back for
	jobPatience   = 20 * time.Second // for a worker to answer otherwise
	firstLook     = 250 * time.Millisecond
	seldomLook    = 5 * time.Second
	fewTimes      = 5
	peerPause     = 10 * time.Second // before a peer that cannot be reached is asked again
	mostProofs    = 8
	mostRefusals  = 32
	jobPageBytes  = grid.MaxJobBytes + 1<<20
	maxRemoteName = 128
)

// A placement is what a router notes of a job, before it does what it says.
type placement struct {
	Peer    key.ID    `json:"peer,omitzero"`     // who has it, or may have; zero for nobody
	Remote  string    `json:"remote,omitempty"`  // its id there, once it is known to have arrived
	Key     string    `json:"key,omitempty"`     // that makes a second submission there the same job
	Proofs  []string  `json:"proofs,omitempty"`  // signatures of the submissions; the receipt names one
	Receipt string    `json:"receipt,omitempty"` // nonce of the one receipt that counts for it
	Refused []refusal `json:"refused,omitempty"`
}

// A refusal is a peer that does not answer this job.
type refusal struct {
	Peer      key.ID        `json:"peer"`
	Status    int           `json:"status,omitempty"`
	Message   string        `json:"message"`
	Temporary bool          `json:"temporary,omitempty"` // another time it may
	After     time.Duration `json:"after,omitempty"`
}

// An ending is how following a job ended without an answer.
type ending struct {
	fault *openai.Error
	again bool
}

func (e *ending) Error() string { return e.fault.Message }

// errNext says that another peer is to be asked.
var errNext = errors.New("another peer is to be asked")

// A follower sees one job through. The goroutine that runs the job owns it.
type follower struct {
	rt       *Router
	log      grid.JobLog
	order    grid.Order
	body     []byte // as peers get it
	hash     [32]byte
	prefixes []uint64
	only     key.ID // the peer that the client insists on; zero for none
	place    placement
	begun    bool
}

// run goes on until the job is answered. The error is an [*ending], or the
// log's.
func (f *follower) run(ctx context.Context) error {
	for {
		err := f.step(ctx)
		if !errors.Is(err, errNext) {
			return err
		}
	}
}

func (f *follower) step(ctx context.Context) error {
	if context.Cause(ctx) != nil {
		return f.abandon(ctx)
	}
	if f.place.Peer.IsZero() {
		if err := f.choose(ctx); err != nil {
			return err
		}
	}
	p := f.peer()
	if p == nil {
		return later(peerPause, "the peer %s, which has the job, is not among the peers any more; add it again to get the answer", f.place.Peer.Short())
	}
	if p.health.lost() { // looking whether it is back is the polls' job
		p.poke()
		return later(peerPause, "%s, which has the job, does not answer", p.Name())
	}
	p.placed.Add(1)
	defer p.placed.Add(-1)
	if f.place.Remote == "" {
		err := f.submit(ctx, p)
		for pause := firstLook; isLater(err) && pause < seldomLook && rest(ctx, pause); pause *= 4 {
			err = f.submit(ctx, p) // it may have been a moment's trouble
		}
		if err != nil {
			return f.interrupted(ctx, err)
		}
	}
	return f.interrupted(ctx, f.follow(ctx, p))
}

// interrupted lets step see to the end of the context, if that is what failed.
func (f *follower) interrupted(ctx context.Context, err error) error {
	if err != nil && context.Cause(ctx) != nil {
		return errNext
	}
	return err
}

// choose picks the peer that the job goes to and notes it.
func (f *follower) choose(ctx context.Context) error {
	rt := f.rt
	v := rt.roster.sync(rt.Peers.List())
	v.awaitFirstPolls(ctx)
	v = rt.roster.sync(rt.Peers.List()).only(f.only)
	w := &wish{tier: f.order.Tier, model: f.order.Model, prefixes: f.prefixes}
	for _, p := range v.peers {
		if f.refusedBy(p.ID) {
			w.tried = append(w.tried, p)
		}
	}
	c, ok := rt.pick(v, w)
	if !ok {
		return f.nobody(ctx, v)
	}
	c.released() // submitting tells how it is
	f.place.Peer, f.place.Remote, f.place.Key, f.place.Proofs = c.ID, "", receipt.NewNonce(), nil
	return nil // noted before it is sent
}

func (f *follower) refusedBy(id key.ID) bool {
	return slices.ContainsFunc(f.place.Refused, func(r refusal) bool { return r.Peer == id })
}

// nobody says why no peer can be asked, and until when that may hold.
func (f *follower) nobody(ctx context.Context, v *view) error {
	wait, lasting := time.Duration(0), len(f.place.Refused) > 0
	for _, r := range f.place.Refused {
		if r.Temporary {
			lasting = false
			wait = max(wait, r.After, time.Second)
		}
	}
	waiting := slices.ContainsFunc(v.serving(f.order.Model), func(o offer) bool { return !f.refusedBy(o.ID) })
	if lasting && !waiting {
		return &ending{fault: f.allRefused(v)}
	}
	e := f.rt.lacking(v, f.order.Model)
	if len(f.place.Refused) > 0 && !waiting {
		said := f.allRefused(v)
		e.Type, e.Message = said.Type, said.Message
	}
	f.place.Refused = slices.DeleteFunc(f.place.Refused, func(r refusal) bool { return r.Temporary })
	if err := f.note(ctx); err != nil {
		return err
	}
	e.Status, e.RetryAfter = http.StatusServiceUnavailable, max(wait, min(e.RetryAfter, peerPause), time.Second)
	return &ending{fault: e, again: true}
}

func (f *follower) allRefused(v *view) *openai.Error {
	var failures []failure
	for _, r := range f.place.Refused {
		p := &peer{Peer: grid.Peer{ID: r.Peer}}
		if i := slices.IndexFunc(v.peers, func(p *peer) bool { return p.ID == r.Peer }); i >= 0 {
			p = v.peers[i]
		}
		failures = append(failures, failure{p, outcome{kind: refused, status: r.Status, err: errors.New(r.Message)}})
	}
	return allFailed(failures, "")
}

// peer is who has the job, nil if it is not among the peers.
func (f *follower) peer() *peer {
	peers := f.rt.roster.sync(f.rt.Peers.List()).peers
	if i := slices.IndexFunc(peers, func(p *peer) bool { return p.ID == f.place.Peer }); i >= 0 {
		return peers[i]
	}
	return nil
}

func (f *follower) note(ctx context.Context) error {
	text, err := json.Marshal(f.place)
	if err != nil {
		return err
	}
	return f.log.Note(ctx, text)
}

// refuse notes that the peer does not answer the job and never will have.
func (f *follower) refuse(ctx context.Context, r refusal) error {
	r.Peer, r.Message = f.place.Peer, quote(r.Message)
	f.rt.Logger.LogAttrs(ctx, slog.LevelInfo, "a peer does not take a job", slog.String("peer", r.Peer.Short()), slog.Int("status", r.Status))
	f.place = placement{Refused: append(f.place.Refused, r)}
	if len(f.place.Refused) > mostRefusals {
		return &ending{fault: f.allRefused(f.rt.roster.current.Load())}
	}
	if err := f.note(ctx); err != nil {
		return err
	}
	return errNext
}

func later(after time.Duration, format string, args ...any) error {
	return &ending{again: true, fault: &openai.Error{
		Status: http.StatusBadGateway, Type: "peer_unreachable", Message: fmt.Sprintf(format, args...), RetryAfter: after,
	}}
}

// follow asks the peer how the job stands until it has ended. A peer that does
// not answer may be starting again, so it is asked a few times more.
func (f *follower) follow(ctx context.Context, p *peer) error {
	pause, silent, before := firstLook, 0, ""
	for {
		asked := time.Now()
		seen := "queued"
		if before == "running" {
			seen = before
		}
		record, err := f.look(ctx, p, fmt.Sprintf("wait=%d&seen=%s", int(jobWait.Seconds()), seen))
		if isLater(err) && silent < fewTimes {
			silent++
			if !rest(ctx, pause) {
				return context.Cause(ctx)
			}
			pause = min(2*pause, seldomLook)
			continue
		}
		if err != nil {
			return err
		}
		silent = 0
		switch record.Status {
		case "done":
			return f.deliver(ctx, p, record)
		case "error":
			return f.failed(ctx, record.Error)
		case "running":
			if err := f.noteBegun(ctx, record); err != nil {
				return err
			}
		}
		if record.Status != before || time.Since(asked) > jobWait/2 {
			before, pause = record.Status, firstLook
			continue // it holds answers back, if it can, so it is asked again at once
		}
		if !rest(ctx, pause) {
			return context.Cause(ctx)
		}
		pause = min(2*pause, seldomLook)
	}
}

func rest(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (f *follower) noteBegun(ctx context.Context, record *grid.Job) error {
	if f.begun {
		return nil
	}
	f.begun = true
	at := f.rt.Now()
	if started := time.UnixMilli(record.StartedAt); record.StartedAt > 0 && started.Before(at) && at.Sub(started) < time.Hour {
		at = started
	}
	return f.log.Begun(ctx, at)
}

// look asks once. A peer that does not know the job has lost it, which it
// cannot have run then.
func (f *follower) look(ctx context.Context, p *peer, query string) (*grid.Job, error) {
	path := jobsPath + "/" + f.place.Remote
	said, err := f.rt.signed(ctx, p, http.MethodGet, path, query, jobWait+jobPatience)
	switch {
	case err != nil:
		return nil, later(peerPause, "%s, which has the job, does not answer: %v", p.Name(), err)
	case said.status == http.StatusNotFound && mediaType(said.header) == "application/json":
		return nil, f.refuse(ctx, refusal{Status: said.status, Message: "it does not know the job that it accepted"})
	case said.status != http.StatusOK:
		return nil, later(max(retryAfter(said.header, f.rt.Now()), peerPause), "%s, which has the job: %d %s", p.Name(), said.status,
			openai.ParseError(said.status, said.body[:min(len(said.body), maxRefusalBody)]).Message)
	}
	var record grid.Job
	if err := json.Unmarshal(said.body, &record); err != nil {
		return nil, later(peerPause, "%s, which has the job, answers something else: %v", p.Name(), err)
	}
	return &record, nil
}

// failed judges a job that the peer gave up.
func (f *follower) failed(ctx context.Context, e *grid.JobError) error {
	if e == nil {
		e = &grid.JobError{Type: "engine_error", Message: "it failed without a word"}
	}
	switch e.Status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return &ending{fault: &openai.Error{Status: e.Status, Type: e.Type, Code: e.Code, Message: e.Message}}
	}
	return f.refuse(ctx, refusal{Status: e.Status, Message: e.Type + ": " + e.Message})
}

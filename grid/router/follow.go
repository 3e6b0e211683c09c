package router

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
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
	c.health.released() // submitting tells how it is
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
	f.place.Refused = slices.DeleteFunc(f.place.Refused, func(r refusal) bool { return r.Temporary })
	if err := f.note(ctx); err != nil {
		return err
	}
	e := noOffer(v, f.order.Model, f.rt.Now())
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

// isLater reports whether the same peer is to be asked again.
func isLater(err error) bool {
	end, ok := errors.AsType[*ending](err)
	return ok && end.again
}

// submit sends the job. That it may have arrived is noted before.
func (f *follower) submit(ctx context.Context, p *peer) error {
	maybe := len(f.place.Proofs) > 0 // an earlier submission may have arrived
	said, err := f.send(ctx, p)
	if err == nil && said.status == http.StatusUnauthorized && p.learn(said.header, f.rt.Now()) {
		said, err = f.send(ctx, p)
	}
	switch {
	case err != nil && said.unsent && !maybe:
		p.health.failed(f.rt.Now(), err.Error())
		return f.refuse(ctx, refusal{Message: err.Error(), Temporary: true, After: peerPause})
	case err != nil && !said.noted:
		return err // nothing was sent
	case err != nil:
		return later(peerPause, "%s may have the job, and does not answer: %v", p.Name(), err)
	case 200 <= said.status && said.status < 300:
		p.health.succeeded()
		return f.arrived(ctx, said.body)
	}
	return f.unplaced(ctx, p, said, maybe)
}

// arrived notes the job's id at the peer.
func (f *follower) arrived(ctx context.Context, body []byte) error {
	var record grid.Job
	if err := json.Unmarshal(body, &record); err != nil || record.ID == "" || len(record.ID) > maxRemoteName {
		return f.refuse(ctx, refusal{Message: "it accepts jobs without saying which"})
	}
	f.place.Remote = record.ID
	return f.note(ctx)
}

// unplaced judges an answer that is no acceptance.
func (f *follower) unplaced(ctx context.Context, p *peer, said heard, maybe bool) error {
	e := openai.ParseError(said.status, said.body[:min(len(said.body), maxRefusalBody)])
	after := retryAfter(said.header, f.rt.Now())
	switch kind := judge(said.status, said.header, said.body); {
	case kind == passed:
		p.health.succeeded()
		return &ending{fault: e}
	case kind == refused && maybe && said.status == http.StatusServiceUnavailable:
		return later(max(after, time.Second), "%s may have the job, and is stopping", p.Name())
	case kind == refused:
		p.health.succeeded()
		busy := said.status == http.StatusTooManyRequests || said.status == http.StatusServiceUnavailable || said.status == http.StatusRequestTimeout
		return f.refuse(ctx, refusal{Status: said.status, Message: fmt.Sprint(said.status, " ", e.Message), Temporary: busy, After: after})
	case said.status == http.StatusInternalServerError && !maybe:
		p.health.failed(f.rt.Now(), e.Message)
		return f.refuse(ctx, refusal{Status: said.status, Message: fmt.Sprint(said.status, " ", e.Message), Temporary: true, After: peerPause})
	}
	return later(peerPause, "%s may have the job: %d %s", p.Name(), said.status, e.Message) // something between us answered
}

// send signs and posts the job.
func (f *follower) send(ctx context.Context, p *peer) (heard, error) {
	h := http.Header{"Content-Type": {"application/json"}, "Idempotency-Key": {f.place.Key}, grid.TierHeader: {string(f.order.Tier)}}
	if proof := f.rt.sign(h, p, http.MethodPost, jobsPath, f.hash); proof != "" {
		f.place.Proofs = append(f.place.Proofs, proof)
	} else {
		f.place.Proofs = append(f.place.Proofs, "unsigned")
	}
	if len(f.place.Proofs) > mostProofs {
		f.place.Proofs = slices.Delete(f.place.Proofs, 1, 2)
	}
	if err := f.note(ctx); err != nil {
		return heard{}, err
	}
	said, err := f.rt.call(ctx, p, http.MethodPost, jobsPath, "", h, f.body, jobPatience)
	said.noted = true
	return said, err
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

// deliver settles the receipt of an answer, however old it is, and keeps the
// answer. Doing so again changes nothing: the ledger knows a receipt once.
func (f *follower) deliver(ctx context.Context, p *peer, record *grid.Job) error {
	meter := openai.NewMeter(openai.Chat)
	if meter.Body(record.Result); len(record.Result) == 0 || meter.Failure != nil {
		return f.refuse(ctx, refusal{Status: http.StatusOK, Message: "its answer is none"})
	}
	if err := f.settle(context.WithoutCancel(ctx), p, record); err != nil {
		return err
	}
	if err := f.log.Done(ctx, record.Result, nil); err != nil {
		return err
	}
	f.rt.affinity.learn(f.prefixes, p.ID)
	return nil
}

// settle checks and keeps the receipt. Which one that is was noted before, so
// that a peer that gives another after a crash gains nothing by it. A receipt
// that is refused is logged, as it is for any other answer.
func (f *follower) settle(ctx context.Context, p *peer, record *grid.Job) error {
	rt := f.rt
	if rt.Ledger == nil {
		return nil
	}
	x := settlement{peer: p, expect: receipt.Expectation{
		Requester: rt.Identity.ID(), Worker: p.ID, Model: f.order.Model,
		RequestHash: hex.EncodeToString(f.hash[:]), ResponseHash: receipt.HashBody(record.Result), Pulled: true,
	}}
	if len(f.place.Proofs) > 0 {
		x.proof = f.place.Proofs[len(f.place.Proofs)-1]
	}
	if len(record.Receipt) == 0 || string(record.Receipt) == "null" {
		rt.counts.unreceipted.Add(1)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	var err error
	if x.signed, err = receipt.Open(record.Receipt); err != nil {
		err = &rejection{err}
	} else {
		if slices.Contains(f.place.Proofs, x.signed.RequestSignature) {
			x.proof = x.signed.RequestSignature
		}
		if f.place.Receipt == "" {
			f.place.Receipt = x.signed.Nonce
			if err := f.note(ctx); err != nil {
				return err
			}
		}
		err = &rejection{errors.New("it is not the receipt that was given before")}
		if f.place.Receipt == x.signed.Nonce {
			err = rt.accept(ctx, x)
		}
	}
	var refusal *rejection
	switch {
	case err == nil:
		rt.counts.accepted.Add(1)
	case errors.Is(err, ErrKnown): // we were here before
	case errors.As(err, &refusal):
		rt.counts.rejected.Add(1)
		rt.Logger.LogAttrs(ctx, slog.LevelWarn, "rejected a receipt", peerAttr(p), errAttr(refusal.error))
	default:
		return later(peerPause, "the receipt of the answer cannot be kept: %v", err)
	}
	return nil
}

// abandon ends a job whose context has ended: because it was cancelled, its time
// is over, or the router stops.
func (f *follower) abandon(ctx context.Context) error {
	cause := context.Cause(ctx)
	if !errors.Is(cause, grid.ErrJobCancelled) && !errors.Is(cause, grid.ErrJobOverdue) {
		return &ending{fault: drainingError(), again: true} // its peer goes on
	}
	over := &ending{fault: &openai.Error{Type: "cancelled", Message: "cancelled before it was answered"}}
	if errors.Is(cause, grid.ErrJobOverdue) {
		over.fault = &openai.Error{Status: http.StatusGatewayTimeout, Type: "expired", Message: "no peer answered within the time that jobs are kept for"}
	}
	if f.place.Peer.IsZero() || len(f.place.Proofs) == 0 {
		return over
	}
	p := f.peer()
	if p == nil {
		return later(peerPause, "the peer %s, which has the job, is not among the peers any more", f.place.Peer.Short())
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), jobPatience/2)
	defer cancel()
	if err := f.withdraw(ctx, p); !errors.Is(err, errNext) {
		return err
	}
	return over
}

// withdraw cancels the job at its peer. [errNext] says that nobody has it any
// more; nil, that it was answered before.
func (f *follower) withdraw(ctx context.Context, p *peer) error {
	if f.place.Remote == "" { // it may not have arrived; then it does now
		if err := f.submit(ctx, p); err != nil {
			return err
		}
	}
	said, err := f.rt.signed(ctx, p, http.MethodDelete, jobsPath+"/"+f.place.Remote, "", jobPatience/2)
	switch {
	case err != nil:
		return later(peerPause, "%s, which has the job, does not answer: %v", p.Name(), err)
	case said.status == http.StatusOK || said.status == http.StatusNotFound:
		return errNext
	case said.status != http.StatusConflict:
		return later(peerPause, "%s does not cancel the job: %d", p.Name(), said.status)
	}
	record, err := f.look(ctx, p, "")
	switch {
	case err != nil:
		return err
	case record.Status == "done":
		return f.deliver(ctx, p, record)
	case record.Status == "error":
		return errNext
	}
	// The original cancels no job that runs: its answer will be paid for.
	return later(peerPause, "%s does not cancel what runs", p.Name())
}

// heard is what a peer said.
type heard struct {
	status int
	header http.Header
	body   []byte
	unsent bool // no connection came about
	noted  bool // that it was to be sent
}

// signed asks a peer without a body, and once more when it tells another clock.
func (rt *Router) signed(ctx context.Context, p *peer, method, path, query string, patience time.Duration) (said heard, err error) {
	for range 2 {
		h := http.Header{}
		rt.sign(h, p, method, path, emptyHash)
		said, err = rt.call(ctx, p, method, path, query, h, nil, patience)
		if err != nil || said.status != http.StatusUnauthorized || !p.learn(said.header, rt.Now()) {
			break
		}
	}
	return said, err
}

// learn takes up the clock of a peer that refused our signature, and reports
// whether signing again may help.
func (p *peer) learn(h http.Header, now time.Time) bool {
	at, ok := clockOf(h)
	return ok && p.setClock(at, now)
}

// call sends a request and reads the answer, capped.
func (rt *Router) call(ctx context.Context, p *peer, method, path, query string, h http.Header, body []byte, patience time.Duration) (said heard, err error) {
	said.unsent = true
	if p.badURL != nil {
		return said, p.badURL
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { said.unsent = false }})
	h["Accept-Encoding"], h["User-Agent"] = []string{"identity"}, []string{"lobstah"}
	r := (&http.Request{Method: method, URL: p.url(path, query), Header: h, ContentLength: int64(len(body))}).WithContext(ctx)
	if body != nil {
		r.Body = io.NopCloser(bytes.NewReader(body))
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	}
	response, err := p.way.RoundTrip(r)
	if err != nil {
		return said, err
	}
	defer response.Body.Close()
	said.status, said.header = response.StatusCode, response.Header
	said.body, err = io.ReadAll(io.LimitReader(response.Body, jobPageBytes+1))
	if err == nil && len(said.body) > jobPageBytes {
		err = errTooLarge
	}
	return said, err
}

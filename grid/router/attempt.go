package router

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync/atomic"
	"time"

	"lobstah/grid"
	"lobstah/openai"
	"lobstah/receipt"
)

// kind says how an attempt ended.
type kind uint8

const (
	answered kind = iota // the client has its answer
	passed               // a refusal that is the request's own fault went to the client
	refused              // the peer will not, but another may
	failed               // the peer is at fault and the client has seen nothing of it
	broken               // the peer is at fault in the middle of a stream
	gone                 // the client left
)

func (k kind) String() string {
	return [...]string{"answered", "passed", "refused", "failed", "broken", "gone"}[k]
}

// outcome is how an attempt ended and what the peer said.
type outcome struct {
	kind       kind
	status     int // of the peer's answer; 0 for none
	err        error
	retryAfter time.Duration
	resign     bool // the peer told another clock
}

// failure is a peer that did not answer.
type failure struct {
	peer *peer
	outcome
}

// attempt is one try at one peer. It is owned by the handler's goroutine; the
// watchdog and the trace only touch what is safe for them.
type attempt struct {
	*exchange
	choice
	ctx     context.Context
	cancel  context.CancelCauseFunc
	dog     *watchdog
	meter   *openai.Meter
	proof   string      // the signature that was sent
	went    atomic.Bool // a connection took the request
	sent    bool        // the peer may have begun to work
	settled bool        // its receipt came
	behind  int64       // the receipt will lie behind this at the peer
	slot    int32       // of [Asked], until it is settled or expected later

	resigned bool // the request was signed again by the peer's clock
	started  time.Time
	first    time.Time // of the first data
}

func newAttempt(x *exchange, c choice) *attempt {
	a := &attempt{exchange: x, choice: c, meter: openai.NewMeter(x.dialect), started: time.Now(), behind: c.receiptsSince.Load()}
	a.ctx, a.cancel = context.WithCancelCause(x.ctx)
	limit := x.rt.Timeouts.FirstByte
	if !x.streams {
		limit = x.rt.Timeouts.Answer
	}
	a.dog = newWatchdog(limit, a.cancel)
	c.running.Add(1)
	c.moved.Store(true)
	x.client.asking(c.peer)
	return a
}

// run sends the request and ends the attempt, so that whoever learns how it went
// and has the peer polled for it finds its receipt expected.
func (a *attempt) run() outcome {
	defer a.end()
	o := a.send()
	if o.resign { // we signed by another clock than the peer's; now we know it
		o = a.send()
	}
	return o
}

// end frees what the attempt holds. A receipt that did not come is looked for
// later.
func (a *attempt) end() {
	a.dog.stop()
	a.cancel(nil)
	a.running.Add(-1)
	switch {
	case a.settled:
	case a.sent && a.receipted():
		a.rt.expectLater(a.peer, a.expected(""))
	default:
		a.rt.Asked.clear(a.slot)
	}
}

// receipted reports whether a receipt can be told to be this request's.
func (a *attempt) receipted() bool {
	return a.rt.Ledger != nil && a.proof != "" && a.dialect != openai.CountTokens
}

// send forwards the request and passes the answer on.
func (a *attempt) send() outcome {
	if a.badURL != nil {
		return outcome{kind: failed, err: a.badURL}
	}
	r := a.outgoing()
	response, err := a.way.RoundTrip(r)
	a.sent = err == nil || a.went.Load() // even without an answer it may have been heard
	if err != nil {
		return a.lost(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		a.sent = false
		return a.declined(response)
	}
	if e := response.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return outcome{kind: failed, status: http.StatusOK, err: fmt.Errorf("the peer's answer is encoded as %.40q, which nobody asked for", e)}
	}
	if a.streams {
		return a.stream(response)
	}
	return a.whole(response)
}

// outgoing makes the request for the peer. Of the client's headers only those
// go along that change the answer; never its authorization.
func (a *attempt) outgoing() *http.Request {
	body := a.request.Body
	h := http.Header{
		"Content-Type":       {"application/json"},
		"Accept-Encoding":    {"identity"},
		"User-Agent":         {"lobstah"},
		grid.RequestIDHeader: {a.id},
		// An empty value is not sent; it tells net/http that the request may be
		// repeated when a kept connection turns out to be closed. The worker
		// knows a repetition by its nonce.
		grid.IdempotencyHeader: {},
	}
	if once := a.in.Header.Get(grid.IdempotencyHeader); once != "" {
		h[grid.IdempotencyHeader] = []string{a.rt.onceOf(a.in, once)}
	}
	for _, name := range forwarded {
		if v := a.in.Header[name]; v != nil {
			h[name] = v
		}
	}
	a.proof = a.rt.sign(h, a.peer, http.MethodPost, a.path, a.bodyHash)
	if f := a.facts.Load(); f != nil && f.Signs && a.receipted() {
		a.slot = a.rt.Asked.note(a.slot, a.expected("")) // before it is sent
	}
	r := &http.Request{
		Method: http.MethodPost, URL: a.url(a.path, a.in.URL.RawQuery), Header: h,
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
		GetBody: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil },
	}
	// HTTP/1 tells that it has a connection, HTTP/2 that it wrote the head.
	trace := &httptrace.ClientTrace{
		GotConn:      func(httptrace.GotConnInfo) { a.went.Store(true) },
		WroteHeaders: func() { a.went.Store(true) },
	}
	if a.streams {
		trace.Got1xxResponse = a.informed
	}
	return r.WithContext(httptrace.WithClientTrace(a.ctx, trace))
}

// onceOf is a client's idempotency key as peers get it: to them all clients of
// this router are one.
func (rt *Router) onceOf(r *http.Request, text string) string {
	sum := sha256.Sum256([]byte("lobstah-once-v1\n" + rt.ownerOf(r) + "\n" + text))
	return hex.EncodeToString(sum[:])
}

var forwarded = []string{"Accept", "Anthropic-Version", "Anthropic-Beta", "Openai-Beta", "Traceparent", "Tracestate", grid.TierHeader}

// informed is called when the peer says that it has accepted and the request
// waits or runs.
func (a *attempt) informed(code int, h textproto.MIMEHeader) error {
	if code == http.StatusProcessing {
		a.dog.alive(a.rt.Timeouts.Idle)
		a.client.accepted(h.Get(grid.PositionHeader), h.Get(grid.EtaHeader))
	}
	return nil
}

// sign proves to the peer who asks, unless the channel does.
func (rt *Router) sign(h http.Header, p *peer, method, path string, hash [32]byte) string {
	h[receipt.RequesterHeader] = []string{rt.self}
	if rt.Unsigned {
		return ""
	}
	proof := receipt.Request{Method: method, Path: path, Worker: p.ID, Requester: rt.Identity.ID(), BodyHash: hash}.
		Sign(rt.Identity, p.clock(rt.Now()))
	text := proof.String()
	h[receipt.SignatureHeader] = []string{text}
	return text
}

var emptyHash = sha256.Sum256(nil)

// lost judges a request that got no answer.
func (a *attempt) lost(err error) outcome {
	if a.in.Context().Err() != nil {
		return outcome{kind: gone, err: errClientLeft}
	}
	if cause := context.Cause(a.ctx); cause != nil {
		err = cause
	}
	return outcome{kind: failed, err: err}
}

var errClientLeft = errors.New("the client left")

// expected is the attempt's receipt, as it has to be.
func (a *attempt) expected(responseHash string) expected {
	return expected{proof: a.proof, at: a.started, behind: a.behind, slot: a.slot, expect: receipt.Expectation{
		Requester:    a.rt.Identity.ID(),
		Worker:       a.ID,
		Model:        a.request.Model,
		RequestHash:  hex.EncodeToString(a.bodyHash[:]),
		ResponseHash: responseHash,
	}}
}

// paced notes how fast the peer was.
func (a *attempt) paced() {
	if a.first.IsZero() {
		return
	}
	now := time.Now()
	tokens := a.meter.Usage.Output
	if !a.meter.Usage.Known {
		tokens = a.meter.Deltas
	}
	speed := 0.0
	if took := now.Sub(a.first).Seconds(); tokens >= 8 && took > 0.01 {
		speed = float64(tokens) / took
	}
	a.pace.note(a.rt.Now(), a.first.Sub(a.started), speed)
}

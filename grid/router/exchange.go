package router

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"lobstah/grid"
	"lobstah/key"
	"lobstah/openai"
)

// exchange is one request of a client on its way. It is owned by the handler's
// goroutine.
type exchange struct {
	rt       *Router
	id       string
	in       *http.Request
	ctx      context.Context
	path     string
	dialect  openai.Dialect
	request  *openai.Request
	streams  bool
	bodyHash [32]byte
	wish     wish
	only     key.ID // the peer that the client insists on; zero for none
	anyOther bool   // a failover may change the digest
	client   *client
	failures []failure
	denied   bool // the retry budget ended the search
}

// infer serves a request for an answer of dialect d.
func (rt *Router) infer(w http.ResponseWriter, r *http.Request, d openai.Dialect) {
	if !rt.enter() {
		rt.refuse(w, r, drainingError())
		return
	}
	defer rt.leave()
	v := rt.roster.sync(rt.Peers.List())
	if len(v.peers) == 0 {
		rt.refuse(w, r, rt.noPeers())
		return
	}
	tier, e := tierOf(r, d)
	if e != nil {
		rt.refuse(w, r, e)
		return
	}
	request, e := readRequest(w, r, rt.MaxBody)
	if e == nil && len(request.Model) > maxModel {
		e = unknownModel(v, request.Model)
	}
	if e != nil {
		rt.refuse(w, r, e)
		return
	}
	request, only := v.pin(request)
	id := requestID(r)
	w.Header()[grid.RequestIDHeader] = []string{id}
	ctx, cancel := context.WithTimeoutCause(r.Context(), rt.Timeouts.Total, errTotal)
	defer cancel()
	x := &exchange{
		rt: rt, id: id, in: r, ctx: ctx, path: r.URL.Path, dialect: d, request: request, only: only,
		streams:  request.Stream && d != openai.Embeddings && d != openai.CountTokens,
		bodyHash: sha256.Sum256(request.Body),
		anyOther: anyDigest(r.Header.Get(grid.FailoverHeader), rt.AnyDigest),
	}
	x.wish = wish{tier: tier, prefer: preferred(r.Header), model: request.Model, prefixes: rt.affinity.prefixes(request, d)}
	x.client = newClient(w, d, x.streams, rt.Timeouts.KeepAlive)
	defer x.client.close()
	x.run(v.only(only))
}

// refuse answers and logs a request that is not even tried. Its own words stay
// out of the log.
func (rt *Router) refuse(w http.ResponseWriter, r *http.Request, e *openai.Error) {
	id := requestID(r)
	w.Header()[grid.RequestIDHeader] = []string{id}
	rt.Logger.LogAttrs(r.Context(), slog.LevelInfo, "refused", slog.String("id", id), slog.String("path", quote(r.URL.Path)),
		slog.Int("status", e.Status), slog.String("type", e.Type), slog.String("code", e.Code))
	writeError(w, e, openai.DialectOf(r.URL.Path))
}

// run asks one peer after another until one answers.
func (x *exchange) run(v *view) {
	rt := x.rt
	rt.counts.requests.Add(1)
	rt.budget.earn()
	if len(v.serving(x.wish.model)) == 0 {
		v.awaitFirstPolls(x.ctx)
		v = rt.roster.sync(rt.Peers.List()).only(x.only)
	}
	for len(x.wish.tried) < rt.MaxAttempts && x.ctx.Err() == nil {
		c, ok := rt.pick(v, &x.wish)
		if !ok {
			break
		}
		if len(x.wish.tried) > 0 && !rt.budget.spend() {
			c.released()
			x.denied = true
			break
		}
		x.wish.tried = append(x.wish.tried, c.peer)
		if x.attempt(c) {
			return
		}
		if !x.anyOther && x.wish.digest == "" {
			x.wish.digest = c.model.Digest
		}
	}
	x.giveUp(v)
}

// attempt asks one peer. It reports whether the exchange is over.
func (x *exchange) attempt(c choice) (over bool) {
	a := newAttempt(x, c)
	o := a.run()
	x.note(a, &o)
	x.log(a, &o)
	if o.kind != refused && o.kind != failed {
		return true
	}
	x.failures = append(x.failures, failure{c.peer, o})
	return false
}

// note draws the consequences of an attempt for its peer.
func (x *exchange) note(a *attempt, o *outcome) {
	rt, p := x.rt, a.peer
	switch o.kind {
	case answered:
		a.succeeded()
		rt.servedBefore(&x.wish, p.ID)
		rt.counts.used(a.meter.Usage)
	case passed, refused:
		a.succeeded()
	case failed, broken:
		if o.err == errTotal {
			a.released() // it may have been the earlier peers that took so long
			break
		}
		a.offer.failed(rt.Now(), o.err)
		rt.counts.failures.Add(1)
	case gone:
		a.released()
	}
	if o.kind != answered && o.kind != passed {
		p.poke() // it is not as we thought, or owes a receipt
	}
}

// log tells the owner how an attempt went.
func (x *exchange) log(a *attempt, o *outcome) {
	level := slog.LevelInfo
	if o.kind == failed || o.kind == broken {
		level = slog.LevelWarn
	}
	if !x.rt.Logger.Enabled(x.ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("id", x.id), slog.String("path", x.path), slog.String("model", x.wish.model),
		peerAttr(a.peer), slog.String("outcome", o.kind.String()), slog.Int("status", o.status),
		slog.Int("attempt", len(x.wish.tried)), slog.Bool("stream", x.streams), slog.String("route", a.route),
		slog.Duration("took", time.Since(a.started).Round(time.Millisecond)),
	}
	if u := a.meter.Usage; u.Known {
		attrs = append(attrs, slog.Int64("in", u.Input), slog.Int64("out", u.Output))
	}
	if o.err != nil {
		attrs = append(attrs, errAttr(o.err))
	}
	x.rt.Logger.LogAttrs(x.ctx, level, "request", attrs...)
}

// giveUp tells the client why nobody answered.
func (x *exchange) giveUp(v *view) {
	e := x.verdict(v)
	for _, o := range v.serving(x.wish.model) {
		if o.health.lost() {
			o.poke() // it may be back, and would have been asked
		}
	}
	x.rt.counts.unanswered.Add(1)
	x.rt.Logger.LogAttrs(x.ctx, slog.LevelWarn, "no answer", slog.String("id", x.id), slog.String("path", x.path),
		slog.String("model", x.wish.model), slog.Int("status", e.Status), slog.Int("attempts", len(x.failures)),
		slog.String("type", e.Type), slog.String("code", e.Code))
	x.client.fail(e)
}

func (x *exchange) verdict(v *view) *openai.Error {
	switch {
	case context.Cause(x.ctx) == errTotal:
		return timeIsUp(x.rt.Timeouts.Total, x.failures)
	case len(x.failures) > 0:
		return allFailed(x.failures, x.hint(v))
	}
	return noOffer(v, x.wish.model, x.rt.Now())
}

// hint explains a search that ended before every peer was asked.
func (x *exchange) hint(v *view) string {
	switch {
	case x.denied:
		return "; the retry budget of this router is spent, since too many requests fail"
	case x.wish.digest != "" && slices.ContainsFunc(v.serving(x.wish.model), func(o offer) bool { return o.model.Digest != x.wish.digest }):
		return fmt.Sprintf("; other peers have %s with other weights than %.19s: send %s: any to allow them",
			x.wish.model, x.wish.digest, grid.FailoverHeader)
	}
	return ""
}

func anyDigest(header string, fallback bool) bool {
	switch strings.ToLower(header) {
	case "any":
		return true
	case "same":
		return false
	}
	return fallback
}

// maxModel is how long a model's name can be in a receipt.
const maxModel = 512

var errTotal = errors.New("the request took longer than the router allows")

func readRequest(w http.ResponseWriter, r *http.Request, limit int64) (*openai.Request, *openai.Error) {
	body, e := readBody(w, r, limit)
	if e != nil {
		return nil, e
	}
	request, err := openai.ParseRequest(body)
	if err != nil {
		e, _ := errors.AsType[*openai.Error](err) // it returns no other
		if coding := r.Header.Get("Content-Encoding"); coding != "" && e.Param == "" {
			e.Status, e.Message = http.StatusUnsupportedMediaType, fmt.Sprintf("the body is encoded as %.40q, which this router does not read; send it as it is", coding)
		}
		return nil, e
	}
	return request, nil
}

// bodyTimeout is how long a client may take to send its request.
const bodyTimeout = 2 * time.Minute

// readBody reads the whole request, which is forwarded byte for byte.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, *openai.Error) {
	// A client that sends nothing must not hold its connection and the body for
	// ever. Without support for deadlines (tests, other servers) there are none.
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyTimeout))
	defer func() { _ = control.SetReadDeadline(time.Time{}) }()
	if r.ContentLength > limit {
		linger(r, limit)
		return nil, tooLarge(limit)
	}
	const presize = 1 << 20 // more is allocated as it comes
	body := make([]byte, 0, min(max(r.ContentLength, 511), presize)+1)
	source := http.MaxBytesReader(w, r.Body, limit)
	for {
		n, err := source.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if err == io.EOF {
			return body, nil
		}
		if err != nil {
			if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
				linger(r, limit)
				return nil, tooLarge(limit)
			}
			return nil, &openai.Error{
				Status: http.StatusBadRequest, Type: "invalid_request_error", Message: "the body ended early: " + err.Error(),
			}
		}
		if len(body) == cap(body) {
			body = slices.Grow(body, len(body))
		}
	}
}

// linger reads on for a while: most clients write all of their request before
// they look for an answer, and would see a broken connection instead of a 413.
func linger(r *http.Request, limit int64) {
	if r.Header.Get("Expect") == "" { // who waits for 100 Continue sends nothing without it
		_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, 4*limit)) // whatever comes, it is refused
	}
}

// requestID takes a client's id when it is harmless, or makes one.
func requestID(r *http.Request) string {
	id := r.Header.Get(grid.RequestIDHeader)
	harmless := id != "" && len(id) <= 64 && !strings.ContainsFunc(id, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("-_.:", c))
	})
	if harmless {
		return id
	}
	var raw [8]byte
	for i, n := 0, rand.Uint64(); i < len(raw); i++ {
		raw[i] = byte(n >> (8 * i))
	}
	return "req_" + hex.EncodeToString(raw[:])
}

func peerAttr(p *peer) slog.Attr { return slog.String("peer", grid.Peer.Name(p.Peer)) }

func errAttr(err error) slog.Attr {
	if heard, ok := errors.AsType[*heardError](err); ok {
		return slog.String("err", heard.ours)
	}
	return slog.String("err", err.Error())
}

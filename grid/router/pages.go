package router

import (
	"bytes"
	"cmp"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"lobstah/grid"
	"lobstah/openai"
)

// counters count what happened since the start.
type counters struct {
	requests, unanswered, failures          atomic.Int64
	accepted, rejected, unkept, unreceipted atomic.Int64
	input, output                           atomic.Int64 // tokens
}

// used adds the tokens of an answer, as far as a peer can be believed.
func (c *counters) used(u openai.Usage) {
	const most = 1 << 40 // as in receipts
	c.input.Add(min(max(u.Input, 0), most))
	c.output.Add(min(max(u.Output, 0), most))
}

// Stats is a snapshot of what a router did since it started.
type Stats struct {
	Requests    int64 `json:"requests"`
	InFlight    int64 `json:"inFlight"`
	Unanswered  int64 `json:"unanswered"`   // no peer answered
	Failures    int64 `json:"peerFailures"` // attempts that failed by a peer's fault
	Accepted    int64 `json:"receiptsAccepted"`
	Rejected    int64 `json:"receiptsRejected"`
	Unkept      int64 `json:"receiptsUnkept"`     // good ones that the ledger did not take
	Unreceipted int64 `json:"answersUnreceipted"` // answers without a receipt
}

// Stats returns the counts so far.
func (rt *Router) Stats() Stats {
	rt.mu.Lock()
	inFlight := rt.inFlight
	rt.mu.Unlock()
	c := &rt.counts
	return Stats{
		Requests: c.requests.Load(), InFlight: int64(inFlight), Unanswered: c.unanswered.Load(), Failures: c.failures.Load(),
		Accepted: c.accepted.Load(), Rejected: c.rejected.Load(), Unkept: c.unkept.Load(), Unreceipted: c.unreceipted.Load(),
	}
}

func (rt *Router) root(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	_, _ = w.Write([]byte("lobstah-router\n")) // the client may have left
}

func (rt *Router) pubkey(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"pubkey": rt.self})
}

// healthz is 200 while new requests are taken.
func (rt *Router) healthz(w http.ResponseWriter, _ *http.Request) {
	rt.mu.Lock()
	draining := rt.draining
	rt.mu.Unlock()
	status, word := http.StatusOK, "ok"
	if draining {
		status, word = http.StatusServiceUnavailable, "draining"
	}
	writeJSON(w, status, struct {
		Status string `json:"status"`
		Stats
	}{word, rt.Stats()})
}

// listedPeer is an entry of GET /peers: peers.json's members and how it is.
type listedPeer struct {
	grid.Peer
	State peerState `json:"state"`
}

type peerState struct {
	Status      string    `json:"status"` // ready, excluded, closed (it does not let us in), unreachable, unknown
	Tier        grid.Tier `json:"tier,omitempty"`
	Models      []string  `json:"models,omitempty"`
	InFlight    int64     `json:"inFlight"`
	Queue       int       `json:"queue"`
	Concurrency int       `json:"concurrency,omitempty"`
	Speed       float64   `json:"tokensPerSecond,omitempty"`
	FirstToken  float64   `json:"firstTokenSeconds,omitempty"`
	Version     string    `json:"version,omitempty"`
	Signs       bool      `json:"signs,omitempty"`
	Failing     []string  `json:"failingModels,omitempty"` // left out for now, since the engine failed with them
	LastError   string    `json:"lastError,omitempty"`
}

func (rt *Router) peers(w http.ResponseWriter, _ *http.Request) {
	v := rt.roster.sync(rt.Peers.List())
	list := make([]listedPeer, len(v.peers))
	for i, p := range v.peers {
		list[i] = listedPeer{p.Peer, p.state(rt.Now())}
	}
	writeJSON(w, http.StatusOK, list)
}

func (p *peer) state(now time.Time) peerState {
	s := peerState{InFlight: p.running.Load()}
	s.Status, s.LastError = p.health.report(now)
	if models, said := p.ailing.excluded(now); len(models) > 0 {
		s.Failing, s.LastError = models, cmp.Or(s.LastError, models[0]+": "+said)
	}
	speed, first := p.pace.read(now)
	s.Speed, s.FirstToken = math.Round(10*speed)/10, first.Round(time.Millisecond).Seconds()
	f := p.facts.Load()
	if f == nil {
		if s.Status == "ready" {
			s.Status = "unknown"
		}
		return s
	}
	s.Tier, s.Models, s.Queue, s.Concurrency = f.Tier, f.Models, f.QueueDepth, f.Concurrency
	s.Version, s.Signs = f.Version, f.Signs
	return s
}

func (rt *Router) balance(w http.ResponseWriter, r *http.Request) {
	if rt.Ledger == nil {
		writeError(w, noLedger(), openai.Unknown)
		return
	}
	b, err := rt.Ledger.Balances(r.Context())
	if err != nil {
		rt.ledgerFault(w, err)
		return
	}
	if b.PerPeer == nil {
		b.PerPeer = []Balance{}
	}
	writeJSON(w, http.StatusOK, struct {
		Pubkey string `json:"pubkey"`
		Balances
	}{rt.self, b})
}

func (rt *Router) ledger(w http.ResponseWriter, r *http.Request) {
	if rt.Ledger == nil {
		writeError(w, noLedger(), openai.Unknown)
		return
	}
	list, total, err := rt.Ledger.Recent(r.Context(), ledgerLimit(r))
	if err != nil {
		rt.ledgerFault(w, err)
		return
	}
	envelopes := make([]json.RawMessage, len(list))
	for i, s := range list {
		envelopes[i] = s.Envelope()
	}
	writeJSON(w, http.StatusOK, struct {
		Total    int               `json:"total"`
		Returned int               `json:"returned"`
		Receipts []json.RawMessage `json:"receipts"`
	}{total, len(list), envelopes})
}

// ledgerLimit reads ?limit= as the original does: 50 unless a number is given,
// 1 to 500, fractions cut.
func ledgerLimit(r *http.Request) int {
	const fallback, most = 50, 500
	query := r.URL.Query()
	if !query.Has("limit") {
		return fallback
	}
	text := query.Get("limit")
	n, err := strconv.ParseFloat(text, 64)
	if text != "" && (err != nil || math.IsNaN(n)) {
		return fallback
	}
	return int(min(max(n, 1), most))
}

func noLedger() *openai.Error {
	return &openai.Error{Status: http.StatusNotFound, Type: "not_found", Message: "this router keeps no ledger"}
}

func (rt *Router) ledgerFault(w http.ResponseWriter, err error) {
	rt.Logger.Error("cannot read the ledger", errAttr(err))
	writeError(w, &openai.Error{
		Status: http.StatusInternalServerError, Type: "ledger_error",
		Message: "the ledger cannot be read; the router's log says why, and lobstah ledger verify checks it",
	}, openai.Unknown)
}

func (rt *Router) notFound(w http.ResponseWriter, r *http.Request) {
	e := &openai.Error{Status: http.StatusNotFound, Type: "not_found", Message: r.Method + " " + quote(r.URL.Path) + " is nothing that this router has"}
	if meant := meantPath(r.URL.Path); meant != "" {
		e.Message += "; did you mean " + meant + "? OpenAI's clients take a base URL that ends in /v1, Anthropic's one without it"
	}
	if d := openai.DialectOf(r.URL.Path); d != openai.Unknown {
		w.Header().Set("Allow", http.MethodPost)
		e.Status, e.Type, e.Code = http.StatusMethodNotAllowed, "invalid_request_error", "method_not_allowed"
		e.Message = r.URL.Path + " takes POST only"
	}
	writeError(w, e, openai.DialectOf(r.URL.Path))
}

// meantPath is the path of ours that a client with a wrong base URL is after:
// it lacks /v1, has it twice, or has something else before it.
func meantPath(path string) (meant string) {
	for _, ours := range append(openai.Paths(), "/v1/models") {
		if path != ours && len(ours) > len(meant) && strings.HasSuffix(strings.TrimSuffix(path, "/"), strings.TrimPrefix(ours, "/v1")) {
			meant = ours
		}
	}
	return meant
}

// writeJSON answers with v, without the escapes that HTML would need.
func writeJSON(w http.ResponseWriter, status int, v any) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		panic(err) // our own types always encode
	}
	body := bytes.TrimRight(b.Bytes(), "\n")
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may have left
}

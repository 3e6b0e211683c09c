package router

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"lobstah/grid"
	"lobstah/openai"
)

// maxQuote is how much of each peer's failure the client is shown; what a peer
// advises, such as the command that would allow us, has to fit.
const maxQuote = 400

// Faults that are the request's own, or nobody's.

func drainingError() *openai.Error {
	return &openai.Error{
		Status: http.StatusServiceUnavailable, Type: "draining", RetryAfter: 5 * time.Second,
		Message: "this router is stopping; ask again in a moment",
	}
}

func tooLarge(limit int64) *openai.Error {
	return &openai.Error{
		Status: http.StatusRequestEntityTooLarge, Type: "invalid_request_error", Code: "request_too_large",
		Message: fmt.Sprintf("the request's body is larger than %d MiB", limit>>20),
	}
}

func (rt *Router) noPeers() *openai.Error {
	return &openai.Error{
		Status: http.StatusServiceUnavailable, Type: "no_peers",
		Message: cmp.Or(rt.NoPeers, "no peers configured; add one: lobstah peers add PUBKEY URL [LABEL], or run lobstah up to use this machine's engine"),
	}
}

// noOffer says why no peer could be asked at all.
func noOffer(v *view, model string, now time.Time) *openai.Error {
	offers := v.serving(model)
	if len(offers) == 0 && len(v.offers) > 0 {
		return unfound(v, model, now)
	}
	e := &openai.Error{
		Status: http.StatusServiceUnavailable, Type: "no_capable_peer", RetryAfter: exclusion,
		Message: fmt.Sprintf("no healthy peer reports support for model %q", model), Extra: map[string]any{"model": model},
	}
	var reasons []string
	for _, o := range offers {
		reasons = append(reasons, o.absence(now, e))
	}
	if len(offers) == 0 {
		for _, p := range v.peers {
			reasons = append(reasons, offer{peer: p, model: &grid.Model{ID: model}}.absence(now, e))
		}
	}
	e.Message += ": " + some(reasons)
	return e
}

// unfound is said of a model that nobody is known to have. While a peer of the
// user's own was never reached since the start, it may have it.
func unfound(v *view, model string, now time.Time) *openai.Error {
	e := unknownModel(v, model)
	var reasons []string
	for _, p := range v.peers {
		if p.facts.Load() != nil || !p.Origin.Trusted() {
			continue
		}
		o := offer{peer: p, model: &grid.Model{ID: model}}
		if status, _ := o.report(now); status != "closed" { // that one has said that it serves others
			e.Status, e.Type, e.Code, e.RetryAfter = http.StatusServiceUnavailable, "no_capable_peer", "", cmp.Or(e.RetryAfter, exclusion)
			reasons = append(reasons, o.absence(now, e))
		}
	}
	if len(reasons) > 0 {
		e.Message += "; not reached yet: " + some(reasons)
	}
	return e
}

// absence says why an offer is not asked, and has e tell when it may be.
func (o offer) absence(now time.Time, e *openai.Error) string {
	if o.health.lost() {
		o.poke() // it may be back
		e.RetryAfter = min(e.RetryAfter, 2*time.Second)
	}
	if until := o.until(true); !until.IsZero() {
		e.RetryAfter = min(e.RetryAfter, max(until.Sub(now), time.Second))
	}
	status, said := o.report(now)
	if status == "ready" && o.facts.Load() == nil {
		status = "unknown"
	}
	return fmt.Sprintf("%s is %s (%s)", o.Name(), status, quote(cmp.Or(said, "not asked yet")))
}

func unknownModel(v *view, model string) *openai.Error {
	message := v.lacks(model)
	if near := nearest(model, v.offers); len(near) > 0 {
		message += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return &openai.Error{
		Status: http.StatusNotFound, Type: "invalid_request_error", Code: "model_not_found", Param: "model",
		Message: message + "; GET /v1/models lists them", Extra: map[string]any{"model": model[:min(len(model), maxModel)]},
	}
}

// lacks says that nobody who may be asked has a model.
func (v *view) lacks(model string) string {
	if v.pinned && len(v.peers) == 1 {
		return fmt.Sprintf("%s has no model %.200q", v.peers[0].Name(), model)
	}
	message := fmt.Sprintf("no peer has a model %.200q", model)
	at := max(0, strings.LastIndexByte(model, '@'))
	name, who := model[:at], model[min(at+1, len(model)):]
	if at == 0 || len(v.serving(name)) == 0 {
		return message
	}
	var bearers []string
	for _, o := range v.serving(name) {
		bearers = append(bearers, name+"@"+o.peer.Name())
	}
	return fmt.Sprintf("no peer called %.80q lends models; ask for %s, or for %s at whoever is best", who, some(bearers), name)
}

func timeIsUp(limit time.Duration, failures []failure) *openai.Error {
	return &openai.Error{
		Status: http.StatusGatewayTimeout, Type: "timeout", Extra: attempts(failures),
		Message: fmt.Sprintf("no answer within %s, the most that this router waits", limit),
	}
}

// allFailed sums up attempts that all came to nothing.
func allFailed(failures []failure, hint string) *openai.Error {
	e := &openai.Error{Status: http.StatusBadGateway, Type: "all_peers_failed", Extra: attempts(failures)}
	allRefused, allLack, status := true, true, http.StatusServiceUnavailable
	var reasons []string
	for _, f := range failures {
		if f.kind != refused {
			allRefused = false
		}
		allLack = allLack && f.status == http.StatusNotFound
		if f.status == http.StatusTooManyRequests {
			status = http.StatusTooManyRequests
		}
		if f.retryAfter > 0 && (e.RetryAfter == 0 || f.retryAfter < e.RetryAfter) {
			e.RetryAfter = f.retryAfter
		}
		reasons = append(reasons, f.peer.Name()+": "+quote(f.err.Error()))
	}
	if allLack { // an engine without embeddings, say: asking again is of no use
		status = http.StatusNotFound
	}
	if allRefused {
		e.Status, e.Type = status, "all_peers_refused"
		e.Message = "every peer refused: " + some(reasons) + hint
		return e
	}
	e.RetryAfter = 0
	e.Message = "every peer failed: " + some(reasons) + hint
	return e
}

// attempts are the members that the original's error has.
func attempts(failures []failure) map[string]any {
	errs := make([]map[string]string, len(failures))
	for i, f := range failures {
		errs[i] = map[string]string{"peer": f.peer.ID.String()[:16], "message": quote(f.err.Error())}
		if hinted, ok := errors.AsType[interface {
			error
			Hint() string
		}](f.err); ok && hinted.Hint() != "" {
			errs[i]["hint"] = hinted.Hint()
		}
	}
	return map[string]any{"attempts": len(failures), "errors": errs}
}

// brokenStream ends a stream whose peer failed in the middle.
func brokenStream(p *peer, err error, said *openai.Error) *openai.Error {
	e := &openai.Error{
		Type: "stream_broken", Code: "upstream_error",
		Message: fmt.Sprintf("the answer of %s broke off: %s", p.Name(), quote(err.Error())),
	}
	if said != nil && said.Code != "" {
		e.Code = said.Code
	}
	return e
}

func quote(s string) string {
	if len(s) > maxQuote {
		return strings.ToValidUTF8(s[:maxQuote], "") + "…"
	}
	return s
}

func some(list []string) string {
	const most = 5
	if len(list) > most {
		return strings.Join(list[:most], "; ") + fmt.Sprintf("; and %d more", len(list)-most)
	}
	return strings.Join(list, "; ")
}

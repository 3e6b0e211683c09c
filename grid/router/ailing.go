package router

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
)

// ailing is the health of those of a peer's models whose engine failed lately,
// each by itself: a model that does not fit into memory is no reason to leave
// out the others. The zero value has no trouble.
type ailing struct {
	mu     sync.Mutex
	models map[string]*health // guarded by mu; without those that are well
}

// maxAiling is how many are told apart at one peer; beyond that all are
// forgiven, which costs a failover each.
const maxAiling = 1000

// of returns the health of a model, nil when it is well.
func (a *ailing) of(model string) *health {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.models[model]
}

func (a *ailing) failed(model string, now time.Time, err string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	h := a.models[model]
	if h == nil {
		if a.models == nil || len(a.models) >= maxAiling {
			a.models = map[string]*health{}
		}
		h = new(health)
		a.models[model] = h
	}
	h.failed(now, err)
}

func (a *ailing) succeeded(model string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.models, model)
}

// excluded tells which models are left out, in order, and what the first of
// them said.
func (a *ailing) excluded(now time.Time) (models []string, lastError string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, model := range slices.Sorted(maps.Keys(a.models)) {
		if status, said := a.models[model].report(now); status != "ready" {
			models, lastError = append(models, model), cmp.Or(lastError, said)
		}
	}
	return models, lastError
}

// What follows takes a peer and its model together: an offer can be picked when
// both are well.

func (o offer) ready(now time.Time, last bool) bool {
	model := o.ailing.of(o.model.ID)
	return o.health.ready(now, last) && (model == nil || model.ready(now, last))
}

// claim asks to send a request; an offer that is left out gets one at a time.
func (o offer) claim(now time.Time, last bool) (probe, ok bool) {
	probe, ok = o.health.claim(now, last)
	model := o.ailing.of(o.model.ID)
	if !ok || model == nil {
		return probe, ok
	}
	modelProbe, ok := model.claim(now, last)
	if !ok && probe {
		o.health.released()
	}
	return probe || modelProbe, ok
}

// until returns when the offer may be tried again; zero when it may at any time.
func (o offer) until(last bool) time.Time {
	at := o.health.until(last)
	if model := o.ailing.of(o.model.ID); model != nil && model.until(last).After(at) {
		at = model.until(last)
	}
	return at
}

// report says in a word and a text how the offer is.
func (o offer) report(now time.Time) (status, lastError string) {
	status, lastError = o.health.report(now)
	if model := o.ailing.of(o.model.ID); model != nil && status == "ready" {
		return model.report(now)
	}
	return status, lastError
}

func (o offer) succeeded() {
	o.health.succeeded()
	o.ailing.succeeded(o.model.ID)
}

// failed notes a failure. What the peer told of its engine is the model's, since
// the peer is there; all else is the peer's.
func (o offer) failed(now time.Time, err error) {
	if _, heard := errors.AsType[*heardError](err); heard {
		o.health.succeeded()
		o.ailing.failed(o.model.ID, now, err.Error())
		return
	}
	o.health.failed(now, err.Error())
	o.releasedModel()
}

// released notes that a request ended without telling anything of the offer.
func (o offer) released() {
	o.health.released()
	o.releasedModel()
}

func (o offer) releasedModel() {
	if model := o.ailing.of(o.model.ID); model != nil {
		model.released()
	}
}

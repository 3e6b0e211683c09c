package router

import (
	"net/http"
	"slices"
	"strings"

	"lobstah/grid"
	"lobstah/openai"
)

// listedModel is an entry of GET /v1/models: OpenAI's members, then what the
// peers told. When a model was made nobody tells, so created is the router's start.
type listedModel struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"` // Unix seconds; strict clients of OpenAI insist on one
	OwnedBy string `json:"owned_by"`
	*modelFacts
}

// modelFacts are those that all peers agree about, and who they are.
type modelFacts struct {
	Digest        string   `json:"digest,omitempty"`
	ContextLength int      `json:"context_length,omitempty"`
	Loaded        bool     `json:"loaded,omitempty"`
	Capabilities  []string `json:"capabilities,omitempty"`
	Family        string   `json:"family,omitempty"`
	Parameters    string   `json:"parameters,omitempty"`
	Quantization  string   `json:"quantization,omitempty"`
	Engine        string   `json:"engine,omitempty"`
	Demo          bool     `json:"demo,omitempty"`
	Digests       []string `json:"digests,omitempty"` // where the peers have different weights
	Peers         []string `json:"peers,omitempty"`   // keys
}

// models lists what the pool has, from what the polls told; programs plan with
// it, so it waits for those that were never polled, not long. A name behind which
// there are different weights is listed once by itself and once for each digest
// in the form that asks for exactly that one.
func (rt *Router) models(w http.ResponseWriter, r *http.Request) {
	rt.roster.sync(rt.Peers.List()).awaitFirstPolls(r.Context())
	v := rt.roster.sync(rt.Peers.List())
	list := rt.list(v)
	if len(list) == 0 {
		for _, p := range v.peers {
			p.poke() // it may be back
		}
	}
	writeJSON(w, http.StatusOK, struct {
		Object string        `json:"object"`
		Data   []listedModel `json:"data"`
	}{"list", list})
}

// model answers for one of them.
func (rt *Router) model(w http.ResponseWriter, r *http.Request) {
	v, id := rt.roster.sync(rt.Peers.List()), r.PathValue("id")
	if offers := reachable(v.serving(id)); len(offers) > 0 {
		writeJSON(w, http.StatusOK, rt.listModel(id, offers))
		return
	}
	writeError(w, unknownModel(v, id), openai.Unknown)
}

// list keeps the order of peers and of their models.
func (rt *Router) list(v *view) []listedModel {
	list, seen := []listedModel{}, map[string]bool{}
	for _, p := range v.peers {
		f := p.facts.Load()
		if f == nil || p.health.lost() {
			continue
		}
		for _, m := range f.models {
			if seen[m.ID] {
				continue
			}
			seen[m.ID] = true
			offers := reachable(v.offers[m.ID])
			if len(offers) == 0 {
				continue // the view is newer than the facts
			}
			list = append(list, rt.listModel(m.ID, offers))
			for digest, some := range byDigest(offers) {
				list = append(list, rt.listModel(m.ID+"@"+digest, some))
			}
		}
	}
	return list
}

func reachable(offers []offer) []offer {
	return slices.DeleteFunc(slices.Clone(offers), func(o offer) bool { return o.health.lost() })
}

// byDigest splits offers of one name by their weights; it yields nothing when
// those do not differ.
func byDigest(offers []offer) func(func(string, []offer) bool) {
	return func(yield func(string, []offer) bool) {
		digests := digestsOf(offers)
		if len(digests) < 2 {
			return
		}
		for _, digest := range digests {
			some := slices.DeleteFunc(slices.Clone(offers), func(o offer) bool { return o.model.Digest != digest })
			if !yield(digest, some) {
				return
			}
		}
	}
}

// digestsOf lists the known ones, in the peers' order.
func digestsOf(offers []offer) []string {
	var list []string
	for _, o := range offers {
		if d := o.model.Digest; strings.HasPrefix(d, "sha256:") && !slices.Contains(list, d) {
			list = append(list, d)
		}
	}
	return list
}

func (rt *Router) listModel(id string, offers []offer) listedModel {
	owner := offers[0].peer
	name := owner.Label
	if name == "" {
		name = owner.ID.Short()
	}
	entry := listedModel{ID: id, Object: "model", Created: rt.started.Unix(), OwnedBy: "lobstah:" + name}
	facts := agreed(offers)
	if digests := digestsOf(offers); len(digests) > 1 {
		facts.Digests = digests
	}
	for _, o := range offers {
		if f := o.facts.Load(); f != nil && f.told {
			facts.Peers = append(facts.Peers, o.ID.String())
		}
	}
	if len(facts.Peers) > 0 { // otherwise they are the original's, and told nothing
		entry.modelFacts = facts
	}
	return entry
}

// agreed keeps what all offers say alike: of the capabilities those that all have, of the contexts the smallest.
func agreed(offers []offer) *modelFacts {
	m := offers[0].model
	f := &modelFacts{
		Digest: m.Digest, ContextLength: m.ContextLength, Capabilities: m.Capabilities, Family: m.Family,
		Parameters: m.Parameters, Quantization: m.Quantization, Engine: m.Engine, Demo: m.Demo,
	}
	f.Loaded = slices.ContainsFunc(offers, func(o offer) bool { return o.model.Loaded })
	for _, o := range offers[1:] {
		f.keep(o.model)
	}
	return f
}

func (f *modelFacts) keep(m *grid.Model) {
	for _, pair := range []struct {
		have *string
		next string
	}{
		{&f.Digest, m.Digest},
		{&f.Family, m.Family},
		{&f.Parameters, m.Parameters},
		{&f.Quantization, m.Quantization},
		{&f.Engine, m.Engine},
	} {
		if *pair.have != pair.next {
			*pair.have = ""
		}
	}
	f.Capabilities = slices.DeleteFunc(slices.Clone(f.Capabilities), func(c string) bool { return !slices.Contains(m.Capabilities, c) })
	f.Demo = f.Demo && m.Demo
	if f.ContextLength == 0 || m.ContextLength > 0 {
		f.ContextLength = min(max(f.ContextLength, m.ContextLength), orMax(f.ContextLength), orMax(m.ContextLength))
	}
}

// orMax takes 0 for unknown.
func orMax(n int) int {
	if n == 0 {
		return int(^uint(0) >> 1)
	}
	return n
}

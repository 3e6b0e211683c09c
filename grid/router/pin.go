package router

import (
	"encoding/json"
	"slices"
	"strings"

	"lobstah/key"
	"lobstah/openai"
)

// pin reads MODEL@PEER, where PEER is a peer's label or key: that peer is asked
// and no other. A model whose own name is written so comes first. Without a
// known peer after the @ the name is nothing special.
func (v *view) pin(request *openai.Request) (*openai.Request, key.ID) {
	at := strings.LastIndexByte(request.Model, '@')
	if at < 1 || len(v.serving(request.Model)) > 0 {
		return request, key.ID{}
	}
	name, who := request.Model[:at], request.Model[at+1:]
	i := slices.IndexFunc(v.peers, func(p *peer) bool { return p.Label == who || p.ID.String() == who })
	if i < 0 || who == "" {
		return request, key.ID{}
	}
	text, err := json.Marshal(name)
	if err != nil {
		return request, key.ID{} // cannot happen: it was a JSON text
	}
	renamed, err := openai.ParseRequest(request.With("model", text))
	if err != nil {
		return request, key.ID{} // cannot happen: only the name changed
	}
	return renamed, v.peers[i].ID
}

// only is the pool without all peers but one; all of it for no key.
func (v *view) only(id key.ID) *view {
	if id.IsZero() {
		return v
	}
	others := func(p *peer) bool { return p.ID != id }
	one := &view{source: v.source, peers: slices.DeleteFunc(slices.Clone(v.peers), others), offers: map[string][]offer{}, pinned: true}
	for name, offers := range v.offers {
		left := slices.DeleteFunc(slices.Clone(offers), func(o offer) bool { return others(o.peer) })
		if len(left) > 0 {
			one.offers[name] = left
		}
	}
	return one
}

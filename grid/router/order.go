package router

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"lobstah/grid"
	"lobstah/key"
	"lobstah/openai"
	"lobstah/receipt"
)

// The methods of this file and of follow.go make a [Router] what fulfils jobs
// (grid/jobs): it accepts them, gives each to a peer, and fetches the answer.

// Receive accepts a request for a chat completion that is to be answered later.
// An order that comes with a fault is genuine but not accepted now.
func (rt *Router) Receive(w http.ResponseWriter, r *http.Request) (*grid.Order, *openai.Error) {
	if !rt.enter() {
		return nil, drainingError()
	}
	defer rt.leave()
	request, e := readRequest(w, r, rt.MaxBody)
	if e != nil {
		return nil, e
	}
	tier := grid.Batch
	if r.Header.Get(grid.TierHeader) != "" {
		if tier, e = tierOf(r, openai.Chat); e != nil {
			return nil, e
		}
	}
	if messages := bytes.TrimSpace(request.Value("messages")); len(messages) == 0 || messages[0] != '[' {
		return nil, openai.BadMember("messages", "want an array; a job is a chat completion")
	}
	metadata, err := grid.ParseMetadata(request.Value("metadata"))
	if err != nil {
		return nil, openai.BadMember("metadata", "%v", err)
	}
	pinned, only := rt.roster.sync(rt.Peers.List()).pin(request)
	text, err := json.Marshal(seal{only})
	if err != nil {
		return nil, internal(err.Error()) // cannot happen: a key always has a text
	}
	owner := rt.ownerOf(r)
	o := &grid.Order{
		ID: receipt.NewJobID(), Owner: owner, Purse: owner, Model: pinned.Model, Tier: tier,
		Metadata: metadata, Body: request.Body, Seal: text,
	}
	fault := rt.offered(r.Context(), o, only)
	return o, fault
}

// A seal is what a router has to know of an order beside what all know.
type seal struct {
	Only key.ID `json:"only,omitzero"` // the peer that the client insists on
}

// offered refuses a model that nobody will ever have, as far as one can tell.
// What somebody may have waits for it, and the order says so.
func (rt *Router) offered(ctx context.Context, o *grid.Order, only key.ID) *openai.Error {
	v := rt.roster.sync(rt.Peers.List()).only(only)
	if len(o.Model) > maxModel {
		return unknownModel(v, o.Model)
	}
	if len(v.serving(o.Model)) == 0 {
		v.awaitFirstPolls(ctx)
		v = rt.roster.sync(rt.Peers.List()).only(only)
	}
	serving := v.serving(o.Model)
	if slices.ContainsFunc(serving, func(p offer) bool { return !p.health.lost() }) {
		return nil
	}
	e := rt.lacking(v, o.Model)
	if len(serving) == 0 && len(v.untold()) == 0 && !rt.mayLearn(v) {
		return e
	}
	o.Waits = e.Message
	return nil
}

// mayLearn reports whether a peer that is found later may serve the client.
func (rt *Router) mayLearn(v *view) bool { return rt.Learns && !v.pinned }

// lacking says why nobody is known to have a model, and who still may.
func (rt *Router) lacking(v *view, model string) *openai.Error {
	if len(v.peers) == 0 && rt.mayLearn(v) {
		return &openai.Error{
			Status: http.StatusServiceUnavailable, Type: "no_peers", RetryAfter: peerPause,
			Message: "no peer was found yet",
		}
	}
	if len(v.peers) == 0 {
		e := rt.noPeers()
		e.RetryAfter = peerPause
		return e
	}
	e := noOffer(v, model, rt.Now())
	if e.Status != http.StatusNotFound {
		return e
	}
	if untold := v.untold(); len(untold) > 0 {
		e.Message += "; not reached yet: " + some(untold)
	}
	if rt.mayLearn(v) {
		e.Message += "; a peer that is found later may have it"
	}
	return e
}

// untold names the peers that have never told what they have.
func (v *view) untold() (names []string) {
	for _, p := range v.peers {
		if p.facts.Load() == nil {
			names = append(names, p.Name())
		}
	}
	return names
}

// everybody is the owner of jobs where clients show no keys.
const everybody = "everybody"

// ownerOf is who a client is: the key that it shows, where keys are wanted.
func (rt *Router) ownerOf(r *http.Request) string {
	if len(rt.Keys) == 0 {
		return everybody
	}
	sum := sha256.Sum256([]byte("lobstah-job-owner-v1\n" + ShownKey(r.Header)))
	return "key " + hex.EncodeToString(sum[:])
}

// Identify tells who asks about jobs.
func (rt *Router) Identify(r *http.Request) (grid.Asker, *openai.Error) {
	return grid.Asker{Owner: rt.ownerOf(r)}, nil
}

// Reserve waits until one more job may be at a peer.
func (rt *Router) Reserve(ctx context.Context, _ grid.Tier) (release func(), err error) {
	select {
	case rt.places <- struct{}{}:
		return func() { <-rt.places }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Fulfil gives an order to a peer and fetches the answer, going on from where an
// earlier run of the program left off.
func (rt *Router) Fulfil(ctx context.Context, o grid.Order, log grid.JobLog) (fault *openai.Error, again bool) {
	f := &follower{rt: rt, log: log, order: o}
	if noted := log.Noted(); noted != nil {
		if err := json.Unmarshal(noted, &f.place); err != nil {
			return internal("the stored job cannot be read: " + err.Error()), false
		}
	}
	request, err := openai.ParseRequest(o.Body)
	var s seal
	if err == nil {
		err = json.Unmarshal(o.Seal, &s)
	}
	if err == nil && request.Model != o.Model { // it was pinned to a peer
		request, err = renamed(request, o.Model)
	}
	if err != nil {
		return internal("the stored job cannot be read: " + err.Error()), false
	}
	f.only = s.Only
	// What the client noted for itself is nobody else's business.
	f.body = request.Without("metadata", "stream", "stream_options")
	f.hash = sha256.Sum256(f.body)
	f.prefixes = rt.affinity.prefixes(request, openai.Chat)
	err = f.run(ctx)
	if end, ok := errors.AsType[*ending](err); ok {
		return end.fault, end.again
	}
	return nil, err != nil // the log failed: the job is another's, or the file is out of order
}

func internal(message string) *openai.Error {
	return &openai.Error{Status: http.StatusInternalServerError, Type: "internal_error", Message: message}
}

// renamed is a request for another model's text.
func renamed(request *openai.Request, model string) (*openai.Request, error) {
	text, err := json.Marshal(model)
	if err != nil {
		return nil, err
	}
	return openai.ParseRequest(request.With("model", text))
}

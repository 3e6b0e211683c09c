package grid

import "lobstah/key"

// An Origin says how a peer became known, which decides where it may live.
type Origin string

// The origins. A peer that the user named may be anywhere; the others are
// learned from strangers and never reach loopback, link-local or metadata
// addresses.
const (
	FromUser    Origin = "user"
	FromSelf    Origin = "self" // this machine's own worker
	FromTracker Origin = "tracker"
	FromNostr   Origin = "nostr"
	FromLAN     Origin = "lan"
	FromMesh    Origin = "mesh"
)

// Trusted reports whether the user, not a stranger, named the address.
func (o Origin) Trusted() bool { return o == FromUser || o == FromSelf || o == "" }

// Stranger reports whether the peer made itself known, so that nobody here need
// know whose it is.
func (o Origin) Stranger() bool { return o == FromTracker || o == FromNostr || o == FromLAN }

// A Peer is a worker that a router may ask. The first three members are those
// of the original's peers.json, which ignores the others.
type Peer struct {
	ID       key.ID `json:"pubkey"`
	URL      string `json:"url"`
	Label    string `json:"label,omitempty"`
	Insecure bool   `json:"insecure,omitempty"` // plain HTTP beyond loopback was agreed to
	Origin   Origin `json:"origin,omitempty"`
}

// Name is the label, or the short key of a peer that has none.
func (p Peer) Name() string {
	if p.Label != "" {
		return p.Label
	}
	return p.ID.Short()
}

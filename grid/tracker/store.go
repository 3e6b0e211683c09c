package tracker

import (
	"context"
	"iter"
	"time"

	"lobstah/grid/announce"
	"lobstah/key"
)

// A Record is the newest statement of one key: an offer, or that no offer up to
// a time counts any longer.
type Record struct {
	ID       key.ID
	At       int64  // Unix milliseconds, by the key's own clock
	Envelope string // the offer as [announce.Signed.Envelope] writes it; empty for none
}

// Supersedes reports whether r takes the place of old. Of two with the same
// time a withdrawal counts, and otherwise the one that came first.
func (r Record) Supersedes(old Record) bool {
	return r.At > old.At || r.At == old.At && r.Withdrawn() && !old.Withdrawn()
}

// Withdrawn reports whether r is no offer.
func (r Record) Withdrawn() bool { return r.Envelope == "" }

// Until is when r may be forgotten: every offer that it stands against is stale
// then.
func (r Record) Until() time.Time { return time.UnixMilli(r.At).Add(announce.MaxTTL) }

// A Store keeps the newest record of each key. Several trackers may share one.
// The suite in trackertest says what an implementation has to do.
type Store interface {
	// Put keeps r if it supersedes what is kept of its key, or nothing is. It
	// returns what is kept afterwards.
	Put(ctx context.Context, r Record) (kept Record, err error)
	// Watch yields what is kept, then a zero Record to say that this was all,
	// then each record that anybody puts, until ctx ends. The records of one key
	// come in their order; those that a newer one follows at once may be left
	// out, and one may come twice. An error ends it.
	Watch(ctx context.Context) iter.Seq2[Record, error]
}

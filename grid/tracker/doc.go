// Package tracker is a directory of workers: they announce themselves to it,
// routers ask it who serves a model, and people look at its page.
//
// Start from [New] with a [Config] and a [Store] ([NewMemory], or [OpenFile] for
// one that outlives a restart); serve the [Tracker] over HTTP and run
// [Tracker.Run] beside it. A request is read from top to bottom in tracker.go
// and then announce.go (POST), peers.go (GET /peers), stream.go (GET
// /peers/stream) or page.go (the page). What is announced goes to the Store,
// which says what is newest, and to the index (index.go), which answers.
//
// It imports grid, grid/announce and key; cmd composes it. Requests are hostile,
// and so is every text in an announcement: nothing is believed but signed
// statements, and the page shows texts as texts.
//
// # Policies
//
// Older never replaces newer: of each key the newest statement counts, by its
// own time, and it is remembered until every older offer is stale. The same
// announcement again is answered as the first time and changes nothing; an
// older one, or another of the same time, is refused as "superseded". A
// withdrawal ends offers up to its time and none that is later.
//
// Full: a key that is listed may always renew. A new one is refused with 503
// when the registry, its bytes, or the share of the sender's address prefix
// (IPv4 /24, IPv6 /48) are used up; nobody is evicted for a newcomer.
//
// Rates: token buckets, by address prefix before anything is read and by key
// after its signature held; 429 with Retry-After. A table of buckets that is
// full lets all newcomers share one bucket.
//
// Streams: all share one ring of the last changes. Whoever falls behind by more
// than the ring is cut off and may come back with Last-Event-ID.
package tracker

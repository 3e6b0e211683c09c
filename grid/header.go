package grid

// Headers of requests and answers, beyond those of receipts and signatures.
// docs/protocol.md says what is between routers and workers, docs/api.md what
// clients of a router see.
const (
	// TierHeader says on a request what it is: interactive (which requests for
	// an answer are, unless they say otherwise), batch or best-effort. It decides
	// whom a router prefers and whom a worker's queue lets go first.
	TierHeader = "X-Lobstah-Tier"

	// PreferHeader names on a request the peer to ask first, by its key. It is a
	// wish: where that peer cannot be asked, others are.
	PreferHeader = "X-Lobstah-Prefer"

	FailoverHeader = "X-Lobstah-Failover" // of a request: "any" allows other weights of the model's name, "same" does not
	PeerHeader     = "X-Lobstah-Peer"     // of an answer: the key of the peer that gave it
	RouteHeader    = "X-Lobstah-Route"    // of an answer: why that peer was picked

	// RequestIDHeader names a request in the logs of all that it passes. On a
	// worker's answer it is the jobId of the receipt.
	RequestIDHeader = "X-Request-Id"

	// IdempotencyHeader makes a request that is repeated the same one: a job is
	// kept once, and an answer that was lost on its way is given again, marked
	// by RepeatedHeader.
	IdempotencyHeader = "Idempotency-Key"
	RepeatedHeader    = "X-Lobstah-Repeated"

	PositionHeader = "X-Lobstah-Position" // of a 102: place in the queue, 0 when running
	EtaHeader      = "X-Lobstah-Eta"      // of a 102: seconds until its turn; none while nothing was measured
	TimeHeader     = "X-Lobstah-Time"     // of a 401: the worker's clock in Unix milliseconds
)

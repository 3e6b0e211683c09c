// Package worker is the server side of the grid: an [http.Handler] that fronts
// one inference engine, decides who may use it, queues fairly, runs, and signs
// a receipt for each answer.
//
// Start from [New] with a [Config]; run [Worker.Run] beside the server and call
// [Worker.Drain] to stop. The life of a request is read from top to bottom in
// [Worker.ServeHTTP] and then serve.go: claim (identify.go), admit
// (admission.go), read (body.go), verify, queue (queue.go, ring.go), run
// (run.go, stream.go), sign and record (receipts.go, book.go), send (reply.go).
//
// Jobs, which are answered later, go by the same rules: order.go accepts and
// fulfils what grid/jobs keeps. The queue serves tiers one after the other, what
// the worker is meant for first (queue.go).
//
// It may import grid, grid/engine, key, receipt and openai; cmd/ composes it.
// Requests are hostile, and so is what the engine answers: both are capped
// before they are parsed, and nothing of either is believed before it was
// checked.
//
// # What a router can rely on
//
// Acceptance. A signed request that asks for a stream gets "102 Processing"
// (RFC 2518) as an informational response once it was accepted: at once when it
// has to wait in the queue, after one second when it runs but its engine has
// sent nothing yet, and every five seconds from then on. Its headers say
// X-Lobstah-Position (place in the queue, 0 when running) and X-Lobstah-Eta
// (seconds until its turn, an estimate, once there is one). A Go client sees it with
// httptrace.ClientTrace.Got1xxResponse; a client that does not look loses
// nothing. Because 102 is not the answer, the answer keeps its true status:
// whatever fails before the first data byte, even after acceptance, is an HTTP
// error with its Retry-After and can be given to the next peer. A 200 means
// that the first data event follows at once.
//
// Unsigned streams (programs that speak to a worker directly) get 200 and
// comments (": queue 2 eta 14s") after ten seconds of silence instead; a
// failure after that is an error event.
//
// Refusals. 400, 404, 413, 415 and 422 are the request's own fault. 401 is a
// signature that does not hold, is late or replayed; its X-Lobstah-Time header
// and serverTime member are the worker's clock in Unix milliseconds, and a
// request that was signed before the worker started counts as late. 402 is no
// credit, 403 not allowed, 429 a full queue, 503 a worker that drains, or whose
// engine or ledger is out of order; 429 and 503 carry Retry-After. 502 is an
// engine that failed.
//
// Receipts. Each answer that came to its end has one: in the header
// X-Lobstah-Receipt of a whole answer, in a comment directly before data:
// [DONE] (as the last block in dialects without [DONE]) of a stream. A stream
// that the client left has one with the finish reason "cancelled" for what was
// sent, to be fetched with GET /receipts?since=SEQ. An answer that failed, in
// the engine or because the worker stopped, has none and costs nothing; nor has
// count_tokens. Without a ledger there are none at all.
package worker

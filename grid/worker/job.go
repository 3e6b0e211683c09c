package worker

import (
	"context"
	"net/netip"
	"time"

	"lobstah/grid"
	"lobstah/grid/engine"
	"lobstah/openai"
	"lobstah/receipt"
)

// A job is one request on its way through the worker. One goroutine owns it.
type job struct {
	w       *Worker
	id      string // in the header, the log and the receipt
	path    string
	dialect openai.Dialect
	addr    netip.Addr
	arrived time.Time
	reply   *reply

	// Known once it was prepared.
	claim    claim
	from     requester
	tier     grid.Tier
	request  *openai.Request
	bodyHash [32]byte // of the body as it came
	held     int64    // bytes of the bodies' budget
	model    grid.Model
	call     engine.Call
	streams  bool
	repeat   [32]byte // what its answer is known again by; zero for nothing

	// Known once it has its slot.
	ctx     context.Context // ends when the client leaves, and with cancel
	cancel  context.CancelCauseFunc
	leave   func() // gives the slot on; once
	begun   time.Time
	started time.Time // the same by the worker's clock, for the receipt
	silence *time.Timer
	meter   *openai.Meter
	hash    receipt.StreamHash
	sent    int // events

	// How it ended, for the log.
	outcome string // code of what went wrong
	fault   string
	theirs  bool // it is in the engine's words
}

// dropBody forgets the request's body and gives its memory back.
func (j *job) dropBody() {
	j.w.bodies.give(j.addr, j.held)
	j.held, j.call.Body = 0, nil
	if j.request != nil {
		j.request.Body = nil
	}
}

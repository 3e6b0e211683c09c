package worker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"lobstah/grid"
	"lobstah/key"
	"lobstah/openai"
	"lobstah/receipt"
)

// The methods of this file make a [Worker] what fulfils jobs (grid/jobs): they
// accept a request to be answered later, and answer it when its turn has come,
// under the same rules as any other.

// A seal is what an order keeps of the request that it came with.
type seal struct {
	ID    string `json:"id,omitempty"` // of the requester; empty for anonymous
	How   how    `json:"how"`
	Local bool   `json:"local,omitempty"`
	Addr  string `json:"addr"`
	Proof string `json:"proof,omitempty"` // the signature, for the receipt
	Path  string `json:"path"`
}

// Receive accepts a request for a chat completion that is to be answered later.
// An order that comes with a fault is genuine but not accepted now.
func (w *Worker) Receive(rw http.ResponseWriter, r *http.Request) (*grid.Order, *openai.Error) {
	limitTime(rw)
	if !w.begin() {
		return nil, w.health()
	}
	defer w.requests.Done()
	j := &job{w: w, id: receipt.NewJobID(), path: r.URL.Path, dialect: openai.Chat, addr: remoteAddr(r)}
	defer j.dropBody()
	if fault := j.read(rw, r, grid.Batch); fault != nil {
		return nil, fault
	}
	o, fault := j.order()
	if fault != nil {
		return nil, fault
	}
	return o, j.prepare(r.Context(), r.Header)
}

// order is a job that was read, to be kept.
func (j *job) order() (*grid.Order, *openai.Error) {
	if messages := bytes.TrimSpace(j.request.Value("messages")); len(messages) == 0 || messages[0] != '[' {
		return nil, openai.BadMember("messages", "want an array; a job is a chat completion")
	}
	metadata, err := grid.ParseMetadata(j.request.Value("metadata"))
	if err != nil {
		return nil, openai.BadMember("metadata", "%v", err)
	}
	s := seal{How: j.claim.how, Local: j.claim.local, Addr: j.addr.String(), Proof: j.claim.header, Path: j.path}
	o := &grid.Order{
		ID: j.id, Owner: j.from.owner(j.claim.how), Purse: j.from.line(), Model: j.request.Model,
		Tier: j.tier, Metadata: metadata, Body: slices.Clone(j.request.Body),
	}
	if !j.from.id.IsZero() {
		s.ID = j.from.id.String()
	}
	if j.from.isStranger() {
		o.Purse = strangers
	}
	o.Seal, err = json.Marshal(s)
	if err != nil {
		panic(err) // texts and numbers
	}
	return o, nil
}

// owner is who may ask about a requester's job: whoever has its key; where none
// was proved, who has the id, and on this machine any program.
func (rq requester) owner(h how) string {
	switch {
	case h == bySignature || h == byConnection:
		return rq.id.String()
	case h == byLegacy:
		return "legacy " + rq.id.String()
	case rq.class == local:
		return "local"
	}
	return ""
}

// Identify tells who asks about jobs. Whoever may not use the worker any more
// may still fetch what it was given before.
func (w *Worker) Identify(r *http.Request) (grid.Asker, *openai.Error) {
	c, fault := w.claim(r)
	if fault == nil {
		fault = w.verify(r, c, requester{class: w.classOf(c.id)}, sha256.Sum256(nil))
	}
	switch {
	case fault != nil:
		return grid.Asker{}, fault
	case c.how == bySignature || c.how == byConnection:
		return grid.Asker{Owner: c.id.String()}, nil
	case c.local:
		return grid.Asker{Owner: "local", Bearer: true}, nil
	}
	return grid.Asker{Bearer: true}, nil
}

// classOf says which memory of signatures a key's are kept in.
func (w *Worker) classOf(id key.ID) class {
	if _, ok := w.config.Admission.Allowed(id); ok || id == w.id {
		return allowed
	}
	return stranger
}

// Reserve waits for a slot for a job; see [queue.reserve].
func (w *Worker) Reserve(ctx context.Context, tier grid.Tier) (release func(), err error) {
	t, waits, refusal := w.queue.reserve(tier)
	if waits {
		defer w.queue.unreserve()
		if refusal, err = w.queue.wait(ctx, t); err != nil {
			return nil, err
		}
	}
	if refusal != nil {
		return nil, refusal
	}
	return func() { w.queue.leave(t) }, nil
}

// Fulfil answers an order. Everything that could refuse it may have changed
// since it was accepted, and is asked again.
func (w *Worker) Fulfil(ctx context.Context, o grid.Order, log grid.JobLog) (fault *openai.Error, again bool) {
	if !w.begin() {
		return w.health(), true
	}
	defer w.requests.Done()
	j, fault := w.reopen(ctx, o)
	if fault != nil {
		return fault, temporary(fault)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(w.halt, func() { cancel(errStopping) })()
	limit := time.AfterFunc(w.config.AnswerTimeout, func() { cancel(errSilent) })
	defer limit.Stop()
	j.ctx = ctx
	j.started = w.config.Now()
	if log.Begun(ctx, j.started) != nil {
		return nil, true // cancelled, or the file is out of order
	}
	result, fault := j.produce()
	if fault == nil {
		fault = j.deliver(result, log)
	}
	return fault, fault != nil && temporary(fault)
}

// reopen makes an order the job that it was, if it may still be answered.
func (w *Worker) reopen(ctx context.Context, o grid.Order) (*job, *openai.Error) {
	var s seal
	if err := json.Unmarshal(o.Seal, &s); err != nil {
		return nil, badOrder(err)
	}
	j := &job{w: w, id: o.ID, path: s.Path, dialect: openai.Chat, tier: o.Tier, bodyHash: sha256.Sum256(o.Body)}
	j.claim = claim{how: s.How, header: s.Proof, local: s.Local, notLocal: "is kept from before"}
	j.addr, _ = netip.ParseAddr(s.Addr)
	var err error
	if s.ID != "" {
		if j.claim.id, err = key.ParseID(s.ID); err != nil {
			return nil, badOrder(err)
		}
	}
	if s.How == byLegacy && !w.config.Admission.Legacy(j.addr, j.claim.id) {
		j.claim.how = byNothing
	}
	if j.request, err = openai.ParseRequest(o.Body); err == nil {
		j.request, err = openai.ParseRequest(j.request.Without("metadata", "stream", "stream_options"))
	}
	if err != nil {
		return nil, badOrder(err)
	}
	var fault *openai.Error
	if j.from, fault = w.admit(j.claim); fault != nil {
		return nil, fault
	}
	fault = j.prepare(ctx, nil)
	j.call.Path = "/v1/chat/completions" // whatever the path of the job
	return j, fault
}

func badOrder(err error) *openai.Error {
	return &openai.Error{Status: http.StatusInternalServerError, Type: "internal_error", Message: "the stored job cannot be read: " + err.Error()}
}

// produce gets the answer from the engine, as compact JSON.
func (j *job) produce() ([]byte, *openai.Error) {
	j.meter = openai.NewMeter(j.dialect)
	answer, err := j.w.config.Engine.Do(j.ctx, j.call)
	if err != nil {
		return nil, j.unproduced(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, grid.MaxJobBytes+1))
	switch {
	case err != nil:
		return nil, j.unproduced(err)
	case len(body) > grid.MaxJobBytes:
		return nil, engineFault("answer_too_large", "the engine's answer is larger than the %d bytes that are kept of one", grid.MaxJobBytes)
	}
	if j.meter.Body(body); j.meter.Failure != nil {
		return nil, j.fromEngine(j.meter.Failure)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, body); err != nil {
		return nil, engineFault("malformed_answer", "the engine's answer is not JSON: %v", err)
	}
	return compact.Bytes(), nil
}

// unproduced is faultOf for a job that nobody holds a connection open for.
func (j *job) unproduced(err error) *openai.Error {
	cause := context.Cause(j.ctx)
	switch {
	case errors.Is(cause, grid.ErrJobCancelled):
		return &openai.Error{Type: "cancelled", Message: "cancelled before it was answered"}
	case errors.Is(cause, grid.ErrJobOverdue):
		return &openai.Error{Status: http.StatusGatewayTimeout, Type: "expired", Message: "not answered within the time that jobs are kept for"}
	}
	if fault := j.faultOf(err); fault != nil {
		return fault
	}
	return unavailable("draining", time.Second, "the worker is stopping")
}

// deliver signs the receipt and keeps it with the answer.
func (j *job) deliver(result []byte, log grid.JobLog) *openai.Error {
	w := j.w
	r := j.statement("", receipt.HashBody(result))
	if j.from.class == public {
		w.commons.spend(w.config.Now(), r.Total())
	}
	var signed *receipt.Signed
	if w.book != nil {
		var err error
		if signed, err = receipt.Sign(w.config.Identity, r); err != nil {
			return badOrder(err)
		}
	}
	if log.Done(j.ctx, result, signed) != nil {
		return ledgerFault() // the log has said why; neither answer nor receipt is kept
	}
	return nil
}

// temporary reports whether another time may cure a fault.
func temporary(e *openai.Error) bool {
	switch e.Status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return true
	case http.StatusBadGateway:
		return e.Code == "engine_unreachable"
	}
	return false
}

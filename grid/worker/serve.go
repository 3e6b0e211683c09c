package worker

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"lobstah/grid"
	"lobstah/key"
	"lobstah/openai"
	"lobstah/receipt"
)

// maxModelName is what grid's capacity allows, plus a digest.
const maxModelName = 256 + len("@sha256:") + 64

// ServeHTTP answers all routes of a worker.
func (w *Worker) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	limitTime(rw)
	if d := openai.DialectOf(r.URL.Path); d != openai.Unknown {
		if allowMethods(rw, r, d, http.MethodPost) {
			w.servePost(rw, r, d)
		}
		return
	}
	get, ok := w.routes[r.URL.Path]
	switch {
	case !ok:
		newReply(rw, openai.Unknown, w.config.WriteTimeout).fail(&openai.Error{
			Status: http.StatusNotFound, Type: "not_found",
			Message: fmt.Sprintf("this is a lobstah worker; it has nothing at %.80s", r.URL.Path),
		})
	case allowMethods(rw, r, openai.Unknown, http.MethodGet, http.MethodHead):
		// A connection that knows no deadlines has other ways to end.
		_ = http.NewResponseController(rw).SetWriteDeadline(time.Now().Add(w.config.WriteTimeout))
		get(rw, r)
	}
}

// reads are the routes that only tell; anybody may ask.
func (w *Worker) reads() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"/":          w.root,
		"/healthz":   w.healthz,
		"/pubkey":    tell(w, w.pubkey),
		"/capacity":  tell(w, w.capacity),
		"/v1/models": tell(w, w.listModels),
		"/receipts":  tell(w, w.serveReceipts),
	}
}

func tell[T any](w *Worker, what func(*http.Request) (T, *openai.Error)) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		v, fault := what(r)
		if fault != nil {
			newReply(rw, openai.Unknown, w.config.WriteTimeout).fail(fault)
			return
		}
		writeJSON(rw, http.StatusOK, v)
	}
}

func (w *Worker) pubkey(*http.Request) (map[string]key.ID, *openai.Error) {
	return map[string]key.ID{"pubkey": w.id}, nil
}

func (w *Worker) root(rw http.ResponseWriter, _ *http.Request) {
	rw.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	_, _ = rw.Write([]byte("lobstah-worker\n")) // a client that left needs no answer
}

func allowMethods(rw http.ResponseWriter, r *http.Request, d openai.Dialect, methods ...string) bool {
	if slices.Contains(methods, r.Method) {
		return true
	}
	rw.Header().Set("Allow", strings.Join(methods, ", "))
	newReply(rw, d, time.Minute).fail(&openai.Error{
		Status: http.StatusMethodNotAllowed, Type: "invalid_request_error", Code: "method_not_allowed",
		Message: fmt.Sprintf("%.20s is not answered at %s; use %s", r.Method, r.URL.Path, methods[0]),
	})
	return false
}

// servePost serves one request for the engine and logs it.
func (w *Worker) servePost(rw http.ResponseWriter, r *http.Request, d openai.Dialect) {
	j := &job{
		w: w, id: receipt.NewJobID(), path: r.URL.Path, dialect: d,
		arrived: time.Now(), addr: remoteAddr(r), reply: newReply(rw, d, w.config.WriteTimeout), ctx: r.Context(),
	}
	rw.Header().Set(grid.RequestIDHeader, j.id)
	defer j.log(r)
	defer j.reply.close()
	if !w.begin() {
		j.fail(w.health())
		return
	}
	defer w.requests.Done()
	defer j.dropBody()
	fault := j.read(rw, r, grid.Interactive)
	if fault == nil {
		fault = j.prepare(r.Context(), r.Header)
	}
	if fault != nil {
		j.fail(fault)
		return
	}
	if j.nameRepeat(r.Header); j.repeated() {
		return
	}
	j.enqueue(r)
}

// read takes a request in and proves whose it is; tier is what it is unless it
// says otherwise.
func (j *job) read(rw http.ResponseWriter, r *http.Request, tier grid.Tier) (fault *openai.Error) {
	w := j.w
	if j.claim, fault = w.claim(r); fault != nil {
		return fault
	}
	if j.tier, fault = tierOf(r, tier); fault != nil {
		return fault
	}
	from, fault := w.admit(j.claim)
	if fault != nil {
		return fault
	}
	var body []byte
	if body, j.held, fault = w.readBody(rw, r); fault != nil {
		return fault
	}
	if j.request, fault = parse(body); fault != nil {
		return fault
	}
	j.bodyHash = sha256.Sum256(body)
	if fault = w.verify(r, j.claim, from, j.bodyHash); fault != nil {
		return fault
	}
	j.from = from // proved only now
	return nil
}

// prepare does the rest of what comes before the queue.
func (j *job) prepare(ctx context.Context, header http.Header) (fault *openai.Error) {
	w := j.w
	if fault = w.health(); fault != nil {
		return fault
	}
	if j.model, fault = w.facts.find(ctx, j.request.Model, func(all []grid.Model) []grid.Model { return w.usable(j.claim, all) }); fault != nil {
		return fault
	}
	if fault = w.permit(j.claim, j.from, j.model); fault != nil {
		return fault
	}
	j.prepareCall(header)
	return w.credit(ctx, j.from)
}

// tierOf is what a request says it is.
func tierOf(r *http.Request, unless grid.Tier) (grid.Tier, *openai.Error) {
	text := r.Header.Get(grid.TierHeader)
	if text == "" {
		return unless, nil
	}
	tier, err := grid.ParseTier(text)
	if err != nil {
		return "", openai.BadMember(grid.TierHeader, "%v", err)
	}
	return tier, nil
}

func parse(body []byte) (*openai.Request, *openai.Error) {
	request, err := openai.ParseRequest(body)
	if err != nil {
		return nil, asError(err, http.StatusBadRequest)
	}
	if len(request.Model) > maxModelName {
		return nil, openai.BadMember("model", "longer than %d bytes", maxModelName)
	}
	return request, nil
}

// enqueue waits for a slot and runs the job in it.
func (j *job) enqueue(r *http.Request) {
	w := j.w
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	defer context.AfterFunc(w.halt, func() { cancel(errStopping) })()
	j.ctx, j.cancel = ctx, cancel

	t, waits, refusal := w.queue.enter(j.from.line(), j.from.isStranger(), j.tier)
	if refusal != nil {
		j.fail(refusal)
		return
	}
	j.reply.accept(j.beatMode(r), waits, func() (int, int, time.Duration) { return w.queue.place(t) })
	if waits {
		refusal, err := w.queue.wait(ctx, t)
		if err != nil {
			refusal = j.faultOf(err)
		}
		if err != nil || refusal != nil {
			j.fail(refusal)
			return
		}
	}
	j.leave = sync.OnceFunc(func() { w.queue.leave(t) })
	defer j.leave()
	if waits { // others of its requester's may have spent the credit
		if fault := w.credit(ctx, j.from); fault != nil {
			j.fail(fault)
			return
		}
	}
	j.started, j.begun = w.config.Now(), time.Now()
	j.run()
}

// beatMode decides how the client learns that it was accepted.
func (j *job) beatMode(r *http.Request) beatMode {
	switch {
	case !j.streams:
		return silent
	case j.claim.how == bySignature || j.claim.how == byConnection:
		if r.ProtoAtLeast(1, 1) {
			return informational
		}
		return silent
	}
	return comments
}

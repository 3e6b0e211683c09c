package worker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"time"

	"lobstah/grid"
	"lobstah/grid/engine"
	"lobstah/openai"
	"lobstah/receipt"
)

// Why a job ended before its answer did; causes of its context.
var (
	errStopping = errors.New("the worker is stopping")
	errSilent   = errors.New("the engine has sent nothing for too long")
	errLeft     = errors.New("the client left")
)

// maxAnswer caps a whole answer of the engine.
const maxAnswer = 64 << 20

// passedHeaders go on to the engine.
var passedHeaders = []string{"Anthropic-Version", "Anthropic-Beta", "Openai-Beta"}

// prepareCall makes the engine's call: the body's own bytes, but that the model
// goes by its name, and usage is always asked for in streams.
func (j *job) prepareCall(from http.Header) {
	q := *j.request
	if name, digest := grid.SplitModel(q.Model); digest != "" && j.model.ID != q.Model {
		q.Body = q.With("model", quote(name))
		if again, err := openai.ParseRequest(q.Body); err == nil {
			q = *again
		}
	}
	j.streams = q.Stream && j.dialect != openai.Embeddings && j.dialect != openai.CountTokens
	body := q.Body
	if j.streams && j.dialect.OpenAI() && !q.IncludeUsage {
		body = q.With("stream_options", withUsage(q.Value("stream_options")))
	}
	header := http.Header{"Content-Type": {"application/json"}}
	for _, name := range passedHeaders {
		if v := from.Values(name); len(v) > 0 {
			header[name] = v
		}
	}
	j.call = engine.Call{Path: j.path, Header: header, Body: body, Model: q.Model}
}

func quote(s string) []byte {
	raw, _ := json.Marshal(s) // a string always encodes
	return raw
}

// withUsage sets include_usage in a client's stream_options.
func withUsage(raw []byte) []byte {
	options := map[string]json.RawMessage{}
	_ = json.Unmarshal(raw, &options) // parsed before: an object, null or nothing
	if options == nil {
		options = map[string]json.RawMessage{}
	}
	options["include_usage"] = json.RawMessage("true")
	out, _ := json.Marshal(options) // raw JSON always encodes
	return out
}

// run gets the answer from the engine and sends it.
func (j *job) run() {
	limit := j.w.config.AnswerTimeout
	if j.streams {
		limit = j.w.config.Silence
	}
	j.silence = time.AfterFunc(limit, func() { j.cancel(errSilent) })
	defer j.silence.Stop()
	j.meter = openai.NewMeter(j.dialect)
	answer, err := j.w.config.Engine.Do(j.ctx, j.call)
	if err != nil {
		j.fail(j.faultOf(err))
		return
	}
	defer answer.Body.Close()
	j.dropBody() // a long stream does not hold it
	if j.streams {
		j.stream(answer)
	} else {
		j.whole(answer)
	}
}

// whole sends an answer that is no stream.
func (j *job) whole(answer *engine.Answer) {
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case err != nil:
		j.fail(j.faultOf(err))
		return
	case len(body) > maxAnswer:
		j.fail(engineFault("answer_too_large", "the engine's answer is larger than %d bytes", maxAnswer))
		return
	}
	if j.meter.Body(body); j.meter.Failure != nil {
		j.fail(j.fromEngine(j.meter.Failure))
		return
	}
	s := j.settle("", receipt.HashBody(body))
	if s != nil || j.w.book == nil {
		j.w.repeats.keep(repeat{j.repeat, j.w.config.Now(), answer.Status, contentType(answer), body, s})
	}
	if err := j.reply.answer(answer.Status, contentType(answer), body, s); err != nil {
		j.outcome = "client_left" // after the engine was done: the receipt stands
	}
}

func contentType(answer *engine.Answer) string {
	if answer.ContentType == "" {
		return "application/json"
	}
	return answer.ContentType
}

// isStream reports whether the engine answers with events; one that does not
// say is believed.
func isStream(answer *engine.Answer) bool {
	kind, _, err := mime.ParseMediaType(answer.ContentType)
	return answer.ContentType == "" || err == nil && kind == "text/event-stream"
}

// fail ends the job with e; nothing is owed for it. A nil e means that nobody
// is there to be told.
func (j *job) fail(e *openai.Error) {
	if e == nil {
		return
	}
	j.outcome = cmp.Or(e.Code, e.Type)
	if !j.theirs || slices.Contains(ourWords, e.Code) {
		j.fault = e.Message // an engine may quote the request, or its own answer
	}
	j.reply.fail(e)
}

// ourWords are the codes of failures that we tell of the engine ourselves, so
// that they may be logged.
var ourWords = []string{"engine_failed", "engine_unreachable", "malformed_event", "unfinished_answer"}

// faultOf says what the client is told of err, which came from the engine or
// from the end of the job's context. Nil means that the client left.
func (j *job) faultOf(err error) *openai.Error {
	switch cause := context.Cause(j.ctx); {
	case errors.Is(cause, errStopping):
		return unavailable("draining", 5*time.Second, "the worker is stopping, and did not finish this answer; it costs nothing")
	case errors.Is(cause, errSilent):
		return &openai.Error{Status: http.StatusGatewayTimeout, Type: "engine_error", Code: "engine_silent", Message: errSilent.Error()}
	case cause != nil:
		j.outcome = "client_left"
		return nil
	}
	return j.fromEngine(asError(err, http.StatusBadGateway))
}

// asError gives err the wire's shape.
func asError(err error, status int) *openai.Error {
	if e, ok := errors.AsType[*openai.Error](err); ok {
		return e
	}
	return &openai.Error{Status: status, Type: "engine_error", Code: "engine_failed", Message: "the engine failed: " + err.Error()}
}

// fromEngine decides which of an engine's failures a client may see as they
// are: what is the request's own fault, and what another time may cure. The
// rest is 502; so is a refusal of the worker itself, which says nothing to the
// worker's client.
func (j *job) fromEngine(e *openai.Error) *openai.Error {
	j.theirs = true
	out := *e
	switch e.Status {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusRequestEntityTooLarge,
		http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		out.RetryAfter = wholeSeconds(e.RetryAfter)
	case http.StatusUnauthorized, http.StatusForbidden:
		return engineFault("engine_refused", "the engine refused the worker (%d): %s; its owner has to give it a key that it takes", e.Status, e.Message)
	default:
		out.Status = http.StatusBadGateway
		j.w.facts.soon()
	}
	return &out
}

func engineFault(code, format string, args ...any) *openai.Error {
	return &openai.Error{Status: http.StatusBadGateway, Type: "engine_error", Code: code, Message: fmt.Sprintf(format, args...)}
}

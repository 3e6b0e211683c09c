package jobs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"lobstah/grid"
	"lobstah/openai"
)

// record is a job as it is told.
func (s *Service) record(j *Job) grid.Job {
	record := grid.Job{
		ID: j.ID, Status: j.Shown().String(), CreatedAt: milli(j.Created), Metadata: j.Metadata, StartedAt: milli(j.Started),
		CompletedAt: milli(j.Completed), Result: j.Result, Receipt: j.Receipt,
		Model: j.Model, Tier: j.Tier, ExpiresAt: milli(j.Expires), Waiting: j.Waiting(),
	}
	if j.Status.Ended() {
		record.Error = j.Fault
	}
	return record
}

// explain says what the store's errors mean to a client.
func (s *Service) explain(ctx context.Context, err error) *openai.Error {
	switch {
	case errors.Is(err, ErrUnknown):
		return notFound()
	case errors.Is(err, ErrConflict):
		return &openai.Error{
			Status: http.StatusConflict, Type: "invalid_request_error", Code: "idempotency_conflict", Param: grid.IdempotencyHeader,
			Message: err.Error() + "; take a new one",
		}
	case errors.Is(err, ErrQuota):
		return &openai.Error{
			Status: http.StatusTooManyRequests, Type: "rate_limit_error", Code: "job_quota", Message: err.Error(), RetryAfter: 30 * time.Second,
		}
	}
	if ctx.Err() == nil {
		s.Logger.Error("the jobs cannot be read or written", "err", err)
	}
	return &openai.Error{
		Status: http.StatusServiceUnavailable, Type: "unavailable", Code: "ledger_error", RetryAfter: writeRetry,
		Message: "the file of jobs cannot be read or written; the log of this program says why",
	}
}

func (s *Service) fail(w http.ResponseWriter, r *http.Request, e *openai.Error) {
	s.Logger.LogAttrs(r.Context(), slog.LevelInfo, "refused", slog.String("path", Path), slog.String("method", r.Method),
		slog.Int("status", e.Status), slog.String("type", e.Type), slog.String("code", e.Code))
	h := w.Header()
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((e.RetryAfter+time.Second-1)/time.Second)))
	}
	if ms, ok := e.Extra["serverTime"].(int64); ok {
		h.Set(grid.TimeHeader, strconv.FormatInt(ms, 10))
	}
	reply(w, e.Status, e.JSON())
}

// answer writes v without the escapes that HTML would need, which would change
// the bytes of results.
func (s *Service) answer(w http.ResponseWriter, status int, v any) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		panic(err) // results were JSON before they were kept
	}
	reply(w, status, bytes.TrimRight(b.Bytes(), "\n"))
}

func reply(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	// Without support for deadlines (tests, other servers) there are none. The
	// connection may be kept for another request, so it goes again.
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Now().Add(writeTimeout))
	w.WriteHeader(status)
	if _, err := w.Write(body); err == nil { // else the client has left
		_ = control.Flush()
	}
	_ = control.SetWriteDeadline(time.Time{})
}

package worker

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"lobstah/grid"
	"lobstah/receipt"
)

// log writes the request's one line: no prompt, no key.
func (j *job) log(r *http.Request) {
	logger, ctx := j.w.config.Logger, context.WithoutCancel(r.Context())
	if !logger.Enabled(ctx, slog.LevelInfo) {
		return
	}
	attrs := []slog.Attr{
		slog.String("request", j.id), slog.String("path", j.path), slog.Int("status", j.reply.status),
		slog.String("from", shortName(j.from)), slog.Duration("took", time.Since(j.arrived).Round(time.Microsecond)),
	}
	add := func(name, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(name, value))
		}
	}
	add("label", j.from.label)
	add("caller_request", plainID(r.Header.Get(grid.RequestIDHeader)))
	if j.request != nil {
		add("model", j.request.Model)
	}
	if j.meter != nil {
		input, output, source := j.tokens()
		attrs = append(attrs, slog.Int64("in", input), slog.Int64("out", output), slog.String("counted_by", string(source)),
			slog.Duration("queued", j.begun.Sub(j.arrived).Round(time.Microsecond)))
		add("finish", j.meter.Finish)
	}
	if first := j.reply.first; !first.IsZero() {
		attrs = append(attrs, slog.Duration("first", first.Sub(j.arrived).Round(time.Microsecond)))
	}
	add("outcome", j.outcome)
	add("fault", j.fault)
	logger.LogAttrs(ctx, slog.LevelInfo, "request", attrs...)
}

func shortName(rq requester) string {
	if rq.id.IsZero() {
		return receipt.Anonymous
	}
	return rq.id.Short()
}

// plainID lets an id of the caller's into the log if it is one.
func plainID(s string) string {
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7F {
			return ""
		}
	}
	return clip(s, 64)
}

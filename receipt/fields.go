package receipt

import (
	"encoding/hex"
	"fmt"
	"math"
	"strings"
	"time"

	"lobstah/internal/canonical"
	"lobstah/key"
)

// tree builds the canonical tree; the order of members follows their names.
func (r *Receipt) tree() canonical.Object {
	var o canonical.Object
	text := func(name, value string) {
		if value != "" {
			o = append(o, canonical.Member{Name: name, Value: value})
		}
	}
	number := func(name string, value int64) {
		o = append(o, canonical.Member{Name: name, Value: float64(value)})
	}
	number("completedAt", r.CompletedAt.UnixMilli())
	text("finishReason", r.FinishReason)
	number("inputTokens", r.InputTokens)
	o = append(o, canonical.Member{Name: "jobId", Value: r.JobID}, canonical.Member{Name: "model", Value: r.Model})
	text("modelDigest", r.ModelDigest)
	o = append(o, canonical.Member{Name: "nonce", Value: r.Nonce})
	number("outputTokens", r.OutputTokens)
	text("requestHash", r.RequestHash)
	text("requestPath", r.RequestPath)
	text("requestSignature", r.RequestSignature)
	o = append(o, canonical.Member{Name: "requesterPubkey", Value: r.Requester})
	text("responseHash", r.ResponseHash)
	number("startedAt", r.StartedAt.UnixMilli())
	text("tokenSource", string(r.TokenSource))
	number("version", 1)
	text("workerPubkey", r.Worker.String())
	return o
}

// parts splits an envelope into the receipt value and the signature.
func parts(tree any) (canonical.Object, [64]byte, error) {
	var signature [64]byte
	envelope, ok := tree.(canonical.Object)
	if !ok {
		return nil, signature, fmt.Errorf("%w: want an object with receipt and signature", ErrMalformed)
	}
	value, _ := envelope.Get("receipt")
	body, ok := value.(canonical.Object)
	if !ok {
		return nil, signature, fmt.Errorf("%w: it has no receipt object", ErrMalformed)
	}
	value, _ = envelope.Get("signature")
	digits, _ := value.(string)
	if len(digits) != 2*len(signature) {
		return nil, signature, fmt.Errorf("%w: the signature is not 128 hex digits", ErrSignature)
	}
	if _, err := hex.Decode(signature[:], []byte(digits)); err != nil {
		return nil, signature, fmt.Errorf("%w: the signature is not 128 hex digits", ErrSignature)
	}
	return body, signature, nil
}

func workerOf(body canonical.Object) (key.ID, error) {
	value, _ := body.Get("workerPubkey")
	text, _ := value.(string)
	id, err := key.ParseID(text)
	if err != nil {
		return id, fmt.Errorf("%w: workerPubkey: %w", ErrMalformed, err)
	}
	return id, nil
}

// parseFields reads the members that we know from a receipt value and refuses
// what no honest worker writes: the original checks nothing after the
// signature, so negative or missing counts would poison its balances.
func parseFields(tree any) (Receipt, error) {
	body, ok := tree.(canonical.Object)
	if !ok {
		return Receipt{}, fmt.Errorf("%w: the receipt is no object", ErrMalformed)
	}
	f := fields{body: body}
	if version := f.integer("version", 1<<31); f.err == nil && version != 1 {
		return Receipt{}, fmt.Errorf("%w: version %d is unknown", ErrMalformed, version)
	}
	r := Receipt{
		JobID:            f.text("jobId", 128, true),
		Nonce:            f.hex("nonce", 16, true),
		Requester:        f.text("requesterPubkey", 128, true),
		Model:            f.text("model", maxModelBytes, true),
		InputTokens:      f.integer("inputTokens", maxTokens),
		OutputTokens:     f.integer("outputTokens", maxTokens),
		StartedAt:        f.time("startedAt"),
		CompletedAt:      f.time("completedAt"),
		RequestHash:      f.hex("requestHash", 32, false),
		RequestPath:      f.text("requestPath", 128, false),
		RequestSignature: f.text("requestSignature", 256, false),
		ResponseHash:     f.hex("responseHash", 32, false),
		ModelDigest:      f.text("modelDigest", 128, false),
		FinishReason:     f.text("finishReason", 64, false),
		TokenSource:      TokenSource(f.text("tokenSource", 16, false)),
	}
	if f.err != nil {
		return Receipt{}, f.err
	}
	var err error
	if r.Worker, err = workerOf(body); err != nil {
		return Receipt{}, err
	}
	if r.Requester != Anonymous {
		if _, err := key.ParseID(r.Requester); err != nil {
			return Receipt{}, fmt.Errorf("%w: requesterPubkey: %w", ErrMalformed, err)
		}
	}
	if r.CompletedAt.Before(r.StartedAt) {
		return Receipt{}, fmt.Errorf("%w: completed before it started", ErrMalformed)
	}
	return r, nil
}

// fields reads typed members and keeps the first error.
type fields struct {
	body canonical.Object
	err  error
}

func (f *fields) fail(name, format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf("%w: %s: %s", ErrMalformed, name, fmt.Sprintf(format, args...))
	}
}

// text reads a string of at most limit bytes; a missing one is "" unless it is
// required.
func (f *fields) text(name string, limit int, required bool) string {
	value, present := f.body.Get(name)
	if !present && !required {
		return ""
	}
	s, ok := value.(string)
	switch {
	case !ok:
		f.fail(name, "want a string")
	case len(s) > limit:
		f.fail(name, "longer than %d bytes", limit)
	}
	return s
}

// hex reads the lower-case hex digits of n bytes.
func (f *fields) hex(name string, n int, required bool) string {
	s := f.text(name, 2*n, required)
	if s == "" && !required {
		return s
	}
	if raw, err := hex.DecodeString(s); err != nil || len(raw) != n || strings.ToLower(s) != s {
		f.fail(name, "want %d lower-case hex digits", 2*n)
	}
	return s
}

// integer reads a whole number from 0 to limit.
func (f *fields) integer(name string, limit int64) int64 {
	value, _ := f.body.Get(name)
	n, ok := value.(float64)
	if !ok || n != math.Trunc(n) || n < 0 || n > float64(limit) {
		f.fail(name, "want a whole number from 0 to %d", limit)
		return 0
	}
	return int64(n)
}

func (f *fields) time(name string) time.Time {
	const farthest = 253402300799999 // the end of the year 9999
	return time.UnixMilli(f.integer(name, farthest)).UTC()
}

package router

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"sync"

	"lobstah/grid"
	"lobstah/openai"
	"lobstah/receipt"
)

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

const keepBuffer = 1 << 20 // larger ones are not kept

// whole passes an answer on that is no stream. It is read to its end first, so
// that a fault anywhere in it can still go to another peer.
func (a *attempt) whole(response *http.Response) outcome {
	buffer := buffers.Get().(*bytes.Buffer)
	defer func() {
		if buffer.Cap() <= keepBuffer {
			buffer.Reset()
			buffers.Put(buffer)
		}
	}()
	limit := a.rt.MaxAnswer
	_, err := buffer.ReadFrom(io.LimitReader(response.Body, limit+1))
	body := buffer.Bytes()
	switch {
	case err != nil:
		return a.lost(err)
	case int64(len(body)) > limit:
		return outcome{kind: failed, status: http.StatusOK, err: errTooLarge}
	}
	if a.meter.Body(body); a.meter.Failure != nil {
		return outcome{kind: failed, status: http.StatusOK, err: &heardError{"no answer", ": " + a.meter.Failure.Message}}
	}
	text := response.Header.Get(receipt.Header)
	a.client.whole(a, http.StatusOK, contentType(response.Header), wellFormed(text), body)
	switch {
	case response.Header.Get(grid.RepeatedHeader) != "":
		a.sent = false // nothing is owed for it, but perhaps for the first time
		a.rt.settleEarlier(a.peer, text)
	case a.dialect != openai.CountTokens: // which costs nothing
		hash := ""
		if a.rt.Ledger != nil {
			hash = receipt.HashBody(body)
		}
		a.settle(text, hash)
	}
	return outcome{kind: answered, status: http.StatusOK}
}

// wellFormed returns a receipt's text if it can be one: base64, not too long.
func wellFormed(text string) string {
	if len(text) > 2*receipt.MaxBytes {
		return ""
	}
	for _, c := range []byte(text) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			c == '+' || c == '/' || c == '-' || c == '_' || c == '=') {
			return ""
		}
	}
	return text
}

// cause says why the attempt was ended from our side, nil if it was not.
func (a *attempt) cause() error {
	if a.ctx.Err() == nil {
		return nil
	}
	return context.Cause(a.ctx)
}

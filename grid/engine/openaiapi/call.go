package openaiapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"lobstah/grid"
	"lobstah/grid/engine"
	"lobstah/openai"
)

// passed are the headers of a call that reach the engine. Others, such as
// credentials that were meant for a router, do not.
var passed = []string{"Content-Type", "Accept", "Anthropic-Version", "Anthropic-Beta", "Openai-Beta", "Traceparent", "Tracestate"}

// Do sends one call, as engine.Engine says. An engine that refuses its key (401)
// is this machine's failure, not the client's, and becomes 502. When ctx ended
// the error wraps its error.
func (e *Engine) Do(ctx context.Context, call engine.Call) (*engine.Answer, error) {
	if openai.DialectOf(call.Path) == openai.Unknown {
		return nil, &openai.Error{
			Status: http.StatusNotFound, Type: "invalid_request_error", Code: "unknown_path",
			Message: "there is nothing at this path",
		}
	}
	body, err := e.addressed(ctx, call)
	if err != nil {
		return nil, err
	}
	response, err := e.client.send(ctx, http.MethodPost, call.Path, callHeader(call.Header), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	answer := &engine.Answer{Status: response.StatusCode, ContentType: response.Header.Get("Content-Type"), Body: response.Body}
	if err := e.client.check(ctx, response, answer); err != nil {
		response.Body.Close()
		return nil, err
	}
	return answer, nil
}

// addressed returns the body for the engine: as it came, but for the model's
// name where the engine calls it otherwise. A long prompt takes milliseconds to
// parse, so that is done only then, or when the call does not tell its model.
func (e *Engine) addressed(ctx context.Context, call engine.Call) ([]byte, error) {
	name := call.Model
	if name == "" {
		request, err := openai.ParseRequest(call.Body)
		if err != nil {
			return nil, err
		}
		name = request.Model
	}
	entry, err := e.catalog.find(ctx, name)
	if err != nil {
		return nil, err
	}
	wire := entry.Wire
	if _, digest := grid.SplitModel(name); wire == "" && digest != "" && name != entry.ID {
		wire = entry.ID
	}
	if wire == "" || wire == name {
		return call.Body, nil
	}
	return renamed(call.Body, wire)
}

func renamed(body []byte, model string) ([]byte, error) {
	request, err := openai.ParseRequest(body)
	if err != nil {
		return nil, err
	}
	name, err := json.Marshal(model)
	if err != nil {
		return nil, fmt.Errorf("encoding a model's name: %w", err)
	}
	return request.With("model", name), nil
}

func callHeader(from http.Header) http.Header {
	header := http.Header{"Content-Type": {"application/json"}}
	for _, name := range passed {
		if values := from.Values(name); len(values) > 0 {
			header[name] = values
		}
	}
	return header
}

// check refuses an answer that is not the API's. A type that tells is believed;
// otherwise the first byte does.
func (c *Client) check(ctx context.Context, response *http.Response, answer *engine.Answer) error {
	if coding := response.Header.Get("Content-Encoding"); coding != "" && coding != "identity" {
		return c.failure("it compressed its answer (%.20q), though it was not asked to", coding)
	}
	kind, _, _ := mime.ParseMediaType(answer.ContentType) // a type that cannot be read is an unknown one
	switch {
	case kind == "application/json", kind == "text/event-stream", strings.HasSuffix(kind, "+json"):
		return nil
	case kind == "text/html":
		return c.webPage()
	}
	reader := bufio.NewReader(response.Body)
	first, err := firstByte(reader)
	switch {
	case err == io.EOF:
		return c.failure("it answered %d with nothing", answer.Status)
	case err != nil:
		return c.unreachable(ctx, err)
	case first == '<':
		return c.webPage()
	}
	answer.Body = prefixed{reader, response.Body}
	return nil
}

func (c *Client) webPage() error {
	return c.failure("it answers with a web page, not with an API's JSON; check the address")
}

// firstByte looks at the first byte that is no white space.
func firstByte(r *bufio.Reader) (byte, error) {
	for n := 1; n <= r.Size(); n++ {
		text, err := r.Peek(n)
		if err != nil {
			return 0, err
		}
		if b := text[n-1]; b != ' ' && b != '\t' && b != '\r' && b != '\n' {
			return b, nil
		}
	}
	return ' ', nil
}

// prefixed reads through a buffer and closes what is behind it.
type prefixed struct {
	io.Reader
	io.Closer
}

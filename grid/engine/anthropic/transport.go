package anthropic

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"lobstah/openai"
)

const maxWhole = 64 << 20 // bytes of an answer that is translated whole

// A Transport carries OpenAI's requests to Anthropic's API. Its zero value is
// ready. It is safe for concurrent use.
type Transport struct {
	Base http.RoundTripper // nil: http.DefaultTransport
}

// RoundTrip implements http.RoundTripper. Chat completions are translated,
// Messages and the list of models pass, anything else is a 404 of ours.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	authorize(r.Header)
	prefix, dialect := split(r.URL.Path)
	switch {
	case dialect == openai.Chat:
		r.URL.Path = prefix + "/v1/messages"
		return t.chat(r)
	case dialect == openai.Messages, dialect == openai.CountTokens:
		return t.send(r)
	case r.Method == http.MethodGet:
		r.URL.RawQuery = "limit=1000" // it lists twenty otherwise
		return t.send(r)
	}
	return local(r, &openai.Error{
		Status: http.StatusNotFound, Type: "invalid_request_error", Code: "unsupported_path",
		Message: "Anthropic's API has no " + strings.TrimPrefix(r.URL.Path, prefix) + "; use /v1/chat/completions or /v1/messages",
	}), nil
}

// split tells a base address's own path from the API's.
func split(path string) (prefix string, dialect openai.Dialect) {
	i := strings.LastIndex(path, "/v1/")
	if i < 0 {
		return "", openai.Unknown
	}
	return path[:i], openai.DialectOf(path[i:])
}

// authorize moves the key to where Anthropic wants it.
func authorize(h http.Header) {
	if k, ok := strings.CutPrefix(h.Get("Authorization"), "Bearer "); ok {
		h.Set("X-Api-Key", k)
	}
	h.Del("Authorization")
	if h.Get("Anthropic-Version") == "" {
		h.Set("Anthropic-Version", version)
	}
}

func (t *Transport) send(r *http.Request) (*http.Response, error) {
	if t.Base != nil {
		return t.Base.RoundTrip(r)
	}
	return http.DefaultTransport.RoundTrip(r)
}

func (t *Transport) chat(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	r.Body.Close()
	if err != nil {
		return nil, fmt.Errorf("reading the request for Anthropic: %w", err)
	}
	asked, failure := translate(body)
	if failure != nil {
		return local(r, failure), nil
	}
	if body, err = json.Marshal(asked); err != nil {
		return nil, fmt.Errorf("encoding the request for Anthropic: %w", err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	r.ContentLength = int64(len(body))
	response, err := t.send(r)
	if err != nil || response.StatusCode >= 300 {
		return response, err
	}
	return back(response, asked)
}

// back translates an answer. A stream is translated as it is read.
func back(response *http.Response, asked *request) (*http.Response, error) {
	response.Header.Del("Content-Length")
	response.ContentLength = -1
	now := time.Now().Unix()
	if asked.Stream {
		response.Body = newStream(response.Body, asked, now)
		return response, nil
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxWhole+1))
	if err != nil {
		return nil, fmt.Errorf("reading Anthropic's answer: %w", err)
	}
	text, err := whole(raw, asked, now)
	if err != nil {
		return local(response.Request, &openai.Error{
			Status: http.StatusBadGateway, Type: "engine_error", Code: "engine_failure", Message: err.Error(),
		}), nil
	}
	response.Body = io.NopCloser(bytes.NewReader(text))
	return response, nil
}

// local answers without asking anybody.
func local(r *http.Request, e *openai.Error) *http.Response {
	if r.Body != nil {
		r.Body.Close()
	}
	body := e.JSON()
	return &http.Response{
		StatusCode: e.Status, Status: http.StatusText(e.Status),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}}, ContentLength: int64(len(body)),
		Body: io.NopCloser(bytes.NewReader(body)), Request: r,
	}
}

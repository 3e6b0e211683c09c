package openai

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"
)

// An Error is a failure in the shape that OpenAI's clients read:
// {"error":{"message","type","param","code"}}.
type Error struct {
	Status     int // HTTP status; 0 inside a stream
	Message    string
	Type       string
	Code       string
	Param      string
	RetryAfter time.Duration  // whole seconds in the Retry-After header; 0 for none
	Extra      map[string]any // more members of the error object
}

func (e *Error) Error() string { return e.Message }

// BadRequest is the fault of a request that is wrong itself; param names the
// member or header that is, and may be empty.
func BadRequest(param, format string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Type: "invalid_request_error", Param: param, Message: fmt.Sprintf(format, args...)}
}

// BadMember is a [BadRequest] whose message begins with the name of the member
// or header.
func BadMember(param, format string, args ...any) *Error {
	return BadRequest(param, "%s: %s", param, fmt.Sprintf(format, args...))
}

// JSON returns the body. Members that are empty are null, as OpenAI writes
// them.
func (e *Error) JSON() []byte {
	inner := map[string]any{"message": e.Message, "type": e.Type, "param": orNull(e.Param), "code": orNull(e.Code)}
	maps.Copy(inner, e.Extra)
	return mustJSON(map[string]any{"error": inner})
}

// Body returns the body in the shape that d's clients read.
func (e *Error) Body(d Dialect) []byte {
	if d != Messages && d != CountTokens {
		return e.JSON()
	}
	return mustJSON(map[string]any{"type": "error", "error": map[string]any{"type": e.anthropicType(), "message": e.Message}})
}

// Event returns the server-sent event that ends a broken stream of dialect d.
func (e *Error) Event(d Dialect) []byte {
	switch d {
	case Messages:
		return fmt.Appendf(nil, "event: error\ndata: %s\n\n", e.Body(d))
	case Responses:
		body := map[string]any{"type": "error", "code": orNull(e.Code), "message": e.Message, "param": orNull(e.Param)}
		return fmt.Appendf(nil, "event: error\ndata: %s\n\n", mustJSON(body))
	}
	return fmt.Appendf(nil, "data: %s\n\n", e.JSON())
}

// anthropicType names the failure in Anthropic's vocabulary.
func (e *Error) anthropicType() string {
	switch e.Status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return "invalid_request_error"
	case http.StatusUnauthorized:
		return "authentication_error"
	case http.StatusForbidden, http.StatusPaymentRequired:
		return "permission_error"
	case http.StatusNotFound:
		return "not_found_error"
	case http.StatusRequestEntityTooLarge:
		return "request_too_large"
	case http.StatusTooManyRequests:
		return "rate_limit_error"
	case http.StatusServiceUnavailable:
		return "overloaded_error"
	}
	return "api_error"
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// mustJSON encodes maps of strings and numbers, which cannot fail, without
// escaping < > & for HTML.
func mustJSON(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

// maxErrorText caps what is quoted of somebody else's failure.
const maxErrorText = 500

// ParseError reads the body of a failed answer in any of the shapes that
// engines use: OpenAI's, a bare string, JSON inside that string (Ollama passing
// on llama-server's), Anthropic's, HTML or nothing.
func ParseError(status int, body []byte) *Error {
	e := &Error{Status: status, Type: "engine_error"}
	e.read(body, 0)
	if e.Message == "" {
		e.Message = strings.ToLower(http.StatusText(status))
	}
	return e
}

func (e *Error) read(body []byte, depth int) {
	var outer struct {
		Error   json.RawMessage `json:"error"`
		Message string          `json:"message"` // older vLLM, and events of Responses
		Detail  json.RawMessage `json:"detail"`  // FastAPI, which many engines are built on
	}
	if err := json.Unmarshal(body, &outer); err != nil && outer.Error == nil && outer.Message == "" {
		e.Message = clip(plain(body))
		return
	}
	var text string
	switch {
	case json.Unmarshal(outer.Error, &text) == nil && text != "":
		if depth == 0 && strings.HasPrefix(strings.TrimSpace(text), "{") {
			e.read([]byte(text), depth+1)
		} else {
			e.Message = clip(text)
		}
	case len(outer.Error) > 0 && outer.Error[0] == '{':
		e.readObject(outer.Error)
		e.Message = firstOf(e.Message, clip(outer.Message))
	case outer.Message != "":
		e.readObject(body)
	case json.Unmarshal(outer.Detail, &text) == nil && text != "":
		e.Message = clip(text)
	default:
		e.Message = clip(plain(body))
	}
}

// maxExtra caps how many more members of an engine's error are kept.
const maxExtra = 8

// readObject takes up the error object, with the numbers and truth values that
// it has beyond OpenAI's members, such as llama-server's n_ctx.
func (e *Error) readObject(object []byte) {
	var members map[string]any
	if json.Unmarshal(object, &members) != nil {
		return
	}
	for _, known := range []struct {
		name   string
		target *string
	}{{"message", &e.Message}, {"type", &e.Type}, {"code", &e.Code}, {"param", &e.Param}} {
		if text, ok := members[known.name].(string); ok && text != "" {
			*known.target = clip(text)
		}
		delete(members, known.name)
	}
	for name, value := range members {
		switch value.(type) {
		case float64, bool:
			if len(e.Extra) < maxExtra && len(name) <= 64 {
				if e.Extra == nil {
					e.Extra = map[string]any{}
				}
				e.Extra[name] = value
			}
		}
	}
}

// plain shows a body that is not JSON; of a web page only that it is one.
func plain(body []byte) string {
	text := strings.TrimSpace(string(body))
	if strings.HasPrefix(text, "<") {
		return "it answered with a web page, not with an API's JSON; check the address"
	}
	return text
}

func clip(s string) string {
	if len(s) > maxErrorText {
		return strings.ToValidUTF8(s[:maxErrorText], "") + "…"
	}
	return s
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

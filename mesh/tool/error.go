package tool

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// The codes of refusals and failures, for programs.
const (
	CodeDisabled    = "tools_disabled"
	CodeUnverified  = "caller_unverified"
	CodeDenied      = "tool_denied"
	CodeCommand     = "command_denied"
	CodePath        = "path_denied"
	CodeUnknown     = "unknown_tool"
	CodeArguments   = "bad_arguments"
	CodeApproval    = "approval_denied"
	CodeBusy        = "too_many_calls"
	CodeConflict    = "idempotency_conflict"
	CodeOutcome     = "outcome_unknown" // the call may have run, wholly or in part
	CodeLeft        = "caller_left"
	CodeTimeout     = "timeout"
	CodeFailed      = "tool_failed"
	CodeUnreachable = "node_unreachable" // nothing has run
	CodeExecutor    = "wrong_executor"
	CodeNode        = "unknown_node"
	CodeStopping    = "node_stopping"
	CodeAudit       = "audit_unavailable"
)

// An Error is why a call was refused or failed, in OpenAI's shape:
// {"error":{"message","type","param","code"}} and the members hint (what to do,
// and who can) and node (who says so).
type Error struct {
	Status  int // of HTTP
	Code    string
	Message string
	Hint    string
	Node    string
}

func (e *Error) Error() string { return e.Message }

// refuse makes an error with a status that fits the code.
func refuse(code, hint, format string, args ...any) *Error {
	return &Error{Status: statusOf(code), Code: code, Message: fmt.Sprintf(format, args...), Hint: hint}
}

// Errorf makes an error of a code, for backends.
func Errorf(code, format string, args ...any) error { return refuse(code, "", format, args...) }

func statusOf(code string) int {
	switch code {
	case CodeDisabled, CodeUnverified, CodeDenied, CodeCommand, CodePath, CodeApproval:
		return http.StatusForbidden
	case CodeUnknown, CodeNode:
		return http.StatusNotFound
	case CodeArguments:
		return http.StatusBadRequest
	case CodeBusy:
		return http.StatusTooManyRequests
	case CodeConflict, CodeOutcome, CodeLeft:
		return http.StatusConflict
	case CodeTimeout:
		return http.StatusGatewayTimeout
	case CodeUnreachable, CodeExecutor:
		return http.StatusBadGateway
	case CodeStopping, CodeAudit:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// kind is the type member, in OpenAI's vocabulary.
func (e *Error) kind() string {
	switch {
	case e.Status == http.StatusForbidden:
		return "permission_error"
	case e.Status == http.StatusTooManyRequests:
		return "rate_limit_error"
	case e.Status >= 400 && e.Status < 500:
		return "invalid_request_error"
	}
	return "tool_error"
}

type errorBody struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    string  `json:"code"`
	Hint    string  `json:"hint,omitempty"`
	Node    string  `json:"node,omitempty"`
	Status  int     `json:"status,omitempty"`
}

// MarshalJSON gives the inner object of the error shape.
func (e *Error) MarshalJSON() ([]byte, error) {
	return json.Marshal(errorBody{Message: e.Message, Type: e.kind(), Code: e.Code, Hint: e.Hint, Node: e.Node, Status: e.Status})
}

// UnmarshalJSON reads it.
func (e *Error) UnmarshalJSON(data []byte) error {
	var b errorBody
	if err := json.Unmarshal(data, &b); err != nil {
		return err
	}
	*e = Error{Status: b.Status, Code: b.Code, Message: b.Message, Hint: b.Hint, Node: b.Node}
	if e.Status == 0 {
		e.Status = statusOf(e.Code)
	}
	return nil
}

// asError makes any error one of ours.
func asError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return refuse(CodeFailed, "", "%s", err)
}

// writeError answers with an error.
func writeError(w http.ResponseWriter, err error) {
	e := asError(err)
	if e.Status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	status := e.Status
	if status < 400 || status > 599 { // another node said so
		status = statusOf(e.Code)
	}
	writeJSON(w, status, map[string]any{"error": e})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that is gone needs no answer
}

// ReadError reads a refusal that came as a whole answer.
func ReadError(response *http.Response) *Error {
	data, err := io.ReadAll(io.LimitReader(response.Body, maxErrorBytes))
	var body struct {
		Error *Error `json:"error"`
	}
	if err == nil {
		err = json.Unmarshal(data, &body)
	}
	if err != nil || body.Error == nil || body.Error.Message == "" {
		return &Error{Status: response.StatusCode, Code: CodeFailed, Message: fmt.Sprintf("the answer was %s: %.200s", response.Status, bytes.ToValidUTF8(data, []byte("?")))}
	}
	return body.Error
}

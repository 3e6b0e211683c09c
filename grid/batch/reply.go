package batch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"lobstah/openai"
)

// reply answers with v.
func reply(w http.ResponseWriter, status int, v any) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // our own types always encode
	}
	send(w, status, b.Bytes())
}

func send(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may have left
}

// refuse answers with an error: one of the request, else one of ours, which is
// logged and not told.
func (s *Service) refuse(w http.ResponseWriter, r *http.Request, err error) {
	e, ok := errors.AsType[*openai.Error](err)
	if !ok {
		s.Logger.Error("cannot serve a request", "method", r.Method, "err", err)
		e = &openai.Error{
			Status: http.StatusInternalServerError, Type: "server_error",
			Message: "the files of batches cannot be read or written; the router's log says why",
		}
	}
	send(w, e.Status, e.JSON())
}

func missing(what, id string) *openai.Error {
	return &openai.Error{
		Status: http.StatusNotFound, Type: "invalid_request_error", Param: "id", Message: fmt.Sprintf("there is no %s %.80q", what, id),
	}
}

func notFound(w http.ResponseWriter, r *http.Request) {
	e := &openai.Error{
		Status: http.StatusNotFound, Type: "invalid_request_error",
		Message: fmt.Sprintf("%s %.100s is nothing that the Files and Batch API has", r.Method, r.URL.Path),
	}
	send(w, e.Status, e.JSON())
}

// page is a list as OpenAI cuts it: what comes after an id, in order.
type page[T any] struct {
	Object  string  `json:"object"` // "list"
	Data    []T     `json:"data"`
	FirstID *string `json:"first_id"`
	LastID  *string `json:"last_id"`
	HasMore bool    `json:"has_more"`
}

// cut takes one page of a list.
func cut[T any](r *http.Request, list []T, id func(T) string, usual, most int) (*page[T], error) {
	q := r.URL.Query()
	limit := usual
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > most {
			return nil, openai.BadRequest("limit", "limit %.20q: want a number from 1 to %d", text, most)
		}
		limit = n
	}
	if after := q.Get("after"); after != "" {
		at := 0
		for at < len(list) && id(list[at]) != after {
			at++
		}
		if at == len(list) {
			return nil, openai.BadRequest("after", "there is nothing with the id %.80q to list after", after)
		}
		list = list[at+1:]
	}
	p := &page[T]{Object: "list", Data: list[:min(limit, len(list))], HasMore: len(list) > limit}
	if p.Data == nil {
		p.Data = []T{}
	}
	if n := len(p.Data); n > 0 {
		p.FirstID, p.LastID = new(id(p.Data[0])), new(id(p.Data[n-1]))
	}
	return p, nil
}

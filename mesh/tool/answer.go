package tool

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// invoker runs a request and tells its events, the last one included. An error
// is a refusal before the first event, or what on returned.
type invoker func(ctx context.Context, r *Request, on func(*Event) error) error

// serveInvoke answers an invocation in the form that it asks for.
func serveInvoke(w http.ResponseWriter, r *http.Request, data []byte, invoke invoker) {
	request, err := ReadRequest(data)
	if err != nil {
		writeError(w, err)
		return
	}
	if request.Stream {
		a := &streamed{w: w, control: http.NewResponseController(w)}
		err = invoke(r.Context(), request, a.send)
		if err != nil && !a.begun {
			writeError(w, err)
		}
		return
	}
	var end Event
	err = invoke(r.Context(), request, func(e *Event) error {
		end = *e
		return nil
	})
	if err == nil && end.Error != nil {
		err = end.Error
	}
	if err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, Response{Executor: *end.Executor, Result: end.Result, Replayed: end.Replayed})
}

// streamed writes events as lines and gives up on a client that reads nothing.
type streamed struct {
	w       http.ResponseWriter
	control *http.ResponseController
	begun   bool
}

func (a *streamed) send(e *Event) error {
	if !a.begun {
		a.begun = true
		a.w.Header().Set("Content-Type", "application/x-ndjson")
		a.w.Header().Set("Cache-Control", "no-store")
	}
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	_ = a.control.SetWriteDeadline(time.Now().Add(writeWithin)) // writers of tests have none
	if _, err := a.w.Write(append(line, '\n')); err != nil {
		return err
	}
	err = a.control.Flush()
	_ = a.control.SetWriteDeadline(time.Time{}) // HTTP/2 ends a stream whose deadline passes in silence
	return err
}

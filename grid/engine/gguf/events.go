package gguf

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// events writes server-sent events, each flushed, none waited for longer than
// writeTimeout.
type events struct {
	w       http.ResponseWriter
	control *http.ResponseController
	begun   bool
}

func (s *events) send(v any) error {
	body, err := encode(v)
	if err != nil {
		return err
	}
	return s.write(string(body))
}

func (s *events) write(data string) error {
	if !s.begun {
		s.begun = true
		s.w.Header().Set("Content-Type", "text/event-stream")
		s.w.Header().Set("Cache-Control", "no-store")
	}
	if err := s.deadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(s.w, "data: %s\n\n", data); err != nil {
		return fmt.Errorf("sending an event: %w", err)
	}
	if err := s.control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("sending an event: %w", err)
	}
	return s.deadline(time.Time{}) // the next token may take longer
}

func (s *events) deadline(at time.Time) error {
	if err := s.control.SetWriteDeadline(at); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("setting the deadline of an event: %w", err)
	}
	return nil
}

package gguf

import (
	"context"
	"errors"
	"sync"
)

// errQueueFull says that as many requests wait as may.
var errQueueFull = errors.New("the queue is full")

// slots are the sessions that answers are made in, and the queue before them.
// Requests wait in the order in which they came; when too many wait, the next is
// refused. A request gets the free session that already holds the longest part of
// its prompt, so a conversation goes on where it was.
type slots struct {
	turns chan struct{} // holds an item for each session in use

	mutex   sync.Mutex // guards the following
	idle    []*session // longest unused first
	waiting int
	queue   int // how many may wait
}

func newSlots(m *Model, count, queue int) *slots {
	s := &slots{turns: make(chan struct{}, count), queue: queue}
	for range count {
		s.idle = append(s.idle, newSession(m))
	}
	return s
}

// take waits for a session and gives the one that fits prompt best; give it back
// with put.
func (s *slots) take(ctx context.Context, prompt []int) (*session, error) {
	select {
	case s.turns <- struct{}{}:
		return s.best(prompt), nil
	default:
	}
	if !s.wait(1) {
		return nil, errQueueFull
	}
	defer s.wait(-1)
	select {
	case s.turns <- struct{}{}:
		return s.best(prompt), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *slots) wait(more int) bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if more > 0 && s.waiting == s.queue {
		return false
	}
	s.waiting += more
	return true
}

func (s *slots) best(prompt []int) *session {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	best, most := 0, -1
	for i, one := range s.idle {
		if n := one.shared(prompt); n > most {
			best, most = i, n
		}
	}
	found := s.idle[best]
	s.idle = append(s.idle[:best], s.idle[best+1:]...)
	return found
}

func (s *slots) put(one *session) {
	s.mutex.Lock()
	s.idle = append(s.idle, one)
	s.mutex.Unlock()
	<-s.turns
}

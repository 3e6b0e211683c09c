package main

import (
	"net"
	"net/http"
	"slices"
	"sync"
)

// maxStrangers is how many connections of the open port may have become no link yet.
// Honest ones do at once.
const maxStrangers = 512

// strangers bounds the connections of a server that are not hijacked. When there
// are too many, the one that has been there longest is closed. The zero value is
// ready.
type strangers struct {
	mu   sync.Mutex
	list []net.Conn // guarded by mu; oldest first
}

// note is the server's ConnState.
func (s *strangers) note(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		if old := s.enter(conn); old != nil {
			old.Close()
		}
	case http.StateHijacked, http.StateClosed:
		s.leave(conn)
	}
}

// enter returns the connection that has to make room, nil for none.
func (s *strangers) enter(conn net.Conn) (old net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, conn)
	if len(s.list) > maxStrangers {
		old = s.list[0]
		s.list = s.list[1:]
	}
	return old
}

func (s *strangers) leave(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.list, conn); i >= 0 {
		s.list = slices.Delete(s.list, i, i+1)
	}
}

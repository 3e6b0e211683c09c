//go:build unix

package link

import (
	"errors"
	"net"
	"syscall"
)

// attempt writes as much as the system takes at once. The zero value takes
// nothing.
type attempt struct {
	raw  syscall.RawConn
	once func(fd uintptr) bool // made only once

	p   []byte // of the write under way
	n   int
	err error
}

// attemptOn gives the zero value for anything but a socket.
func attemptOn(conn net.Conn) *attempt {
	a := new(attempt)
	if socket, ok := conn.(syscall.Conn); ok {
		if raw, err := socket.SyscallConn(); err == nil {
			a.raw, a.once = raw, a.try
		}
	}
	return a
}

// write may be called by one goroutine at a time, and not while conn is written.
func (a *attempt) write(p []byte) (int, error) {
	if a.raw == nil || len(p) == 0 {
		return 0, nil
	}
	a.p, a.n, a.err = p, 0, nil
	err := a.raw.Write(a.once)
	a.p = nil
	return a.n, errors.Join(err, a.err)
}

func (a *attempt) try(fd uintptr) bool {
	for a.n < len(a.p) {
		n, err := syscall.Write(int(fd), a.p[a.n:])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return true
		case err != nil:
			a.err = &net.OpError{Op: "write", Net: "tcp", Err: err}
			return true
		}
		a.n += n
	}
	return true
}

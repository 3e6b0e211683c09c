// Package testport hands out TCP ports to tests of programs that are told their
// port before they listen on it.
//
// Call [Free]. Only tests import it. The ports lie below those that systems give to
// connections by themselves, and none is given twice in a process: a port that was
// asked of the system, and let go, is soon somebody else's.
package testport

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

const (
	first = 15000
	count = 17000 // up to 32000; Linux gives from 32768 on by itself, others from 49152
)

var (
	mu   sync.Mutex
	next = rand.IntN(count) // guarded by mu; test processes run side by side
)

// Free returns a port of 127.0.0.1 that nobody listens on, in decimal. It panics when
// there is none.
func Free() string {
	mu.Lock()
	defer mu.Unlock()
	for range count {
		port := strconv.Itoa(first + next)
		next = (next + 1) % count
		if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil && l.Close() == nil {
			return port
		}
	}
	panic("testport: all ports are taken")
}

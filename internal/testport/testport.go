// Package testport hands out TCP ports to tests of programs that are told their
// port before they listen on it.
//
// Call [Free]. Only tests import it. The ports lie below those that systems give to
// connections by themselves, and none is given twice: a port that was asked of the
// system, and let go, is soon somebody else's. Test processes that run side by side
// take blocks of ports, each by listening on its first.
package testport

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

const (
	first  = 20000 // above the ports of our programs
	size   = 200   // of a block
	blocks = 60    // up to 32000; Linux gives from 32768 on by itself, others from 49152
)

var (
	mu     sync.Mutex
	guards []net.Listener // guarded by mu; of our blocks, until the process ends
	next   int            // guarded by mu, as end: ports of the last block that are left
	end    int
)

// Free returns a port of 127.0.0.1 that nobody listens on, in decimal. It panics when
// there is none.
func Free() string {
	mu.Lock()
	defer mu.Unlock()
	for {
		if next == end {
			claim()
		}
		port := next
		next++
		if l, err := listen(port); err == nil && l.Close() == nil {
			return strconv.Itoa(port)
		}
	}
}

// claim takes a block that no other process has. The lock is held.
func claim() {
	for _, block := range rand.Perm(blocks) {
		begin := first + block*size
		if l, err := listen(begin); err == nil {
			guards = append(guards, l)
			next, end = begin+1, begin+size
			return
		}
	}
	panic("testport: all ports are taken")
}

func listen(port int) (net.Listener, error) {
	return net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
}

package testport

import (
	"net"
	"strconv"
	"testing"
)

// More ports than a block has are all different, and none is one that is taken.
func TestFree(t *testing.T) {
	t.Parallel()
	before, seen := len(guards), map[string]bool{}
	for range size + 10 {
		port := Free()
		if seen[port] {
			t.Errorf("%s was given twice", port)
		}
		seen[port] = true
	}
	if len(guards) == before {
		t.Errorf("no further block was taken")
	}
	for next == end {
		Free()
	}
	taken, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(next))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if _, port, _ := net.SplitHostPort(taken.Addr().String()); Free() == port {
		t.Errorf("%s is taken", port)
	}
	if _, err := net.Listen("tcp", guards[0].Addr().String()); err == nil {
		t.Error("another process can take our block")
	}
}

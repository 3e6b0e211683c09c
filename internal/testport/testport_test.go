package testport

import (
	"net"
	"testing"
)

func TestFree(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 100 {
		port := Free()
		if seen[port] {
			t.Errorf("%s was given twice", port)
		}
		seen[port] = true
	}
	l, err := net.Listen("tcp", "127.0.0.1:"+Free())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	mu.Lock()
	next-- // once more
	mu.Unlock()
	if _, port, _ := net.SplitHostPort(l.Addr().String()); Free() == port {
		t.Errorf("%s is taken", port)
	}
}

package portowner

import (
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
)

func TestFind(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	owner, ok := Find(port)
	if runtime.GOOS == "linux" {
		if !ok || owner.PID != os.Getpid() || !strings.Contains(owner.String(), "process ") {
			t.Errorf("Find = %v, %v; want process %d", owner, ok, os.Getpid())
		}
	} else if ok {
		t.Errorf("Find = %v on a system that does not tell", owner)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if owner, ok := Find(port); ok {
		t.Errorf("after it closed: %v", owner)
	}
}

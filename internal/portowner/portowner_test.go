package portowner

import (
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"lobstah/internal/testport"
)

func TestFind(t *testing.T) {
	t.Parallel()
	port, err := strconv.Atoi(testport.Free()) // which nobody else gets when it is closed
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
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

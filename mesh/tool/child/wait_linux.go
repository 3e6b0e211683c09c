package child

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// waitExit returns when the program has ended and leaves it to be waited for, so
// that its number stays its own until the group has been killed.
func waitExit(p *os.Process) {
	for {
		err := unix.Waitid(unix.P_PID, p.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

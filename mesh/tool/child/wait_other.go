//go:build unix && !linux

package child

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// waitExit returns when the program has ended and leaves it to be waited for, so
// that its number stays its own until the group has been killed.
func waitExit(p *os.Process) {
	for {
		q, err := unix.Kqueue()
		if err != nil {
			time.Sleep(10 * time.Millisecond) // no more files may be opened now
			continue
		}
		watchExit(q, p.Pid)
		_ = unix.Close(q)
		return
	}
}

func watchExit(q, pid int) {
	change := unix.Kevent_t{Fflags: unix.NOTE_EXIT}
	unix.SetKevent(&change, pid, unix.EVFILT_PROC, unix.EV_ADD|unix.EV_ONESHOT)
	events := make([]unix.Kevent_t, 1)
	for {
		n, err := unix.Kevent(q, []unix.Kevent_t{change}, events, nil)
		if n > 0 || err != nil && err != unix.EINTR { // ESRCH: it has ended before
			return
		}
	}
}

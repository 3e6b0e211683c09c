package channel

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// limitSilence lets the system give up a connection on which nothing of what
// was sent is acknowledged any more, since the cable was pulled or the machine
// went to sleep; by itself it tries for a quarter of an hour.
func limitSilence(raw syscall.RawConn) (err error) {
	outer := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unacknowledged.Milliseconds()))
	})
	if outer != nil {
		return outer
	}
	return err
}

package channel

import (
	"syscall"

	"golang.org/x/sys/windows"
)

const tcpMaxRT = 5 // TCP_MAXRT of ws2ipdef.h, in seconds

// limitSilence lets the system give up a connection on which nothing of what
// was sent is acknowledged any more.
func limitSilence(raw syscall.RawConn) (err error) {
	outer := raw.Control(func(fd uintptr) {
		err = windows.SetsockoptInt(windows.Handle(fd), windows.IPPROTO_TCP, tcpMaxRT, int(unacknowledged.Seconds()))
	})
	if outer != nil {
		return outer
	}
	return err
}

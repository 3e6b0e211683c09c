package channel

import (
	"syscall"

	"golang.org/x/sys/unix"
)

const tcpRxtConnDropTime = 0x80 // TCP_RXT_CONNDROPTIME of netinet/tcp.h, in seconds

// limitSilence lets the system give up a connection on which nothing of what
// was sent is acknowledged any more.
func limitSilence(raw syscall.RawConn) (err error) {
	outer := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, tcpRxtConnDropTime, int(unacknowledged.Seconds()))
	})
	if outer != nil {
		return outer
	}
	return err
}

//go:build unix

package native

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// openFlags keep a read from waiting for whoever writes to a named pipe.
const openFlags = syscall.O_NONBLOCK

func shell(line string, _ []string) []string { return []string{"/bin/sh", "-c", line} }

func asWritten(*exec.Cmd, string) {}

// pathOf names an open folder so that a process that starts there cannot be led
// elsewhere by a change of the path. Only Linux has such names (where /proc is mounted); elsewhere a
// caller who may both run commands and replace folders could win a race, and gains
// a working folder by it that its commands could name anyway.
func pathOf(file *os.File, name string) string {
	open := fmt.Sprintf("/proc/self/fd/%d", file.Fd())
	if _, err := os.Stat(open); runtime.GOOS != "linux" || err != nil {
		return name
	}
	return open
}

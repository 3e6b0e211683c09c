//go:build unix

package enginetest

import (
	"os/exec"
	"syscall"
)

// ownGroup puts the process, with the children it will have, into a group.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(cmd.SysProcAttr)
}

// killGroup kills the process and its children. An error means that they are gone.
func killGroup(cmd *exec.Cmd) {
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
}

package llamaserver

import (
	"os/exec"
	"syscall"

	"golang.org/x/sys/windows"
)

// prepare gives the child a console group, so that Ctrl-C does not end it before
// its answers.
func prepare(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP}
}

// terminate sends Ctrl-Break, the one such event that a group takes.
func terminate(cmd *exec.Cmd) error {
	return windows.GenerateConsoleCtrlEvent(windows.CTRL_BREAK_EVENT, uint32(cmd.Process.Pid))
}

func kill(cmd *exec.Cmd) error { return cmd.Process.Kill() }

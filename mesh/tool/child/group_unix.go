//go:build unix

package child

import (
	"os"
	"os/exec"
	"syscall"
)

func prepare(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
}

// A Group is a program and what it started.
type Group struct{ pid int }

func newGroup(p *os.Process) (*Group, error) { return &Group{p.Pid}, nil }

// Kill ends all of them at once. Call it before the program is waited for, since
// its number may name another group afterwards.
func (g *Group) Kill() { _ = syscall.Kill(-g.pid, syscall.SIGKILL) } // ESRCH: they are gone, which is what we want

// Release gives back what the group holds, after the program was waited for.
func (g *Group) Release() {}

func signalOf(s *os.ProcessState) string {
	if status, ok := s.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return status.Signal().String()
	}
	return ""
}

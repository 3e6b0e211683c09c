package llamaserver

import "syscall"

// dieWithParent ends the child when this process is killed. It has nothing to
// save, and a SIGTERM that meets llama-server just before it serves is lost.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }

package llamaserver

import "syscall"

// dieWithParent ends the child when this process is killed.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGTERM }

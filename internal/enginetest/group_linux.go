package enginetest

import "syscall"

// dieWithParent ends the engine even when the test binary is killed.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }

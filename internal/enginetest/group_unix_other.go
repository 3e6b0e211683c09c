//go:build unix && !linux

package enginetest

import "syscall"

// dieWithParent does nothing: only Linux can. Cleanups of tests end the engine.
func dieWithParent(*syscall.SysProcAttr) {}

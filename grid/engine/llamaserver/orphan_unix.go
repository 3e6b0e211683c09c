//go:build unix && !linux

package llamaserver

import "syscall"

// dieWithParent can be had on Linux only: elsewhere a child outlives a killed
// parent. Its port demands a key that nobody has then.
func dieWithParent(*syscall.SysProcAttr) {}

//go:build !linux

package enginetest

import (
	"fmt"
	"runtime"
)

func installLlamaServer(string) (string, error) {
	return "", fmt.Errorf("tests do not install it on %s (a package manager does: brew, winget)", runtime.GOOS)
}

package enginetest

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
)

// installLlamaServer installs into folder unless that is done. A lock on a file
// beside it makes the test binaries of one run wait for each other.
func installLlamaServer(folder string) (string, error) {
	if runtime.GOARCH != "amd64" {
		return "", fmt.Errorf("it can be installed on amd64 only, this is %s", runtime.GOARCH)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", fmt.Errorf("making a folder for llama-server: %w", err)
	}
	lock, err := os.OpenFile(folder+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", fmt.Errorf("opening the lock for installing llama-server: %w", err)
	}
	defer lock.Close() // and with it the lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("waiting for another installation of llama-server: %w", err)
	}
	return install(folder)
}

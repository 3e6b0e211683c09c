//go:build unix

package tracker

import (
	"syscall"
	"testing"
)

// cpuSeconds is what the processors have worked for this process: other than
// the time, it stays the same on a busy machine.
func cpuSeconds(b *testing.B) float64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

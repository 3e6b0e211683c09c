package main

import (
	"os"
	"syscall"
)

// peakMemory is the most that an ended process held, in MiB.
func peakMemory(ended *os.ProcessState) float64 {
	if usage, ok := ended.SysUsage().(*syscall.Rusage); ok {
		return float64(usage.Maxrss) / 1024
	}
	return 0
}

//go:build !unix

package tracker

import (
	"testing"
	"time"
)

// cpuSeconds takes the time, where the processors' work is not told.
func cpuSeconds(*testing.B) float64 { return float64(time.Now().UnixNano()) / 1e9 }

//go:build !linux

package state

import (
	"os"
	"testing"
)

// asUser would take from root its right to write everywhere.
func asUser(t *testing.T, _ ...string) {
	t.Helper()
	if os.Getuid() == 0 {
		t.Skip("root writes everywhere, and only Linux takes that from one thread")
	}
}

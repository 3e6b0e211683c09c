package main

import (
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openTerminal returns the end of a pseudo-terminal that a program can have as its stdin, on which a person types text a moment later.
func openTerminal(t *testing.T, text string) (tty *os.File, hangUp func()) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	typing := time.AfterFunc(150*time.Millisecond, func() { // recorded: when the person typed
		_, _ = master.WriteString(text) // the program may be gone
	})
	return tty, func() {
		typing.Stop()
		_ = tty.Close()
		_ = master.Close()
	}
}

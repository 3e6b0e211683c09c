// Package portowner tells which process listens on a TCP port of this machine,
// so that "address already in use" can say by what.
//
// Call [Find]. Only cmd/ imports it. It looks where the system shows it to any
// user, and says nothing where it does not: the answer is for people, not for
// decisions.
package portowner

import "fmt"

// An Owner is a process.
type Owner struct {
	PID  int
	Name string // of its program; empty when the system hides it
}

// String names the process.
func (o Owner) String() string {
	if o.Name == "" {
		return fmt.Sprintf("process %d", o.PID)
	}
	return fmt.Sprintf("%s (process %d)", o.Name, o.PID)
}

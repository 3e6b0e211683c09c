package main

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// pin lets the process run on these processors alone; none means all.
func (p *process) pin(processors ...int) error {
	var set unix.CPUSet
	for _, n := range processors {
		set.Set(n)
	}
	if len(processors) == 0 {
		set.Fill()
	}
	// Threads that begin later take after the one that begins them.
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", p.cmd.Process.Pid))
	if err != nil {
		return err
	}
	for _, each := range threads {
		id, err := strconv.Atoi(each.Name())
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(id, &set); err != nil && err != unix.ESRCH {
			return fmt.Errorf("keep %d on processors %v: %w", id, processors, err)
		}
	}
	return nil
}

// twoProcessors are two that bench may run on, if there are.
func twoProcessors() (list [2]int, ok bool) {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil || set.Count() < len(list) {
		return list, false
	}
	for n, found := 0, 0; found < len(list); n++ {
		if set.IsSet(n) {
			list[found] = n
			found++
		}
	}
	return list, true
}

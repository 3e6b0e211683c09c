package host

import (
	"os"
	"os/exec"
	"strconv"

	"lobstah/flow/interp"
)

func setGroup(*exec.Cmd) {}

func terminateGroup(int) {}

// killGroup ends the process and its descendants.
func killGroup(pid int) {
	if exec.Command("taskkill", "/T", "/F", "/PID", strconv.Itoa(pid)).Run() == nil {
		return
	}
	if p, err := os.FindProcess(pid); err == nil {
		_ = p.Kill() // gone already is as good
	}
}

func lookPath(p *interp.Process) (string, error) { return exec.LookPath(p.Argv[0]) }

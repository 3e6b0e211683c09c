package native

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
)

const openFlags = 0

func shell(line string, env []string) []string {
	comspec := "cmd.exe"
	for _, variable := range env {
		if name, value, _ := strings.Cut(variable, "="); strings.EqualFold(name, "COMSPEC") {
			comspec = value
		}
	}
	return []string{comspec, "/d", "/s", "/c", line}
}

// asWritten gives the shell its line unchanged: cmd.exe knows nothing of the
// quotes that other programs' arguments get.
func asWritten(cmd *exec.Cmd, line string) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CmdLine: `"` + cmd.Args[0] + `" /d /s /c "` + line + `"`}
}

func pathOf(_ *os.File, name string) string { return name }

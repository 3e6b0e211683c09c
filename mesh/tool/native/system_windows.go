package native

import (
	"os"
	"strings"
)

const openFlags = 0

func shell(line string, env []string) []string {
	comspec := "cmd.exe"
	for _, variable := range env {
		if name, value, _ := strings.Cut(variable, "="); strings.EqualFold(name, "COMSPEC") {
			comspec = value
		}
	}
	return []string{comspec, "/d", "/c", line}
}

func pathOf(_ *os.File, name string) string { return name }

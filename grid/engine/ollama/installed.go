package ollama

import (
	"os"
	"os/exec"
)

// Program returns the path of an Ollama that is installed here: on PATH, or
// where the system's installer puts it.
func Program() (path string, found bool) {
	if path, err := exec.LookPath("ollama"); err == nil {
		return path, true
	}
	for _, path := range installPaths() {
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			return path, true
		}
	}
	return "", false
}

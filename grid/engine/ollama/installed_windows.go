package ollama

import (
	"os"
	"path/filepath"
)

func installPaths() []string {
	data := os.Getenv("LOCALAPPDATA")
	if data == "" {
		return nil
	}
	return []string{filepath.Join(data, "Programs", "Ollama", "ollama.exe")}
}

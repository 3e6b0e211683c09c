package ollama

import (
	"os"
	"path/filepath"
)

func installPaths() []string {
	const app = "Applications/Ollama.app/Contents/Resources/ollama"
	paths := []string{"/" + app, "/opt/homebrew/bin/ollama"}
	if home, err := os.UserHomeDir(); err == nil {
		paths = append(paths, filepath.Join(home, app))
	}
	return paths
}

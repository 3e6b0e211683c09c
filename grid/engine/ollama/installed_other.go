//go:build !darwin && !windows

package ollama

func installPaths() []string {
	return []string{"/usr/local/bin/ollama", "/usr/bin/ollama", "/snap/bin/ollama"}
}

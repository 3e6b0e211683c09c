package enginetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"lobstah/internal/tinygguf"
)

// StartOllama starts an Ollama with a home of its own that has the given models,
// by name. Without an Ollama (LOBSTAH_TEST_OLLAMA or PATH) the test is skipped,
// in CI too, since Ollama takes minutes to build. Ollama needs llama-server and
// llama-quantize in ../lib/ollama beside its own folder.
func StartOllama(t testing.TB, models map[string]tinygguf.Spec) *Engine {
	t.Helper()
	program, err := exec.LookPath(ollamaName())
	if err != nil {
		t.Skipf("no Ollama here: %v; install it or name it in LOBSTAH_TEST_OLLAMA", err)
	}
	home := t.TempDir()
	var env []string
	e := startWithFreePort(t, func(port string) *exec.Cmd {
		env = append(os.Environ(), "HOME="+home, "OLLAMA_HOST=127.0.0.1:"+port,
			"OLLAMA_MODELS="+filepath.Join(home, "models"), "OLLAMA_NO_CLOUD=1")
		cmd := exec.Command(program, "serve")
		cmd.Env = env
		return cmd
	}, "/api/version")
	for name, spec := range models {
		create(t, program, env, name, spec)
	}
	return e
}

func ollamaName() string {
	if named := os.Getenv("LOBSTAH_TEST_OLLAMA"); named != "" {
		return named
	}
	return "ollama"
}

func create(t testing.TB, program string, env []string, name string, spec tinygguf.Spec) {
	t.Helper()
	modelfile := filepath.Join(t.TempDir(), "Modelfile")
	if err := os.WriteFile(modelfile, []byte(spec.Modelfile(ModelFile(t, spec))), 0o600); err != nil {
		t.Fatalf("writing the Modelfile of %s: %v", name, err)
	}
	cmd := exec.CommandContext(t.Context(), program, "create", name, "-f", modelfile)
	cmd.Env = env
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("creating the model %s in Ollama: %v\n%s", name, err, output)
	}
}

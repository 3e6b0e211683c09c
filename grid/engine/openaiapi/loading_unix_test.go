//go:build unix

package openaiapi

import (
	"errors"
	"net"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"lobstah/grid/engine"
	"lobstah/internal/enginetest"
	"lobstah/internal/testport"
	"lobstah/openai"
)

// While it loads, llama-server refuses with 503 and no Retry-After; ours has one.
// A named pipe as model file, which nobody writes to, keeps it loading.
func TestLlamaServerLoading(t *testing.T) {
	t.Parallel()
	program := enginetest.LlamaServerProgram(t)
	file := filepath.Join(t.TempDir(), "loading.gguf")
	if err := syscall.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	port := testport.Free()
	address := "127.0.0.1:" + port
	cmd := exec.CommandContext(t.Context(), program, "-m", file, "--host", "127.0.0.1", "--port", port, "--offline")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // an error means that it is gone
		_ = cmd.Wait()
	})
	waitUntil(t, "it listens", func() bool {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
	listed := func(e *Engine) error { _, err := e.Models(t.Context()); return err }
	called := func(e *Engine) error {
		_, err := e.Do(t.Context(), engine.Call{Path: chat.Path, Body: []byte(`{"model":"m",` + hello + `}`)})
		return err
	}
	for name, ask := range map[string]func(*Engine) error{"Models": listed, "Do": called} {
		refusal, ok := errors.AsType[*openai.Error](ask(newEngine(t, Config{BaseURL: address})))
		if !ok || refusal.Status != 503 || refusal.Message != "Loading model" || refusal.RetryAfter == 0 {
			t.Errorf("%s while it loads: %+v; want 503 with a time to come back", name, refusal)
		}
	}
}

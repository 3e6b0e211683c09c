// Package interop runs the official clients of OpenAI and Anthropic against the
// real program with real engines behind it: what people's own programs see.
package interop

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"lobstah/internal/enginetest"
	"lobstah/internal/testport"
	"lobstah/internal/tinygguf"
)

// TestOfficialClients needs Node, the packages of js/package-lock.json and a
// llama-server. A person may lack them; CI may not.
func TestOfficialClients(t *testing.T) {
	if _, err := os.Stat("js/node_modules/openai"); err != nil {
		missing(t, "run npm ci in interop/js first: %v", err)
	}
	url := start(t)
	t.Run("JavaScript", func(t *testing.T) { run(t, url, "js", "node", "--test", "--test-timeout=120000") })
	t.Run("Go", func(t *testing.T) { run(t, url, "go", "go", "test", "-count=1", "-timeout=4m", "./...") })
}

func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// run runs one client's own tests against the router at url.
func run(t *testing.T, url, folder, program string, args ...string) {
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "LOBSTAH_ROUTER_URL="+url)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// start runs `lobstah up` over four engines and returns the router's address.
func start(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "lobstah")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../cmd/lobstah").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	port := testport.Free()
	args := []string{"up", "--port", port, "--worker-port", testport.Free()}
	for _, o := range []enginetest.Options{
		{Alias: "words", Model: tinygguf.Words()},
		{Alias: "tool", Model: tinygguf.Tool()},
		{Alias: "slow", Model: tinygguf.Slow()},
		{Alias: "embed", Model: tinygguf.Embed(), Args: []string{"--embeddings"}},
	} {
		args = append(args, "--engine", enginetest.LlamaServer(t, o))
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "LOBSTAH_HOME="+t.TempDir(), "OLLAMA_HOST=127.0.0.1:1")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	log, err := os.Create(filepath.Join(t.ArtifactDir(), "lobstah.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	var ended error
	go func() {
		defer close(exited)
		ended = cmd.Wait()
	}()
	t.Cleanup(func() {
		stop()
		<-exited
		log.Close()
		if text, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("lobstah printed:\n%s", text)
		}
	})
	url := "http://127.0.0.1:" + port
	if !waitFor(url+"/healthz", exited) {
		stop()
		<-exited
		t.Fatalf("lobstah does not answer on %s: %v", url, ended)
	}
	return url
}

// waitFor polls until url answers 200; it gives up when exited closes.
func waitFor(url string, exited <-chan struct{}) bool {
	deadline := time.After(time.Minute)
	for {
		if resp, err := http.Get(url); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return true
			}
		}
		select {
		case <-exited:
			return false
		case <-deadline:
			return false
		case <-time.After(50 * time.Millisecond):
		}
	}
}

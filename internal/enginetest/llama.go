package enginetest

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"lobstah/internal/tinygguf"
)

// Options say which model a llama-server serves, and how. The zero value serves
// [tinygguf.Words] with one slot.
type Options struct {
	Model        tinygguf.Spec // which model; ignored with File
	File         string        // a GGUF file instead of Model
	ChatTemplate string        // Jinja text, instead of the file's own template
	Alias        string        // the model's name on the wire
	APIKey       string        // demanded from clients
	Context      int           // tokens for each slot; 0 means as the model says
	Slots        int           // answers at a time; 0 means 1
	Args         []string      // more arguments, as they are
}

// LlamaServer starts a llama-server for the test and gives its base URL.
func LlamaServer(t testing.TB, o Options) (baseURL string) {
	t.Helper()
	return StartLlamaServer(t, o).URL
}

// StartLlamaServer is [LlamaServer] for tests that kill the engine or read its log.
func StartLlamaServer(t testing.TB, o Options) *Engine {
	t.Helper()
	program, args := LlamaServerProgram(t), o.args(t)
	return startWithFreePort(t, func(port string) *exec.Cmd {
		return exec.Command(program, append(args, "--host", "127.0.0.1", "--port", port)...)
	}, "/health")
}

// args are the command line without the address. One thread each for prompts and
// answers: more would spin, and starve the tests on a machine with few cores. No
// layer on a graphics card, so that answers are the same everywhere.
func (o Options) args(t testing.TB) []string {
	t.Helper()
	if o.Model.Name == "" {
		o.Model = tinygguf.Words()
	}
	if o.File == "" {
		o.File = ModelFile(t, o.Model)
	}
	slots := max(o.Slots, 1)
	args := []string{
		"-m", o.File, "-t", "1", "-tb", "1", "-ngl", "0", "--offline", "--metrics", "--slots",
		"-np", strconv.Itoa(slots), "-c", strconv.Itoa(o.Context * slots),
	}
	if o.ChatTemplate != "" {
		path := filepath.Join(t.TempDir(), "template.jinja")
		if err := os.WriteFile(path, []byte(o.ChatTemplate), 0o600); err != nil {
			t.Fatalf("writing the chat template: %v", err)
		}
		args = append(args, "--chat-template-file", path)
	}
	if o.Alias != "" {
		args = append(args, "--alias", o.Alias)
	}
	if o.APIKey != "" {
		args = append(args, "--api-key", o.APIKey)
	}
	return append(args, o.Args...)
}

// LlamaServerProgram is the path of a llama-server, installed if need be. Without
// one, it skips the test, or fails it when CI is set.
func LlamaServerProgram(t testing.TB) string {
	t.Helper()
	path, err := llamaServer()
	if err == nil {
		return path
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("CI needs a real llama-server: %v", err)
	}
	t.Skipf("no llama-server here: %v", err)
	return ""
}

var llamaServer = sync.OnceValues(FindLlamaServer)

// FindLlamaServer is the path of the llama-server that tests use, installed if need
// be: see the package comment.
func FindLlamaServer() (string, error) {
	if named := os.Getenv("LOBSTAH_TEST_LLAMA_SERVER"); named != "" {
		path, err := exec.LookPath(named)
		if err != nil {
			return "", fmt.Errorf("LOBSTAH_TEST_LLAMA_SERVER: %w", err)
		}
		return path, nil
	}
	if path, err := exec.LookPath("llama-server"); err == nil {
		return path, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the cache folder for llama-server: %w", err)
	}
	path, err := installLlamaServer(filepath.Join(cache, "lobstah-test", "llama"))
	if err != nil {
		return "", fmt.Errorf("%w; put llama-server on PATH or name it in LOBSTAH_TEST_LLAMA_SERVER", err)
	}
	return path, nil
}

//go:embed install.sh
var installScript string

const installTimeout = 10 * time.Minute

// install runs install.sh for folder; the caller holds the folder's lock. The
// script writes the program last, so a program that is there is whole.
func install(folder string) (string, error) {
	program := filepath.Join(folder, "llama-server")
	if _, err := os.Stat(program); err == nil {
		return program, nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("looking for an installed llama-server: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), installTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-s", folder)
	cmd.Stdin = strings.NewReader(installScript)
	output, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("installing llama-server into %s: %w\n%s", folder, err, output[max(0, len(output)-2000):])
	}
	return program, nil
}

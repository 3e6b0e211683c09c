package llamaserver

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"unicode"
)

// source is where the model comes from.
type source struct {
	flags []string // for llama-server
	alias string   // its name on the wire
}

var (
	repoPattern  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*(:[A-Za-z0-9][A-Za-z0-9._-]*)?$`)
	shardPattern = regexp.MustCompile(`-\d{5}-of-\d{5}$`)
)

func parseModel(text string) (source, error) {
	if repo, found := strings.CutPrefix(text, "hf:"); found {
		if !repoPattern.MatchString(repo) {
			return source{}, fmt.Errorf("--model %q: want hf:USER/REPO or hf:USER/REPO:QUANT, such as hf:ggml-org/gemma-3-4b-it-GGUF:Q4_K_M", text)
		}
		return source{[]string{"-hf", repo}, repo}, nil
	}
	path, err := filepath.Abs(text)
	if err != nil {
		return source{}, fmt.Errorf("--model %q: %w", text, err)
	}
	if err := checkFile(path); err != nil {
		return source{}, fmt.Errorf("--model: %w", err)
	}
	name := shardPattern.ReplaceAllString(strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)), "")
	return source{[]string{"--model", path}, wireName(name)}, nil
}

// wireName makes a name that llama-server takes as it is, and as one: it cuts
// names at commas and trims them.
func wireName(name string) string {
	clean := func(r rune) rune {
		if r == ',' || unicode.IsControl(r) {
			return '_'
		}
		return r
	}
	return strings.TrimSpace(strings.Map(clean, name))
}

// checkFile looks at a file's first bytes, so that a wrong one is refused at
// once and by name.
func checkFile(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err // it names the path
	}
	defer file.Close()
	var magic [4]byte
	if _, err := io.ReadFull(file, magic[:]); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err // of a folder, for example
	}
	if string(magic[:]) != "GGUF" {
		return fmt.Errorf("%s is not a GGUF file", path)
	}
	return nil
}

// reserved are the flags that Run sets and relies on.
var reserved = []string{"-m", "--model", "-hf", "-hfr", "--hf-repo", "-a", "--alias", "--host", "--port", "--api-key", "--api-key-file", "--api-prefix", "--models-dir"}

func checkArgs(args []string) error {
	for _, arg := range args {
		name, _, _ := strings.Cut(arg, "=")
		if slices.Contains(reserved, name) {
			return fmt.Errorf("llama-server's %s cannot be given: it is chosen for it; to run llama-server yourself, start it and use --engine URL", name)
		}
	}
	return nil
}

// NotInstalledError says that there is no llama-server, and what would get one.
type NotInstalledError struct {
	Program string
	Err     error
}

func (e *NotInstalledError) Error() string {
	return fmt.Sprintf("%s is not installed, which runs GGUF models; get it with: %s", e.Program, strings.Join(e.Commands(), ", or: "))
}

// Unwrap returns why the program was not found.
func (e *NotInstalledError) Unwrap() error { return e.Err }

// Commands returns the commands that install it on this system, the usual one
// first.
func (*NotInstalledError) Commands() []string {
	switch runtime.GOOS {
	case "darwin":
		return []string{"brew install llama.cpp", "nix profile install nixpkgs#llama-cpp"}
	case "windows":
		return []string{"winget install llama.cpp"}
	}
	return []string{"brew install llama.cpp", "nix profile install nixpkgs#llama-cpp", "sudo apt install llama.cpp-tools (Debian unstable)"}
}

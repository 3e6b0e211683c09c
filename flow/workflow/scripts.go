package workflow

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A step's text often only calls a script, and then it is the script that the person approves. Where the text names one plainly (as a
// command with a slash in it, or behind an interpreter), a pause is bound to its contents too. Data files are not: steps may write them.

// maxScript bounds what is read of one script.
const maxScript = 16 << 20

var (
	commandEnd   = regexp.MustCompile(`[;&|()\n]+`)
	assignment   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)
	interpreters = []string{"sh", "bash", "dash", "zsh", "fish", "python", "python3", "node", "bun", "deno", "ruby", "perl", "php", "pwsh", "awk", ".", "source"}
	launchers    = []string{"exec", "env", "sudo", "nohup", "nice", "time", "command", "run", "if", "while", "until", "then", "do", "else", "!"}
)

// hiddenScript finds a command whose script cannot be told from the text, because its name holds a variable or a cd comes before it. Arguments
// are known when a run pauses, so they hide nothing.
func hiddenScript(text string) (word string, hidden bool) {
	moved := false
	for _, command := range commandEnd.Split(argRef.ReplaceAllString(text, "arg"), -1) {
		words := strings.Fields(command)
		if len(words) > 0 && words[0] == "cd" {
			moved = true
		}
		word := scriptWord(words)
		isPath := strings.Contains(word, "/") || !slices.Contains(words[:min(1, len(words))], word)
		if strings.ContainsAny(word, "$`") || moved && word != "" && isPath && !filepath.IsAbs(word) {
			return word, true
		}
	}
	return "", false
}

// scripts lists the files that a shell's or pipeline's text runs, as far as it names them without variables.
func scripts(text string) []string {
	var out []string
	for _, command := range commandEnd.Split(text, -1) {
		if name := scriptOf(strings.Fields(command)); name != "" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// scriptOf is the script that one command runs, or "" if it runs none whose name is plain.
func scriptOf(words []string) string {
	word := scriptWord(words)
	if strings.ContainsAny(word, "$`*?") {
		return ""
	}
	return word
}

// scriptWord is the word that names the script which one command runs, or "".
func scriptWord(words []string) string {
	interpreted := false
	for _, word := range words {
		w := strings.Trim(word, `"'`)
		switch {
		case w == "" || strings.HasPrefix(w, "-") || assignment.MatchString(w):
		case !interpreted && slices.Contains(interpreters, filepath.Base(w)):
			interpreted = true
		case !interpreted && slices.Contains(launchers, w):
		case interpreted || strings.ContainsAny(w, "/$`"):
			return w
		default:
			return ""
		}
	}
	return ""
}

// collectScripts notes the hashes of the scripts that a step runs. What does not exist is left out, and so are programs of the system.
func (r *runner) collectScripts(s *Step, dir string, sc scope, into map[string]string) error {
	for _, name := range scripts(sc.fill(s.Text)) {
		path := absolute(within(dir, name))
		if into[path] != "" {
			continue
		}
		hash, err := scriptHash(path)
		if err != nil {
			return err
		}
		if hash != "" {
			into[path] = hash
		}
	}
	return nil
}

// scriptHash is the SHA-256 of a script, or "" for what is none: too large, no regular file, or not ours to read.
func scriptHash(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxScript {
		return "", nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", nil
	}
	text, err := io.ReadAll(io.LimitReader(f, maxScript))
	return hashOf(string(text)), errors.Join(err, f.Close())
}

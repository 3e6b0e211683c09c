package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"lobstah/flow/format"
	"lobstah/internal/durable"
)

const formatHelp = `Usage: lobster fmt [-w] [--check] FILE...

Prints workflow files in their one form: two blanks of indentation, an empty line between steps. Comments stay.
-w writes the files instead, --check only says which ones differ (exit code 1).
  lobster fmt -w deploy.lobster
`

func (p *program) format(args []string) int {
	var files []string
	write, compare := false, false
	for _, a := range args {
		switch {
		case a == "-h" || a == "--help":
			return p.print(formatHelp)
		case a == "-w" || a == "--write":
			write = true
		case a == "--check":
			compare = true
		case strings.HasPrefix(a, "-"):
			return p.misuse(formatHelp, "unknown flag %s", a)
		default:
			files = append(files, a)
		}
	}
	if len(files) == 0 {
		return p.misuse(formatHelp, "fmt needs a workflow file")
	}
	code := exitOK
	for _, file := range files {
		code = max(code, p.formatFile(file, write, compare))
	}
	return code
}

func (p *program) formatFile(file string, write, compare bool) int {
	source, mode, err := readSource(file)
	if err != nil {
		return p.complain(exitFailed, "error: %v", err)
	}
	text, err := format.File(file, source)
	switch {
	case errors.Is(err, format.ErrLossy):
		return p.complain(exitFailed, "error: %s: %v\nhint: the file stays as it is", file, err)
	case err != nil:
		return p.complain(exitFailed, "error: %s: %v\nhint: lobster check %s", file, err, file)
	case compare && text != source:
		p.print(file + "\n")
		return exitFailed
	case compare:
		return exitOK
	case !write:
		return p.print(text)
	case text == source:
		return exitOK
	}
	if err := replace(file, text, mode); err != nil {
		return p.complain(exitFailed, "error: %v", err)
	}
	return exitOK
}

// readSource reads a file and its mode. Of one that is too large it reads so much that format.File refuses it.
func readSource(file string) (text string, mode fs.FileMode, err error) {
	f, err := os.Open(file)
	if err != nil {
		return "", 0, err
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return "", 0, err
	}
	source, err := io.ReadAll(io.LimitReader(f, format.MaxSource+1))
	return string(source), info.Mode().Perm(), err
}

// replace writes a file so that a crash leaves the old text or the new one, also behind a symbolic link.
func replace(file, text string, mode fs.FileMode) error {
	path, err := filepath.EvalSymlinks(file)
	if err != nil {
		return err
	}
	return durable.WriteFile(path, []byte(text), mode)
}

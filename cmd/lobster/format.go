package main

import (
	"errors"
	"os"
	"strings"

	"lobstah/flow/format"
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
	source, err := os.ReadFile(file)
	if err != nil {
		return p.complain(exitFailed, "error: %v", err)
	}
	text, err := format.File(file, string(source))
	switch {
	case errors.Is(err, format.ErrLossy):
		return p.complain(exitFailed, "error: %s: %v\nhint: the file stays as it is", file, err)
	case err != nil:
		return p.complain(exitFailed, "error: %s: %v\nhint: lobster check %s", file, err, file)
	case compare && text != string(source):
		p.print(file + "\n")
		return exitFailed
	case compare:
		return exitOK
	case !write:
		return p.print(text)
	case text == string(source):
		return exitOK
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil { // keeps the mode of a file that exists
		return p.complain(exitFailed, "error: %v", err)
	}
	return exitOK
}

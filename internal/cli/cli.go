// Package cli is how a command speaks: its streams and environment, errors
// with hints and exit codes, tables, numbers that people read, and a line of
// progress for what takes long.
//
// A command gets an [IO], returns an error, and [IO.Report] turns that into
// "error:" and "hint:" lines and an exit code: 0 for success, 1 for failure, 2
// for wrong usage ([Usagef]). [Hintf] adds what to do next to an error.
//
// Only cmd/ imports it. It knows nothing about the products. Text that came
// from peers and is shown goes through [Clean], since a terminal obeys escape
// sequences.
package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/mattn/go-isatty"
)

// The exit codes.
const (
	OK      = 0
	Failure = 1
	Misuse  = 2
)

// IO is what a command may touch of the process that runs it.
type IO struct {
	In  io.Reader
	Out io.Writer // data
	Err io.Writer // everything that is said beside the data
	Env []string  // "NAME=value", as os.Environ returns it
}

// Getenv returns the variable, empty when it is not set. As with [os.Environ],
// the last of several wins.
func (s IO) Getenv(name string) string {
	for i := len(s.Env) - 1; i >= 0; i-- {
		if value, ok := strings.CutPrefix(s.Env[i], name+"="); ok {
			return value
		}
	}
	return ""
}

// Terminal reports whether w is a terminal.
func Terminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && (isatty.IsTerminal(f.Fd()) || isatty.IsCygwinTerminal(f.Fd()))
}

// Report says why a command ended and returns its exit code.
func (s IO) Report(err error) int {
	if err == nil {
		return OK
	}
	if status, ok := errors.AsType[exit](err); ok {
		return int(status)
	}
	style := s.Style(s.Err)
	fmt.Fprintf(s.Err, "%s %s\n", style.Red("error:"), Clean(err.Error()))
	for _, hint := range Hints(err) {
		fmt.Fprintf(s.Err, "%s %s\n", style.Cyan("hint:"), strings.ReplaceAll(hint, "\n", "\n      "))
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return Misuse
	}
	return Failure
}

// exit is an exit code whose reason has been told already.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// Exit ends a command with a code and without another word, since what went
// wrong is in its output.
func Exit(code int) error { return exit(code) }

type hintError struct {
	error
	hint string
}

func (e *hintError) Unwrap() error  { return e.error }
func (e *hintError) Advice() string { return e.hint }

// Hintf adds what the user can do next to an error; nil stays nil.
func Hintf(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &hintError{err, fmt.Sprintf(format, args...)}
}

// Hints collects the hints of an error and of those that it wraps, the
// outermost first. Errors of other packages give theirs by a method Advice.
func Hints(err error) []string {
	var list []string
	if e, ok := err.(interface{ Advice() string }); ok && e.Advice() != "" {
		list = append(list, e.Advice())
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		list = append(list, Hints(e.Unwrap())...)
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			list = append(list, Hints(one)...)
		}
	}
	return list
}

type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

// Usagef is the error of a command that was typed wrongly; its exit code is 2.
func Usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

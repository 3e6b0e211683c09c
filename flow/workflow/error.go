package workflow

import (
	"errors"
	"fmt"
)

// Refusal is an error of the caller: an answer that does not fit what was asked. The pause stays as it is.
type Refusal string

func (e Refusal) Error() string { return string(e) }

// StepError is a failure with the step that it comes from. Its text is the cause's.
type StepError struct {
	File         string
	Step         string
	Line, Column int
	Err          error
}

func (e *StepError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *StepError) Unwrap() error { return e.Err }

// Where names the place for a person.
func (e *StepError) Where() string {
	return fmt.Sprintf("%s:%d:%d: step %s", e.File, e.Line, e.Column, e.Step)
}

// fatal errors end the run: neither retry nor on_error takes them up.
type fatal struct{ error }

func (f fatal) Unwrap() error { return f.error }

func isFatal(err error) bool {
	_, ok := errors.AsType[fatal](err)
	return ok
}

// plainError is an error in the original's words, which begin with a capital letter.
type plainError string

func (e plainError) Error() string { return string(e) }

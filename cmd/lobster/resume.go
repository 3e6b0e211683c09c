package main

import (
	"context"
	"errors"
	"strings"

	"lobstah/flow/interp"
	"lobstah/flow/value"
	"lobstah/flow/workflow"
)

// resumeFlags are the words of `lobster resume`.
type resumeFlags struct {
	token, id    string
	answer       workflow.Answer
	allowChanged bool
	intents      int
}

// parseResume reads the words; unknown ones are ignored.
func parseResume(args []string) (resumeFlags, error) {
	var f resumeFlags
	for i := 0; i < len(args); i++ {
		name, text, hasText := strings.Cut(args[i], "=")
		if !hasText && takesValue(name) && i+1 < len(args) && (name != "--cancel" || !strings.HasPrefix(args[i+1], "--")) {
			i++
			text, hasText = args[i], true
		}
		if err := f.set(name, text, hasText); err != nil {
			return f, err
		}
	}
	switch {
	case f.token == "" && f.id == "":
		return f, errors.New("resume requires --token or --id")
	case f.intents > 1:
		return f, errors.New("resume accepts only one of --approve, --response-json, or --cancel")
	case f.intents == 0:
		return f, errors.New("resume requires --approve yes|no, --response-json, or --cancel")
	}
	return f, nil
}

func takesValue(flag string) bool {
	switch flag {
	case "--token", "--id", "--approve", "--decision", "--response-json", "--cancel":
		return true
	}
	return false
}

func (f *resumeFlags) set(name, text string, hasText bool) error {
	switch name {
	case "--token":
		f.token = text
	case "--id":
		f.id = text
	case "--allow-changed":
		f.allowChanged = true
	case "--approve", "--decision":
		if text == "" {
			return nil
		}
		yes, ok := decision(text)
		if !ok {
			return errors.New("resume --approve must be yes or no")
		}
		f.decide(workflow.Answer{Approve: &yes, Response: value.Undefined}, f.answer.Approve != nil)
	case "--response-json":
		v, err := value.Parse(text)
		if err != nil {
			return errors.New("resume --response-json must be valid JSON")
		}
		f.decide(workflow.Answer{Response: v}, !f.answer.Response.IsUndefined())
	case "--cancel":
		return f.setCancel(text, hasText)
	}
	return nil
}

// decide sets the answer; giving the same flag again is no second intent.
func (f *resumeFlags) decide(a workflow.Answer, again bool) {
	f.answer = a
	if !again {
		f.intents++
	}
}

func (f *resumeFlags) setCancel(text string, hasText bool) error {
	switch {
	case !hasText:
	case !isBool(text):
		return errors.New("resume --cancel must be true or false")
	case !boolWords[strings.ToLower(text)]:
		return nil
	}
	f.decide(workflow.Answer{Cancel: true}, f.answer.Cancel)
	return nil
}

var boolWords = map[string]bool{"true": true, "1": true, "yes": true, "y": true, "false": false, "0": false, "no": false, "n": false}

func isBool(word string) bool {
	_, ok := boolWords[strings.ToLower(word)]
	return ok
}

func decision(word string) (yes, ok bool) {
	switch strings.ToLower(word) {
	case "yes", "y":
		return true, true
	case "no", "n":
		return false, true
	}
	return false, false
}

// resume answers a paused run. It always prints an envelope.
func (p *program) resume(args []string) int {
	f, err := parseResume(args)
	if err != nil {
		return p.failTool(exitUsage, "parse_error", err)
	}
	ctx, stop := withSignals(context.Background())
	defer stop()
	ctx, end, err := p.limited(ctx)
	if err != nil {
		return p.fail(ctx, true, err)
	}
	defer end()
	shell, err := p.open(interp.Tool)
	if err != nil {
		return p.fail(ctx, true, err)
	}
	defer p.warnJournal(shell)
	if p.on("LOBSTER_STRICT_TOOL") {
		shell.Env.Stdout = p.err
	}
	shell.AllowChanged = f.allowChanged
	o, err := shell.Resume(ctx, f.token, f.id, f.answer)
	if err == nil {
		err = p.envelope(o)
	}
	return p.fail(ctx, true, err)
}

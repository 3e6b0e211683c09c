// Package command lets a program be an agent: claude -p, codex exec, a script.
// It reads the task on its standard input and answers on its standard output.
//
// Start from a [Command], which is an agent.Backend. Commands import it; it
// imports mesh/agent and mesh/tool/child. The task is hostile text: it reaches
// the program as input only, never as an argument, and no shell reads it. The
// program runs with this user's power; what it may do with the task is its own
// rules' to say.
package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"unicode/utf8"

	"lobstah/mesh/agent"
	"lobstah/mesh/tool/child"
)

// maxComplaint is how much of what a failed program wrote to its standard error
// is passed on.
const maxComplaint = 4 << 10

// A Command is a program as an agent.
type Command struct {
	Args []string // the program and its arguments
	Dir  string   // it runs there; empty: where this process does
	Env  []string // more of its environment, as NAME=VALUE
}

// Check says whether the program can be found.
func (c Command) Check() error {
	if len(c.Args) == 0 {
		return errors.New("the agent's command is empty")
	}
	if _, err := exec.LookPath(c.Args[0]); err != nil {
		return fmt.Errorf("the agent's program cannot be run: %w", err)
	}
	return nil
}

// Run implements agent.Backend. A program that was under way when this process
// was restarted is gone. The environment tells the program where its task comes
// from, so that what it asks of others counts its hops: CLAWMATRIX_TASK,
// CLAWMATRIX_FROM (the node's key) and CLAWMATRIX_HOPS.
func (c Command) Run(ctx context.Context, w agent.Work) (string, error) {
	if w.Task.Handle != "" || len(c.Args) == 0 {
		return "", agent.ErrLost
	}
	cmd := exec.Command(c.Args[0], c.Args[1:]...)
	cmd.Dir = c.Dir
	cmd.Stdin = strings.NewReader(w.Prompt)
	cmd.Env = append(append(os.Environ(), c.Env...),
		"CLAWMATRIX_TASK="+w.Task.ID, "CLAWMATRIX_FROM="+w.Task.Node.String(), "CLAWMATRIX_HOPS="+strconv.Itoa(w.Task.Brief.Hops+1))
	out := output{say: w.Say}
	exit, err := child.Run(ctx, cmd, out.write)
	answer := strings.TrimSpace(strings.ToValidUTF8(out.answer.String(), "\uFFFD"))
	switch {
	case err != nil:
		return answer, fmt.Errorf("running %s: %w", c.Args[0], err)
	case exit.Signal != "":
		return answer, fmt.Errorf("%s was ended by %s%s", c.Args[0], exit.Signal, out.complaint())
	case exit.Code != 0:
		return answer, fmt.Errorf("%s ended with exit code %d%s", c.Args[0], exit.Code, out.complaint())
	}
	return answer, nil
}

// An output gathers what a program writes, up to a bound, and passes it on in
// whole characters. child.Run calls write from one goroutine at a time.
type output struct {
	say    func(string)
	answer bytes.Buffer
	tail   []byte // of the standard output: the beginning of a character
	stderr []byte // its last part
}

// maxKept is what is kept of an answer: more than the mesh passes on, so that
// its cut is made there, with head and tail.
const maxKept = 4 * agent.MaxOutput

func (o *output) write(stream string, data []byte) {
	if stream == "stderr" {
		o.stderr = append(o.stderr, data...)
		o.stderr = o.stderr[max(0, len(o.stderr)-maxComplaint):]
		return
	}
	if room := maxKept - o.answer.Len(); room > 0 {
		o.answer.Write(data[:min(room, len(data))])
	}
	text := append(o.tail, data...)
	whole := len(text)
	for back := 1; back <= min(utf8.UTFMax-1, len(text)); back++ {
		if b := text[len(text)-back]; utf8.RuneStart(b) {
			if !utf8.FullRune(text[len(text)-back:]) {
				whole -= back
			}
			break
		}
	}
	o.say(strings.ToValidUTF8(string(text[:whole]), "\uFFFD"))
	o.tail = append([]byte(nil), text[whole:]...)
}

func (o *output) complaint() string {
	text := strings.TrimSpace(strings.ToValidUTF8(string(o.stderr), ""))
	if text == "" {
		return ""
	}
	return ": " + text
}

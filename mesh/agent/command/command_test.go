package command

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"lobstah/key"
	"lobstah/mesh/agent"
)

// The test program is its own agent: it does what AGENT_TEST says.
func TestMain(m *testing.M) {
	switch os.Getenv("AGENT_TEST") {
	case "":
		os.Exit(m.Run())
	case "echo":
		buffer := make([]byte, 1<<16)
		n, _ := os.Stdin.Read(buffer) // a pipe: one write of the prompt
		os.Stdout.WriteString("read: " + string(buffer[:n]))
	case "env":
		for _, name := range []string{"CLAWMATRIX_TASK", "CLAWMATRIX_FROM", "CLAWMATRIX_HOPS"} {
			os.Stdout.WriteString(os.Getenv(name) + "\n")
		}
	case "fail":
		os.Stdout.WriteString("so far")
		os.Stderr.WriteString("no such branch\n")
		os.Exit(3)
	case "hang":
		os.Stdout.WriteString("started")
		time.Sleep(time.Hour)
	}
}

func run(t *testing.T, ctx context.Context, what string, say func(string)) (string, error) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := Command{Args: []string{program}, Env: []string{"AGENT_TEST=" + what}}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	w := agent.Work{Prompt: "the prompt $(reboot)", Say: say, Task: agent.Task{ID: strings.Repeat("ab", 16), Node: key.ID{3}, Brief: agent.Brief{Hops: 2}}}
	return c.Run(ctx, w)
}

func ignore(string) {}

func TestAProgramReadsAndAnswers(t *testing.T) {
	t.Parallel()
	var said strings.Builder
	got, err := run(t, t.Context(), "echo", func(text string) { said.WriteString(text) })
	if err != nil || got != "read: the prompt $(reboot)" || said.String() != got {
		t.Errorf("got %q after %q, %v", got, said.String(), err)
	}
}

func TestTheProgramKnowsItsTask(t *testing.T) {
	t.Parallel()
	got, err := run(t, t.Context(), "env", ignore)
	if want := strings.Repeat("ab", 16) + "\n" + (key.ID{3}).String() + "\n3"; err != nil || got != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

func TestAProgramThatFails(t *testing.T) {
	t.Parallel()
	got, err := run(t, t.Context(), "fail", ignore)
	if err == nil || got != "so far" || !strings.Contains(err.Error(), "exit code 3: no such branch") {
		t.Errorf("got %q, %v", got, err)
	}
	if err := (Command{Args: []string{"no-such-program-here"}}).Check(); err == nil {
		t.Error("a program that is not there was found")
	}
}

func TestAProgramIsKilledWithItsTask(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("not wanted any longer")
	if _, err := run(t, ctx, "hang", func(string) { cancel(stop) }); !errors.Is(err, stop) { // it would hang for an hour
		t.Errorf("it ended with %v, want %v", err, stop)
	}
}

func TestALostProgram(t *testing.T) {
	t.Parallel()
	c := Command{Args: []string{"true"}}
	if _, err := c.Run(t.Context(), agent.Work{Task: agent.Task{Handle: "x"}}); !errors.Is(err, agent.ErrLost) {
		t.Errorf("after a restart: %v", err)
	}
}

// Characters that are cut between two writes are passed on whole.
func TestCharactersStayWhole(t *testing.T) {
	t.Parallel()
	var said []string
	o := output{say: func(text string) { said = append(said, text) }}
	for _, b := range []byte("aä€😀") {
		o.write("stdout", []byte{b})
	}
	if got := strings.Join(said, ""); got != "aä€😀" || o.answer.String() != got {
		t.Errorf("said %q", said)
	}
}

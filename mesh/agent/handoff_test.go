package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lobstah/key"
)

func TestHandoff(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		desk := startDesk(t, m, t.TempDir(), backend(func(_ context.Context, w Work) (string, error) {
			w.Say("thinking ")
			w.Say("hard\n")
			return "done: " + w.Task.Brief.Text + "/" + w.Task.Brief.Context, nil
		}), nil)
		defer desk.stop()
		out := startOutbox(t, m, t.TempDir())
		defer out.stop()
		b := brief("fix it")
		b.Context = "the tests"
		task, err := out.Ask(t.Context(), other, "office", b)
		if err != nil {
			t.Fatal(err)
		}
		var said strings.Builder
		task, err = out.Wait(t.Context(), task.ID, func(text string) { said.WriteString(text) })
		if err != nil || task.State != Done || task.Output != "done: fix it/the tests" || said.String() != "thinking hard\n" {
			t.Errorf("got %+v after %q, %v", task, said.String(), err)
		}
		if list := desk.Desk.Tasks(); len(list) != 1 || list[0].Node != asking || list[0].NodeName != "asker" || list[0].State != Done {
			t.Errorf("the other side's list is %+v", list)
		}
	})
}

// The link is cut while the agent works; its result arrives after it is back,
// and what it said arrives once.
func TestALinkThatIsCut(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		agent := newScripted()
		desk := startDesk(t, m, t.TempDir(), agent, nil)
		defer desk.stop()
		out := startOutbox(t, m, t.TempDir())
		defer out.stop()
		task := mustAsk(t, out, "long work")
		w := <-agent.began
		w.Say("one ")
		synctest.Wait()
		m.cut(true)
		w.Say("two ")
		time.Sleep(5 * time.Minute)
		m.cut(false)
		time.Sleep(2 * time.Minute)
		w.Say("three")
		synctest.Wait()
		agent.end <- "the result"
		var said strings.Builder
		got, err := out.Wait(t.Context(), task.ID, func(text string) { said.WriteString(text) })
		if err != nil || got.State != Done || got.Output != "the result" || said.String() != "one two three" {
			t.Errorf("got %+v after %q, %v", got, said.String(), err)
		}
	})
}

// A task that finishes while nobody can be told is told later, to the next
// process of the asking node too.
func TestTheAskingProcessRestarts(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		agent, dir := newScripted(), t.TempDir()
		desk := startDesk(t, m, t.TempDir(), agent, nil)
		defer desk.stop()
		out := startOutbox(t, m, dir)
		task := mustAsk(t, out, "work")
		<-agent.began
		out.stop()
		agent.end <- "the result"
		time.Sleep(3 * time.Hour)
		out = startOutbox(t, m, dir)
		defer out.stop()
		mustEnd(t, out, task.ID, Done, "the result")
	})
}

func TestTheWorkingProcessRestarts(t *testing.T) {
	for name, test := range map[string]struct {
		handle string
		state  State
		output string
	}{
		"work that is found again": {"run-7", Done, "found run-7"},
		"work that is lost":        {"", Failed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, m *mesh) {
				dir, began := t.TempDir(), make(chan struct{}, 1)
				agent := backend(func(ctx context.Context, w Work) (string, error) {
					if w.Task.Handle != "" {
						return "found " + w.Task.Handle, nil
					}
					if test.handle != "" {
						if err := w.Keep(test.handle); err != nil {
							return "", err
						}
					}
					began <- struct{}{}
					<-ctx.Done()
					return "", ctx.Err()
				})
				desk := startDesk(t, m, dir, agent, nil)
				out := startOutbox(t, m, t.TempDir())
				defer out.stop()
				task := mustAsk(t, out, "work")
				<-began
				desk.stop()
				time.Sleep(time.Minute)
				desk = startDesk(t, m, dir, agent, nil)
				defer desk.stop()
				got := mustEnd(t, out, task.ID, test.state, test.output)
				if test.state == Failed && got.Error != ErrLost.Error() {
					t.Errorf("the reason is %q", got.Error)
				}
			})
		})
	}
}

// A task that waited when its node stopped is done by the next process.
func TestAQueuedTaskSurvivesARestart(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		dir, agent := t.TempDir(), newScripted()
		desk := startDesk(t, m, dir, agent, nil)
		out := startOutbox(t, m, t.TempDir())
		defer out.stop()
		mustAsk(t, out, "first")
		<-agent.began
		second := mustAsk(t, out, "second")
		synctest.Wait()
		desk.stop()
		desk = startDesk(t, m, dir, agent, nil)
		defer desk.stop()
		if w := <-agent.began; w.Task.Brief.Text != "second" {
			t.Errorf("the next process began with %q", w.Task.Brief.Text)
		}
		agent.end <- "2"
		mustEnd(t, out, second.ID, Done, "2")
	})
}

// A node that lost its files does not leave the asking one waiting.
func TestATaskThatIsForgotten(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		dir, agent := t.TempDir(), newScripted()
		desk := startDesk(t, m, dir, agent, nil)
		out := startOutbox(t, m, t.TempDir())
		defer out.stop()
		task := mustAsk(t, out, "work")
		<-agent.began
		desk.stop()
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		desk = startDesk(t, m, dir, agent, nil)
		defer desk.stop()
		mustEnd(t, out, task.ID, Lost, "")
	})
}

func TestANodeThatStaysAway(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		out := startOutbox(t, m, t.TempDir())
		defer out.stop()
		began := time.Now()
		task := mustAsk(t, out, "work")
		if task.State != Queued {
			t.Errorf("a node that cannot be reached now: %s; want the task queued", task.State)
		}
		got := mustEnd(t, out, task.ID, Lost, "")
		if waited := time.Since(began); waited < 24*time.Hour || waited > 25*time.Hour || !strings.Contains(got.Error, "no way to the node") {
			t.Errorf("it was given up after %v: %s", waited, got.Error)
		}
	})
}

// An agent's question reaches whoever waits, and the answer the agent.
func TestAQuestion(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		desk := startDesk(t, m, t.TempDir(), backend(func(ctx context.Context, w Work) (string, error) {
			answer, err := w.Ask(ctx, "which branch?")
			if err != nil {
				return "", err
			}
			return "on " + answer, nil
		}), nil)
		defer desk.stop()
		out := startOutbox(t, m, t.TempDir())
		defer out.stop()
		task := mustAsk(t, out, "merge")
		got := mustEnd(t, out, task.ID, InputRequired, "")
		if got.Question != "which branch?" {
			t.Errorf("the question is %q", got.Question)
		}
		if err := out.Answer(t.Context(), task.ID, "main"); err != nil {
			t.Fatal(err)
		}
		mustEnd(t, out, task.ID, Done, "on main") // and does not see the question once more
		if err := out.Answer(t.Context(), task.ID, "again"); err == nil {
			t.Error("an answer to no question was taken")
		}

		task = mustAsk(t, out, "merge")
		mustEnd(t, out, task.ID, InputRequired, "")
		time.Sleep(DefaultAnswer + time.Minute)
		if got := mustEnd(t, out, task.ID, Failed, ""); got.Error != errAnswer.Error() {
			t.Errorf("a question that nobody answers ends with %q", got.Error)
		}
	})
}

func TestSignsOfLife(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		agent := newScripted()
		desk := startDesk(t, m, t.TempDir(), agent, nil)
		defer desk.stop()
		out := startOutbox(t, m, t.TempDir())
		defer out.stop()
		task := mustAsk(t, out, "work")
		w := <-agent.began
		for range 4 {
			time.Sleep(DefaultIdle - time.Second)
			w.Say(".")
		}
		if got, err := out.Get(task.ID); err != nil || got.State != Working {
			t.Errorf("an agent that speaks is %s, %v; want it at work", got.State, err)
		}
		if got := mustEnd(t, out, task.ID, Failed, ""); !strings.Contains(got.Error, "no sign of life") {
			t.Errorf("a silent agent's task ends with %q", got.Error)
		}
	})
}

func TestCancel(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		agent, dir := newScripted(), t.TempDir()
		desk := startDesk(t, m, t.TempDir(), agent, nil)
		defer desk.stop()
		out := startOutbox(t, m, dir)
		first, second := mustAsk(t, out, "one"), mustAsk(t, out, "two")
		running := (<-agent.began).Task.ID
		for _, id := range []string{first.ID, second.ID} {
			if err := out.Cancel(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			mustEnd(t, out, id, Cancelled, "")
		}
		synctest.Wait()
		for _, task := range desk.Desk.Tasks() {
			if task.State != Cancelled {
				t.Errorf("the other side has %s as %s; the running one was %s", task.ID, task.State, running)
			}
		}

		// One whose node is away is told to it later, by the next process too.
		third := mustAsk(t, out, "three")
		<-agent.began
		m.cut(true)
		if err := out.Cancel(t.Context(), third.ID); err == nil {
			t.Error("a node that is away was told")
		}
		out.stop()
		m.cut(false)
		out = startOutbox(t, m, dir)
		defer out.stop()
		mustEnd(t, out, third.ID, Cancelled, "")
		synctest.Wait()
		for _, task := range desk.Desk.Tasks() {
			if task.State != Cancelled {
				t.Errorf("the other side has %s as %s; the last was %s", task.ID, task.State, third.ID)
			}
		}
	})
}

func TestWhatIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		desk := startDesk(t, m, t.TempDir(), newScripted(), func(c *DeskConfig) {
			c.Seats = []Seat{
				{ID: "coder", Backend: newScripted(), Accepts: func(c Caller) error {
					if !c.Verified {
						return errors.New("its key is not verified")
					}
					return nil
				}},
				{ID: "hermit", Backend: newScripted()},
			}
			c.Waiting = 1
		})
		defer desk.stop()
		ids := 0
		try := func(from [32]byte, body string, status int, says string) {
			t.Helper()
			ids++
			response := put(t, m, from, http.MethodPut, fmt.Sprintf("tasks/%032x", ids), strings.NewReader(body))
			if got := readRefusal(response); response.StatusCode != status || !strings.Contains(got.message, says) {
				t.Errorf("%.80s: %d %q; want %d and %q", body, response.StatusCode, got.message, status, says)
			}
		}
		task := func(agent, text, more string) string {
			return fmt.Sprintf(`{"kind":"handoff","agent":%q,"text":%q%s}`, agent, text, more)
		}
		try(other, task("coder", "x", ""), 403, "not verified")
		try(asking, task("hermit", "x", ""), 403, "takes no tasks")
		try(asking, task("nobody", "x", ""), 404, "no agent")
		try(asking, task("coder", " ", ""), 400, "empty")
		try(asking, task("coder", "x", `,"hops":4`), 400, "passed 4 nodes")
		try(asking, task("coder", strings.Repeat("x", MaxText+1), ""), 400, "256 KiB")
		try(asking, task("coder", strings.Repeat("x", maxBody), ""), 413, "larger")
		try(asking, `{"kind":"spawn","agent":"coder","text":"x"}`, 400, "neither")
		try(asking, `{`, 400, "cannot be read")
		try(asking, task("coder", "runs", ""), 202, "")
		synctest.Wait()
		try(asking, task("coder", "waits", ""), 202, "")
		try(asking, task("coder", "too many", ""), 503, "wait for the agent")
		for range 10 {
			ids++
			put(t, m, asking, http.MethodPut, fmt.Sprintf("tasks/%032x", ids), strings.NewReader(task("coder", "x", "")))
		}
		try(asking, task("coder", "x", ""), 429, "too often")

		// What one node asked, another cannot see or stop, nor overwrite.
		id := "tasks/" + desk.Desk.Tasks()[0].ID
		for _, method := range []string{http.MethodGet, http.MethodDelete} {
			if r := put(t, m, other, method, id, nil); r.StatusCode != 404 {
				t.Errorf("%s of another node's task: %s", method, r.Status)
			}
		}
		if r := put(t, m, asking, http.MethodPut, id, strings.NewReader(task("coder", "another", ""))); r.StatusCode != 409 {
			t.Errorf("another task under the same identifier: %s", r.Status)
		}
		if r := put(t, m, asking, http.MethodPut, "tasks/../../etc", nil); r.StatusCode < 300 {
			t.Errorf("a path for an identifier: %s", r.Status)
		}
	})
}

// What comes from elsewhere is marked, and what this node asks itself is not.
func TestOnlyForeignTextIsMarked(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		echo := backend(func(_ context.Context, w Work) (string, error) { return w.Prompt, nil })
		desk := startDesk(t, m, t.TempDir(), echo, func(c *DeskConfig) { c.Self = key.ID{8} })
		defer desk.stop()
		out := startOutbox(t, m, t.TempDir())
		defer out.stop()
		task := mustAsk(t, out, "work")
		mustEnd(t, out, task.ID, Done, Prompt(Task{ID: task.ID, Node: asking, NodeName: "asker", Brief: brief("work")}))
		m.from = key.ID{8}
		task = mustAsk(t, out, "work")
		mustEnd(t, out, task.ID, Done, "work")
	})
}

// A refusal ends the task at once and says why.
func TestARefusalIsTold(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		desk := startDesk(t, m, t.TempDir(), newScripted(), func(c *DeskConfig) { c.Seats[0].Accepts = nil })
		defer desk.stop()
		out := startOutbox(t, m, t.TempDir())
		defer out.stop()
		task, err := out.Ask(t.Context(), other, "office", brief("x"))
		if err == nil || task.State != Failed || !strings.Contains(err.Error(), "takes no tasks from other nodes") {
			t.Errorf("got %+v, %v", task, err)
		}
	})
}

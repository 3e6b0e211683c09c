package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
)

func TestSurplus(t *testing.T) {
	t.Parallel()
	now := time.Now()
	task := func(id string, age time.Duration, size int) *Task {
		return &Task{ID: id, Updated: now.Add(-age), Output: strings.Repeat("x", size)}
	}
	for name, test := range map[string]struct {
		tasks []*Task
		want  []string
	}{
		"nothing":     {nil, nil},
		"few":         {[]*Task{task("a", 1, 10), task("b", 2, 10)}, nil},
		"too many":    {[]*Task{task("a", 4, 1), task("b", 1, 1), task("c", 3, 1), task("d", 2, 1)}, []string{"a"}},
		"too old":     {[]*Task{task("a", 2*time.Hour, 1), task("b", 1, 1)}, []string{"a"}},
		"too large":   {[]*Task{task("a", 3, maxKept/2), task("b", 2, maxKept/2), task("c", 1, 1)}, []string{"a"}},
		"one of many": {[]*Task{task("a", 1, maxKept+1)}, []string{"a"}},
	} {
		var got []string
		for _, t := range surplus(test.tasks, 3, now.Add(-time.Hour)) {
			got = append(got, t.ID)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %q is forgotten, want %q", name, got, test.want)
		}
	}
}

// However many tasks end between two sweeps, what is kept of them is bounded.
func TestManyTasks(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		const kept = 10
		dir := t.TempDir()
		desk := startDesk(t, m, dir, backend(func(_ context.Context, w Work) (string, error) {
			w.Say(strings.Repeat("s", 1000))
			return "done", nil
		}), func(c *DeskConfig) { c.Kept, c.Rate = kept, rate.Inf })
		defer desk.stop()
		for i := range 5 * kept {
			body := fmt.Sprintf(`{"kind":"handoff","agent":"coder","text":"task %d"}`, i)
			if r := put(t, m, asking, http.MethodPut, fmt.Sprintf("tasks/%032x", i), strings.NewReader(body)); r.StatusCode != http.StatusAccepted {
				t.Fatalf("task %d: %s", i, r.Status)
			}
			synctest.Wait()
		}
		if n := len(desk.Desk.Tasks()); n > 2*kept {
			t.Errorf("%d tasks are kept before the sweep, want at most %d", n, 2*kept)
		}
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		files, err := os.ReadDir(dir)
		if n := len(desk.Desk.Tasks()); err != nil || n != kept || len(files) != kept {
			t.Errorf("%d tasks and %d files are kept after it, want %d; %v", n, len(files), kept, err)
		}
		desk.Desk.mu.Lock()
		defer desk.Desk.mu.Unlock()
		for _, e := range desk.Desk.tasks {
			if len(e.said.text) > 0 || e.said.end() != 1000 {
				t.Errorf("what the agent said is kept after the end: %d bytes of %d", len(e.said.text), e.said.end())
			}
		}
	})
}

// A task of which no trace can be kept is not begun: it would be done again after
// a restart.
func TestFullDisk(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		dir, agent := filepath.Join(t.TempDir(), "tasks"), newScripted()
		desk := startDesk(t, m, dir, agent, nil)
		defer desk.stop()
		out := startOutbox(t, m, t.TempDir())
		defer out.stop()
		first, second := mustAsk(t, out, "one"), mustAsk(t, out, "two")
		<-agent.began
		if err := errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o600)); err != nil { // nothing can be written there
			t.Fatal(err)
		}
		agent.end <- "the result" // that cannot be kept is told all the same
		mustEnd(t, out, first.ID, Done, "the result")
		got := mustEnd(t, out, second.ID, Failed, "")
		if !strings.Contains(got.Error, "it was not begun, since the node cannot keep what it does") {
			t.Errorf("the reason is %q", got.Error)
		}
		third := mustAsk(t, out, "three") // waits until there is room
		synctest.Wait()                   // what ended is told before it is written down
		if err := errors.Join(os.Remove(dir), os.Mkdir(dir, 0o700)); err != nil {
			t.Fatal(err)
		}
		<-agent.began
		agent.end <- "another"
		mustEnd(t, out, third.ID, Done, "another")
	})
}

// Two agents that answer each other's messages end, though nothing of the one runs
// while the other does.
func TestMessagesThatAnswerEachOther(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		desk := startDesk(t, m, t.TempDir(), backend(func(context.Context, Work) (string, error) { return "", nil }), nil)
		defer desk.stop()
		if got := desk.Hops(); got != 0 {
			t.Errorf("%d hops before anything came", got)
		}
		message := `{"kind":"send","agent":"coder","text":"and you?","hops":2}`
		put(t, m, asking, http.MethodPut, fmt.Sprintf("tasks/%032x", 1), strings.NewReader(message))
		synctest.Wait()
		if got := desk.Hops(); got != 3 {
			t.Errorf("what is asked after a message of 2 hops has %d, want 3", got)
		}
		time.Sleep(echo + time.Second)
		if got := desk.Hops(); got != 0 {
			t.Errorf("%d hops long after", got)
		}
	})
}

// transport answers an outbox by a function.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answers(status int, body io.Reader) *http.Response {
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: http.Header{}, Body: io.NopCloser(body)}
}

// A node that says endless questions and reasons is cut short, and costs no writes.
func TestANodeThatSaysMuch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		lines, says := io.Pipe()
		o, err := OpenOutbox(OutboxConfig{Dir: dir, Log: quietLog, Mesh: transport(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodPut {
				return answers(202, strings.NewReader("{}")), nil
			}
			return answers(200, lines), nil
		})})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); o.Run(ctx) }()
		task, err := o.Ask(ctx, other, "office", brief("x"))
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		file, err := os.Stat(o.store.name(&task))
		if err != nil {
			t.Fatal(err)
		}
		updates := json.NewEncoder(says)
		question := strings.Repeat("é", MaxQuestion)
		for range 100 {
			for _, u := range []Update{{State: InputRequired, Question: question}, {State: Working}} {
				if err := updates.Encode(u); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := updates.Encode(Update{State: InputRequired, Question: question}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		after, err := os.Stat(o.store.name(&task))
		if err != nil || !os.SameFile(file, after) {
			t.Errorf("what a node says on the way is written to the disk; %v", err)
		}
		if got, _ := o.Get(task.ID); got.State != InputRequired || len(got.Question) > MaxQuestion+4 {
			t.Errorf("a question of %d bytes; the task is %s", len(got.Question), got.State)
		}
		if err := updates.Encode(Update{State: Failed, Error: strings.Repeat("x", 1<<20)}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got, _ := o.Get(task.ID); got.State != Failed || len(got.Error) > MaxQuestion {
			t.Errorf("a reason of %d bytes; the task is %s", len(got.Error), got.State)
		}
		cancel()
		<-done
	})
}

// A task that is cancelled while it is being handed over is taken back, although
// the node did not know it when it was told.
func TestCancelledWhileItIsHandedOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pass := make(chan struct{})
		known, withdrawn := false, 0
		o, err := OpenOutbox(OutboxConfig{Dir: t.TempDir(), Log: quietLog, Mesh: transport(func(r *http.Request) (*http.Response, error) {
			switch r.Method {
			case http.MethodPut:
				<-pass
				known = true
				return answers(202, strings.NewReader("{}")), nil
			case http.MethodDelete:
				if !known {
					return answers(404, strings.NewReader(`{"error":{"message":"no such task"}}`)), nil
				}
				withdrawn++
				return answers(200, strings.NewReader("{}")), nil
			}
			return nil, errors.New("followed a task that is cancelled")
		})})
		if err != nil {
			t.Fatal(err)
		}
		asked := make(chan error)
		go func() {
			_, err := o.Ask(t.Context(), other, "office", brief("x"))
			asked <- err
		}()
		synctest.Wait()
		id := o.Tasks()[0].ID
		if err := o.Cancel(t.Context(), id); err != nil {
			t.Error(err)
		}
		close(pass)
		if err := <-asked; err != nil {
			t.Error(err)
		}
		if got, _ := o.Get(id); got.State != Cancelled || withdrawn != 1 {
			t.Errorf("the task is %s, and was withdrawn %d times after the node had it, want once", got.State, withdrawn)
		}
	})
}

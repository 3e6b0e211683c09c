package agent

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lobstah/key"
)

// What a revoked node asked is ended, whether it runs or waits; others' goes on.
func TestDropEndsTheTasksOfANode(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		agent := newScripted()
		desk := startDesk(t, m, t.TempDir(), agent, nil)
		defer desk.stop()
		out := startOutbox(t, m, t.TempDir())
		defer out.stop()
		running, waiting := mustAsk(t, out, "one"), mustAsk(t, out, "two")
		<-agent.began
		desk.Desk.Drop(key.ID{99}, "revoked")
		synctest.Wait()
		if states := statesOf(desk); !slices.Equal(states, []State{Queued, Working}) && !slices.Equal(states, []State{Working, Queued}) {
			t.Fatalf("after another node was revoked: %v", states)
		}
		desk.Desk.Drop(asking, "the node was revoked")
		for _, id := range []string{running.ID, waiting.ID} {
			if task := mustEnd(t, out, id, Cancelled, ""); !strings.Contains(task.Error, "revoked") {
				t.Errorf("why: %q", task.Error)
			}
		}
	})
}

func statesOf(p process) (states []State) {
	for _, task := range p.Desk.Tasks() {
		states = append(states, task.State)
	}
	return states
}

// What was asked of a revoked node is not waited for.
func TestDropEndsWhatWasAskedOfANode(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		agent := newScripted()
		desk := startDesk(t, m, t.TempDir(), agent, nil)
		defer desk.stop()
		out := startOutbox(t, m, t.TempDir())
		defer out.stop()
		task := mustAsk(t, out, "one")
		<-agent.began
		m.cut(true)
		out.Outbox.Drop(other, "the node was revoked")
		mustEnd(t, out, task.ID, Lost, "")
	})
}

// A task that waited is not begun for a node that the agent does not accept by then,
// over a restart too.
func TestWaitingTasksAreJudgedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		agent, dir := newScripted(), t.TempDir()
		accepted := true // changed while no task is begun
		judge := func(c *DeskConfig) {
			c.Caller = func(id key.ID) Caller { return Caller{ID: id, Verified: id == asking && accepted} }
			c.Seats[0].Accepts = func(c Caller) error {
				if !c.Verified {
					return errors.New("not verified any more")
				}
				return nil
			}
		}
		desk := startDesk(t, m, dir, agent, judge)
		out := startOutbox(t, m, t.TempDir())
		defer out.stop()
		first := mustAsk(t, out, "first")
		second, third := mustAsk(t, out, "second"), mustAsk(t, out, "third")
		<-agent.began
		synctest.Wait()
		agent.end <- "1"
		mustEnd(t, out, first.ID, Done, "1")
		<-agent.began // the second, while the node is accepted still
		synctest.Wait()
		accepted = false
		desk.stop()
		desk = startDesk(t, m, dir, agent, judge)
		defer desk.stop()
		for _, id := range []string{second.ID, third.ID} {
			mustEnd(t, out, id, Failed, "")
		}
		if task, err := out.Get(third.ID); err != nil || !strings.Contains(task.Error, "not verified any more") {
			t.Errorf("why: %q, %v", task.Error, err)
		}
	})
}

// A node that was away for long is asked at once when it is back.
func TestRetryDoesNotWait(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		agent := newScripted()
		desk := startDesk(t, m, t.TempDir(), agent, nil)
		defer desk.stop()
		o, err := OpenOutbox(OutboxConfig{Dir: t.TempDir(), Mesh: m, Log: quietLog, Pause: func(int) time.Duration { return time.Hour }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { o.Run(ctx) })
		defer running.Wait()
		defer cancel()
		m.cut(true)
		task, err := o.Ask(t.Context(), other, "office", brief("one"))
		if err != nil || task.State != Queued {
			t.Fatalf("%s, %v", task.State, err)
		}
		synctest.Wait()
		m.cut(false)
		began := time.Now()
		o.Retry()
		<-agent.began
		if took := time.Since(began); took > time.Minute {
			t.Errorf("it was asked after %v", took)
		}
		agent.end <- "1"
		mustEnd(t, process{Outbox: o}, task.ID, Done, "1")
	})
}

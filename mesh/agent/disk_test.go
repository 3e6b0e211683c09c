package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// While the disk takes its time over one task, the desk answers about all others; a
// task is acknowledged when it is written down, whoever asks for it in between.
func TestASlowDiskStopsNobody(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		agent := newScripted()
		desk := startDesk(t, m, t.TempDir(), agent, nil)
		defer desk.stop()
		written, slow := desk.Desk.store.write, make(chan struct{})
		desk.Desk.store.write = func(path string, data []byte, mode fs.FileMode) error {
			<-slow
			return written(path, data, mode)
		}
		path, body := fmt.Sprintf("tasks/%032x", 1), `{"kind":"handoff","agent":"coder","text":"one"}`
		var acknowledged atomic.Int32
		var askers sync.WaitGroup
		for range 2 { // the second asks for the same
			askers.Go(func() {
				put(t, m, asking, http.MethodPut, path, strings.NewReader(body))
				acknowledged.Add(1)
			})
		}
		synctest.Wait()
		if got := desk.Desk.Tasks(); len(got) != 1 || acknowledged.Load() != 0 {
			t.Errorf("%d tasks, %d acknowledged before they are kept; want 1 and none", len(got), acknowledged.Load())
		}
		if hops := desk.Hops(); hops != 0 || len(agent.began) != 0 {
			t.Errorf("%d hops, %d tasks begun before they are kept", hops, len(agent.began))
		}
		close(slow)
		askers.Wait()
		<-agent.began
		agent.end <- "done"
		synctest.Wait()
		if got := desk.Desk.Tasks(); len(got) != 1 || got[0].State != Done {
			t.Errorf("in the end %+v; want one task that is done", got)
		}
	})
}

// What cannot be written down was never there.
func TestATaskThatCannotBeKept(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		desk := startDesk(t, m, t.TempDir(), newScripted(), nil)
		defer desk.stop()
		desk.Desk.store.write = func(string, []byte, fs.FileMode) error { return errors.New("no space left") }
		out := put(t, m, asking, http.MethodPut, fmt.Sprintf("tasks/%032x", 1), strings.NewReader(`{"kind":"handoff","agent":"coder","text":"one"}`))
		if out.StatusCode != http.StatusInternalServerError || len(desk.Desk.Tasks()) != 0 {
			t.Errorf("%s, %d tasks; want a failure and none", out.Status, len(desk.Desk.Tasks()))
		}
	})
}

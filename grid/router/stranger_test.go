package router

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"lobstah/grid"
	"lobstah/key"
)

// Who answers reads what it is asked: a stranger does so only while no peer of
// the user's own is free.
func TestStrangersComeLast(t *testing.T) {
	t.Parallel()
	inWorld(t, 1, nil, func(t *testing.T, w *world) {
		own := w.workers[0]
		own.change(func() { own.capacity.Tier = grid.Batch }) // the tier that suits least
		for i := range 20 {
			pair := key.FromSeed([32]byte{byte(50 + i)})
			s := w.add(pair, grid.Peer{ID: pair.ID(), URL: fmt.Sprintf("http://192.0.2.%d:17474", 50+i), Origin: grid.FromTracker})
			s.change(func() { s.capacity.Concurrency = 4 })
		}
		w.repoll()
		ask := func(n int) {
			for i := range n {
				w.chat(strings.Replace(askWhole, "hi", fmt.Sprint("hi", i), 1))
			}
			synctest.Wait()
		}
		ask(10)
		if got := own.count(); got != 10 {
			t.Errorf("the own peer got %d of 10 while it was free", got)
		}
		own.change(func() { own.capacity.Running, own.capacity.QueueDepth = 1, 9 })
		w.repoll()
		ask(5)
		if got := own.count(); got != 10 {
			t.Errorf("the own peer got %d of 5 with nine before them; want strangers to stand in", got-10)
		}
		w.chat(strings.Replace(askWhole, `"m"`, `"m@`+own.peer.Label+`"`, 1))
		if got := own.count(); got != 11 {
			t.Error("a pinned request went elsewhere")
		}
	})
}

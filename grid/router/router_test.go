package router

import (
	"strings"
	"testing"
	"testing/synctest"

	"lobstah/grid"
)

func TestWholeAnswerPassesUnchangedAndItsReceiptIsKept(t *testing.T) {
	t.Parallel()
	inWorld(t, 1, nil, func(t *testing.T, w *world) {
		got := w.chat(askWhole)
		if got.status != 200 || got.body != wholeAnswer || got.header.Get("Content-Type") != "application/json" {
			t.Errorf("got %d %q, want 200 and the worker's bytes", got.status, got.body)
		}
		if peer := got.header.Get(grid.PeerHeader); peer != w.workers[0].peer.ID.String() {
			t.Errorf("%s = %q, want the worker's key", grid.PeerHeader, peer)
		}
		synctest.Wait()
		if kept := w.ledger.kept(); len(kept) != 1 || kept[0].Total() != 9 || kept[0].Countersigned() != nil {
			t.Errorf("ledger has %v, want one receipt of 9 tokens with both signatures\n%s", kept, w.log)
		}
	})
}

func TestStreamPassesUnchangedWithoutItsReceipt(t *testing.T) {
	t.Parallel()
	inWorld(t, 1, nil, func(t *testing.T, w *world) {
		got := w.chat(askStream)
		if got.status != 200 || got.body != goodStream || got.err != nil {
			t.Errorf("got %d %q (%v), want the worker's events without the receipt", got.status, got.body, got.err)
		}
		if ct := got.header.Get("Content-Type"); ct != "text/event-stream" {
			t.Errorf("content type %q", ct)
		}
		synctest.Wait()
		if kept := w.ledger.kept(); len(kept) != 1 {
			t.Errorf("ledger has %d receipts, want 1\n%s", len(kept), w.log)
		}
		if strings.Contains(got.body, "receipt") {
			t.Error("the receipt reached the client")
		}
	})
}

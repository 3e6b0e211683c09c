package router

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lobstah/grid"
	"lobstah/key"
	"lobstah/receipt"
)

func openAsked(t *testing.T, path string) *Asked {
	t.Helper()
	a, err := OpenAsked(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

// crashed is a home in which a router was killed while it waited for the
// receipts of the requests x.
func crashed(t *testing.T, x ...expected) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "awaited")
	a := openAsked(t, path)
	for _, x := range x {
		if a.note(0, x) == 0 {
			t.Fatal("a request found no slot")
		}
	}
	return path
}

// The keys of [inWorld].
var (
	ownPair    = key.FromSeed([32]byte{99})
	honestPair = key.FromSeed([32]byte{1})
	otherPair  = key.FromSeed([32]byte{2})
)

// sentTo is a request that another run of the router signed for a worker.
func sentTo(worker key.Pair, body string, at time.Time) expected {
	hash := sha256.Sum256([]byte(body))
	r := receipt.Request{Method: "POST", Path: "/v1/chat/completions", Worker: worker.ID(), Requester: ownPair.ID(), BodyHash: hash}
	return expected{
		proof: r.Sign(ownPair, at).String(), at: at, behind: 2,
		expect: receipt.Expectation{Worker: worker.ID(), Model: "m", RequestHash: hex.EncodeToString(hash[:])},
	}
}

// billed is a worker's receipt for such a request, always a new one.
func billed(t *testing.T, worker key.Pair, x expected, edit ...func(*receipt.Receipt)) *receipt.Signed {
	t.Helper()
	r := receipt.Receipt{
		JobID: receipt.NewJobID(), Nonce: receipt.NewNonce(), Requester: ownPair.ID().String(), Worker: worker.ID(), Model: "m",
		InputTokens: 7, OutputTokens: 2, StartedAt: x.at, CompletedAt: x.at, RequestHash: x.expect.RequestHash,
		RequestPath: "/v1/chat/completions", RequestSignature: x.proof, ResponseHash: receipt.HashBody([]byte(wholeAnswer)), TokenSource: receipt.FromEngine,
	}
	for _, e := range edit {
		e(&r)
	}
	s, err := receipt.Sign(worker, r)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A router that was killed pulls the receipts of what it had asked, once each,
// and nothing else that its peers may show.
func TestReceiptsAreFetchedAfterAKill(t *testing.T) {
	t.Parallel()
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)         // when virtual time begins
	lost := sentTo(honestPair, "lost", now.Add(-48*time.Hour)) // the worker was away
	kept := sentTo(honestPair, "kept", now)                    // killed between the ledger and the list
	silent := sentTo(honestPair, "silent", now)                // likewise, and its receipt named no request
	old := sentTo(honestPair, "old", now.Add(-8*24*time.Hour))
	never := sentTo(honestPair, "never", now)
	path := crashed(t, lost, kept, silent, old)

	before := []*receipt.Signed{billed(t, honestPair, kept), billed(t, honestPair, silent, func(r *receipt.Receipt) { r.RequestSignature = "" })}
	wanted := billed(t, honestPair, lost)
	shown := []*receipt.Signed{
		before[0], before[1], wanted,
		billed(t, honestPair, lost), // a second bill for one request
		billed(t, honestPair, kept), // and for one that is paid
		billed(t, honestPair, silent),
		billed(t, honestPair, old),
		billed(t, honestPair, never),
	}
	inWorld(t, 2, func(c *Config) {
		c.Asked = openAsked(t, path)
		for _, s := range before {
			if err := c.Ledger.Append(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
	}, func(t *testing.T, w *world) {
		honest, other := w.workers[0], w.workers[1]
		asked := make(chan string, 100)
		honest.change(func() {
			honest.capacity.Signs = true
			honest.receipts = func(rw http.ResponseWriter, r *http.Request) {
				since := r.URL.Query().Get("since")
				asked <- since
				page := receiptPage{Next: 40, Receipts: []json.RawMessage{}}
				for _, s := range shown {
					if since == "2" {
						page.Receipts = append(page.Receipts, s.Envelope())
					}
				}
				json.NewEncoder(rw).Encode(page)
			}
		})
		other.change(func() { // it shows another's receipt, and bills for another's work
			other.capacity.Signs = true
			other.receipts = func(rw http.ResponseWriter, r *http.Request) {
				fmt.Fprintf(rw, `{"receipts":[%s,%s],"next":2}`, billed(t, otherPair, lost).Envelope(), wanted.Envelope())
			}
		})
		w.repoll()
		w.repoll()
		close(asked)
		if got := w.ledger.kept(); len(got) != 3 || got[2].Nonce != wanted.Nonce {
			t.Errorf("%d receipts are kept, want the two that were and the lost one\n%s", len(got), w.log)
		}
		if cursors := slices.Collect(chanValues(asked)); !slices.Equal(cursors, []string{"2", fmt.Sprint(noReceipt)}) {
			t.Errorf("the worker was asked for receipts behind %v; want 2, then for the last one", cursors)
		}
		if left := openAsked(t, path).takeLeft(); len(left) != 0 {
			t.Errorf("the list still has %d requests", len(left))
		}
	})
}

func chanValues[T any](c chan T) iter.Seq[T] {
	return func(yield func(T) bool) {
		for v := range c {
			if !yield(v) {
				return
			}
		}
	}
}

// A receipt of an awaited request that bills for other bytes is refused, and
// leaves nothing to be billed again.
func TestAwaitedReceiptMustFit(t *testing.T) {
	t.Parallel()
	x := sentTo(honestPair, "lost", time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))
	for name, edit := range map[string]func(*receipt.Receipt){
		"model":     func(r *receipt.Receipt) { r.Model = "dearer" },
		"request":   func(r *receipt.Receipt) { r.RequestHash = receipt.HashBody([]byte("another")) },
		"requester": func(r *receipt.Receipt) { r.Requester = otherPair.ID().String() },
		"unbound":   func(r *receipt.Receipt) { r.ResponseHash = "" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := crashed(t, x)
			inWorld(t, 1, func(c *Config) { c.Asked = openAsked(t, path) }, func(t *testing.T, w *world) {
				f := w.workers[0]
				f.change(func() {
					f.capacity.Signs = true
					f.receipts = func(rw http.ResponseWriter, r *http.Request) {
						fmt.Fprintf(rw, `{"receipts":[%s],"next":2}`, billed(t, honestPair, x, edit).Envelope())
					}
				})
				w.repoll()
				synctest.Wait()
				if s := w.rt.Stats(); len(w.ledger.kept()) != 0 || s.Rejected != 1 {
					t.Errorf("%d kept, %+v\n%s", len(w.ledger.kept()), s, w.log)
				}
			})
		})
	}
}

// A worker whose ledger began anew is asked from the beginning.
func TestNewLedgerOfAWorkerIsReadFromItsBeginning(t *testing.T) {
	t.Parallel()
	x := sentTo(honestPair, "lost", time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))
	x.behind = 5000
	path := crashed(t, x)
	inWorld(t, 1, func(c *Config) { c.Asked = openAsked(t, path) }, func(t *testing.T, w *world) {
		f := w.workers[0]
		f.change(func() {
			f.capacity.Signs = true
			f.receipts = func(rw http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Get("since") != "0" {
					io.WriteString(rw, `{"receipts":[],"next":1}`)
					return
				}
				fmt.Fprintf(rw, `{"receipts":[%s],"next":1}`, billed(t, honestPair, x).Envelope())
			}
		})
		w.repoll()
		synctest.Wait()
		if len(w.ledger.kept()) != 1 {
			t.Errorf("the receipt was not found\n%s", w.log)
		}
	})
}

// What is noted before a request is sent goes away as its receipt comes, or as
// the peer declines; only what stays open waits for the next run.
func TestAskedHoldsWhatHasNoReceipt(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "awaited")
	asked := openAsked(t, path)
	inWorld(t, 1, func(c *Config) { c.Asked = asked }, func(t *testing.T, w *world) {
		f := w.workers[0]
		good := f.good
		left := func() int { return len(openAsked(t, path).takeLeft()) }
		during := 0
		f.change(func() {
			f.capacity.Signs = true
			f.answer = func(rw http.ResponseWriter, r *http.Request, body []byte) {
				during = left()
				good(rw, r, body)
			}
		})
		w.repoll()
		for _, body := range []string{askWhole, askStream} {
			w.chat(body)
			synctest.Wait()
			if during != 1 || left() != 0 {
				t.Errorf("%d noted while it was answered, %d after its receipt came; want 1 and 0", during, left())
			}
		}
		f.answers(status(429, `{"error":{"message":"full"}}`))
		w.chat(askWhole)
		f.setDark(true)
		f.way.CloseIdleConnections()
		w.chat(askWhole)
		synctest.Wait()
		if n := left(); n != 0 {
			t.Errorf("%d noted after refusals, want none", n)
		}
		f.setDark(false)
		time.Sleep(time.Minute)
		f.answers(func(rw http.ResponseWriter, _ *http.Request, _ bool) { io.WriteString(rw, wholeAnswer) })
		w.chat(askWhole)
		synctest.Wait()
		if n := left(); n != 1 {
			t.Errorf("%d noted after an answer without a receipt, want it", n)
		}
		if info, err := os.Stat(path); err != nil || info.Size() > askedSlot {
			t.Errorf("the file has %d bytes for one request at a time, %v", info.Size(), err)
		}
	})
}

// An answer that was lost on its way and is given again is accounted once, by
// the receipt of the first time, and awaits none of its own.
func TestRepeatedAnswerIsAccountedOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "awaited")
	inWorld(t, 1, func(c *Config) { c.Asked = openAsked(t, path) }, func(t *testing.T, w *world) {
		f := w.workers[0]
		var first *receipt.Signed
		var keys []string
		f.change(func() {
			f.capacity.Signs = true
			f.answer = func(rw http.ResponseWriter, r *http.Request, body []byte) {
				keys = append(keys, r.Header.Get("Idempotency-Key"))
				if first == nil {
					first = f.receiptFor(r, body, receipt.HashBody([]byte(wholeAnswer)))
					panic(http.ErrAbortHandler)
				}
				rw.Header().Set(grid.RepeatedHeader, "true")
				rw.Header().Set(receipt.Header, first.Text())
				io.WriteString(rw, wholeAnswer)
			}
		})
		w.repoll()
		f.way.CloseIdleConnections() // or the transport would try again by itself
		if got := w.chat(askWhole, "Idempotency-Key", "line-1"); got.status == 200 {
			t.Errorf("the first time: %d", got.status)
		}
		for range 2 {
			if got := w.chat(askWhole, "Idempotency-Key", "line-1"); got.status != 200 || got.body != wholeAnswer {
				t.Errorf("again: %d %s", got.status, got.body)
			}
			synctest.Wait()
		}
		kept := w.ledger.kept()
		if s := w.rt.Stats(); len(kept) != 1 || kept[0].Nonce != first.Nonce || s.Rejected != 0 || s.Unreceipted != 0 {
			t.Errorf("%d receipts, %+v\n%s", len(kept), s, w.log)
		}
		if n := len(openAsked(t, path).takeLeft()); n != 0 || w.rt.pending.anyOf(f.pair.ID()) {
			t.Errorf("%d receipts are still awaited", n)
		}
		if len(keys) < 3 || keys[0] == "line-1" || len(keys[0]) != 64 || slices.ContainsFunc(keys, func(k string) bool { return k != keys[0] }) {
			t.Errorf("the peer got the keys %q; want one and the same, and not the client's", keys)
		}
	})
}

func TestAskedIsBoundedAndSurvivesDamage(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "awaited")
	a := openAsked(t, path)
	x := expected{proof: "p", at: time.UnixMilli(5), behind: 7, expect: receipt.Expectation{
		Worker: key.FromSeed([32]byte{1}).ID(), Model: strings.Repeat("\x01", maxModel), RequestHash: strings.Repeat("a", 64)}}
	for i := range int32(askedSlots) {
		if got := a.note(0, x); got != i+1 {
			t.Fatalf("request %d has slot %d", i+1, got)
		}
	}
	if got := a.note(0, x); got != 0 {
		t.Errorf("one too many has slot %d", got)
	}
	for i := range int32(askedSlots) {
		if i > 1 {
			a.clear(i + 1)
		}
	}
	if got := a.note(0, x); got != askedSlots {
		t.Errorf("the next one has slot %d, want the last that was freed", got)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(`{"proof":7}`), askedSlot); err != nil {
		t.Fatal(err)
	}
	left := openAsked(t, path).takeLeft()
	if len(left) != 2 || left[0].proof != "p" || left[0].behind != 7 || left[0].expect != x.expect || !left[0].at.Equal(x.at) {
		t.Errorf("%d are left: %+v; want two as they were noted", len(left), left)
	}
}

// What a request costs more, so that its receipt survives a kill.
func BenchmarkAsked(b *testing.B) {
	a, err := OpenAsked(filepath.Join(b.TempDir(), "awaited"), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer a.Close()
	x := sentTo(honestPair, "hi", time.Now())
	b.ReportAllocs()
	for b.Loop() {
		a.clear(a.note(0, x))
	}
}

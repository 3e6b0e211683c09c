package router

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lobstah/internal/canonical"
	"lobstah/key"
	"lobstah/receipt"
)

// forge signs any receipt value as the worker would, whatever its fields say.
func forge(pair key.Pair, value string) string {
	tree, err := canonical.Parse([]byte(value))
	if err != nil {
		panic(err)
	}
	statement := canonical.Append(nil, tree)
	envelope := fmt.Sprintf(`{"receipt":%s,"signature":"%x"}`, statement, pair.Sign(statement))
	return base64.StdEncoding.EncodeToString([]byte(envelope))
}

// A receipt that is not what was agreed is neither kept nor a reason to disturb
// the client.
func TestRejectedReceipts(t *testing.T) {
	t.Parallel()
	edited := func(edit func(*receipt.Receipt)) func(*fakeWorker, *http.Request, []byte) string {
		return func(f *fakeWorker, r *http.Request, body []byte) string {
			return f.receiptFor(r, body, receipt.HashBody([]byte(wholeAnswer)), edit).Text()
		}
	}
	version1 := func(change func(map[string]any)) func(*fakeWorker, *http.Request, []byte) string {
		return func(f *fakeWorker, r *http.Request, _ []byte) string {
			now := time.Now().UnixMilli()
			value := map[string]any{
				"version": 1, "jobId": "j", "nonce": receipt.NewNonce(), "requesterPubkey": r.Header.Get(receipt.RequesterHeader),
				"workerPubkey": f.pair.ID().String(), "model": "m", "inputTokens": 7, "outputTokens": 2, "startedAt": now, "completedAt": now,
			}
			change(value)
			text, err := json.Marshal(value)
			if err != nil {
				panic(err)
			}
			return forge(f.pair, string(text))
		}
	}
	for _, test := range []struct {
		name string
		make func(f *fakeWorker, r *http.Request, body []byte) string
		says string // in the log; empty when it is kept
	}{
		{"honest", edited(func(*receipt.Receipt) {}), ""},
		{"honest of version 1", version1(func(map[string]any) {}), ""},
		{"of another key", edited(func(s *receipt.Receipt) { s.Worker = key.ID{} }), "worker mismatch"},
		{"for another model", edited(func(s *receipt.Receipt) { s.Model = "gpt-9" }), "model mismatch"},
		{"for another requester", edited(func(s *receipt.Receipt) { s.Requester = key.FromSeed([32]byte{5}).ID().String() }), "requester mismatch"},
		{"for nobody", edited(func(s *receipt.Receipt) { s.Requester = receipt.Anonymous }), "requester mismatch"},
		{"of another request", edited(func(s *receipt.Receipt) { s.RequestHash = receipt.HashBody([]byte("x")) }), "request hash mismatch"},
		{"of another answer", edited(func(s *receipt.Receipt) { s.ResponseHash = receipt.HashBody([]byte("x")) }), "response hash mismatch"},
		{"with another request's signature", edited(func(s *receipt.Receipt) { s.RequestSignature = "v1;1;x;y" }), "another request's signature"},
		{"too old", edited(func(s *receipt.Receipt) {
			s.StartedAt, s.CompletedAt = time.Now().Add(-time.Hour), time.Now().Add(-receipt.Window-time.Second)
		}), "expired"},
		{"of the future", edited(func(s *receipt.Receipt) { s.CompletedAt = time.Now().Add(receipt.Window + time.Second) }), "future-dated"},
		{"negative", version1(func(v map[string]any) { v["inputTokens"] = -500 }), "malformed receipt"},
		{"fractional", version1(func(v map[string]any) { v["outputTokens"] = 1.5 }), "malformed receipt"},
		{"without counts", version1(func(v map[string]any) { delete(v, "inputTokens") }), "malformed receipt"},
		{"of version 2", version1(func(v map[string]any) { v["version"] = 2 }), "malformed receipt"},
		{"with a broken signature", func(f *fakeWorker, r *http.Request, body []byte) string {
			s := f.receiptFor(r, body, "")
			return base64.StdEncoding.EncodeToString([]byte(strings.Replace(string(s.Envelope()), `"model":"m"`, `"model":"n"`, 1)))
		}, "bad signature"},
		{"garbage", func(*fakeWorker, *http.Request, []byte) string { return "AAAA" }, "malformed receipt"},
		{"null", func(*fakeWorker, *http.Request, []byte) string { return "bnVsbA==" }, "malformed receipt"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, 1, nil, func(t *testing.T, w *world) {
				f := w.workers[0]
				f.change(func() {
					f.answer = func(rw http.ResponseWriter, r *http.Request, body []byte) {
						rw.Header().Set(receipt.Header, test.make(f, r, body))
						io.WriteString(rw, wholeAnswer)
					}
				})
				if got := w.chat(askWhole); got.status != 200 || got.body != wholeAnswer {
					t.Errorf("the client got %d %q", got.status, got.body)
				}
				synctest.Wait()
				kept, stats, log := len(w.ledger.kept()), w.rt.Stats(), w.log.String()
				if test.says == "" {
					if kept != 1 || stats.Accepted != 1 {
						t.Errorf("kept %d, %+v\n%s", kept, stats, log)
					}
					return
				}
				if kept != 0 || stats.Rejected != 1 {
					t.Errorf("kept %d receipts, %+v", kept, stats)
				}
				if strings.Count(log, "rejected a receipt") != 1 || !strings.Contains(log, test.says) {
					t.Errorf("the log does not say %q once:\n%s", test.says, log)
				}
			})
		})
	}
}

// The original forgets nonces when it restarts; the ledger does not.
func TestReceiptIsKeptOnce(t *testing.T) {
	t.Parallel()
	inWorld(t, 1, nil, func(t *testing.T, w *world) {
		f := w.workers[0]
		var first string
		f.change(func() {
			f.answer = func(rw http.ResponseWriter, r *http.Request, body []byte) {
				if first == "" {
					// Unbound, so that nothing but its nonce betrays it.
					first = f.receiptFor(r, body, "", func(s *receipt.Receipt) { s.RequestHash, s.RequestSignature, s.RequestPath = "", "", "" }).Text()
				}
				rw.Header().Set(receipt.Header, first)
				io.WriteString(rw, wholeAnswer)
			}
		})
		for range 3 {
			w.chat(askWhole)
		}
		synctest.Wait()
		if kept := len(w.ledger.kept()); kept != 1 || w.rt.Stats().Rejected != 2 || !strings.Contains(w.log.String(), "nonce replay") {
			t.Errorf("kept %d, %+v\n%s", kept, w.rt.Stats(), w.log)
		}
	})
}

func TestPeerThatBoundItsReceiptsOnceMustGoOn(t *testing.T) {
	t.Parallel()
	inWorld(t, 1, nil, func(t *testing.T, w *world) {
		f := w.workers[0]
		w.chat(askWhole)
		synctest.Wait()
		f.change(func() {
			f.answer = func(rw http.ResponseWriter, r *http.Request, body []byte) {
				s := f.receiptFor(r, body, "", func(s *receipt.Receipt) { s.RequestHash, s.RequestSignature = "", "" })
				rw.Header().Set(receipt.Header, s.Text())
				io.WriteString(rw, wholeAnswer)
			}
		})
		w.chat(askWhole)
		synctest.Wait()
		if kept := len(w.ledger.kept()); kept != 1 || !strings.Contains(w.log.String(), receipt.ErrUnbound.Error()) {
			t.Errorf("kept %d\n%s", kept, w.log)
		}
	})
}

func TestReceiptInAStreamIsChecked(t *testing.T) {
	t.Parallel()
	for name, comment := range map[string]func(text string) string{
		"before [DONE]":          func(text string) string { return receipt.CommentPrefix + text + "\n\n" + data("[DONE]") },
		"in the block of [DONE]": func(text string) string { return receipt.CommentPrefix + text + "\n" + data("[DONE]") },
		"with CRLF":              func(text string) string { return receipt.CommentPrefix + text + "\r\n\r\n" + data("[DONE]") },
		"with keep-alives around": func(text string) string {
			return ": x\n\n" + receipt.CommentPrefix + text + "\n\n: y\n\n" + data("[DONE]")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, 1, nil, func(t *testing.T, w *world) {
				f := w.workers[0]
				f.change(func() {
					f.answer = func(rw http.ResponseWriter, r *http.Request, body []byte) {
						rw.Header().Set("Content-Type", "text/event-stream")
						s := f.receiptFor(r, body, streamHash(chunk1, chunk2, chunk3))
						io.WriteString(rw, data(chunk1, chunk2, chunk3)+comment(s.Text()))
					}
				})
				got := w.chat(askStream)
				synctest.Wait()
				if kept := len(w.ledger.kept()); kept != 1 || strings.Contains(got.body, "receipt") || stripComments(got.body) != goodStream {
					t.Errorf("kept %d, the client got %q\n%s", kept, got.body, w.log)
				}
			})
		})
	}
}

func TestHeaderGarbageIsNotPassedOn(t *testing.T) {
	t.Parallel()
	inWorld(t, 1, nil, func(t *testing.T, w *world) {
		w.workers[0].answers(status(200, wholeAnswer, receipt.Header, "<script>not base64</script>"))
		if got := w.chat(askWhole); got.status != 200 || got.header.Get(receipt.Header) != "" {
			t.Errorf("got %d, header %q", got.status, got.header.Get(receipt.Header))
		}
	})
}

// A ledger that takes its time delays no client until the queue is full; then
// the handlers wait, and nothing is dropped.
func TestFullQueueMakesHandlersWait(t *testing.T) {
	t.Parallel()
	inWorld(t, 1, func(c *Config) {
		c.Ledger.(*fakeLedger).slow = func() { time.Sleep(time.Second) }
	}, func(t *testing.T, w *world) {
		const n = settleQueue + 2*settleAtOnce
		begin := time.Now()
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() {
				if got := w.chat(askWhole); got.status != 200 {
					t.Errorf("status %d", got.status)
				}
			})
		}
		wg.Wait()
		if took := time.Since(begin); took != time.Second {
			t.Errorf("%d answers took %s, want that the last ones waited for a second", n, took)
		}
		if err := w.rt.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if kept := len(w.ledger.kept()); kept != n {
			t.Errorf("after draining %d of %d receipts are kept", kept, n)
		}
	})
}

func TestLedgerFaultIsNoRejectionAndTheReceiptIsPulledLater(t *testing.T) {
	t.Parallel()
	inWorld(t, 1, nil, func(t *testing.T, w *world) {
		f := w.workers[0]
		var signed atomic.Pointer[receipt.Signed]
		f.change(func() {
			f.capacity.Signs = true
			f.answer = func(rw http.ResponseWriter, r *http.Request, body []byte) {
				s := f.receiptFor(r, body, receipt.HashBody([]byte(wholeAnswer)))
				signed.Store(s)
				rw.Header().Set(receipt.Header, s.Text())
				io.WriteString(rw, wholeAnswer)
			}
			f.receipts = func(rw http.ResponseWriter, r *http.Request) {
				switch s := signed.Load(); {
				case s == nil:
					io.WriteString(rw, `{"receipts":[],"next":0}`)
				case r.URL.Query().Get("since") != "0":
					io.WriteString(rw, `{"receipts":[],"next":1}`)
				default:
					fmt.Fprintf(rw, `{"receipts":[%s],"next":1}`, s.Envelope())
				}
			}
		})
		w.repoll()
		w.ledger.mu.Lock()
		w.ledger.fail = errors.New("disk full")
		w.ledger.mu.Unlock()
		w.chat(askWhole)
		synctest.Wait()
		if s := w.rt.Stats(); s.Unkept != 1 || s.Rejected != 0 || !strings.Contains(w.log.String(), "disk full") {
			t.Errorf("%+v\n%s", s, w.log)
		}
		w.repoll() // pulled, and refused by the ledger again
		w.ledger.mu.Lock()
		w.ledger.fail = nil
		w.ledger.mu.Unlock()
		w.repoll()
		if kept := len(w.ledger.kept()); kept != 1 {
			t.Errorf("kept %d, want the receipt that was pulled\n%s", kept, w.log)
		}
	})
}

// They cost nothing, so nobody looks for receipts of theirs.
func TestCountsOfTokensAwaitNoReceipt(t *testing.T) {
	t.Parallel()
	inWorld(t, 1, nil, func(t *testing.T, w *world) {
		f := w.workers[0]
		f.answers(func(rw http.ResponseWriter, _ *http.Request, _ bool) { io.WriteString(rw, `{"input_tokens":3}`) })
		got := w.post("/v1/messages/count_tokens", `{"model":"m","messages":[{"role":"user","content":"hi"}]}`)
		if got.status != 200 || w.rt.pending.anyOf(f.pair.ID()) {
			t.Errorf("got %d %s; a receipt is awaited: %v", got.status, got.body, w.rt.pending.anyOf(f.pair.ID()))
		}
	})
}

func TestDrainFinishesRunningAnswersAndTheirReceipts(t *testing.T) {
	t.Parallel()
	inWorld(t, 1, nil, func(t *testing.T, w *world) {
		f := w.workers[0]
		good := f.good
		f.change(func() {
			f.answer = func(rw http.ResponseWriter, r *http.Request, body []byte) {
				time.Sleep(time.Minute)
				good(rw, r, body)
			}
		})
		running := make(chan reply, 1)
		go func() { running <- w.chat(askWhole) }()
		synctest.Wait()
		drained := make(chan error, 1)
		go func() { drained <- w.rt.Drain(t.Context()) }()
		synctest.Wait()
		got := w.chat(askWhole)
		if _, kind := got.message(); got.status != 503 || kind != "draining" || got.header.Get("Retry-After") == "" {
			t.Errorf("a new request: %d %s", got.status, got.body)
		}
		if got := w.get("/healthz"); got.status != 503 || !strings.Contains(got.body, `"draining"`) {
			t.Errorf("/healthz: %d %s", got.status, got.body)
		}
		if got := <-running; got.status != 200 || got.body != wholeAnswer {
			t.Errorf("the running one: %d %q", got.status, got.body)
		}
		if err := <-drained; err != nil || len(w.ledger.kept()) != 1 {
			t.Errorf("Drain: %v, %d receipts kept", err, len(w.ledger.kept()))
		}
	})
}

func TestDrainGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	inWorld(t, 1, nil, func(t *testing.T, w *world) {
		w.workers[0].answers(after(time.Hour/2, text("", wholeAnswer)))
		ctx, leave := context.WithCancel(t.Context())
		gone := make(chan struct{})
		go func() { defer close(gone); w.do(ctx, "POST", "/v1/chat/completions", askWhole) }()
		synctest.Wait()
		short, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := w.rt.Drain(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Drain: %v, want that its time is up", err)
		}
		leave()
		<-gone
	})
}

func TestPendingIsBounded(t *testing.T) {
	t.Parallel()
	var p pending
	for i := range maxPending + 10 {
		p.remember(expected{proof: fmt.Sprint(i), at: time.Now(), expect: receipt.Expectation{Worker: key.ID{1}}})
	}
	if len(p.entries) != maxPending || p.order.Len() != maxPending || p.workers[key.ID{1}] != maxPending {
		t.Errorf("%d entries, %d in order, %d of the worker; want %d", len(p.entries), p.order.Len(), p.workers[key.ID{1}], maxPending)
	}
	if _, ok := p.take("9"); ok {
		t.Error("the oldest was kept")
	}
	if _, ok := p.take("10"); !ok {
		t.Error("a newer one is gone")
	}
	if _, ok := p.take("10"); ok {
		t.Error("one expectation was taken twice")
	}
}

// The receipt of a stream that was left comes soon, and before the router stops
// even when the poll of its peer hangs.
func TestReceiptsStillToComeArePulledSoon(t *testing.T) {
	t.Parallel()
	for _, stops := range []bool{false, true} {
		inWorld(t, 1, nil, func(t *testing.T, w *world) {
			f := w.workers[0]
			f.change(func() { f.capacity.Signs = true })
			w.repoll()
			var signed atomic.Pointer[receipt.Signed]
			f.change(func() {
				f.stuck = stops
				f.answer = func(rw http.ResponseWriter, r *http.Request, body []byte) {
					signed.Store(f.receiptFor(r, body, streamHash(chunk1))) // before anybody can pull it
					stall(data(chunk1))(rw, r, true)
				}
				f.receipts = func(rw http.ResponseWriter, r *http.Request) {
					fmt.Fprintf(rw, `{"receipts":[%s],"next":1}`, signed.Load().Envelope())
				}
			})
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				synctest.Wait()
				cancel()
			}()
			w.do(ctx, http.MethodPost, "/v1/chat/completions", askStream)
			synctest.Wait()
			if stops {
				if err := w.rt.Drain(t.Context()); err != nil {
					t.Fatal(err)
				}
			} else {
				time.Sleep(time.Second)
			}
			if kept := len(w.ledger.kept()); kept != 1 {
				t.Errorf("stops %v: kept %d receipts, want one\n%s", stops, kept, w.log)
			}
		})
	}
}

package router

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lobstah/grid"
	"lobstah/receipt"
)

// after waits, in virtual time, before a worker answers.
func after(d time.Duration, answer func(http.ResponseWriter, *http.Request, bool)) func(http.ResponseWriter, *http.Request, bool) {
	return func(w http.ResponseWriter, r *http.Request, streams bool) {
		if pause(r, d); r.Context().Err() == nil {
			answer(w, r, streams)
		}
	}
}

// pause waits for d or until the router has left.
func pause(r *http.Request, d time.Duration) {
	select {
	case <-time.After(d):
	case <-r.Context().Done():
	}
}

func TestKeepAlivesBeginAfter10SecondsOfSilence(t *testing.T) {
	t.Parallel()
	inWorld(t, 1, nil, func(t *testing.T, w *world) {
		w.workers[0].answers(after(35*time.Second, text(goodStream, "")))
		got := w.chat(askStream)
		short := w.workers[0].peer.ID.Short()
		want := ": waiting for " + short + ", 10s\n\n: waiting for " + short + ", 20s\n\n: waiting for " + short + ", 30s\n\n" +
			": answered by " + w.workers[0].peer.ID.String() + " (only; candidates=1; queue=0; attempt=1)\n\n" + goodStream
		if got.status != 200 || got.body != want {
			t.Errorf("got %d %q\nwant %q", got.status, got.body, want)
		}
		if got.header.Get(grid.PeerHeader) != "" {
			t.Error("the head names a peer although none had answered")
		}
	})
}

func TestNoKeepAliveWhileDataFlow(t *testing.T) {
	t.Parallel()
	inWorld(t, 1, nil, func(t *testing.T, w *world) {
		w.workers[0].answers(func(rw http.ResponseWriter, r *http.Request, _ bool) {
			rw.Header().Set("Content-Type", "text/event-stream")
			for range 5 {
				io.WriteString(rw, data(chunk1))
				rw.(http.Flusher).Flush()
				time.Sleep(9 * time.Second)
			}
			time.Sleep(6 * time.Second) // 15 s since the last data
			io.WriteString(rw, data(chunk2, "[DONE]"))
		})
		want := strings.Repeat(data(chunk1), 5) + ": waiting for the next part, 46s\n\n" + data(chunk2, "[DONE]")
		if got := w.chat(askStream); got.body != want {
			t.Errorf("got %q\nwant %q", got.body, want)
		}
	})
}

func TestKeepAliveBeginsWhenAWorkerHasAccepted(t *testing.T) {
	t.Parallel()
	for name, accept := range map[string]func(http.ResponseWriter){
		"102": func(w http.ResponseWriter) {
			w.Header().Set("X-Lobstah-Position", "2")
			w.Header().Set("X-Lobstah-Eta", "14")
			w.WriteHeader(http.StatusProcessing)
			w.Header().Del("X-Lobstah-Position")
			w.Header().Del("X-Lobstah-Eta")
		},
		"comment": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, ": queue 2\n\n")
			w.(http.Flusher).Flush()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, 1, nil, func(t *testing.T, w *world) {
				w.workers[0].answers(func(rw http.ResponseWriter, r *http.Request, _ bool) {
					accept(rw)
					pause(r, 3*time.Second)
					text(goodStream, "")(rw, r, true)
				})
				begin := time.Now()
				response := w.open(askStream)
				defer response.Body.Close()
				line, err := bufio.NewReader(response.Body).ReadString('\n')
				want := ": accepted by " + w.workers[0].peer.ID.Short()
				if name == "102" {
					want += ", queue 2, eta 14s"
				}
				if took := time.Since(begin); line != want+"\n" || err != nil || took != 0 {
					t.Errorf("after %s: %q (%v), want %q at once", took, line, err, want)
				}
			})
		})
	}
}

// open posts a chat and returns the answer's head.
func (w *world) open(body string) *http.Response {
	w.t.Helper()
	response, err := w.client.Post("http://localhost/v1/chat/completions", "application/json", strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	return response
}

func TestFailoverIsStillPossibleAfterKeepAlives(t *testing.T) {
	t.Parallel()
	inWorld(t, 2, nil, func(t *testing.T, w *world) {
		w.prefer(0).answers(after(25*time.Second, boom))
		got := w.chat(askStream)
		if got.status != 200 || stripComments(got.body) != goodStream || !strings.Contains(got.body, ": answered by "+w.workers[1].peer.ID.String()) {
			t.Errorf("got %d %q", got.status, got.body)
		}
		// And when the other fails too, the error comes as an event.
		w.workers[1].answers(after(time.Second, boom))
		got = w.chat(askStream)
		events := stripComments(got.body)
		if got.status != 200 || !strings.Contains(events, `"type":"all_peers_failed"`) || strings.Contains(events, "[DONE]") {
			t.Errorf("got %d %q, want an error event", got.status, got.body)
		}
	})
}

func TestWholeAnswersGetNoKeepAlives(t *testing.T) {
	t.Parallel()
	inWorld(t, 1, nil, func(t *testing.T, w *world) {
		w.workers[0].answers(after(10*time.Minute, text("", wholeAnswer)))
		if got := w.chat(askWhole); got.status != 200 || got.body != wholeAnswer {
			t.Errorf("got %d %q", got.status, got.body)
		}
	})
}

func TestTimeoutsAreApart(t *testing.T) {
	t.Parallel()
	limits := Timeouts{FirstByte: 3 * time.Minute, Idle: 40 * time.Second, Answer: 7 * time.Minute, Total: 20 * time.Minute}
	drip := func(w http.ResponseWriter, r *http.Request, _ bool) {
		w.Header().Set("Content-Type", "text/event-stream")
		for r.Context().Err() == nil {
			io.WriteString(w, data(chunk1))
			w.(http.Flusher).Flush()
			pause(r, 30*time.Second)
		}
	}
	heartbeat := func(w http.ResponseWriter, r *http.Request, _ bool) {
		for r.Context().Err() == nil {
			w.WriteHeader(http.StatusProcessing)
			pause(r, 30*time.Second)
		}
	}
	for _, test := range []struct {
		name   string
		answer func(http.ResponseWriter, *http.Request, bool)
		body   string
		after  time.Duration
		says   string
	}{
		{"first byte", stall(""), askStream, limits.FirstByte, "silent for 3m0s"},
		{"silence between chunks", stall(data(chunk1)), askStream, limits.Idle, "silent for 40s"},
		{"silence after acceptance", stall(": accepted\n\n"), askStream, limits.Idle, "silent for 40s"},
		{"whole answer", stall(""), askWhole, limits.Answer, "silent for 7m0s"},
		{"total, though data flow", drip, askStream, limits.Total, "took longer"},
		{"total, though the worker says it is alive", heartbeat, askStream, limits.Total, "no answer within 20m0s"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, 1, func(c *Config) { c.Timeouts = limits }, func(t *testing.T, w *world) {
				w.workers[0].answers(test.answer)
				begin := time.Now()
				got := w.chat(test.body)
				if took := time.Since(begin); took != test.after || !strings.Contains(got.body, test.says) {
					t.Errorf("after %s: %.300q; want %q after %s", took, got.body[max(0, len(got.body)-300):], test.says, test.after)
				}
			})
		})
	}
}

// The original keeps a worker generating for a client that has left.
func TestClientThatLeavesStopsTheWorker(t *testing.T) {
	t.Parallel()
	for name, begun := range map[string]string{"before the first token": "", "in the middle": data(chunk1)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, 2, nil, func(t *testing.T, w *world) {
				stopped := make(chan struct{})
				w.prefer(0).answers(func(rw http.ResponseWriter, r *http.Request, _ bool) {
					stall(begun)(rw, r, true)
					close(stopped)
				})
				ctx, cancel := context.WithCancel(t.Context())
				go func() {
					synctest.Wait() // everything stands still
					cancel()
				}()
				w.do(ctx, http.MethodPost, "/v1/chat/completions", askStream)
				<-stopped
				synctest.Wait()
				if state, said := w.rt.roster.current.Load().peers[0].health.report(time.Now()); state != "ready" || said != "" {
					t.Errorf("the peer is %s (%s) for a client that left", state, said)
				}
				if w.workers[1].count() != 0 {
					t.Error("another peer was asked for a client that had left")
				}
				if n := w.rt.Stats().InFlight; n != 0 {
					t.Errorf("%d requests are still in flight", n)
				}
			})
		})
	}
}

// What was produced for a client that left is owed all the same; its receipt is
// fetched with the next poll, and nothing but it.
func TestReceiptOfACancelledStreamIsPulledOnce(t *testing.T) {
	t.Parallel()
	inWorld(t, 1, nil, func(t *testing.T, w *world) {
		f := w.workers[0]
		f.change(func() { f.capacity.Signs = true })
		w.repoll()
		var signed, forged atomic.Pointer[receipt.Signed] // by one connection's goroutine for another's
		f.change(func() {
			f.answer = func(rw http.ResponseWriter, r *http.Request, body []byte) {
				stall(data(chunk1))(rw, r, true)
				forged.Store(f.receiptFor(r, []byte("another request"), streamHash(chunk1), func(s *receipt.Receipt) {
					s.RequestSignature, s.Model = "v1;1;"+strings.Repeat("0", 32)+";"+strings.Repeat("0", 128), "m"
				}))
				signed.Store(f.receiptFor(r, body, streamHash(chunk1), func(s *receipt.Receipt) { s.FinishReason = "cancelled" }))
			}
			f.receipts = func(rw http.ResponseWriter, r *http.Request) {
				if r.Header.Get(receipt.SignatureHeader) == "" {
					t.Error("the pull is not signed")
				}
				list, next := "", r.URL.Query().Get("since")
				if ours := signed.Load(); ours != nil && next == "0" {
					list, next = string(forged.Load().Envelope())+","+string(ours.Envelope())+","+string(ours.Envelope()), "3"
				}
				io.WriteString(rw, `{"receipts":[`+list+`],"next":`+next+`}`)
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			synctest.Wait()
			cancel()
		}()
		w.do(ctx, http.MethodPost, "/v1/chat/completions", askStream)
		time.Sleep(10 * time.Minute) // receipts of cancelled streams may be old
		synctest.Wait()
		if kept := w.ledger.kept(); len(kept) != 1 || kept[0].Nonce != signed.Load().Nonce {
			t.Errorf("the ledger has %d receipts, want the one of the cancelled stream\n%s", len(kept), w.log)
		}
	})
}

func TestDataIsNotHeldBackByAReceiptThatCameWithIt(t *testing.T) {
	t.Parallel()
	inWorld(t, 1, nil, func(t *testing.T, w *world) {
		w.workers[0].answers(func(rw http.ResponseWriter, r *http.Request, _ bool) {
			rw.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(rw, data(chunk1)+receipt.CommentPrefix+"AAAA\n\n")
			rw.(http.Flusher).Flush()
			pause(r, 5*time.Second)
			io.WriteString(rw, data(chunk2, "[DONE]"))
		})
		begin := time.Now()
		response := w.open(askStream)
		defer response.Body.Close()
		got := make([]byte, len(data(chunk1)))
		if _, err := io.ReadFull(response.Body, got); err != nil || time.Since(begin) != 0 || string(got) != data(chunk1) {
			t.Errorf("%q after %s (%v)", got, time.Since(begin), err)
		}
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			t.Error(err)
		}
	})
}

package router

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lobstah/grid"
	"lobstah/openai"
	"lobstah/receipt"
)

// memoryLog is a job's log, which can refuse.
type memoryLog struct {
	mu     sync.Mutex
	notes  [][]byte        // guarded by mu
	begun  time.Time       // guarded by mu
	result json.RawMessage // guarded by mu
	refuse bool            // guarded by mu
}

var errRefused = errors.New("not yours any more")

func (l *memoryLog) write(change func()) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse {
		return errRefused
	}
	change()
	return nil
}

func (l *memoryLog) Note(_ context.Context, note []byte) error {
	return l.write(func() { l.notes = append(l.notes, note) })
}

func (l *memoryLog) Noted() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.notes) == 0 {
		return nil
	}
	return l.notes[len(l.notes)-1]
}

func (l *memoryLog) Begun(_ context.Context, at time.Time) error {
	return l.write(func() { l.begun = at })
}

func (l *memoryLog) Done(_ context.Context, result []byte, s *receipt.Signed) error {
	return l.write(func() { l.result = result })
}

// desk is how a fake worker deals with jobs.
type desk struct {
	mu      sync.Mutex
	posts   []http.Header // guarded by mu; of submissions
	bodies  [][]byte      // guarded by mu
	deletes int           // guarded by mu
	accept  func(w http.ResponseWriter, n int)
	record  func(signed func(edit ...func(*receipt.Receipt)) *receipt.Signed) (status int, record string)
	remove  int // the status of DELETE
}

const remoteID = "11111111-0000-4000-8000-000000000000"

// takeJobs makes a worker take jobs, by a desk that answers at once until the
// test says otherwise.
func (f *fakeWorker) takeJobs() *desk {
	d := &desk{
		accept: func(w http.ResponseWriter, _ int) {
			w.WriteHeader(http.StatusAccepted)
			fmt.Fprintf(w, `{"jobId":%q,"status":"queued","createdAt":1}`, remoteID)
		},
		record: func(signed func(...func(*receipt.Receipt)) *receipt.Signed) (int, string) {
			return 200, doneRecord(signed())
		},
		remove: 200,
	}
	f.change(func() {
		f.answer = func(w http.ResponseWriter, r *http.Request, body []byte) { d.serve(f, w, r, body) }
	})
	return d
}

func doneRecord(s *receipt.Signed) string {
	return fmt.Sprintf(`{"jobId":%q,"status":"done","createdAt":1,"result":%s,"signedReceipt":%s}`, remoteID, wholeAnswer, s.Envelope())
}

func (d *desk) serve(f *fakeWorker, w http.ResponseWriter, r *http.Request, body []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	switch r.Method {
	case http.MethodPost:
		d.posts, d.bodies = append(d.posts, r.Header), append(d.bodies, body)
		d.accept(w, len(d.posts))
	case http.MethodDelete:
		d.deletes++
		w.WriteHeader(d.remove)
		io.WriteString(w, `{"error":{"type":"not_cancellable"}}`)
	default:
		status, record := d.record(func(edit ...func(*receipt.Receipt)) *receipt.Signed {
			first := &http.Request{Method: "POST", URL: &url.URL{Path: "/v1/jobs"}, Header: d.posts[0]}
			return f.receiptFor(first, d.bodies[0], receipt.HashBody([]byte(wholeAnswer)), edit...)
		})
		w.WriteHeader(status)
		io.WriteString(w, record)
	}
}

func (d *desk) count() (posts, deletes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.posts), d.deletes
}

var anOrder = grid.Order{
	ID: "22222222-0000-4000-8000-000000000000", Model: "m", Tier: grid.Batch, Seal: json.RawMessage(`{}`),
	Body: []byte(`{"model":"m","messages":[{"role":"user","content":"hi"}],"metadata":{"secret":"mine"},"stream":true}`),
}

func saying(status int, body string) func(http.ResponseWriter, int) {
	return func(w http.ResponseWriter, _ int) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// A job goes to a peer, signed and without what is the client's own business,
// and its answer and receipt come back, however late.
func TestFollow(t *testing.T) {
	t.Parallel()
	inWorld(t, 1, nil, func(t *testing.T, w *world) {
		d := w.workers[0].takeJobs()
		polls := 0
		d.record = func(signed func(...func(*receipt.Receipt)) *receipt.Signed) (int, string) {
			if polls++; polls < 4 {
				return 200, `{"jobId":"x","status":"` + []string{"", "queued", "running", "running"}[polls] + `","startedAt":1}`
			}
			return 200, doneRecord(signed(func(r *receipt.Receipt) {
				r.StartedAt, r.CompletedAt = r.StartedAt.Add(-9*24*time.Hour), r.CompletedAt.Add(-9*24*time.Hour)
			}))
		}
		log := &memoryLog{}
		fault, again := w.rt.Fulfil(t.Context(), anOrder, log)
		if fault != nil || again || string(log.result) != wholeAnswer || log.begun.IsZero() {
			t.Fatalf("%v, again %t: %s", fault, again, log.result)
		}
		if kept := w.ledger.kept(); len(kept) != 1 || kept[0].Countersigned() != nil {
			t.Errorf("kept %d receipts: %v", len(kept), kept)
		}
		if got := string(d.bodies[0]); got != `{"model":"m","messages":[{"role":"user","content":"hi"}]}` {
			t.Errorf("the peer got %s", got)
		}
		if h := d.posts[0]; h.Get("Idempotency-Key") == "" || h.Get(grid.TierHeader) != "batch" || h.Get(receipt.SignatureHeader) == "" {
			t.Errorf("with %v", h)
		}
	})
}

// What peers say of a job, and what becomes of it: who is asked next, whether
// it is tried again, and that nobody else is asked while somebody may have it.
func TestPlacing(t *testing.T) {
	t.Parallel()
	broken := func(w http.ResponseWriter, _ int) { panic(http.ErrAbortHandler) }
	for _, test := range []struct {
		name   string
		accept func(http.ResponseWriter, int)
		record string // a status other than done
		next   bool   // the second peer answers
		again  bool
		fault  string
		posts  int // to the first peer
	}{
		{"it is full", saying(429, `{"error":{"message":"full"}}`), "", true, false, "", 1},
		{"no credit", saying(402, `{"error":{"type":"insufficient_credit","message":"none"}}`), "", true, false, "", 1},
		{"not allowed", saying(403, `{"error":{"message":"who?"}}`), "", true, false, "", 1},
		{"it knows no jobs", saying(404, `{"error":{"message":"what?"}}`), "", true, false, "", 1},
		{"it broke down", saying(500, `{"error":{"message":"ouch"}}`), "", true, false, "", 1},
		{"it accepts without an id", saying(202, `{}`), "", true, false, "", 1},
		{"the request is wrong", saying(400, `{"error":{"type":"invalid_request_error","message":"bad"}}`), "", false, false, "invalid_request_error", 1},
		{"the connection broke", broken, "", false, true, "peer_unreachable", 5}, // net/http repeats the first once by itself
		{"a proxy answers", saying(502, `<html>`), "", false, true, "peer_unreachable", 4},
		{"its engine failed", nil, `{"status":"error","error":{"type":"engine_error","message":"ollama 500: x"}}`, true, false, "", 1},
		{"its owner cancelled it", nil, `{"status":"error","error":{"type":"cancelled"}}`, true, false, "", 1},
		{"its engine refuses the request", nil, `{"status":"error","error":{"type":"engine_error","message":"too long","status":400}}`, false, false, "engine_error", 1},
		{"it answers nothing", nil, `{"status":"done"}`, true, false, "", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, 2, nil, func(t *testing.T, w *world) {
				w.workers[0].change(func() { w.workers[0].capacity.Tier = grid.Batch }) // asked first
				w.repoll()
				first, second := w.workers[0].takeJobs(), w.workers[1].takeJobs()
				if test.accept != nil {
					first.accept = test.accept
				}
				if test.record != "" {
					first.record = func(func(...func(*receipt.Receipt)) *receipt.Signed) (int, string) { return 200, test.record }
				}
				log := &memoryLog{}
				fault, again := w.rt.Fulfil(t.Context(), anOrder, log)
				posts, _ := first.count()
				others, _ := second.count()
				if again != test.again || posts != test.posts || (others == 1) != test.next || test.next != (len(log.result) > 0) {
					t.Errorf("again %t, %d and %d submissions, result %s; %v", again, posts, others, log.result, fault)
				}
				if test.fault == "" && fault != nil || test.fault != "" && (fault == nil || fault.Type != test.fault) {
					t.Errorf("fault %+v; want type %q", fault, test.fault)
				}
			})
		})
	}
}

// After a crash the same peer is asked with the same key. It gives another
// receipt each time here, of which one counts.
func TestFollowAfterACrash(t *testing.T) {
	t.Parallel()
	inWorld(t, 2, nil, func(t *testing.T, w *world) {
		w.workers[0].change(func() { w.workers[0].capacity.Tier = grid.Batch })
		w.repoll()
		d := w.workers[0].takeJobs()
		w.workers[1].takeJobs()
		good := d.accept
		var lost atomic.Bool
		d.accept = func(w http.ResponseWriter, n int) {
			if lost.Load() {
				panic(http.ErrAbortHandler) // it has the job; we do not hear so
			}
			good(w, n)
		}
		lost.Store(true)
		log := &memoryLog{}
		if fault, again := w.rt.Fulfil(t.Context(), anOrder, log); !again {
			t.Fatalf("the first time: %v", fault)
		}
		lost.Store(false)
		for range 3 { // and crashes before the result is written down
			log.refuse = false
			fault, again := w.rt.Fulfil(t.Context(), anOrder, &refusingDone{log})
			if fault != nil || !again {
				t.Fatalf("%v, again %t", fault, again)
			}
		}
		if fault, again := w.rt.Fulfil(t.Context(), anOrder, log); fault != nil || again || string(log.result) != wholeAnswer {
			t.Fatalf("in the end: %v, %t, %s", fault, again, log.result)
		}
		if n := len(w.ledger.kept()); n != 1 {
			t.Errorf("%d receipts; want 1", n)
		}
		for i := range d.posts { // net/http may have repeated the first by itself
			if d.posts[i].Get("Idempotency-Key") != d.posts[0].Get("Idempotency-Key") || !bytes.Equal(d.bodies[i], d.bodies[0]) {
				t.Errorf("submission %d of %d differs", i+1, len(d.posts))
			}
		}
		if n, _ := w.workers[1].takeJobs().count(); n != 0 {
			t.Error("another peer was asked")
		}
	})
}

// refusingDone is a log that is taken away just before the end.
type refusingDone struct{ *memoryLog }

func (refusingDone) Done(context.Context, []byte, *receipt.Signed) error { return errRefused }

// Nothing is sent that was not noted before.
func TestNotedBeforeSent(t *testing.T) {
	t.Parallel()
	inWorld(t, 1, nil, func(t *testing.T, w *world) {
		d := w.workers[0].takeJobs()
		log := &memoryLog{refuse: true}
		if fault, again := w.rt.Fulfil(t.Context(), anOrder, log); fault != nil || !again {
			t.Errorf("%v, %t", fault, again)
		}
		if n, _ := d.count(); n != 0 {
			t.Error("it was sent")
		}
	})
}

// A peer that forgot a job cannot have run it, so another is asked; when all
// refuse for good, the client learns why.
func TestForgottenJob(t *testing.T) {
	t.Parallel()
	inWorld(t, 2, nil, func(t *testing.T, w *world) {
		for _, f := range w.workers {
			f.takeJobs().record = func(func(...func(*receipt.Receipt)) *receipt.Signed) (int, string) {
				return 404, `{"error":{"type":"not_found","message":"job not found"}}`
			}
		}
		fault, again := w.rt.Fulfil(t.Context(), anOrder, &memoryLog{})
		if again || fault == nil || fault.Type != "all_peers_refused" || !strings.Contains(fault.Message, "does not know the job") {
			t.Errorf("%+v, again %t", fault, again)
		}
	})
}

// A peer that cannot be reached has not got the job.
func TestUnreachablePeer(t *testing.T) {
	t.Parallel()
	inWorld(t, 2, nil, func(t *testing.T, w *world) {
		w.workers[0].change(func() { w.workers[0].capacity.Tier = grid.Batch })
		w.repoll()
		w.workers[0].setDark(true)
		w.workers[0].way.CloseIdleConnections()
		w.workers[1].takeJobs()
		log := &memoryLog{}
		if fault, _ := w.rt.Fulfil(t.Context(), anOrder, log); fault != nil || len(log.result) == 0 {
			t.Errorf("%v", fault)
		}
		w.workers[1].setDark(true)
		w.workers[1].way.CloseIdleConnections()
		fault, again := w.rt.Fulfil(t.Context(), anOrder, &memoryLog{})
		if !again || fault == nil || fault.RetryAfter == 0 {
			t.Errorf("when nobody can be reached: %+v, again %t", fault, again)
		}
	})
}

func TestCancelAtThePeer(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		remove int
		done   bool // the peer had answered
		fault  string
		again  bool
		kept   int
	}{
		{"it stops", 200, false, "cancelled", false, 0},
		{"it has forgotten", 404, false, "cancelled", false, 0},
		{"it was faster", 409, true, "", false, 1},
		{"it does not stop what runs", 409, false, "peer_unreachable", true, 0},
		{"it is out of order", 500, false, "peer_unreachable", true, 0},
	} {
		inWorld(t, 1, nil, func(t *testing.T, w *world) {
			d := w.workers[0].takeJobs()
			ctx, cancel := context.WithCancelCause(t.Context())
			done := d.record
			d.record = func(signed func(...func(*receipt.Receipt)) *receipt.Signed) (int, string) {
				cancel(grid.ErrJobCancelled)
				if d.deletes > 0 && test.done {
					return done(signed)
				}
				return 200, `{"status":"running"}`
			}
			d.remove = test.remove
			log := &memoryLog{}
			fault, again := w.rt.Fulfil(ctx, anOrder, log)
			if again != test.again || (len(log.result) > 0) != test.done || d.deletes != 1 || len(w.ledger.kept()) != test.kept ||
				test.fault == "" && fault != nil || test.fault != "" && (fault == nil || fault.Type != test.fault) {
				t.Errorf("%s: %+v, again %t, result %s, %d deletes, %d receipts", test.name, fault, again, log.result, d.deletes, len(w.ledger.kept()))
			}
		})
	}
}

// A receipt that does not fit is not kept; the answer is the client's all the
// same. A ledger that is out of order is waited for.
func TestReceiptsOfJobs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		edit func(*receipt.Receipt)
		kept int
	}{
		{"as it should be", func(*receipt.Receipt) {}, 1},
		{"another model", func(r *receipt.Receipt) { r.Model = "n" }, 0},
		{"another answer", func(r *receipt.Receipt) { r.ResponseHash = strings.Repeat("0", 64) }, 0},
		{"another request's signature", func(r *receipt.Receipt) {
			r.RequestSignature = "v1;1;" + strings.Repeat("0", 32) + ";" + strings.Repeat("0", 128)
		}, 0},
		{"another worker", func(r *receipt.Receipt) { r.Worker[0] ^= 1 }, 0},
	} {
		inWorld(t, 1, nil, func(t *testing.T, w *world) {
			d := w.workers[0].takeJobs()
			var made *receipt.Signed
			d.record = func(signed func(...func(*receipt.Receipt)) *receipt.Signed) (int, string) {
				if made == nil {
					made = signed(test.edit)
				}
				return 200, doneRecord(made)
			}
			w.ledger.fail = errors.New("busy")
			log := &memoryLog{}
			_, again := w.rt.Fulfil(t.Context(), anOrder, log)
			if again != (test.kept == 1) {
				t.Errorf("%s, while the ledger is busy: again %t", test.name, again)
			}
			w.ledger.fail = nil
			fault, _ := w.rt.Fulfil(t.Context(), anOrder, log)
			if fault != nil || len(log.result) == 0 || len(w.ledger.kept()) != test.kept {
				t.Errorf("%s: %v, %d receipts; want %d", test.name, fault, len(w.ledger.kept()), test.kept)
			}
		})
	}
}

// The original's worker: it knows neither signatures nor keys nor waiting, and
// its receipt is ten days old when it is fetched.
func TestOriginalsWorkerTakesAJob(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/recorded_jobs.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		HTTP map[string]struct{ Request, Response string }
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	answerOf := func(name string) string {
		_, body, _ := strings.Cut(file.HTTP[name].Response, "\r\n\r\n")
		return body
	}
	inRecordedWorld(t, true, func(t *testing.T, w *world, f *fakeWorker, _ map[string]recording) {
		late := time.UnixMilli(1795317830000).Add(10 * 24 * time.Hour)
		w.rt.Now = func() time.Time { return late }
		d := f.takeJobs()
		d.accept = saying(202, answerOf("worker_job_submit"))
		d.record = func(func(...func(*receipt.Receipt)) *receipt.Signed) (int, string) {
			return 200, answerOf("worker_job_poll_done")
		}
		order := anOrder
		order.Model, order.Body = "llama3.1:8b", []byte(`{"model":"llama3.1:8b","messages":[]}`)
		log := &memoryLog{}
		fault, _ := w.rt.Fulfil(t.Context(), order, log)
		if fault != nil || !strings.Contains(string(log.result), "Grüße 🦞") {
			t.Errorf("%v: %s", fault, log.result)
		}
		kept := w.ledger.kept()
		if len(kept) != 1 || kept[0].Nonce != "2cd8271ef9ea4c02dc79ae2241c3ed46" {
			t.Errorf("kept %v", kept)
		}
		d.record = func(func(...func(*receipt.Receipt)) *receipt.Signed) (int, string) {
			return 200, answerOf("worker_job_poll_error")
		}
		fault, again := w.rt.Fulfil(t.Context(), order, &memoryLog{})
		if again || fault == nil || !strings.Contains(fault.Message, "fake failure") {
			t.Errorf("an engine's failure: %+v", fault)
		}
		d.accept = saying(402, answerOf("worker_job_402"))
		if fault, _ = w.rt.Fulfil(t.Context(), order, &memoryLog{}); fault == nil || fault.Type != "all_peers_refused" || !strings.Contains(fault.Message, "tokens of available credit") {
			t.Errorf("no credit: %+v", fault)
		}
		if !w.rt.roster.current.Load().peers[0].health.ready(late, false) {
			t.Error("a refusal counts as a failure of the peer")
		}
	})
}

func TestReceiveJobs(t *testing.T) {
	t.Parallel()
	inWorld(t, 1, func(c *Config) { c.Keys = []string{"one", "two"} }, func(t *testing.T, w *world) {
		receive := func(body string, header ...string) (*grid.Order, *openai.Error) {
			r, err := http.NewRequest("POST", "http://localhost/v1/jobs", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(header); i += 2 {
				r.Header.Set(header[i], header[i+1])
			}
			return w.rt.Receive(discard{}, r)
		}
		one, _ := receive(askWhole, "Authorization", "Bearer one")
		again, _ := receive(askWhole, "X-Api-Key", "one")
		two, _ := receive(askWhole, "Authorization", "Bearer two", grid.TierHeader, "interactive")
		if one.Owner != again.Owner || one.Owner == two.Owner || strings.Contains(one.Owner, "one") || one.Tier != grid.Batch || two.Tier != grid.Interactive {
			t.Errorf("orders %+v, %+v, %+v", one, again, two)
		}
		for body, status := range map[string]int{
			`{"model":"m"}`:                400,
			`{"model":"m","messages":"x"}`: 400,
			`{"messages":[]}`:              400,
			`{`:                            400,
			`{"model":"m","messages":[],"metadata":[1]}`: 400,
			`{"model":"unknown","messages":[]}`:          404,
		} {
			o, fault := receive(body)
			if fault == nil || fault.Status != status || (o != nil) != (status == 404) {
				t.Errorf("%s: %+v, %+v; want %d", body, o, fault, status)
			}
		}
		if _, fault := receive(askWhole, grid.TierHeader, "gold"); fault == nil || fault.Status != 400 {
			t.Errorf("an unknown tier: %+v", fault)
		}
		w.peers.set(nil)
		if _, fault := receive(askWhole); fault == nil || fault.Type != "no_peers" {
			t.Errorf("without peers: %+v", fault)
		}
	})
}

// A job for a peer that was never reached, or that is yet to be found, is taken
// and says what it waits for; one that nobody will ever have is not.
func TestJobsWaitForPeers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		learns bool
		lost   bool // the first peer answers no more
		told   int  // peers that have told their models
		dark   int  // that were never reached
		model  string
		waits  []string
		fault  string
	}{
		{"never reached", false, false, 0, 1, "x", []string{"w1 is un", "connection refused"}, ""},
		{"a model of one that was never reached, perhaps", false, false, 1, 1, "x", []string{`no peer has a model "x"`, "not reached yet: w2"}, ""},
		{"a model of another", false, false, 1, 1, "m", nil, ""},
		{"a model of nobody", false, false, 2, 0, "x", nil, "invalid_request_error"},
		{"a model that may be found", true, false, 2, 0, "x", []string{`no peer has a model "x"`}, ""},
		{"nobody", false, false, 0, 0, "m", nil, "no_peers"},
		{"nobody found", true, false, 0, 0, "m", []string{"no peer was found yet"}, ""},
		{"away", false, true, 1, 0, "m", []string{"w1 is unreachable"}, ""},
		{"a model of one that is found later, but of no other peer", true, false, 1, 0, "x@w1", nil, "invalid_request_error"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, test.told, func(c *Config) { c.Learns = test.learns }, func(t *testing.T, w *world) {
				for n := range test.dark {
					w.addWorker(byte(test.told + n + 1)).setDark(true)
				}
				if test.lost {
					w.workers[0].setDark(true)
					w.workers[0].way.CloseIdleConnections()
					time.Sleep(time.Minute)
				}
				r, err := http.NewRequest("POST", "http://localhost/v1/jobs", strings.NewReader(`{"model":"`+test.model+`","messages":[]}`))
				if err != nil {
					t.Fatal(err)
				}
				o, fault := w.rt.Receive(discard{}, r)
				if fault != nil || test.fault != "" {
					if fault == nil || fault.Type != test.fault {
						t.Errorf("%+v; want %q", fault, test.fault)
					}
					return
				}
				for _, want := range test.waits {
					if !strings.Contains(o.Waits, want) {
						t.Errorf("it waits: %q; want %q", o.Waits, want)
					}
				}
				if len(test.waits) == 0 {
					if o.Waits != "" {
						t.Errorf("it waits: %q", o.Waits)
					}
					return
				}
				if fault, again := w.rt.Fulfil(t.Context(), *o, &memoryLog{}); !again || fault == nil || fault.Message != o.Waits || fault.RetryAfter < time.Second {
					t.Errorf("fulfilled: %+v, again %t; want that it waits", fault, again)
				}
			})
		})
	}
}

type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}

// A pinned job goes to its peer and no other.
func TestPinnedJob(t *testing.T) {
	t.Parallel()
	inWorld(t, 3, nil, func(t *testing.T, w *world) {
		for _, f := range w.workers {
			f.takeJobs()
		}
		r, err := http.NewRequest("POST", "http://localhost/v1/jobs", strings.NewReader(strings.Replace(askWhole, `"m"`, `"m@w2"`, 1)))
		if err != nil {
			t.Fatal(err)
		}
		o, fault := w.rt.Receive(discard{}, r)
		if fault != nil || o.Model != "m" {
			t.Fatalf("%+v, %v", o, fault)
		}
		log := &memoryLog{}
		if fault, _ := w.rt.Fulfil(t.Context(), *o, log); fault != nil {
			t.Fatal(fault)
		}
		asked := slices.IndexFunc(w.workers, func(f *fakeWorker) bool { return f.count() > 0 })
		if asked != 1 || len(w.ledger.kept()) != 1 {
			t.Errorf("worker %d was asked, %d receipts", asked, len(w.ledger.kept()))
		}
	})
}

// Whatever a peer says of a job, the router ends or goes on, and keeps no
// receipt that does not fit.
func FuzzJobRecord(f *testing.F) {
	f.Add(`{"jobId":"x","status":"done","result":{"choices":[]},"signedReceipt":{"receipt":{},"signature":""}}`)
	f.Add(`{"jobId":"x","status":"error","error":{"type":"engine_error","message":"m","status":500}}`)
	f.Add(`{"status":"error","error":null}`)
	f.Add(`{"status":"done","result":{"error":{"message":"x"}}}`)
	f.Add(`[]`)
	f.Fuzz(func(t *testing.T, record string) {
		inWorld(t, 1, nil, func(t *testing.T, w *world) {
			d := w.workers[0].takeJobs()
			d.record = func(func(...func(*receipt.Receipt)) *receipt.Signed) (int, string) { return 200, record }
			ctx, cancel := context.WithTimeoutCause(t.Context(), 5*time.Minute, grid.ErrJobOverdue)
			defer cancel()
			log := &memoryLog{}
			fault, again := w.rt.Fulfil(ctx, anOrder, log)
			if fault == nil && !again && log.result == nil {
				t.Errorf("%q: neither an answer nor a reason", record)
			}
			if len(w.ledger.kept()) != 0 {
				t.Errorf("%q: kept a receipt", record)
			}
		})
	})
}

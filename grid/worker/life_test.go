package worker

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lobstah/grid"
	"lobstah/grid/engine"
	"lobstah/internal/memnet"
	"lobstah/key"
	"lobstah/receipt"
)

// slowEngine answers when told to: each call is sent to calls.
type slowEngine struct {
	*fakeEngine
	calls chan *slowCall
}

// A slowCall is one answer in the making.
type slowCall struct {
	ctx  context.Context
	call engine.Call
	body chan string // pieces of the answer; closed at its end
}

func newSlowEngine() *slowEngine {
	e := &slowEngine{fakeEngine: &fakeEngine{}, calls: make(chan *slowCall, 1000)}
	e.do = func(ctx context.Context, call engine.Call) (*engine.Answer, error) {
		c := &slowCall{ctx, call, make(chan string)}
		e.calls <- c
		first, err := c.next()
		if err != nil && err != io.EOF {
			return nil, err
		}
		kind := "application/json"
		if bytes.Contains(call.Body, []byte(`"stream":true`)) {
			kind = "text/event-stream"
		}
		return answer(kind, io.MultiReader(strings.NewReader(first), c)), nil
	}
	return e
}

func (c *slowCall) next() (string, error) {
	select {
	case piece, ok := <-c.body:
		if !ok {
			return "", io.EOF
		}
		return piece, nil
	case <-c.ctx.Done():
		return "", c.ctx.Err()
	}
}

func (c *slowCall) Read(p []byte) (int, error) {
	piece, err := c.next()
	if len(piece) > len(p) {
		panic("piece too large for the test's reader")
	}
	return copy(p, piece), err
}

// A world is a worker with clients in virtual time.
type world struct {
	t      *testing.T
	worker *Worker
	engine *slowEngine
	ledger *fakeLedger
	client *http.Client
	url    string
}

func newWorld(t *testing.T, change func(*Config)) *world {
	e, l := newSlowEngine(), &fakeLedger{}
	w := &world{t: t, engine: e, ledger: l, url: "http://worker"}
	w.worker = newTestWorker(e, l, func(c *Config) {
		c.Connection = func(*http.Request) (key.ID, bool) { return peer.ID(), true }
		if change != nil {
			change(c)
		}
	})
	listener := memnet.Listen("worker")
	server := httptest.NewUnstartedServer(w.worker)
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return listener.DialContext(ctx, "", "")
	}}
	w.client = &http.Client{Transport: transport}
	t.Cleanup(func() { transport.CloseIdleConnections(); server.Close() })
	return w
}

// ask begins a request; its answer, or what became of it, comes later.
func (w *world) ask(ctx context.Context, body string) <-chan asked {
	out := make(chan asked, 1)
	r, err := http.NewRequestWithContext(ctx, "POST", w.url+chatPath, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	go func() {
		resp, err := w.client.Do(r)
		if err != nil {
			out <- asked{err: err}
			return
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		out <- asked{response{resp.StatusCode, resp.Header, string(text)}, err}
	}()
	synctest.Wait()
	return out
}

func (w *world) get(path string) (status int) {
	w.t.Helper()
	resp, err := w.client.Get(w.url + path)
	if err != nil {
		w.t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

type asked struct {
	response
	err error
}

// TestAcceptanceIsTold watches the informational responses of a queued and of a
// slow request; the true status of both comes after.
func TestAcceptanceIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		type told struct {
			after         time.Duration
			position, eta string
		}
		var mu sync.Mutex
		seen := map[string][]told{}
		start := time.Now()
		traced := func(name string) context.Context {
			return httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
				Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
					mu.Lock()
					defer mu.Unlock()
					if code != 102 {
						t.Errorf("status %d; want 102", code)
					}
					seen[name] = append(seen[name], told{time.Since(start), h.Get(grid.PositionHeader), h.Get(grid.EtaHeader)})
					return nil
				},
			})
		}
		running := w.ask(traced("running"), chatStreamBody)
		queued := w.ask(traced("queued"), chatStreamBody)
		whole := w.ask(traced("whole"), chatBody)
		time.Sleep(7 * time.Second)
		synctest.Wait()
		first := <-w.engine.calls
		first.body <- chatStream
		close(first.body)
		if got := <-running; got.status != 200 || !strings.Contains(got.body, "[DONE]") || got.header.Get(grid.PositionHeader) != "" {
			t.Errorf("running: %+v", got)
		}
		time.Sleep(5 * time.Second)
		second := <-w.engine.calls
		close(second.body) // nothing at all: a failure after acceptance
		if got := <-queued; got.status != 502 {
			t.Errorf("queued: %+v; want its true status", got)
		}
		close((<-w.engine.calls).body)
		<-whole
		mu.Lock()
		defer mu.Unlock()
		want := map[string][]told{
			"running": {{1 * time.Second, "0", ""}, {6 * time.Second, "0", ""}},
			"queued":  {{0, "1", ""}, {5 * time.Second, "1", ""}, {10 * time.Second, "0", ""}},
		}
		for name, list := range want {
			if len(seen[name]) != len(list) {
				t.Fatalf("%s was told %v; want %v", name, seen[name], list)
			}
			for i := range list {
				if seen[name][i] != list[i] {
					t.Errorf("%s was told %v; want %v", name, seen[name][i], list[i])
				}
			}
		}
		if len(seen["whole"]) != 0 {
			t.Errorf("a request that asks for no stream was told %v", seen["whole"])
		}
	})
}

// Unsigned streams are kept alive by comments.
func TestUnsignedStreamsGetComments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.Connection, c.Open = nil, true })
		first, second := w.ask(t.Context(), chatStreamBody), w.ask(t.Context(), chatStreamBody)
		time.Sleep(25 * time.Second)
		call := <-w.engine.calls
		call.body <- chatStream
		close(call.body)
		if got := <-first; got.status != 200 || !strings.HasPrefix(got.body, ": waiting for the engine\n\n: waiting for the engine\n\ndata: ") {
			t.Errorf("first: %d %s", got.status, got.body)
		}
		synctest.Wait()
		third := w.ask(t.Context(), chatStreamBody) // the first took 25 s
		time.Sleep(commentAfter + time.Second)
		call = <-w.engine.calls
		close(call.body)
		close((<-w.engine.calls).body)
		if got := <-third; !strings.HasPrefix(got.body, ": queue 1 of 1, eta 25s\n\n") {
			t.Errorf("third: %s", got.body)
		}
		got := <-second
		if want := ": queue 1 of 1\n\n: queue 1 of 1\n\n: waiting for the engine\n\ndata: {\"error\":"; got.status != 200 || !strings.HasPrefix(got.body, want) || strings.Contains(got.body, "[DONE]") {
			t.Errorf("second: %d %s; want %s", got.status, got.body, want)
		}
	})
}

// A client that leaves stops the engine: before the first token nothing is
// owed, after it what was sent.
func TestClientLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		leaving, leave := context.WithCancel(t.Context())
		got := w.ask(leaving, chatStreamBody)
		waiting, leave2 := context.WithCancel(t.Context())
		queued := w.ask(waiting, chatStreamBody)
		leave2()
		<-queued
		synctest.Wait()
		if _, n := w.worker.queue.load(); n != 0 {
			t.Errorf("%d wait; want the place freed", n)
		}
		call := <-w.engine.calls
		leave()
		<-got
		synctest.Wait()
		if call.ctx.Err() == nil {
			t.Error("the engine was not stopped before its first token")
		}
		if n := len(w.ledger.receipts()); n != 0 {
			t.Errorf("%d receipts; want none", n)
		}

		leaving, leave = context.WithCancel(t.Context())
		got = w.ask(leaving, chatStreamBody)
		call = <-w.engine.calls
		call.body <- sse(delta1)
		call.body <- sse(delta2)
		synctest.Wait()
		leave()
		<-got
		synctest.Wait()
		if call.ctx.Err() == nil {
			t.Error("the engine was not stopped")
		}
		s := w.ledger.receipts()
		if len(s) != 1 || s[0].FinishReason != "cancelled" || s[0].OutputTokens != 2 || s[0].TokenSource != receipt.Counted || s[0].ResponseHash != hashOfStream(t, sse(delta1, delta2)) {
			t.Fatalf("receipts %+v", s)
		}
		if running, _ := w.worker.queue.load(); running != 0 {
			t.Errorf("%d run", running)
		}
		// The router fetches it.
		if list, next, err := w.ledger.Since(t.Context(), peer.ID(), 0, 10); err != nil || len(list) != 1 || next != 1 {
			t.Errorf("since 0: %v %d %v", list, next, err)
		}
	})
}

// What the client may see goes out at once, also when something follows that it
// may not see.
func TestNothingIsHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		for _, hidden := range []string{": ping\n\n", sse(usageEvent), "data: {\"cho"} {
			r, _ := http.NewRequestWithContext(ctx, "POST", w.url+chatPath, strings.NewReader(chatStreamBody))
			go func() { (<-w.engine.calls).body <- sse(delta1) + hidden }()
			start := time.Now()
			resp, err := w.client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(sse(delta1)))
			if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != sse(delta1) || time.Since(start) != 0 {
				t.Errorf("before %q: got %q, %v after %s", hidden, got, err, time.Since(start))
			}
			resp.Body.Close()
		}
		cancel()
	})
}

func TestSilentEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.Silence, c.AnswerTimeout = time.Minute, 3*time.Minute })
		start := time.Now()
		got := <-w.ask(t.Context(), chatStreamBody)
		if got.status != 504 || time.Since(start) != time.Minute {
			t.Errorf("stream: %d after %s", got.status, time.Since(start))
		}
		<-w.engine.calls
		answer := w.ask(t.Context(), chatStreamBody)
		call := <-w.engine.calls
		for range 5 { // each event is a sign of life
			call.body <- sse(delta1)
			time.Sleep(50 * time.Second)
		}
		got = <-answer
		if !strings.Contains(got.body, "engine_silent") || strings.Contains(got.body, "[DONE]") {
			t.Errorf("stream that stalls: %s", got.body)
		}
		start = time.Now()
		got = <-w.ask(t.Context(), chatBody)
		if got.status != 504 || time.Since(start) != 3*time.Minute {
			t.Errorf("whole: %d after %s", got.status, time.Since(start))
		}
		if n := len(w.ledger.receipts()); n != 0 {
			t.Errorf("%d receipts", n)
		}
	})
}

// A client that takes no bytes loses its slot.
func TestStuckClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		w := newWorld(t, func(c *Config) {
			c.WriteTimeout = 30 * time.Second
			c.Logger = slog.New(slog.NewTextHandler(&log, nil))
		})
		conn, err := w.client.Transport.(*http.Transport).DialContext(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		r, _ := http.NewRequest("POST", w.url+chatPath, strings.NewReader(chatStreamBody))
		if err := r.Write(conn); err != nil {
			t.Fatal(err)
		}
		call := <-w.engine.calls
		call.body <- sse(delta1)
		if line, err := bufio.NewReaderSize(conn, 16).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
			t.Fatalf("%q %v", line, err)
		}
		start := time.Now() // and reads no more
		<-call.ctx.Done()
		if waited := time.Since(start); waited > 31*time.Second {
			t.Errorf("the slot was held for %s", waited)
		}
		synctest.Wait()
		if running, _ := w.worker.queue.load(); running != 0 {
			t.Errorf("%d run", running)
		}
		if !strings.Contains(log.String(), "client_stuck") {
			t.Errorf("log: %s", log.String())
		}
	})
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.Silence = 2 * time.Hour })
		running, queued := w.ask(t.Context(), chatStreamBody), w.ask(t.Context(), chatStreamBody)
		call := <-w.engine.calls
		call.body <- sse(delta1)
		drained := make(chan error, 1)
		go func() { drained <- w.worker.Drain(t.Context()) }()
		synctest.Wait()
		for name, got := range map[string]asked{"queued": <-queued, "new": <-w.ask(t.Context(), chatBody)} {
			if got.status != 503 || got.header.Get("Retry-After") == "" || !strings.Contains(got.body, "draining") {
				t.Errorf("%s: %+v", name, got)
			}
		}
		for _, path := range []string{"/healthz", "/capacity"} {
			if status := w.get(path); status != 503 {
				t.Errorf("%s: %d", path, status)
			}
		}
		time.Sleep(time.Hour) // no limit
		select {
		case <-drained:
			t.Fatal("drained before the running answer was done")
		default:
		}
		call.body <- sse(deltaStop, usageEvent, "[DONE]")
		close(call.body)
		if got := <-running; !strings.Contains(got.body, "[DONE]") || !strings.Contains(got.body, receipt.CommentPrefix) {
			t.Errorf("running: %s", got.body)
		}
		if err := <-drained; err != nil {
			t.Errorf("drain: %v", err)
		}
	})
}

func TestDrainTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		running := w.ask(t.Context(), chatStreamBody)
		call := <-w.engine.calls
		call.body <- sse(delta1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		if err := w.worker.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Minute {
			t.Errorf("drain: %v after %s", err, time.Since(start))
		}
		if call.ctx.Err() == nil {
			t.Error("the engine still runs")
		}
		if got := <-running; !strings.Contains(got.body, "stopping") || strings.Contains(got.body, "[DONE]") {
			t.Errorf("running: %s", got.body)
		}
		if n := len(w.ledger.receipts()); n != 0 {
			t.Errorf("%d receipts; want none for what the worker did not finish", n)
		}
	})
}

// While the ledger takes nothing, nothing unaccounted is served; afterwards all
// is in it.
func TestLedgerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		w := newWorld(t, func(c *Config) {
			c.Concurrency = 2
			c.Logger = slog.New(slog.NewTextHandler(&log, nil))
		})
		ctx, cancel := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() { w.worker.Run(ctx) })
		a, b := w.ask(t.Context(), chatStreamBody), w.ask(t.Context(), chatBody)
		w.ledger.setFail(errors.New("disk full"))
		for range 2 {
			call := <-w.engine.calls
			if bytes.Contains(call.call.Body, []byte("stream")) {
				call.body <- chatStream
			} else {
				call.body <- wholeChat
			}
			close(call.body)
		}
		if got := <-a; !strings.HasSuffix(got.body, "data: [DONE]\n\n") || strings.Contains(got.body, receipt.CommentPrefix) {
			t.Errorf("the running stream: %s; want its end without a receipt", got.body)
		}
		if got := <-b; got.status != 200 || got.body != wholeChat || got.header.Get(receipt.Header) != "" {
			t.Errorf("the running answer: %+v", got)
		}
		if got := <-w.ask(t.Context(), chatBody); got.status != 503 || !strings.Contains(got.body, "ledger_error") {
			t.Errorf("a new one: %+v", got)
		}
		if status := w.get("/healthz"); status != 503 {
			t.Errorf("health: %d", status)
		}
		time.Sleep(time.Minute)
		if n := strings.Count(log.String(), "TAKES NO RECEIPTS"); n != 1 {
			t.Errorf("said %d times; want once", n)
		}
		w.ledger.setFail(nil)
		time.Sleep(recordRetry + time.Second)
		if n := len(w.ledger.receipts()); n != 2 {
			t.Errorf("%d receipts; want both", n)
		}
		again := w.ask(t.Context(), chatBody)
		call := <-w.engine.calls
		call.body <- wholeChat
		close(call.body)
		if got := <-again; got.status != 200 || got.header.Get(receipt.Header) == "" {
			t.Errorf("afterwards: %+v", got)
		}
		cancel()
		run.Wait()
	})
}

package worker

import (
	"context"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"lobstah/grid/engine"
)

// endless is an engine that says some words and then nothing until it is
// stopped.
func endless() *fakeEngine {
	return &fakeEngine{do: func(ctx context.Context, _ engine.Call) (*engine.Answer, error) {
		return answer("text/event-stream", &endlessBody{ctx: ctx}), nil
	}}
}

type endlessBody struct {
	ctx   context.Context
	rest  string
	words int
}

func (b *endlessBody) Read(p []byte) (int, error) {
	if b.rest == "" {
		if b.words++; b.words > 50 {
			<-b.ctx.Done()
		}
		if err := b.ctx.Err(); err != nil {
			return 0, err
		}
		b.rest = sse(delta1)
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// A thousand clients that leave over real sockets leave nothing behind, and
// each that saw a token has a receipt.
func TestNothingLeaksAfterCancelledRequests(t *testing.T) {
	l := &fakeLedger{}
	w := newTestWorker(endless(), l, func(c *Config) { c.Concurrency, c.MaxQueue = 8, 100 })
	url := serve(t, w)
	transport := &http.Transport{}
	client := &http.Client{Transport: transport}
	leaveOne := func(i int) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r, _ := http.NewRequestWithContext(ctx, "POST", url+chatPath, strings.NewReader(chatStreamBody))
		if i%3 == 0 { // before the answer
			time.AfterFunc(time.Duration(i%7)*100*time.Microsecond, cancel)
		}
		resp, err := client.Do(r)
		if err != nil {
			return
		}
		defer resp.Body.Close()
		_, _ = io.CopyN(io.Discard, resp.Body, int64(i%5)*500)
	}
	leaveOne(1)
	before := runtime.NumGoroutine()
	var clients sync.WaitGroup
	for lane := range 10 {
		clients.Go(func() {
			for i := range 100 {
				leaveOne(100*lane + i)
			}
		})
	}
	clients.Wait()
	if err := w.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if running, waiting := w.queue.load(); running != 0 || waiting != 0 || w.bodies.used != 0 {
		t.Errorf("%d run, %d wait, %d bytes held", running, waiting, w.bodies.used)
	}
	transport.CloseIdleConnections()
	deadline := time.Now().Add(90 * time.Second)
	for runtime.NumGoroutine() > before+5 {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
		runtime.Gosched()
	}
	list := l.receipts()
	if len(list) < 100 {
		t.Errorf("%d receipts; want one for each client that saw a token", len(list))
	}
	for _, s := range list {
		if s.FinishReason != "cancelled" || s.OutputTokens == 0 {
			t.Fatalf("receipt %+v", s.Receipt)
		}
	}
}

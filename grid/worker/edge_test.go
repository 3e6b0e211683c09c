package worker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"lobstah/grid/engine"
	"lobstah/key"
	"lobstah/openai"
	"lobstah/receipt"
)

// A client that stops in the middle of its request is told so, and held no
// longer than bodyTimeout.
func TestBodyThatStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		conn, err := w.client.Transport.(*http.Transport).DialContext(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, err = io.WriteString(conn, "POST "+chatPath+" HTTP/1.1\r\nHost: worker\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"model\":")
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		raw, _ := io.ReadAll(conn)
		if !bytes.HasPrefix(raw, []byte("HTTP/1.1 408 ")) || !bytes.Contains(raw, []byte("body_incomplete")) {
			t.Errorf("got %s", raw)
		}
		if took := time.Since(start); took < bodyTimeout || took > bodyTimeout+time.Second {
			t.Errorf("after %s; want %s", took, bodyTimeout)
		}
		if err := w.worker.Drain(t.Context()); err != nil || w.worker.bodies.used != 0 {
			t.Errorf("%v, %d bytes held", err, w.worker.bodies.used)
		}
	})
}

// endlessText is as many bytes as one reads.
type endlessText struct{}

func (endlessText) Read(p []byte) (int, error) { return len(p), nil }

func TestWholeAnswersThatBreak(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		body io.Reader
		code string
	}{
		"too large": {endlessText{}, "answer_too_large"},
		"cut":       {io.MultiReader(strings.NewReader(wholeChat[:50]), iotest.ErrReader(io.ErrUnexpectedEOF)), "engine_failed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &fakeLedger{}
			e := &fakeEngine{do: func(context.Context, engine.Call) (*engine.Answer, error) { return answer("", tt.body), nil }}
			got := do(t, post(t, serve(t, newTestWorker(e, l, nil)), chatPath, chatBody))
			if got.status != 502 || !strings.Contains(got.body, tt.code) || len(l.receipts()) != 0 {
				t.Errorf("%d %s", got.status, got.body)
			}
		})
	}
}

// unreadable is a ledger whose balances cannot be read.
type unreadable struct{ fakeLedger }

func (*unreadable) Available(context.Context, key.ID) (int64, error) { return 0, errors.New("disk") }

func (*unreadable) Since(context.Context, key.ID, int64, int) ([]*receipt.Signed, int64, error) {
	return nil, 0, errors.New("disk")
}

func TestLedgerThatCannotBeRead(t *testing.T) {
	t.Parallel()
	e := says(wholeChat, "")
	url := serve(t, remote(newTestWorker(e, &unreadable{}, func(c *Config) { c.Open = true }), lan))
	for name, got := range map[string]response{
		"credit":   do(t, post(t, url, chatPath, chatBody, signedBy(stranger1))),
		"receipts": get(url+"/receipts", signedBy(stranger1))(t),
	} {
		if got.status != 503 || !strings.Contains(got.body, "ledger_error") || got.header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	if e.count() != 0 {
		t.Error("the engine was asked")
	}
}

// What the ledger refuses to the end is in the log, to be imported.
func TestLastReceiptsAreLogged(t *testing.T) {
	t.Parallel()
	var log syncBuffer
	l := &fakeLedger{fail: errors.New("disk full")}
	w := newTestWorker(says(wholeChat, ""), l, func(c *Config) { c.Logger = slog.New(slog.NewJSONHandler(&log, nil)) })
	if got := do(t, post(t, serve(t, w), chatPath, chatBody)); got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if err := w.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), `"envelope":"{\"receipt\":{`) {
		t.Errorf("log: %s", log.String())
	}
}

// What an engine says goes to the client, and not into the log: it may quote
// the request, or be its answer.
func TestEnginesAreNotQuotedInTheLog(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(context.Context, engine.Call) (*engine.Answer, error){
		"failure": func(context.Context, engine.Call) (*engine.Answer, error) {
			return nil, openai.ParseError(500, []byte(`{"error":{"message":"cannot read secret"}}`))
		},
		"no JSON": func(context.Context, engine.Call) (*engine.Answer, error) {
			return answer("application/json", strings.NewReader("a secret")), nil
		},
		"unreachable": func(context.Context, engine.Call) (*engine.Answer, error) { return nil, errors.New("no route") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log syncBuffer
			w := newTestWorker(&fakeEngine{do: do}, &fakeLedger{}, func(c *Config) { c.Logger = log.logger() })
			got := throughHandler(t, w, chatPath, []byte(chatBody), "application/json", "", "")
			if got.status != 502 || strings.Contains(log.String(), "secret") {
				t.Errorf("%d %s, logged as %s", got.status, got.body, log.String())
			}
			if told := strings.Contains(log.String(), "no route"); told != (name == "unreachable") {
				t.Errorf("logged as %s", log.String())
			}
		})
	}
}

// A receipt is sane although the clock was set back in the meantime.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	l := &fakeLedger{}
	now := time.Now()
	w := newTestWorker(nil, l, func(c *Config) {
		c.Engine = &fakeEngine{do: func(context.Context, engine.Call) (*engine.Answer, error) {
			now = now.Add(-time.Hour)
			return answer("application/json", strings.NewReader(wholeChat)), nil
		}}
		c.Now = func() time.Time { return now }
	})
	got := throughHandler(t, w, chatPath, []byte(chatBody), "application/json", "", "")
	if s := l.receipts(); got.status != 200 || len(s) != 1 || !s[0].CompletedAt.Equal(s[0].StartedAt) {
		t.Errorf("%d %s, receipts %+v", got.status, got.body, s)
	}
}

// slowLedger takes its time for each receipt.
type slowLedger struct{ fakeLedger }

func (l *slowLedger) Record(ctx context.Context, s *receipt.Signed) error {
	time.Sleep(time.Second)
	return l.fakeLedger.Record(ctx, s)
}

// A worker that stops tries once more while Run tries too.
func TestRetriesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &slowLedger{}
		b := &book{ledger: l, log: slog.New(slog.DiscardHandler), pending: make([]*receipt.Signed, 2)}
		for i := range b.pending {
			b.pending[i] = new(receipt.Signed)
		}
		var tries sync.WaitGroup
		tries.Go(func() { b.retry(t.Context()) })
		tries.Go(func() { b.last() })
		tries.Wait()
		if got := len(l.receipts()); got < 2 || b.failing() {
			t.Errorf("%d recorded, want both; still failing: %v", got, b.failing())
		}
	})
}

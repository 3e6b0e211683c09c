package worker

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lobstah/grid"
	"lobstah/openai"
)

func (e *fakeEngine) setModels(err error, ids ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.modelsErr, e.models = err, []grid.Model{}
	for _, id := range ids {
		e.models = append(e.models, grid.Model{ID: id})
	}
}

func (e *fakeEngine) polled() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.polls
}

// Facts are polled in the background; requests find them in memory, however
// many there are.
func TestFactsArePolledInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &fakeEngine{}
		f := newFacts(e)
		ctx, cancel := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() { f.run(ctx) })
		synctest.Wait()
		for range 1000 {
			if _, fault := f.find(t.Context(), "llama3.1:8b", everything); fault != nil {
				t.Fatal(fault)
			}
		}
		if n := e.polled(); n != 1 {
			t.Errorf("%d polls for 1000 requests; want 1", n)
		}
		e.setModels(errors.New("gone"))
		f.soon() // a request failed
		synctest.Wait()
		if _, fault := f.find(t.Context(), "llama3.1:8b", everything); fault == nil || fault.Status != 503 || fault.RetryAfter == 0 {
			t.Errorf("got %+v; want 503 with Retry-After", fault)
		}
		e.setModels(nil, "other")
		time.Sleep(pollFailing + time.Second)
		if _, fault := f.find(t.Context(), "other", everything); fault != nil {
			t.Errorf("%v; want the engine back", fault)
		}
		n := e.polled()
		time.Sleep(time.Minute)
		if got := e.polled() - n; got != 6 {
			t.Errorf("%d polls a minute; want 6", got)
		}
		cancel()
		run.Wait()
	})
}

// A model that was pulled a moment ago is found; asking for what there is not
// costs the engine one question a second at most.
func TestNewModelIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &fakeEngine{}
		f := newFacts(e)
		f.poll(t.Context(), 0)
		time.Sleep(2 * time.Second)
		e.setModels(nil, "new")
		if _, fault := f.find(t.Context(), "new", everything); fault != nil {
			t.Error(fault)
		}
		n := e.polled()
		for range 100 {
			if _, fault := f.find(t.Context(), "none", everything); fault == nil || fault.Status != 404 {
				t.Fatalf("got %v", fault)
			}
		}
		if got := e.polled() - n; got > 1 {
			t.Errorf("%d polls for 100 unknown models", got)
		}
	})
}

func TestNearestNames(t *testing.T) {
	t.Parallel()
	var models []grid.Model
	for _, id := range []string{"gemma2:9b", "qwen2.5:7b", "llama3.1:70b", "llama3.1:8b", "mistral:latest"} {
		models = append(models, grid.Model{ID: id})
	}
	for name, want := range map[string]string{
		"llama3.1":    "llama3.1:8b, llama3.1:70b",
		"llama31:8b":  "llama3.1:8b, llama3.1:70b",
		"Qwen2.5":     "qwen2.5:7b",
		"mistrall":    "mistral:latest",
		"llama3.1:9b": "llama3.1:8b",
	} {
		if got := strings.Join(nearest(models, name, 3), ", "); !strings.HasPrefix(got, want) {
			t.Errorf("nearest to %s: %s; want first %s", name, got, want)
		}
	}
	if e := notFound(nil, "x"); !strings.Contains(e.Message, "no model yet") {
		t.Errorf("without models: %s", e.Message)
	}
}

func TestCapacityUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.MaxQueue, c.Tier, c.Version = 5, grid.Interactive, "1.2.3" })
		ctx, cancel := context.WithCancel(t.Context())
		asks := []<-chan asked{w.ask(ctx, chatBody), w.ask(ctx, chatBody), w.ask(ctx, chatBody)}
		resp, err := w.client.Get(w.url + "/capacity")
		if err != nil {
			t.Fatal(err)
		}
		var c grid.Capacity
		if err := json.NewDecoder(resp.Body).Decode(&c); err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if err := c.Validate(workerPair.ID()); err != nil {
			t.Error(err)
		}
		if c.Running != 1 || c.QueueDepth != 2 || c.MaxQueue != 5 || c.Concurrency != 1 || c.Tier != grid.Interactive || !c.Signs || c.Version != "1.2.3" || c.Now != time.Now().UnixMilli() || len(c.ModelFacts) != 2 || c.ModelFacts[0].Digest != digest {
			t.Errorf("capacity %+v", c)
		}
		cancel()
		for _, a := range asks {
			<-a
		}
	})
}

// What is spent while one waits is not spent twice.
func TestCreditIsCheckedAgainAfterWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.Credit = 5 })
		first, second := w.ask(t.Context(), chatBody), w.ask(t.Context(), chatBody)
		call := <-w.engine.calls
		call.body <- wholeChat // 9 tokens
		close(call.body)
		if got := <-first; got.status != 200 {
			t.Errorf("first: %+v", got)
		}
		// The slot is given on before the receipt is in the ledger, so the
		// second may just have begun; the third cannot.
		select {
		case call := <-w.engine.calls:
			close(call.body)
		case got := <-second:
			if got.status != 402 {
				t.Errorf("second: %+v", got)
			}
		}
		if got := <-w.ask(t.Context(), chatBody); got.status != 402 {
			t.Errorf("third: %+v", got)
		}
	})
}

func TestDialectsOfFailure(t *testing.T) {
	t.Parallel()
	start := `{"type":"message_start","message":{"model":"m","usage":{"input_tokens":3,"output_tokens":1}}}`
	engineError := `{"type":"error","error":{"type":"overloaded_error","message":"too hot"}}`
	event := func(kind, data string) string { return "event: " + kind + "\ndata: " + data + "\n\n" }
	tests := map[string]struct{ path, stream, want string }{
		"messages, reported":  {"/v1/messages", event("message_start", start) + event("error", engineError), event("message_start", start) + event("error", engineError)},
		"messages, cut":       {"/v1/messages", event("message_start", start), event("message_start", start) + "event: error\ndata: {\"error\":{"},
		"responses, cut":      {"/v1/responses", event("response.created", `{"type":"response.created"}`), event("response.created", `{"type":"response.created"}`) + "event: error\ndata: {\"code\":\"unfinished_stream\""},
		"responses, reported": {"/v1/responses", event("response.created", `{"type":"response.created"}`) + event("error", `{"type":"error","message":"too hot"}`), event("response.created", `{"type":"response.created"}`) + event("error", `{"type":"error","message":"too hot"}`)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &fakeLedger{}
			url := serve(t, newTestWorker(says("", tt.stream), l, nil))
			got := do(t, post(t, url, tt.path, `{"model":"qwen2.5:7b","stream":true}`))
			if got.status != 200 || !strings.HasPrefix(got.body, tt.want) || len(l.receipts()) != 0 {
				t.Errorf("got %d %s; want %s", got.status, got.body, tt.want)
			}
			if openai.DialectOf(tt.path).OpenAI() || strings.Contains(got.body, "[DONE]") {
				t.Error("it ends as if it were whole")
			}
		})
	}
}

func FuzzRequest(f *testing.F) {
	f.Add(chatPath, []byte(chatBody), "application/json", "", "")
	f.Add(chatPath, []byte(chatStreamBody), "", peer.ID().String(), "v1;1;00;00")
	f.Add("/v1/messages", []byte(`{"model":"qwen2.5:7b","stream_options":{"a":[]}}`), "text/plain", "x", "")
	f.Add("/v1/completions", []byte(`{"model":"qwen2.5:7b@sha256:00","stream":true,"stream_options":null}`), "application/json; charset=utf-8", "", ";;;")
	w := newTestWorker(says(wholeChat, chatStream), &fakeLedger{}, nil)
	f.Fuzz(func(t *testing.T, path string, body []byte, contentType, requester, signature string) {
		got := throughHandler(t, w, path, body, contentType, requester, signature)
		if got.status >= 500 && got.status != 502 {
			t.Errorf("status %d: %s", got.status, got.body)
		}
		if got.status >= 400 && !json.Valid([]byte(got.body)) {
			t.Errorf("not JSON: %q", got.body)
		}
	})
}

func everything(models []grid.Model) []grid.Model { return models }

package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"lobstah/grid"
	"lobstah/grid/engine"
	"lobstah/openai"
	"lobstah/receipt"
)

func TestBadRequests(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("m", 400)
	tests := []struct {
		name, path, body string
		change           func(*http.Request)
		status           int
		says             string
	}{
		{"empty", chatPath, "", nil, 400, "not a JSON object"},
		{"garbage", chatPath, "{nope", nil, 400, "not a JSON object"},
		{"array", chatPath, "[]", nil, 400, "not a JSON object"},
		{"null", chatPath, "null", nil, 400, "not a JSON object"},
		{"no model", chatPath, `{"messages":[]}`, nil, 400, "model"},
		{"model of another kind", chatPath, `{"model":1}`, nil, 400, "model"},
		{"a second model for engines in Go", chatPath, `{"model":"qwen2.5:7b","Model":"llama3.1:8b"}`, nil, 400, "engines differ in whether"},
		{"two models", chatPath, `{"model":"qwen2.5:7b","model":"llama3.1:8b"}`, nil, 400, "twice"},
		{"stream of another kind", chatPath, `{"model":"qwen2.5:7b","stream":"yes"}`, nil, 400, "stream"},
		{"options of another kind", chatPath, `{"model":"qwen2.5:7b","stream":true,"stream_options":7}`, nil, 400, "stream_options"},
		{"cut", chatPath, chatBody[:40], nil, 400, "not a JSON object"},
		{"two objects", chatPath, chatBody + chatBody, nil, 400, "not a JSON object"},
		{"deep", chatPath, `{"model":` + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + "}", nil, 400, "model: want a string"},
		{"long model", chatPath, `{"model":"` + long + `"}`, nil, 400, "longer"},
		{"unknown model", chatPath, `{"model":"llama3.2:8b"}`, nil, 404, "llama3.1:8b"},
		{"another digest", chatPath, `{"model":"llama3.1:8b@sha256:ffffffffffff"}`, nil, 404, digest},
		{"short digest", chatPath, `{"model":"llama3.1:8b@sha256:0011"}`, nil, 404, digest},
		{"digest of a model that has none", chatPath, `{"model":"qwen2.5:7b@sha256:ffffffffffff"}`, nil, 404, "tells no digest"},
		{"form", chatPath, chatBody, header("Content-Type", "application/x-www-form-urlencoded"), 415, "application/json"},
		{"text", chatPath, chatBody, header("Content-Type", "text/plain"), 415, "application/json"},
		{"too large", chatPath, `{"model":"` + strings.Repeat("x", 5000) + `"}`, nil, 413, "larger than the 4096"},
		{"too large, length unknown", chatPath, `{"model":"` + strings.Repeat("x", 5000) + `"}`, func(r *http.Request) { r.ContentLength = -1 }, 413, "larger than the 4096"},
		{"method", chatPath, "", func(r *http.Request) { r.Method = "PUT" }, 405, "POST"},
		{"preflight", chatPath, "", func(r *http.Request) { r.Method = "OPTIONS" }, 405, "POST"},
		{"path", "/v1/nope", "{}", nil, 404, "/v1/nope"},
		{"post to a read", "/capacity", "{}", nil, 405, "GET"},
		{"Anthropic's", "/v1/messages", "{nope", nil, 400, "not a JSON object"},
		{"embeddings", "/v1/embeddings", "7", nil, 400, "not a JSON object"},
	}
	e := says(wholeChat, chatStream)
	url := serve(t, newTestWorker(e, &fakeLedger{}, func(c *Config) { c.MaxBody = 4096 }))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := post(t, url, tt.path, tt.body)
			if tt.change != nil {
				tt.change(r)
			}
			got := do(t, r)
			if got.status != tt.status || !strings.Contains(got.body, tt.says) {
				t.Fatalf("got %d %s; want %d and %q", got.status, got.body, tt.status, tt.says)
			}
			var b struct {
				Type  string
				Error struct{ Message, Type string }
			}
			if err := json.Unmarshal([]byte(got.body), &b); err != nil || b.Error.Message == "" || b.Error.Type == "" {
				t.Errorf("not an error's shape: %s", got.body)
			}
			if anthropic := tt.path == "/v1/messages"; (b.Type == "error") != anthropic {
				t.Errorf("wrong dialect: %s", got.body)
			}
		})
	}
	if e.count() != 0 {
		t.Errorf("the engine was asked %d times", e.count())
	}
}

// TestEngineFailures goes through what engines get wrong. Nothing is owed for
// any of it, no stream ends as if it were whole, and no answer is 200 unless
// some of it was good.
func TestEngineFailures(t *testing.T) {
	t.Parallel()
	const html = "<!DOCTYPE html><html><body>It works!</body></html>"
	refuse := func(status int, body string) func(context.Context, engine.Call) (*engine.Answer, error) {
		return func(context.Context, engine.Call) (*engine.Answer, error) {
			return nil, openai.ParseError(status, []byte(body))
		}
	}
	give := func(contentType, body string) func(context.Context, engine.Call) (*engine.Answer, error) {
		return func(context.Context, engine.Call) (*engine.Answer, error) {
			return answer(contentType, strings.NewReader(body)), nil
		}
	}
	cut := func(body string) func(context.Context, engine.Call) (*engine.Answer, error) {
		return func(context.Context, engine.Call) (*engine.Answer, error) {
			return answer("text/event-stream", io.MultiReader(strings.NewReader(body), iotest.ErrReader(errors.New("connection reset")))), nil
		}
	}
	const events = "text/event-stream"
	tests := []struct {
		name   string
		stream bool
		do     func(context.Context, engine.Call) (*engine.Answer, error)
		status int
		says   string
		sent   string // what a stream had before its error event
	}{
		{"web page", false, give("text/html", html), 502, "web page", ""},
		{"web page as JSON", false, give("application/json", html), 502, "web page", ""},
		{"web page for a stream", true, give("text/html", html), 502, "where a stream was asked for", ""},
		{"web page as a stream", true, give(events, html), 502, "ended before", ""},
		{"empty", false, give("application/json", ""), 502, "nothing", ""},
		{"empty stream", true, give(events, ""), 502, "ended before", ""},
		{"error in a 200", false, give("application/json", `{"error":"model crashed"}`), 502, "model crashed", ""},
		{"error in a 200 for a stream", true, give("application/json", `{"error":{"message":"model crashed"}}`), 502, "model crashed", ""},
		{"unfinished", false, give("application/json", `{"choices":[{"index":0,"message":{"content":"{"},"finish_reason":null}]}`), 502, "did not finish", ""},
		{"whole answer for a stream", true, give("application/json", wholeChat), 502, "where a stream was asked for", ""},
		{"error first", true, give(events, sse(`{"error":{"message":"out of memory"}}`)), 502, "out of memory", ""},
		{"error later", true, give(events, sse(delta1, `{"error":{"message":"out of memory"}}`, "[DONE]")), 200, "out of memory", sse(delta1)},
		{"clean end without a finish reason", true, give(events, sse(delta1, delta2)), 200, "ended before its answer did", sse(delta1, delta2)},
		{"[DONE] without a finish reason", true, give(events, sse(delta1, "[DONE]")), 200, "ended before its answer did", sse(delta1)},
		{"connection lost", true, cut(sse(delta1) + "data: {\"cho"), 200, "connection reset", sse(delta1)},
		{"connection lost first", true, cut("data: {\"cho"), 502, "connection reset", ""},
		{"not JSON", true, give(events, sse(delta1, `{"choices":[{`)), 200, "not JSON", sse(delta1)},
		{"event of 17 MiB", true, give(events, sse(delta1)+"data: "+strings.Repeat("x", 17<<20)), 200, "more than", sse(delta1)},
		{"status 500", false, refuse(500, `{"error":{"message":"fake failure"}}`), 502, "fake failure", ""},
		{"status 500 for a stream", true, refuse(500, `{"error":{"message":"fake failure"}}`), 502, "fake failure", ""},
		{"its own limit", true, refuse(503, `{"error":"server busy"}`), 503, "server busy", ""},
		{"request too long", true, refuse(400, `{"error":{"message":"exceeds the context"}}`), 400, "exceeds the context", ""},
		{"worker's key refused", true, refuse(401, `{"error":{"message":"Invalid API Key"}}`), 502, "give it a key", ""},
		{"unreachable", true, func(context.Context, engine.Call) (*engine.Answer, error) {
			return nil, &openai.Error{Status: 502, Type: "engine_error", Message: "connection refused"}
		}, 502, "connection refused", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := &fakeLedger{}
			url := serve(t, newTestWorker(&fakeEngine{do: tt.do}, l, nil))
			body := chatBody
			if tt.stream {
				body = chatStreamBody
			}
			got := do(t, post(t, url, chatPath, body, signedBy(peer)))
			if got.status != tt.status || !strings.Contains(got.body, tt.says) {
				t.Fatalf("got %d %.300q; want %d and %q", got.status, got.body, tt.status, tt.says)
			}
			if strings.Contains(got.body, "[DONE]") {
				t.Error("it ends as if it were whole")
			}
			event, ok := strings.CutPrefix(got.body, tt.sent)
			if event = strings.TrimPrefix(event, "data: "); !ok || !strings.HasPrefix(event, `{"error":{`) {
				t.Errorf("got %.300q; want %q and an error", got.body, tt.sent)
			}
			if tt.status == 503 && got.header.Get("Retry-After") == "" {
				t.Error("503 without Retry-After")
			}
			if n := len(l.receipts()); n != 0 {
				t.Errorf("%d receipts for a failure", n)
			}
		})
	}
}

// Streams that look odd and are whole.
func TestOddStreams(t *testing.T) {
	t.Parallel()
	chunk10 := `{"id":"c","choices":[{"index":0,"delta":{"content":"` + strings.Repeat("x", 10<<20) + `"},"finish_reason":null}]}`
	crlf := strings.ReplaceAll(chatStream, "\n", "\r\n")
	fromBody := func(r io.Reader) *fakeEngine {
		return &fakeEngine{do: func(context.Context, engine.Call) (*engine.Answer, error) { return answer("text/event-stream", r), nil }}
	}
	tests := []struct {
		name   string
		engine *fakeEngine
		want   string // before the receipt
		in     int64
		out    int64
		source receipt.TokenSource
	}{
		{"cut across packets", fromBody(iotest.OneByteReader(strings.NewReader(chatStream))), sse(delta1, delta2, deltaStop), 7, 2, receipt.FromEngine},
		{"CRLF", fromBody(iotest.OneByteReader(strings.NewReader(crlf))), strings.ReplaceAll(sse(delta1, delta2, deltaStop), "\n", "\r\n"), 7, 2, receipt.FromEngine},
		{"no [DONE]", fromBody(strings.NewReader(sse(delta1, deltaStop, usageEvent))), sse(delta1, deltaStop), 7, 2, receipt.FromEngine},
		{"no blank line at the end", fromBody(strings.NewReader(strings.TrimRight(sse(delta1, deltaStop), "\n"))), sse(delta1, deltaStop), 0, 1, receipt.Counted},
		{"no usage", fromBody(strings.NewReader(sse(delta1, delta2, deltaStop, "[DONE]"))), sse(delta1, delta2, deltaStop), 0, 2, receipt.Counted},
		{"absurd usage", fromBody(strings.NewReader(sse(delta1, deltaStop, strings.Replace(usageEvent, ":7", ":-500", 1), "[DONE]"))), sse(delta1, deltaStop), 0, 1, receipt.Counted},
		{"10 MiB chunk", fromBody(strings.NewReader(sse(chunk10, deltaStop, usageEvent, "[DONE]"))), sse(chunk10, deltaStop), 7, 2, receipt.FromEngine},
		{"comments", fromBody(strings.NewReader(": ping\n\n" + sse(delta1) + ":\n\n" + receipt.CommentPrefix + "AAAA\n\n" + sse(deltaStop, usageEvent, "[DONE]"))), sse(delta1, deltaStop), 7, 2, receipt.FromEngine},
		{"foreign receipt in an event", fromBody(strings.NewReader(receipt.CommentPrefix + "AAAA\n" + sse(delta1, deltaStop, usageEvent, "[DONE]"))), sse(delta1, deltaStop), 7, 2, receipt.FromEngine},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			url := serve(t, newTestWorker(tt.engine, &fakeLedger{}, nil))
			got := do(t, post(t, url, chatPath, chatStreamBody, signedBy(peer)))
			before, after, ok := strings.Cut(got.body, receipt.CommentPrefix)
			if !ok || before != tt.want {
				t.Fatalf("got %d %.300q; want %.300q", got.status, got.body, tt.want)
			}
			text, tail, _ := strings.Cut(after, "\n\n")
			if strings.ReplaceAll(tail, "\r", "") != "data: [DONE]\n\n" {
				t.Errorf("behind the receipt: %.100q", tail)
			}
			s, err := receipt.OpenText(text)
			if err != nil {
				t.Fatal(err)
			}
			if s.InputTokens != tt.in || s.OutputTokens != tt.out || s.TokenSource != tt.source {
				t.Errorf("receipt: %d in, %d out by %s; want %d, %d by %s", s.InputTokens, s.OutputTokens, s.TokenSource, tt.in, tt.out, tt.source)
			}
			if want := hashOfStream(t, before); s.ResponseHash != want {
				t.Errorf("response hash %s; want %s", s.ResponseHash, want)
			}
		})
	}
}

// hashOfStream is what a router computes of what it saw.
func hashOfStream(t *testing.T, stream string) string {
	t.Helper()
	var hash receipt.StreamHash
	scanner := openai.NewScanner(strings.NewReader(stream))
	for {
		e, err := scanner.Next()
		if err == io.EOF {
			return hash.Hex()
		}
		if err != nil {
			t.Fatal(err)
		}
		if e.Data != nil {
			hash.Data(e.Data)
		}
	}
}

func TestWholeAnswerWithoutUsage(t *testing.T) {
	t.Parallel()
	l := &fakeLedger{}
	body := `{"choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop"}]}`
	url := serve(t, newTestWorker(says(body, ""), l, nil))
	got := do(t, post(t, url, chatPath, chatBody))
	if got.status != 200 || got.body != body {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if s := l.receipts(); len(s) != 1 || s[0].Total() != 0 || s[0].TokenSource != receipt.NoCount {
		t.Errorf("receipts %+v", s)
	}
}

func TestUsageIsAskedForAndKeptBack(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, options, sent string
		shown               bool
	}{
		{"not asked", ``, `{"model":"llama3.1:8b","stream":true,"stream_options":{"include_usage":true},"x":[1, 2]}`, false},
		{"asked", `"stream_options":{"include_usage":true},`, ``, true},
		{"refused", `"stream_options":{"include_usage":false},`, `{"stream_options":{"include_usage":true},"model":"llama3.1:8b","stream":true,"x":[1, 2]}`, false},
		{"null", `"stream_options":null,`, `{"stream_options":{"include_usage":true},"model":"llama3.1:8b","stream":true,"x":[1, 2]}`, false},
		{"other options", `"stream_options":{"chunk":9},`, `{"stream_options":{"chunk":9,"include_usage":true},"model":"llama3.1:8b","stream":true,"x":[1, 2]}`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := says("", chatStream)
			url := serve(t, newTestWorker(e, nil, nil))
			body := `{` + tt.options + `"model":"llama3.1:8b","stream":true,"x":[1, 2]}`
			got := do(t, post(t, url, chatPath, body))
			if shown := strings.Contains(got.body, usageEvent); shown != tt.shown {
				t.Errorf("usage shown: %v; want %v in %s", shown, tt.shown, got.body)
			}
			if tt.sent == "" {
				tt.sent = body
			}
			if !sameJSON(t, e.lastCall(t).Body, []byte(tt.sent)) {
				t.Errorf("the engine got %s; want %s", e.lastCall(t).Body, tt.sent)
			}
			if !bytes.Contains(e.lastCall(t).Body, []byte(`"x":[1, 2]`)) {
				t.Errorf("other bytes changed: %s", e.lastCall(t).Body)
			}
		})
	}
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if err := errors.Join(json.Unmarshal(a, &x), json.Unmarshal(b, &y)); err != nil {
		t.Fatal(err)
	}
	p, _ := json.Marshal(x)
	q, _ := json.Marshal(y)
	return bytes.Equal(p, q)
}

func TestModelByDigest(t *testing.T) {
	t.Parallel()
	e, l := says(wholeChat, ""), &fakeLedger{}
	url := serve(t, newTestWorker(e, l, nil))
	for _, text := range []string{"llama3.1:8b@" + digest, "llama3.1:8b@" + digest[:len("sha256:")+12]} {
		body := `{"tools":[{"x":"é<&"}],"model":"` + text + `","seed":7}`
		if got := do(t, post(t, url, chatPath, body)); got.status != 200 {
			t.Fatalf("%d %s", got.status, got.body)
		}
		if got, want := string(e.lastCall(t).Body), `{"tools":[{"x":"é<&"}],"model":"llama3.1:8b","seed":7}`; got != want {
			t.Errorf("the engine got %s; want %s", got, want)
		}
		s := l.receipts()
		if last := s[len(s)-1]; last.Model != text || last.RequestHash != receipt.HashBody([]byte(body)) {
			t.Errorf("receipt %+v", last.Receipt)
		}
	}
}

func TestUntaggedNameMeansLatest(t *testing.T) {
	t.Parallel()
	e := says(wholeChat, "")
	e.models = []grid.Model{{ID: "tiny:latest"}}
	url := serve(t, newTestWorker(e, nil, nil))
	if got := do(t, post(t, url, chatPath, `{"model":"tiny"}`)); got.status != 200 {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := do(t, post(t, url, chatPath, `{"model":"tiny:1b"}`)); got.status != 404 {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestEngineThatCannotBeReached(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // in which no time passes
		e := says(wholeChat, "")
		e.modelsErr = errors.New("connection refused; start it with: ollama serve")
		w := newTestWorker(e, nil, nil)
		for path, method := range map[string]string{chatPath: "POST", "/capacity": "GET", "/healthz": "GET"} {
			r := httptest.NewRequest(method, "http://127.0.0.1"+path, strings.NewReader(chatBody))
			r.RemoteAddr = "127.0.0.1:1"
			rec := httptest.NewRecorder()
			w.ServeHTTP(rec, r)
			if rec.Code != 503 || !strings.Contains(rec.Body.String(), "ollama serve") {
				t.Errorf("%s: %d %s", path, rec.Code, rec.Body)
			}
		}
		if e.polls != 1 {
			t.Errorf("the engine was asked %d times for its models within moments; want 1", e.polls)
		}
	})
}

func TestBodyBudget(t *testing.T) {
	t.Parallel()
	w := newTestWorker(says(wholeChat, ""), nil, nil)
	w.bodies.limit = 2000
	url := serve(t, w)
	got := do(t, post(t, url, chatPath, `{"model":"`+strings.Repeat("x", 2000)+`"}`))
	if got.status != 503 || got.header.Get("Retry-After") != "1" {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := do(t, post(t, url, chatPath, chatBody)); got.status != 200 {
		t.Errorf("small: %d %s", got.status, got.body)
	}
	if err := w.Drain(t.Context()); err != nil { // waits for both handlers
		t.Fatal(err)
	}
	if used := w.bodies.used; used != 0 {
		t.Errorf("%d bytes are not given back", used)
	}
}

func TestBudgetIsShared(t *testing.T) {
	t.Parallel()
	b := newBudget(100)
	one, two := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	if !b.take(one, 50) || b.take(one, 1) {
		t.Error("one address has not half of it, or more")
	}
	if !b.take(two, 50) || b.take(netip.Addr{}, 1) {
		t.Error("another has not the rest, or there is more")
	}
	b.give(one, 50)
	b.give(two, 50)
	if b.used != 0 || len(b.by) != 0 {
		t.Errorf("%d bytes, %d addresses left", b.used, len(b.by))
	}
}

// Headers of a dialect reach the engine; those of a person do not.
func TestPassedHeaders(t *testing.T) {
	t.Parallel()
	e := says(wholeChat, "")
	url := serve(t, newTestWorker(e, nil, nil))
	do(t, post(t, url, chatPath, chatBody, header("Anthropic-Version", "2023-06-01"), header("Anthropic-Beta", "a"),
		header("Authorization", "Bearer secret"), header("Cookie", "a=b")))
	got := e.lastCall(t).Header
	want := http.Header{"Content-Type": {"application/json"}, "Anthropic-Version": {"2023-06-01"}, "Anthropic-Beta": {"a"}}
	if !maps.EqualFunc(got, want, slices.Equal[[]string]) {
		t.Errorf("the engine got %v; want %v", got, want)
	}
}

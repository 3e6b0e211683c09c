package openai

import (
	"bytes"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"lobstah/internal/recording"
)

// recorded returns every answer under status 200 of the dialects that are
// metered.
func recorded(t testing.TB) []recording.Exchange {
	t.Helper()
	var list []recording.Exchange
	for _, name := range recording.Names(t) {
		for _, e := range recording.Load(t, name) {
			if DialectOf(e.Path) != Unknown && e.Status == http.StatusOK && e.Method == http.MethodPost {
				list = append(list, e)
			}
		}
	}
	return list
}

// events cuts a recorded stream, read as it was read then, into payloads.
func events(t testing.TB, e recording.Exchange) [][]byte {
	t.Helper()
	readers := make([]io.Reader, len(e.Chunks))
	for i, chunk := range e.Chunks {
		readers[i] = bytes.NewReader(chunk)
	}
	scanner := NewScanner(io.MultiReader(readers...))
	var list [][]byte
	for {
		event, err := scanner.Next()
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatalf("%s %q: %v", e.File, e.Title, err)
		}
		list = append(list, bytes.Clone(event.Data))
	}
}

// meter watches a recorded answer pass by.
func meter(t testing.TB, e recording.Exchange) *Meter {
	t.Helper()
	m := NewMeter(DialectOf(e.Path))
	if !e.Stream() {
		m.Body(e.Answer())
		return m
	}
	for _, data := range events(t, e) {
		m.Event(data)
	}
	return m
}

// Every recorded answer that was not cut ends, and tells its cost, its reason
// and its model; every one that was cut does not end.
func TestMeterOnAllRecordings(t *testing.T) {
	t.Parallel()
	for _, e := range recorded(t) {
		m := meter(t, e)
		crashed := e.Title == "the same through /v1, streaming" || strings.Contains(e.Title, "is killed")
		if want := !e.Cut && !crashed; m.Ended() != want {
			t.Errorf("%s %q: Ended() = %v, failure %v; want %v", e.File, e.Title, m.Ended(), m.Failure, want)
		}
		if !m.Ended() {
			continue
		}
		askedUsage := bytes.Contains(e.Body, []byte("include_usage")) || e.Header.Get("Server") == "llama.cpp" || !e.Stream()
		chatLike := DialectOf(e.Path) != Embeddings
		if chatLike && (m.Finish == "" || m.Model == "") || askedUsage && (!m.Usage.Known || m.Usage.Input == 0) {
			t.Errorf("%s %q: %+v", e.File, e.Title, m)
		}
	}
}

func TestMeterOnRecordings(t *testing.T) {
	t.Parallel()
	tests := []struct {
		file, title string
		usage       Usage
		finish      string
		deltas      int64
		ended       bool
	}{
		{"llama-server-chat", "chat, not streaming", Usage{6, 14, true, false}, "stop", 0, true},
		// The role comes in an event of its own, usage does not come, timings do.
		{"llama-server-chat", "chat, streaming, no stream_options", Usage{6, 12, true, true}, "length", 12, true},
		{"llama-server-chat", "chat, streaming, include_usage", Usage{6, 12, true, false}, "length", 12, true},
		{"ollama-v0.33.0-openai", "/v1/chat/completions, streaming", Usage{}, "length", 6, true},
		{"ollama-v0.33.0-openai", "/v1/chat/completions, streaming, include_usage", Usage{6, 6, true, false}, "length", 6, true},
		{"llama-server-other", "/v1/completions streaming", Usage{3, 4, true, false}, "length", 4, true},
		{"llama-server-other", "/v1/responses", Usage{6, 6, true, false}, "completed", 0, true},
		{"llama-server-other", "/v1/responses streaming", Usage{6, 5, true, false}, "completed", 4, true},
		// Cached input counts: 5 of 6 tokens were in the cache.
		{"llama-server-other", "/v1/messages (Anthropic)", Usage{6, 8, true, false}, "max_tokens", 0, true},
		{"llama-server-other", "/v1/messages streaming", Usage{6, 6, true, false}, "max_tokens", 6, true},
		// The first event estimates 3 tokens of input, the last one counts 6.
		{"ollama-v0.33.0-openai", "/v1/messages (Anthropic), streaming", Usage{6, 4, true, false}, "max_tokens", 4, true},
		{"ollama-v0.33.0-openai", "/v1/responses", Usage{6, 6, true, false}, "completed", 0, true},
		// The engine's own engine was killed: a last chunk without a model, no
		// finish reason, no [DONE], and a clean end.
		{"ollama-v0.33.0-crash-busy", "the same through /v1, streaming", Usage{}, "", 10, false},
	}
	for _, test := range tests {
		m := meter(t, recording.Find(t, test.file, test.title))
		if m.Usage != test.usage || m.Finish != test.finish || m.Deltas != test.deltas || m.Ended() != test.ended || m.Failure != nil {
			t.Errorf("%s %q:\n got %+v, ended %v\nwant %+v", test.file, test.title, m, m.Ended(), test)
		}
	}
}

// What is recognised without parsing means what parsing says.
func TestFastPathAgreesWithParsing(t *testing.T) {
	t.Parallel()
	fast, all := 0, 0
	for _, e := range recorded(t) {
		if !e.Stream() || !DialectOf(e.Path).OpenAI() {
			continue
		}
		quick, slow := NewMeter(DialectOf(e.Path)), NewMeter(DialectOf(e.Path))
		for _, data := range events(t, e) {
			if string(data) == Done {
				continue
			}
			all++
			if plainDelta(data) {
				fast++
			}
			a, b := quick.Event(data), slow.parsed(data)
			quick.Model, slow.Model = "", "" // only parsing tells it, and the last event is always parsed
			if a != b || !reflect.DeepEqual(quick, slow) {
				t.Fatalf("%s %q, event %s:\nfast %v %+v\nslow %v %+v", e.File, e.Title, data, a, quick, b, slow)
			}
		}
	}
	if fast*10 < all*8 {
		t.Errorf("%d of %d recorded events were not parsed; want most", fast, all)
	}
}

// Chunks that look like plain ones to a careless reader.
func TestPlainDelta(t *testing.T) {
	const plain = `{"id":"x","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}`
	if !plainDelta([]byte(plain)) {
		t.Errorf("%s is not recognised", plain)
	}
	for _, chunk := range []string{
		strings.Replace(plain, "null", `"stop"`, 1),
		strings.Replace(plain, `"finish_reason":null`, `"finish_reason" : "stop"`, 1),
		strings.Replace(plain, `"finish_reason":null`, `"finish_reason": "stop"`, 1),
		strings.Replace(plain, `"content":"a"`, `"content":""`, 1),
		strings.Replace(plain, `"content":"a"`, `"role":"assistant","content":null`, 1),
		strings.Replace(plain, `"index":0`, `"index":1`, 1),
		strings.Replace(plain, `]}`, `],"usage":{"prompt_tokens":1}}`, 1),
		strings.Replace(plain, `]}`, `],"timings":{"predicted_n":1}}`, 1),
		strings.Replace(plain, `]}`, `],"error":{"message":"x"}}`, 1),
		strings.Replace(plain, `[{`, `[ {`, 1),
		strings.TrimSuffix(plain, "}"),
		`{"choices":[]}`, `{}`, `x`,
	} {
		if plainDelta([]byte(chunk)) {
			t.Errorf("%s is taken for a plain delta", chunk)
		}
	}
	// Text that speaks of these members is only text.
	quoted := strings.Replace(plain, `"a"`, `"say \"finish_reason\":\"stop\", \"usage\":{}, \"error\":1"`, 1)
	if !plainDelta([]byte(quoted)) {
		t.Errorf("%s is not recognised", quoted)
	}
}

func TestMeterStreams(t *testing.T) {
	delta := func(index, content string) string {
		return `{"choices":[{"index":` + index + `,"delta":{"content":"` + content + `"},"finish_reason":null}]}`
	}
	finish := func(index string) string {
		return `{"choices":[{"index":` + index + `,"delta":{},"finish_reason":"stop"}]}`
	}
	tests := []struct {
		name    string
		dialect Dialect
		events  []string
		usage   Usage
		deltas  int64
		ended   bool
		failure string // a part of the message
	}{
		{"finish reason without [DONE]", Chat, []string{delta("0", "a"), finish("0")}, Usage{}, 1, true, ""},
		{"[DONE] without finish reason", Chat, []string{delta("0", "a"), Done}, Usage{}, 1, false, ""},
		{"nothing", Chat, nil, Usage{}, 0, false, ""},
		{"two choices", Chat, []string{delta("0", "a"), delta("1", "b"), finish("0"), finish("1")}, Usage{}, 2, true, ""},
		{"one of two choices", Chat, []string{delta("0", "a"), delta("1", "b"), finish("0"), Done}, Usage{}, 2, false, ""},
		{"second choice after the first", Chat, []string{delta("0", "a"), finish("0"), delta("1", "b")}, Usage{}, 2, false, ""},
		{"empty finish reason", Chat, []string{`{"choices":[{"delta":{"content":"a"},"finish_reason":""}]}`}, Usage{}, 1, false, ""},
		{"content and finish in one", Chat, []string{`{"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}`}, Usage{}, 1, true, ""},
		{"error in a stream", Chat, []string{delta("0", "a"), `{"error":{"message":"out of memory","code":500}}`}, Usage{}, 1, false, "out of memory"},
		{"error after the end", Chat, []string{finish("0"), `{"error":"late"}`}, Usage{}, 0, false, "late"},
		{"JSON in an error's text", Chat, []string{`{"error":"{\"error\":{\"code\":400,\"message\":\"too long\"}}"}`}, Usage{}, 0, false, "too long"},
		{"error null", Chat, []string{`{"error":null,"choices":[{"delta":{},"finish_reason":"stop"}]}`}, Usage{}, 0, true, ""},
		{"not JSON", Chat, []string{"<html>"}, Usage{}, 0, false, "not JSON"},
		{"usage in every chunk", Chat, []string{
			`{"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}`,
			`{"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}`,
		}, Usage{3, 2, true, false}, 1, true, ""},
		{"timings in every chunk", Chat, []string{
			`{"choices":[{"delta":{"content":"a"}}],"timings":{"cache_n":1,"prompt_n":2,"predicted_n":1}}`,
			`{"choices":[{"delta":{},"finish_reason":"stop"}],"timings":{"cache_n":1,"prompt_n":2,"predicted_n":5}}`,
		}, Usage{3, 5, true, true}, 1, true, ""},
		{"usage beats timings", Chat, []string{
			`{"choices":[],"usage":{"prompt_tokens":7.0,"completion_tokens":2e0}}`,
			`{"choices":[{"finish_reason":"stop"}],"timings":{"predicted_n":9}}`,
		}, Usage{7, 2, true, false}, 0, true, ""},
		{"counts that are none", Chat, []string{`{"choices":[],"usage":{"prompt_tokens":-5,"completion_tokens":1e300}}`}, Usage{}, 0, false, ""},
		{"empty usage", Chat, []string{`{"choices":[],"usage":{}}`}, Usage{}, 0, false, ""},
		{"a tool call cut by max_tokens", Chat, []string{
			`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]},"finish_reason":null}]}`,
			`{"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}`,
		}, Usage{}, 1, true, ""},
		{"responses: failed", Responses, []string{`{"type":"response.failed","response":{"status":"failed","error":{"code":"server_error","message":"boom"}}}`}, Usage{}, 0, false, "boom"},
		{"responses: error event", Responses, []string{`{"type":"error","code":null,"message":"broken","param":null}`}, Usage{}, 0, false, "broken"},
		{"responses: cut", Responses, []string{`{"type":"response.output_text.delta","delta":"a"}`}, Usage{}, 1, false, ""},
		{"messages: error", Messages, []string{`{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`}, Usage{}, 0, false, "Overloaded"},
		{"messages: stop without reason", Messages, []string{`{"type":"message_start","message":{"model":"m","usage":{"input_tokens":2,"output_tokens":0}}}`, `{"type":"message_stop"}`}, Usage{2, 0, true, false}, 0, false, ""},
	}
	for _, test := range tests {
		m := NewMeter(test.dialect)
		for _, data := range test.events {
			m.Event([]byte(data))
		}
		failure := ""
		if m.Failure != nil {
			failure = m.Failure.Message
		}
		if m.Usage != test.usage || m.Deltas != test.deltas || m.Ended() != test.ended ||
			(test.failure == "") != (failure == "") || !strings.Contains(failure, test.failure) {
			t.Errorf("%s: got %+v, ended %v, failure %q; want %+v, %d deltas, ended %v, failure %q",
				test.name, m, m.Ended(), failure, test.usage, test.deltas, test.ended, test.failure)
		}
	}
}

func TestMeterBodies(t *testing.T) {
	// Ollama's own API, whose engine gave up on endless white space: status 200
	// and done:false. And its crash, as a body that is one line under status 200.
	unfinished := string(recording.Find(t, "ollama-v0.33.0-structured", "format json").Answer())
	crash := recording.Find(t, "ollama-v0.33.0-crash-busy", "slow model, streaming: its llama-server is killed (SIGKILL) after 0.6 s").Chunks
	// max_tokens inside a tool call: arguments that are no JSON, in a whole answer.
	truncated := recording.Find(t, "llama-server-tools", "tool result in the history").Answer()
	if !bytes.Contains(truncated, []byte(`"arguments":"{"`)) {
		t.Fatalf("the recording %s has no truncated arguments", truncated)
	}
	tests := []struct {
		name, body string
		dialect    Dialect
		usage      Usage
		failure    string // a part of the message; empty for an answer that is whole
	}{
		{"done:false", unfinished, Chat, Usage{}, "did not finish"},
		{"crash", string(crash[len(crash)-1]), Chat, Usage{}, "an error was encountered while running the model"},
		{"truncated arguments", string(truncated), Chat, Usage{279, 3, true, false}, ""},
		{"no finish reason", `{"choices":[{"message":{"content":"a"},"finish_reason":null}]}`, Chat, Usage{}, "did not finish"},
		{"one of two choices", `{"choices":[{"index":0,"finish_reason":"stop"},{"index":1,"finish_reason":null}]}`, Chat, Usage{}, "did not finish"},
		{"error under 200", `{"error":"model runner has unexpectedly stopped"}`, Chat, Usage{}, "unexpectedly stopped"},
		{"error in an embedding", `{"error":{"message":"no such input"}}`, Embeddings, Usage{}, "no such input"},
		{"web page", "<!doctype html>", Chat, Usage{}, "web page"},
		{"nothing", "", Chat, Usage{}, "nothing"},
		{"embeddings", `{"object":"list","data":[{"embedding":[0.1]}],"model":"m","usage":{"prompt_tokens":3,"total_tokens":3}}`, Embeddings, Usage{3, 0, true, false}, ""},
		{"embeddings without data", `{"object":"list"}`, Embeddings, Usage{}, "did not finish"},
		{"count", `{"input_tokens":17}`, CountTokens, Usage{17, 0, true, false}, ""},
		{"count of nothing", `{}`, CountTokens, Usage{}, "did not finish"},
		{"responses in progress", `{"status":"in_progress","error":null}`, Responses, Usage{}, "did not finish"},
		{"messages without reason", `{"type":"message","stop_reason":null}`, Messages, Usage{}, "did not finish"},
	}
	for _, test := range tests {
		m := NewMeter(test.dialect)
		m.Body([]byte(test.body))
		failure := ""
		if m.Failure != nil {
			failure = m.Failure.Message
		}
		if m.Usage != test.usage || m.Ended() != (test.failure == "") || (failure == "") != (test.failure == "") || !strings.Contains(failure, test.failure) {
			t.Errorf("%s: got %+v, ended %v, failure %q; want %+v, failure %q", test.name, m, m.Ended(), failure, test.usage, test.failure)
		}
	}
}

// Every recorded refusal becomes a message for people, in OpenAI's shape.
func TestParseErrorOnRecordings(t *testing.T) {
	t.Parallel()
	seen := 0
	for _, name := range recording.Names(t) {
		for _, e := range recording.Load(t, name) {
			if e.Status < 400 {
				continue
			}
			seen++
			got := ParseError(e.Status, e.Answer())
			if got.Status != e.Status || got.Message == "" || strings.HasPrefix(got.Message, "{") || got.Type == "" {
				t.Errorf("%s %q: %s gives %+v", e.File, e.Title, e.Answer(), got)
			}
		}
	}
	if seen < 40 {
		t.Errorf("%d refusals in the recordings; there are more", seen)
	}
	tooLong := ParseError(400, recording.Find(t, "ollama-v0.33.0-errors", "prompt longer than the context, truncate false").Answer())
	want := &Error{
		Status: 400, Type: "exceed_context_size_error", Extra: map[string]any{"n_prompt_tokens": 5005.0, "n_ctx": 2048.0},
		Message: "request (5005 tokens) exceeds the available context size (2048 tokens), try increasing it",
	}
	if !reflect.DeepEqual(tooLong, want) {
		t.Errorf("JSON inside the error's text gives %+v; want %+v", tooLong, want)
	}
}

func FuzzMeter(f *testing.F) {
	for _, e := range recorded(f) {
		if !e.Stream() {
			f.Add(uint8(DialectOf(e.Path)), e.Answer())
			continue
		}
		for _, data := range events(f, e) {
			f.Add(uint8(DialectOf(e.Path)), data)
		}
	}
	f.Fuzz(func(t *testing.T, dialect uint8, data []byte) {
		d := Dialect(dialect % uint8(CountTokens+1))
		stream, whole := NewMeter(d), NewMeter(d)
		stream.Event(data)
		stream.Event(data)
		whole.Body(data)
		for _, m := range []*Meter{stream, whole} {
			if u := m.Usage; u.Input < 0 || u.Output < 0 {
				t.Errorf("usage %+v of %q", u, data)
			}
			if m.Ended() && m.Failure != nil {
				t.Errorf("ended and failed on %q", data)
			}
		}
		if whole.Failure == nil && !whole.Ended() {
			t.Errorf("a body that neither ended nor failed: %q", data)
		}
	})
}

func BenchmarkMeterEvent(b *testing.B) {
	e := recording.Find(b, "llama-server-chat", "chat, streaming, no stream_options")
	data := events(b, e)[3]
	m := NewMeter(Chat)
	b.Run("recognised", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m.Event(data)
		}
	})
	b.Run("parsed", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m.parsed(data)
		}
	})
}

package gguf

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"lobstah/internal/enginetest"
	"lobstah/internal/tinygguf"
	"lobstah/openai"
)

func serve(t *testing.T, m *Model, o Options) (url string, h *Handler) {
	t.Helper()
	h = NewHandler(m, o)
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL, h
}

func demo(t testing.TB) *Model {
	t.Helper()
	m, err := Demo()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// call posts a body and returns the status and the answer.
func call(t *testing.T, url, body string) (int, string) {
	t.Helper()
	response, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

// eventsOf are the payloads of a stream's events.
func eventsOf(t *testing.T, stream string) []string {
	t.Helper()
	var out []string
	for scanner := openai.NewScanner(strings.NewReader(stream)); ; {
		e, err := scanner.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(e.Data))
	}
}

const question = `{"model":"lobstah-demo","messages":[{"role":"user","content":"Who are you?"}],"seed":7,"max_tokens":40`

func TestChat(t *testing.T) {
	t.Parallel()
	url, _ := serve(t, demo(t), Options{})
	status, text := call(t, url+"/v1/chat/completions", question+`}`)
	got := decode[envelope](t, text)
	if status != http.StatusOK || got.Object != "chat.completion" || got.Model != "lobstah-demo" || !strings.HasPrefix(got.ID, "chatcmpl-") {
		t.Fatalf("answer is %d %s", status, text)
	}
	content := *got.Choices[0].Message.Content
	if !strings.HasPrefix(content, " The demo model answers nothing: ") {
		t.Errorf("the demo says %q, want it to say that it answers nothing", content)
	}
	if u := got.Usage; u.Prompt < 5 || u.Completion < 5 || u.Total != u.Prompt+u.Completion {
		t.Errorf("usage is %+v, want the tokens of both sides and their sum", *u)
	}
	if finish := *got.Choices[0].Finish; finish != "stop" && finish != "length" {
		t.Errorf("finish_reason is %q", finish)
	}
}

func TestStreamEqualsTheWholeAnswer(t *testing.T) {
	t.Parallel()
	url, _ := serve(t, demo(t), Options{})
	_, text := call(t, url+"/v1/chat/completions", question+`}`)
	whole := decode[envelope](t, text)
	_, text = call(t, url+"/v1/chat/completions", question+`,"stream":true,"stream_options":{"include_usage":true}}`)
	list := eventsOf(t, text)
	n := len(list)
	if n < 8 || list[n-1] != "[DONE]" {
		t.Fatalf("stream has %d events, want some and [DONE] at the end:\n%s", n, text)
	}
	if first := decode[envelope](t, list[0]); first.Choices[0].Delta.Role != "assistant" || first.Object != "chat.completion.chunk" {
		t.Errorf("first event is %s, want the assistant's role", list[0])
	}
	var said strings.Builder
	for _, e := range list[1 : n-3] {
		said.WriteString(*decode[envelope](t, e).Choices[0].Delta.Content)
	}
	if want := *whole.Choices[0].Message.Content; said.String() != want {
		t.Errorf("stream says %q, the whole answer %q", said.String(), want)
	}
	if pieces := n - 4; pieces > whole.Usage.Completion || pieces < whole.Usage.Completion/2 {
		t.Errorf("%d pieces for %d tokens, want one for each but bytes of characters and the end", pieces, whole.Usage.Completion)
	}
	last, cost := decode[envelope](t, list[n-3]), decode[envelope](t, list[n-2])
	if *last.Choices[0].Finish != *whole.Choices[0].Finish {
		t.Errorf("stream finishes with %s, the whole answer with %s", *last.Choices[0].Finish, *whole.Choices[0].Finish)
	}
	if len(cost.Choices) != 0 || cost.Usage.Total != whole.Usage.Total {
		t.Errorf("usage event is %s, want no choices and %d tokens", list[n-2], whole.Usage.Total)
	}
}

func TestUsageIsOnlySentWhenAsked(t *testing.T) {
	t.Parallel()
	url, _ := serve(t, demo(t), Options{})
	if _, text := call(t, url+"/v1/chat/completions", question+`,"stream":true}`); strings.Contains(text, `"usage"`) {
		t.Errorf("stream has usage that nobody asked for:\n%s", text)
	}
}

func TestSeedsRepeat(t *testing.T) {
	t.Parallel()
	url, _ := serve(t, build(t, tinygguf.Words()), Options{})
	say := func(seed string) string {
		_, text := call(t, url+"/v1/completions", `{"prompt":"The grid","max_tokens":25,"seed":`+seed+`}`)
		return *decode[envelope](t, text).Choices[0].Text
	}
	first, again, other := say("1"), say("1"), say("2")
	if first != again {
		t.Errorf("seed 1 says %q, then %q", first, again)
	}
	if first == other {
		t.Errorf("seeds 1 and 2 both say %q", first)
	}
}

func TestGreedyChatEqualsLlamaServers(t *testing.T) {
	t.Parallel()
	for _, spec := range []tinygguf.Spec{ofType(tinygguf.Random(9), tinygguf.F32), ofType(tinygguf.RandomBPE(9, "llama-bpe"), tinygguf.F32)} {
		ours, _ := serve(t, build(t, spec), Options{})
		theirs := enginetest.LlamaServer(t, enginetest.Options{Model: spec, Alias: spec.Name, Args: sameNumbers})
		body := `{"model":"` + spec.Name + `","temperature":0,"max_tokens":100,"messages":[{"role":"system","content":"Be short."},{"role":"user","content":"Which worker is free? 🙂"}]}`
		_, got := call(t, ours+"/v1/chat/completions", body)
		_, want := call(t, theirs+"/v1/chat/completions", body)
		g, w := decode[envelope](t, got), decode[envelope](t, want)
		if *g.Choices[0].Message.Content != *w.Choices[0].Message.Content || *g.Choices[0].Finish != *w.Choices[0].Finish {
			t.Errorf("%s answers\n%s\nllama-server\n%s", spec.Name, got, want)
		}
		if g.Usage.Prompt != w.Usage.Prompt || g.Usage.Completion != w.Usage.Completion {
			t.Errorf("%s counts %+v, llama-server %+v", spec.Name, *g.Usage, *w.Usage)
		}
	}
}

func TestStopTexts(t *testing.T) {
	t.Parallel()
	url, _ := serve(t, demo(t), Options{})
	tests := []struct{ stop, want string }{
		{`" model answers"`, " The demo"}, // over two tokens
		{`["zzz","wers n"]`, " The demo model ans"},
		{`"demo"`, " The "},
		{`["demo","The"]`, " "},
		{`"` + strings.Repeat("x", 30) + `"`, ""},
	}
	for _, test := range tests {
		for _, stream := range []bool{false, true} {
			body := question + `,"stop":` + test.stop
			content, finish := "", ""
			if stream {
				_, text := call(t, url+"/v1/chat/completions", body+`,"stream":true}`)
				list := eventsOf(t, text)
				for _, e := range list[:len(list)-1] {
					c := decode[envelope](t, e).Choices[0]
					if c.Delta.Content != nil {
						content += *c.Delta.Content
					}
					if c.Finish != nil {
						finish = *c.Finish
					}
				}
			} else {
				_, text := call(t, url+"/v1/chat/completions", body+`}`)
				c := decode[envelope](t, text).Choices[0]
				content, finish = *c.Message.Content, *c.Finish
			}
			if test.want == "" {
				if len(content) < 40 {
					t.Errorf("stop %s (stream %v): %q was cut, want all of it", test.stop, stream, content)
				}
			} else if content != test.want || finish != "stop" {
				t.Errorf("stop %s (stream %v): %q %s, want %q stop", test.stop, stream, content, finish, test.want)
			}
		}
	}
}

func TestEventsHoldWholeCharacters(t *testing.T) {
	t.Parallel()
	url, _ := serve(t, build(t, tinygguf.Random(1)), Options{}) // says bytes at random
	_, text := call(t, url+"/v1/completions", `{"prompt":"x","max_tokens":120,"seed":3,"stream":true}`)
	if !utf8.ValidString(text) || !strings.Contains(text, "\uFFFD") {
		t.Errorf("stream is valid: %v, want valid text with U+FFFD for the model's stray bytes", utf8.ValidString(text))
	}
	words, _ := serve(t, build(t, with(tinygguf.Words(), func(s *tinygguf.Spec) { s.Text, s.Whole = "ok 🙂 fine", false })), Options{})
	_, text = call(t, words+"/v1/completions", `{"prompt":"<|assistant|>","max_tokens":20,"temperature":0,"stream":true}`)
	var pieces []string
	list := eventsOf(t, text)
	for _, e := range list[:len(list)-2] {
		pieces = append(pieces, *decode[envelope](t, e).Choices[0].Text)
	}
	if want := []string{" ok", " ", "🙂", " fine"}; !slices.Equal(pieces, want) {
		t.Errorf("pieces are %q, want %q", pieces, want)
	}
}

func TestBadRequestsGetClearAnswers(t *testing.T) {
	t.Parallel()
	url, _ := serve(t, demo(t), Options{Context: 64})
	long := strings.Repeat("word ", 100)
	tests := []struct {
		name, path, body string
		status           int
		want             string
	}{
		{"no JSON", "chat/completions", `{"messages"`, 400, "not JSON"},
		{"array", "chat/completions", `[]`, 400, "a array cannot stand here"},
		{"type", "chat/completions", question + `,"temperature":"hot"}`, 400, "temperature"},
		{"no messages", "chat/completions", `{}`, 400, "messages: want at least one"},
		{"role", "chat/completions", `{"messages":[{"role":"critic","content":"x"}]}`, 400, `has no role \"critic\"`},
		{"image", "chat/completions", `{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}`, 400, "reads text only"},
		{"model", "chat/completions", `{"model":"gpt-5","messages":[{"role":"user","content":"x"}]}`, 404, "model_not_found"},
		{"n", "chat/completions", question + `,"n":2}`, 400, `"param":"n"`},
		{"tools", "chat/completions", question + `,"tools":[{}]}`, 400, `"param":"tools"`},
		{"format", "chat/completions", question + `,"response_format":{"type":"json_object"}}`, 400, `"param":"response_format"`},
		{"logprobs", "chat/completions", question + `,"logprobs":true}`, 400, `"param":"logprobs"`},
		{"temperature", "chat/completions", question + `,"temperature":-1}`, 400, "temperature: want a number from 0"},
		{"top_p", "chat/completions", question + `,"top_p":1.5}`, 400, "top_p: want"},
		{"stop", "chat/completions", question + `,"stop":7}`, 400, "stop: want a string"},
		{"max_tokens", "chat/completions", question + `,"max_tokens":0}`, 400, "max_tokens: want 1"},
		{"bias", "chat/completions", question + `,"logit_bias":{"x":1}}`, 400, "logit_bias"},
		{"long chat", "chat/completions", `{"messages":[{"role":"user","content":"` + long + `"}]}`, 400, "context_length_exceeded"},
		{"long prompt", "completions", `{"prompt":"` + strings.Repeat(long, 100) + `"}`, 400, "context_length_exceeded"},
		{"prompts", "completions", `{"prompt":["a","b"]}`, 400, "one of them only"},
		{"token", "completions", `{"prompt":[1,99999]}`, 400, "no token 99999"},
		{"no prompt", "completions", `{}`, 400, "prompt: want"},
		{"large", "completions", `{"prompt":"` + strings.Repeat("x", maxBody) + `"}`, 413, "larger than 8 MiB"},
		{"embeddings", "embeddings", `{"input":"x"}`, 404, "not an embedding model"},
		{"path", "images/generations", `{}`, 404, "has no /v1/images/generations"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			status, text := call(t, url+"/v1/"+test.path, test.body)
			if status != test.status || !strings.Contains(text, test.want) {
				t.Errorf("answer is %d %s, want %d with %s", status, text, test.status, test.want)
			}
			body := decode[struct {
				Error struct{ Message, Type string }
			}](t, text)
			if body.Error.Message == "" || body.Error.Type == "" {
				t.Errorf("%s is not in OpenAI's error shape", text)
			}
		})
	}
}

func TestGoodVariants(t *testing.T) {
	t.Parallel()
	url, _ := serve(t, demo(t), Options{})
	for _, body := range []string{
		question + `,"tools":[{}],"tool_choice":"none"}`,
		question + `,"n":1,"top_p":0.5,"top_k":4,"logprobs":false,"stop":null,"user":"me","logit_bias":{"5":-100}}`,
		question + `,"response_format":{"type":"text"},"frequency_penalty":1,"presence_penalty":1}`,
		`{"messages":[{"role":"developer","content":"x"},{"role":"user","content":[{"type":"text","text":"hel"},{"type":"text","text":"lo"}]}]}`,
	} {
		if status, text := call(t, url+"/v1/chat/completions", body); status != http.StatusOK {
			t.Errorf("%s: %d %s", body, status, text)
		}
	}
	for _, body := range []string{`{"prompt":"The"}`, `{"prompt":["The"]}`, `{"prompt":[1,300]}`, `{"prompt":[[1,300]],"max_tokens":3}`} {
		if status, text := call(t, url+"/v1/completions", body); status != http.StatusOK {
			t.Errorf("%s: %d %s", body, status, text)
		}
	}
}

func TestContextEndsAnAnswer(t *testing.T) {
	t.Parallel()
	url, _ := serve(t, build(t, tinygguf.Random(1)), Options{Context: 32})
	_, text := call(t, url+"/v1/completions", `{"prompt":"The queue","ignore_eos":true}`)
	got := decode[envelope](t, text)
	if *got.Choices[0].Finish != "length" || got.Usage.Total != 32 {
		t.Errorf("answer ended with %s at %d tokens, want length at 32", *got.Choices[0].Finish, got.Usage.Total)
	}
}

func TestConversationsGoOnWhereTheyWere(t *testing.T) {
	t.Parallel()
	url, _ := serve(t, build(t, tinygguf.Random(1)), Options{})
	body := `{"prompt":"The queue is fair and the grid is large","max_tokens":20,"temperature":0}`
	_, cold := call(t, url+"/v1/completions", body)
	_, warm := call(t, url+"/v1/completions", body)
	c, w := decode[envelope](t, cold), decode[envelope](t, warm)
	if *c.Choices[0].Text != *w.Choices[0].Text {
		t.Errorf("the same prompt says %q, then %q", *c.Choices[0].Text, *w.Choices[0].Text)
	}
	if c.Usage.Details.Cached != 0 || w.Usage.Details.Cached != c.Usage.Prompt-1 {
		t.Errorf("cached tokens are %d, then %d, want 0, then all %d but one", c.Usage.Details.Cached, w.Usage.Details.Cached, c.Usage.Prompt)
	}
}

// A client that leaves in the middle of a stream stops the answer and frees the slot,
// long before the answer would have filled the context.
func TestClientsThatLeaveFreeTheirSlot(t *testing.T) {
	t.Parallel()
	slow := with(tinygguf.Slow(), func(s *tinygguf.Spec) { s.Layers = 100 })
	url, h := serve(t, build(t, slow), Options{Slots: 1})
	ctx, leave := context.WithCancel(t.Context())
	body := `{"prompt":"The","ignore_eos":true,"stream":true}`
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/completions", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if line, err := bufio.NewReader(response.Body).ReadString('\n'); !strings.HasPrefix(line, "data: ") {
		t.Fatalf("first line is %q (%v), want an event", line, err)
	}
	leave()
	s, err := h.slots.take(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer h.slots.put(s)
	if full := h.context / 2; len(s.tokens) > full {
		t.Errorf("the answer went on to %d tokens of %d, want it stopped soon", len(s.tokens), h.context)
	}
}

// countdown is a context that is done after its Err was asked so many times.
type countdown struct {
	context.Context
	left int
}

func (c *countdown) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

func TestCancelStopsWithinAPrompt(t *testing.T) {
	t.Parallel()
	m := build(t, tinygguf.Random(1))
	prompt := m.tokens.encode(plain(strings.Repeat("the queue ", 100), true))
	s := newSession(m)
	ctx := &countdown{t.Context(), 3} // two layers for the first batch, one for the second
	if _, err := s.feed(ctx, prompt); err != context.Canceled {
		t.Fatalf("feed: %v, want context.Canceled", err)
	}
	if len(s.tokens) != prefillBatch {
		t.Errorf("the session has %d tokens, want the %d of the batch that was complete", len(s.tokens), prefillBatch)
	}
	got, err := s.feed(t.Context(), prompt[len(s.tokens):])
	if err != nil {
		t.Fatal(err)
	}
	want, err := newSession(m).feed(t.Context(), prompt)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Error("after a cancel the session goes on to other logits than one without")
	}
}

func TestFullQueueRefuses(t *testing.T) {
	t.Parallel()
	m := demo(t)
	h := NewHandler(m, Options{Slots: 1, Queue: 1})
	busy, err := h.slots.take(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !h.slots.wait(1) { // stands for a request that waits
		t.Fatal("the first request cannot wait")
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/completions", strings.NewReader(`{"prompt":"x"}`)))
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("answer is %d %s, want 503 with Retry-After", w.Code, w.Body)
	}
	h.slots.wait(-1)
	h.slots.put(busy)
	if _, err := h.slots.take(t.Context(), nil); err != nil {
		t.Errorf("a free slot: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := h.slots.take(ctx, nil); err != context.DeadlineExceeded {
		t.Errorf("waiting past the deadline: %v, want the context's error", err)
	}
}

func TestDamagedModelsSaySo(t *testing.T) {
	t.Parallel()
	for _, spec := range []tinygguf.Spec{ofType(tinygguf.Words(), tinygguf.F32), ofType(tinygguf.Embed(), tinygguf.F32)} {
		m := build(t, spec)
		m.outputNorm[0] = float32(math.NaN())
		url, _ := serve(t, m, Options{})
		path, body := "/v1/completions", `{"prompt":"x"}`
		if m.config.pooled {
			path, body = "/v1/embeddings", `{"input":"x"}`
		}
		if status, text := call(t, url+path, body); status != http.StatusInternalServerError || !strings.Contains(text, "damaged") {
			t.Errorf("%s: %d %s, want 500 and that the file is damaged", path, status, text)
		}
	}
}

func TestListsAndHealth(t *testing.T) {
	t.Parallel()
	m := demo(t)
	url, _ := serve(t, m, Options{Context: 100})
	get := func(path string) (int, string) {
		response, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		var b bytes.Buffer
		if _, err := b.ReadFrom(response.Body); err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, b.String()
	}
	if status, text := get("/health"); status != 200 || text != `{"status":"ok"}` {
		t.Errorf("/health is %d %s", status, text)
	}
	_, text := get("/v1/models")
	list := decode[struct{ Data []card }](t, text).Data
	if len(list) != 1 || list[0].ID != "lobstah-demo" || list[0].Meta.Context != 100 || list[0].Meta.Digest != m.Digest() || list[0].Meta.Parameters != m.Parameters() {
		t.Errorf("/v1/models is %s", text)
	}
	if status, _ := get("/v1/models/lobstah-demo"); status != 200 {
		t.Errorf("/v1/models/lobstah-demo is %d", status)
	}
	if status, text := get("/v1/models/org/other"); status != 404 || !strings.Contains(text, "model_not_found") {
		t.Errorf("/v1/models/org/other is %d %s", status, text)
	}
	if status, text := get("/v1/chat/completions"); status != 405 || !strings.Contains(text, "only POST") {
		t.Errorf("GET /v1/chat/completions is %d %s", status, text)
	}
}

func TestEmbeddingsEqualLlamaServers(t *testing.T) {
	t.Parallel()
	spec := ofType(tinygguf.Embed(), tinygguf.F32)
	ours, _ := serve(t, build(t, spec), Options{})
	theirs := enginetest.LlamaServer(t, enginetest.Options{Model: spec, Args: append([]string{"--embeddings"}, sameNumbers...)})
	body := `{"input":["The queue is fair.","` + strings.Repeat("the grid ", 30) + `"]}`
	type answer struct {
		Data  []struct{ Embedding []float32 }
		Usage struct {
			Prompt int `json:"prompt_tokens"`
		}
	}
	_, text := call(t, ours+"/v1/embeddings", body)
	got := decode[answer](t, text)
	_, text = call(t, theirs+"/v1/embeddings", body)
	want := decode[answer](t, text)
	if len(got.Data) != 2 || len(want.Data) != 2 || got.Usage != want.Usage {
		t.Fatalf("%d vectors for %d tokens, llama-server %d for %d", len(got.Data), got.Usage.Prompt, len(want.Data), want.Usage.Prompt)
	}
	for i := range got.Data {
		if same := dot(got.Data[i].Embedding, want.Data[i].Embedding); same < 0.99999 {
			t.Errorf("embedding %d has the cosine %g with llama-server's, want 1", i, same)
		}
	}
	if status, text := call(t, ours+"/v1/embeddings", `{"input":"x","encoding_format":"base64"}`); status != 200 || !strings.Contains(text, `"embedding":"`) {
		t.Errorf("as base64: %d %s", status, text)
	}
	if status, text := call(t, ours+"/v1/chat/completions", `{"messages":[{"role":"user","content":"x"}]}`); status != 400 || !strings.Contains(text, "/v1/embeddings") {
		t.Errorf("a chat with an embedding model: %d %s", status, text)
	}
}

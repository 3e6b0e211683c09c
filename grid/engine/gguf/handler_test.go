package gguf

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

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

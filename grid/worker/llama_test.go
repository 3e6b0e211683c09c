package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"lobstah/grid"
	"lobstah/grid/engine"
	"lobstah/internal/enginetest"
	"lobstah/internal/tinygguf"
	"lobstah/openai"
	"lobstah/receipt"
)

// plainClient makes a connection for each call, as a kept one may just be
// closed by the engine.
var plainClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// httpEngine is the plainest engine over HTTP.
type httpEngine struct{ url string }

func (e httpEngine) Name() string { return "llama-server at " + e.url }

func (e httpEngine) Models(ctx context.Context) ([]grid.Model, error) {
	body, err := e.read(ctx, "/v1/models")
	if err != nil {
		return nil, err
	}
	var list struct{ Data []grid.Model }
	return list.Data, json.Unmarshal(body, &list)
}

func (e httpEngine) read(ctx context.Context, path string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, "GET", e.url+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := plainClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

func (e httpEngine) Do(ctx context.Context, call engine.Call) (*engine.Answer, error) {
	r, err := http.NewRequestWithContext(ctx, "POST", e.url+call.Path, bytes.NewReader(call.Body))
	if err != nil {
		return nil, err
	}
	r.Header = call.Header
	resp, err := plainClient.Do(r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return nil, err
		}
		return nil, openai.ParseError(resp.StatusCode, body)
	}
	return &engine.Answer{Status: resp.StatusCode, ContentType: resp.Header.Get("Content-Type"), Body: resp.Body}, nil
}

// TestRealEngine speaks every dialect to a llama-server, whole and streamed.
func TestRealEngine(t *testing.T) {
	t.Parallel()
	l := &fakeLedger{}
	e := httpEngine{enginetest.LlamaServer(t, enginetest.Options{Alias: "words", Slots: 2})}
	url := serve(t, remote(newTestWorker(e, l, func(c *Config) { c.Concurrency = 2 }), lan))
	const say = `"messages":[{"role":"user","content":"the cat"}]`
	for name, tt := range map[string]struct{ path, body, in string }{
		"chat":        {chatPath, `{"model":"words",` + say + `,"max_tokens":8,"temperature":0%s}`, `"content"`},
		"completions": {"/v1/completions", `{"model":"words","prompt":"the cat","max_tokens":8,"temperature":0%s}`, `"text"`},
		"responses":   {"/v1/responses", `{"model":"words","input":"the cat","max_output_tokens":8,"temperature":0%s}`, `"output_text"`},
		"messages":    {"/v1/messages", `{"model":"words",` + say + `,"max_tokens":8,"temperature":0%s}`, `"text"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Run("whole", func(t *testing.T) {
				got := do(t, post(t, url, tt.path, strings.Replace(tt.body, "%s", "", 1), signedBy(peer)))
				if got.status != 200 || !strings.Contains(got.body, tt.in) {
					t.Fatalf("%d %s", got.status, got.body)
				}
				s, err := receipt.OpenText(got.header.Get(receipt.Header))
				if err != nil {
					t.Fatal(err)
				}
				checkRealReceipt(t, s, tt.path, receipt.HashBody([]byte(got.body)))
			})
			t.Run("stream", func(t *testing.T) {
				got := do(t, post(t, url, tt.path, strings.Replace(tt.body, "%s", `,"stream":true`, 1), signedBy(peer)))
				before, after, ok := strings.Cut(got.body, receipt.CommentPrefix)
				if got.status != 200 || !ok || !strings.Contains(before, tt.in) {
					t.Fatalf("%d %s", got.status, got.body)
				}
				text, tail, _ := strings.Cut(after, "\n\n")
				s, err := receipt.OpenText(text)
				if err != nil {
					t.Fatal(err)
				}
				checkRealReceipt(t, s, tt.path, hashOfStream(t, before))
				if want := openai.DialectOf(tt.path).OpenAI(); (tail == "data: [DONE]\n\n") != want || !want && tail != "" {
					t.Errorf("behind the receipt: %q", tail)
				}
				if name == "chat" && strings.Contains(before, `"usage":{`) {
					t.Errorf("usage was not asked for: %s", before)
				}
			})
		})
	}
	t.Run("count_tokens", func(t *testing.T) {
		n := len(l.receipts())
		got := do(t, post(t, url, "/v1/messages/count_tokens", `{"model":"words",`+say+`}`, signedBy(peer)))
		if got.status != 200 || !strings.Contains(got.body, "input_tokens") || len(l.receipts()) != n {
			t.Errorf("%d %s, %d receipts more", got.status, got.body, len(l.receipts())-n)
		}
	})
	t.Run("its refusal", func(t *testing.T) {
		got := do(t, post(t, url, chatPath, `{"model":"words","messages":7}`, signedBy(peer)))
		if got.status != 400 || !strings.Contains(got.body, `"error"`) {
			t.Errorf("%d %s", got.status, got.body)
		}
	})
}

func checkRealReceipt(t *testing.T, s *receipt.Signed, path, responseHash string) {
	t.Helper()
	if s.TokenSource != receipt.FromEngine || s.InputTokens == 0 || s.OutputTokens == 0 || s.OutputTokens > 8 || s.FinishReason == "" || s.RequestPath != path || s.ResponseHash != responseHash {
		t.Errorf("receipt %+v; want response hash %s", s.Receipt, responseHash)
	}
	if err := s.Countersigned(); err != nil {
		t.Error(err)
	}
}

func TestEmbeddings(t *testing.T) {
	t.Parallel()
	l := &fakeLedger{}
	e := httpEngine{enginetest.LlamaServer(t, enginetest.Options{Model: tinygguf.Embed(), Alias: "embed", Args: []string{"--embedding"}})}
	url := serve(t, newTestWorker(e, l, nil))
	got := do(t, post(t, url, "/v1/embeddings", `{"model":"embed","input":["the cat","a dog"]}`, signedBy(peer)))
	if got.status != 200 || strings.Count(got.body, `"embedding":[`) != 2 {
		t.Fatalf("%d %.300s", got.status, got.body)
	}
	s, err := receipt.OpenText(got.header.Get(receipt.Header))
	if err != nil {
		t.Fatal(err)
	}
	if s.InputTokens == 0 || s.OutputTokens != 0 || s.TokenSource != receipt.FromEngine || s.ResponseHash != receipt.HashBody([]byte(got.body)) {
		t.Errorf("receipt %+v", s.Receipt)
	}
}

// TestToolsTravel shows that tool calls pass through, which the original drops.
func TestToolsTravel(t *testing.T) {
	t.Parallel()
	e := httpEngine{enginetest.LlamaServer(t, enginetest.Options{Model: tinygguf.Tool(), Alias: "tool", Args: []string{"--jinja"}})}
	url := serve(t, newTestWorker(e, &fakeLedger{}, nil))
	body := `{"model":"tool","messages":[{"role":"user","content":[{"type":"text","text":"weather"}]}],"temperature":0,
		"tools":[{"type":"function","function":{"name":"get_weather","parameters":{"type":"object","properties":{"city":{"type":"string"}}}}}]`
	got := do(t, post(t, url, chatPath, body+`}`))
	if got.status != 200 || !strings.Contains(got.body, `"tool_calls"`) {
		t.Errorf("whole: %d %s", got.status, got.body)
	}
	got = do(t, post(t, url, chatPath, body+`,"stream":true}`))
	if got.status != 200 || !strings.Contains(got.body, `"tool_calls"`) || !strings.Contains(got.body, "[DONE]") {
		t.Errorf("stream: %d %s", got.status, got.body)
	}
}

// TestCancelFreesTheEngine leaves a real engine in the middle of a long answer,
// and before its first token; it is free at once for the next.
func TestCancelFreesTheEngine(t *testing.T) {
	t.Parallel()
	l := &fakeLedger{}
	e := httpEngine{enginetest.LlamaServer(t, enginetest.Options{Model: tinygguf.Slow(), Alias: "slow"})}
	w := newTestWorker(e, l, nil)
	url := serve(t, w)
	body := `{"model":"slow","messages":[{"role":"user","content":"the cat"}],"stream":true,"ignore_eos":true,"max_tokens":100000}`
	for _, bytes := range []int64{600, 0} {
		ctx, cancel := context.WithCancel(t.Context())
		r := post(t, url, chatPath, body, signedBy(peer)).WithContext(ctx)
		if bytes == 0 {
			time.AfterFunc(20*time.Millisecond, cancel)
		}
		if resp, err := http.DefaultClient.Do(r); err == nil {
			_, _ = io.CopyN(io.Discard, resp.Body, bytes)
			resp.Body.Close()
		}
		cancel()
	}
	start := time.Now()
	got := do(t, post(t, url, chatPath, `{"model":"slow","messages":[{"role":"user","content":"x"}],"max_tokens":1}`, signedBy(peer)))
	if got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	t.Logf("the next answer took %s", time.Since(start).Round(time.Millisecond))
	if err := w.Drain(t.Context()); err != nil { // all receipts are written
		t.Fatal(err)
	}
	if s := l.receipts(); len(s) < 2 || s[0].FinishReason != "cancelled" || s[0].OutputTokens == 0 {
		t.Errorf("receipts %+v", s)
	}
}

// TestEngineCrash kills the engine in the middle of an answer.
func TestEngineCrash(t *testing.T) {
	t.Parallel()
	l := &fakeLedger{}
	server := enginetest.StartLlamaServer(t, enginetest.Options{Model: tinygguf.Slow(), Alias: "slow"})
	url := serve(t, newTestWorker(httpEngine{server.URL}, l, nil))
	body := `{"model":"slow","messages":[{"role":"user","content":"the cat"}],"stream":true,"ignore_eos":true,"max_tokens":100000}`
	resp, err := http.DefaultClient.Do(post(t, url, chatPath, body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.CopyN(io.Discard, resp.Body, 600); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	rest, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(rest), `{"error":{`) || strings.Contains(string(rest), "[DONE]") {
		t.Errorf("the rest: %q %v", rest[max(0, len(rest)-300):], err)
	}
	if n := len(l.receipts()); n != 0 {
		t.Errorf("%d receipts", n)
	}
}

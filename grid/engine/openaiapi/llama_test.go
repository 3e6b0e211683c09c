package openaiapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"lobstah/grid"
	"lobstah/grid/engine"
	"lobstah/internal/enginetest"
	"lobstah/internal/tinygguf"
	"lobstah/openai"
)

// do sends a call that must succeed.
func do(t *testing.T, e *Engine, path, body string) *engine.Answer {
	t.Helper()
	answer, err := e.Do(t.Context(), engine.Call{Path: path, Body: []byte(body)})
	if err != nil {
		t.Fatalf("%s %s: %v", path, body, err)
	}
	t.Cleanup(func() { answer.Body.Close() })
	return answer
}

// stream reads a stream to its end, as a worker does.
func stream(t *testing.T, e *Engine, path, body string) *openai.Meter {
	t.Helper()
	meter, err := watch(do(t, e, path, body), path, nil)
	if err != nil {
		t.Fatalf("%s %s: %v", path, body, err)
	}
	return meter
}

// watch meters a stream; each is called with every event.
func watch(answer *engine.Answer, path string, each func(openai.Event)) (*openai.Meter, error) {
	meter := openai.NewMeter(openai.DialectOf(path))
	for scanner := openai.NewScanner(answer.Body); ; {
		event, err := scanner.Next()
		if err == io.EOF {
			return meter, nil
		}
		if err != nil {
			return meter, err
		}
		meter.Event(event.Data)
		if each != nil {
			each(event)
		}
	}
}

// whole meters an answer that is no stream.
func whole(t *testing.T, e *Engine, path, body string) *openai.Meter {
	t.Helper()
	text, err := io.ReadAll(do(t, e, path, body).Body)
	if err != nil {
		t.Fatal(err)
	}
	meter := openai.NewMeter(openai.DialectOf(path))
	meter.Body(text)
	return meter
}

func llama(t *testing.T, o enginetest.Options) (*Engine, *enginetest.Engine) {
	t.Helper()
	server := enginetest.StartLlamaServer(t, o)
	return newEngine(t, Config{BaseURL: server.URL, Key: o.APIKey}), server
}

const hello = `"messages":[{"role":"user","content":"Hello grid"}]`

func TestLlamaServerDialects(t *testing.T) {
	t.Parallel()
	e, _ := llama(t, enginetest.Options{Alias: "tiny,other-name"})
	models, err := e.Models(t.Context())
	slices.SortFunc(models, func(a, b grid.Model) int { return strings.Compare(a.ID, b.ID) })
	if err != nil || len(models) != 2 || models[0].ID != "other-name" || models[1].ID != "tiny" || models[0].ContextLength != 2048 || models[0].Quantization != "F16" {
		t.Fatalf("Models() = %+v, %v; want tiny and other-name with facts", models, err)
	}
	for _, test := range []struct{ path, body string }{
		{"/v1/chat/completions", `{"model":"tiny","temperature":0,"max_tokens":6,` + hello + `}`},
		{"/v1/completions", `{"model":"tiny","temperature":0,"max_tokens":6,"prompt":"The grid"}`},
		{"/v1/responses", `{"model":"tiny","temperature":0,"max_output_tokens":6,"input":"Hello grid"}`},
		{"/v1/messages", `{"model":"other-name","temperature":0,"max_tokens":6,` + hello + `}`},
	} {
		answered := whole(t, e, test.path, test.body)
		if !answered.Ended() || answered.Usage.Input == 0 || answered.Usage.Output == 0 || answered.Usage.Output > 6 {
			t.Errorf("%s: metered as %+v, failure %v", test.path, answered, answered.Failure)
		}
		streamed := stream(t, e, test.path, strings.Replace(test.body, "{", `{"stream":true,`, 1))
		if !streamed.Ended() || streamed.Usage.Input != answered.Usage.Input || streamed.Usage.Output == 0 || streamed.Deltas == 0 {
			t.Errorf("%s, streaming: metered as %+v, failure %v; the whole answer as %+v", test.path, streamed, streamed.Failure, answered)
		}
	}
	count := whole(t, e, "/v1/messages/count_tokens", `{"model":"tiny",`+hello+`}`)
	if !count.Ended() || count.Usage.Input != 6 {
		t.Errorf("count_tokens: metered as %+v", count)
	}
}

// Usage that was asked for comes as a last chunk of its own, and agrees with the
// timings that come anyway.
func TestLlamaServerUsage(t *testing.T) {
	t.Parallel()
	e, _ := llama(t, enginetest.Options{Alias: "tiny"})
	const body = `{"model":"tiny","stream":true,"seed":7,"temperature":0,"max_tokens":9,` + hello + `%}`
	timed := stream(t, e, "/v1/chat/completions", strings.Replace(body, "%", "", 1))
	usageEvents := 0
	meter := openai.NewMeter(openai.Chat)
	answer := do(t, e, "/v1/chat/completions", strings.Replace(body, "%", `,"stream_options":{"include_usage":true}`, 1))
	counted, err := watch(answer, "/v1/chat/completions", func(event openai.Event) {
		if meter.Event(event.Data) {
			usageEvents++
		}
	})
	if err != nil || usageEvents != 1 || !counted.Usage.Known || counted.Usage.Timings {
		t.Errorf("with include_usage: %+v, %d events with usage alone, %v", counted.Usage, usageEvents, err)
	}
	if !timed.Usage.Timings || timed.Usage.Input != counted.Usage.Input || timed.Usage.Output != counted.Usage.Output {
		t.Errorf("timings say %+v; usage says %+v", timed.Usage, counted.Usage)
	}
}

func TestLlamaServerTools(t *testing.T) {
	t.Parallel()
	e, _ := llama(t, enginetest.Options{Model: tinygguf.Tool(), Alias: "tool"})
	models, err := e.Models(t.Context())
	if err != nil || len(models) != 1 || !slices.Contains(models[0].Capabilities, "tools") {
		t.Errorf("Models() = %+v, %v; want the capability tools", models, err)
	}
	const tools = `"tools":[{"type":"function","function":{"name":"add","parameters":{"type":"object"}}}],`
	body := `{"model":"tool","stream":true,"temperature":0,` + tools + hello + `}`
	var arguments strings.Builder
	var name strings.Builder
	meter, err := watch(do(t, e, "/v1/chat/completions", body), "/v1/chat/completions", func(event openai.Event) {
		var chunk struct {
			Choices []struct {
				Delta struct {
					Calls []struct {
						Function struct{ Name, Arguments string }
					} `json:"tool_calls"`
				}
			}
		}
		if json.Unmarshal(event.Data, &chunk) != nil {
			return // [DONE]
		}
		for _, choice := range chunk.Choices {
			for _, call := range choice.Delta.Calls {
				name.WriteString(call.Function.Name)
				arguments.WriteString(call.Function.Arguments)
			}
		}
	})
	if err != nil || meter.Finish != "tool_calls" || name.String() == "" || !json.Valid([]byte(arguments.String())) || meter.Deltas == 0 {
		t.Errorf("a tool call %s(%s), metered as %+v, %v", name.String(), arguments.String(), meter, err)
	}
	// Cut inside the call: the arguments are no JSON, and that is how it is.
	cut := stream(t, e, "/v1/chat/completions", strings.Replace(body, "{", `{"max_tokens":3,`, 1))
	if cut.Finish != "length" || !cut.Ended() {
		t.Errorf("a call that max_tokens cut is metered as %+v", cut)
	}
}

func TestLlamaServerThinking(t *testing.T) {
	t.Parallel()
	e, _ := llama(t, enginetest.Options{Model: tinygguf.Think(), Alias: "think"})
	models, err := e.Models(t.Context())
	if err != nil || len(models) != 1 || !slices.Contains(models[0].Capabilities, "thinking") {
		t.Errorf("Models() = %+v, %v; want the capability thinking", models, err)
	}
	var all bytes.Buffer
	meter, err := watch(do(t, e, "/v1/chat/completions", `{"model":"think","stream":true,"temperature":0,`+hello+`}`), "/v1/chat/completions",
		func(event openai.Event) { all.Write(event.Data) })
	if err != nil || !meter.Ended() || !strings.Contains(all.String(), `"reasoning_content":"`) {
		t.Errorf("thinking arrives as %s, metered as %+v, %v", all.String(), meter, err)
	}
	if meter.Usage.Output < meter.Deltas {
		t.Errorf("%d events with output, but %d tokens", meter.Deltas, meter.Usage.Output)
	}
}

func TestLlamaServerEmbeddings(t *testing.T) {
	t.Parallel()
	e, _ := llama(t, enginetest.Options{Model: tinygguf.Embed(), Alias: "embed", Args: []string{"--embeddings"}})
	if meter := whole(t, e, "/v1/embeddings", `{"model":"embed","input":["a","hello"]}`); !meter.Ended() || meter.Usage.Input == 0 {
		t.Errorf("metered as %+v, failure %v", meter, meter.Failure)
	}
}

func TestLlamaServerKey(t *testing.T) {
	t.Parallel()
	const key = "a-secret-key"
	e, server := llama(t, enginetest.Options{Alias: "tiny", APIKey: key})
	if meter := whole(t, e, "/v1/chat/completions", `{"model":"tiny","max_tokens":2,`+hello+`}`); !meter.Ended() {
		t.Errorf("with the key: %v", meter.Failure)
	}
	if strings.Contains(e.Name()+e.Address(), key) {
		t.Errorf("the name tells the key: %s", e.Name())
	}
	for _, wrong := range []string{"", "wrong-secret"} {
		_, err := newEngine(t, Config{BaseURL: server.URL, Key: wrong}).Models(t.Context())
		refusal, ok := errors.AsType[*openai.Error](err)
		if !ok || refusal.Status != http.StatusBadGateway || refusal.Code != "engine_key" || wrong != "" && strings.Contains(err.Error(), wrong) {
			t.Errorf("with the key %q: %v", wrong, err)
		}
	}
}

// llama-server closes a connection after a stream and does not say so. The calls
// that come next must not be lost with it.
func TestLlamaServerClosesAfterStreams(t *testing.T) {
	t.Parallel()
	e, _ := llama(t, enginetest.Options{Alias: "tiny"})
	for range 40 {
		stream(t, e, "/v1/chat/completions", `{"model":"tiny","stream":true,"max_tokens":2,`+hello+`}`)
		whole(t, e, "/v1/chat/completions", `{"model":"tiny","max_tokens":2,`+hello+`}`)
	}
}

// slow is a stream of which the engine would make some 1,500 tokens, at some
// dozens a second.
const slow = `{"model":"slow","stream":true,"max_tokens":1500,"ignore_eos":true,` + hello + `}`

// One slow engine is left by a client, and then dies.
func TestLlamaServerCutShort(t *testing.T) {
	t.Parallel()
	e, server := llama(t, enginetest.Options{Model: tinygguf.Slow(), Alias: "slow"})
	checkCancel(t, e, server)
	checkCrash(t, e, server)
}

// checkCancel makes sure that a client that leaves frees the only slot at once.
func checkCancel(t *testing.T, e *Engine, server *enginetest.Engine) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	answer, err := e.Do(ctx, engine.Call{Path: "/v1/chat/completions", Body: []byte(slow)})
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	events := 0
	_, err = watch(answer, "/v1/chat/completions", func(openai.Event) {
		if events++; events == 3 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("the stream ended with %v after %d events; want the context's error", err, events)
	}
	waitUntil(t, "the slot is free", func() bool {
		response, err := http.Get(server.URL + "/slots")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		var slots []struct {
			Busy bool `json:"is_processing"`
		}
		return json.NewDecoder(response.Body).Decode(&slots) == nil && len(slots) == 1 && !slots[0].Busy
	})
}

// checkCrash makes sure that an engine that dies in the middle of a stream is a
// failure, not an end.
func checkCrash(t *testing.T, e *Engine, server *enginetest.Engine) {
	t.Helper()
	events := 0
	meter, err := watch(do(t, e, "/v1/chat/completions", slow), "/v1/chat/completions", func(openai.Event) {
		if events++; events == 3 {
			server.Kill()
		}
	})
	if err == nil || meter.Ended() {
		t.Errorf("the stream of a dead engine: %v, ended %v", err, meter.Ended())
	}
	_, err = e.Do(t.Context(), engine.Call{Path: "/v1/chat/completions", Body: []byte(slow)})
	if refusal, ok := errors.AsType[*openai.Error](err); !ok || refusal.Status != 502 || !strings.Contains(refusal.Message, server.URL) {
		t.Errorf("the next call: %v; want 502 that names the address", err)
	}
}

func waitUntil(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(2 * time.Minute); !is(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("after 2 minutes it is not true that %s", what)
		}
	}
}

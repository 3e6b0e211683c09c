package anthropic

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"lobstah/grid/engine"
	"lobstah/grid/engine/openaiapi"
	"lobstah/openai"
)

const chatPath = "/v1/chat/completions"

// service answers like Anthropic's, in the words of its documentation.
func service(t *testing.T, status int, contentType, body string) (*openaiapi.Engine, *http.Request) {
	t.Helper()
	seen := new(http.Request)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			fmt.Fprint(w, `{"data":[{"type":"model","id":"claude-x","display_name":"X"}],"has_more":false}`)
			return
		}
		*seen = *r.Clone(t.Context())
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	t.Cleanup(server.Close)
	e, err := New(Config{BaseURL: server.URL, Key: "secret-key", Transport: server.Client().Transport})
	if err != nil {
		t.Fatal(err)
	}
	return e, seen
}

func ask(t *testing.T, e *openaiapi.Engine, path, more string) (string, error) {
	t.Helper()
	return askModel(t, e, "claude-x", path, more)
}

func askModel(t *testing.T, e *openaiapi.Engine, model, path, more string) (string, error) {
	t.Helper()
	a, err := e.Do(t.Context(), engine.Call{Path: path, Body: []byte(`{"model":"` + model + `","max_tokens":9,"messages":[{"role":"user","content":"hi"}]` + more + `}`)})
	if err != nil {
		return "", err
	}
	defer a.Body.Close()
	raw, err := io.ReadAll(a.Body)
	return string(raw), err
}

const schema = `,"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object"}}}`

func TestWholeAnswers(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, more, content, stop, want string }{
		{"text", "", `{"type":"text","text":"hel"},{"type":"text","text":"lo"}`, "end_turn",
			`{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}`},
		{"thought", "", `{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"a"}`, "max_tokens",
			`{"index":0,"message":{"role":"assistant","content":"a","reasoning_content":"hm"},"finish_reason":"length"}`},
		{"call", "", `{"type":"tool_use","id":"t1","name":"f","input":{"x":1}}`, "tool_use",
			`{"index":0,"message":{"role":"assistant","content":"","tool_calls":[{"id":"t1","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}}]},"finish_reason":"tool_calls"}`},
		{"structured", schema, `{"type":"tool_use","id":"t1","name":"structured_answer","input":{"x":1}}`, "tool_use",
			`{"index":0,"message":{"role":"assistant","content":"{\"x\":1}"},"finish_reason":"stop"}`},
		{"refusal", "", ``, "refusal", `{"index":0,"message":{"role":"assistant","content":""},"finish_reason":"content_filter"}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e, seen := service(t, 200, "application/json", `{"type":"message","id":"msg_1","model":"claude-x-1","role":"assistant","content":[`+test.content+
				`],"stop_reason":"`+test.stop+`","usage":{"input_tokens":3,"cache_read_input_tokens":4,"cache_creation_input_tokens":5,"output_tokens":2}}`)
			got, err := ask(t, e, chatPath, test.more)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(got, `"choices":[`+test.want+`]`) {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			for _, want := range []string{`"id":"msg_1"`, `"object":"chat.completion"`, `"model":"claude-x-1"`,
				`"usage":{"prompt_tokens":12,"completion_tokens":2,"total_tokens":14,"prompt_tokens_details":{"cached_tokens":4}}`} {
				if !strings.Contains(got, want) {
					t.Errorf("%s lacks %s", got, want)
				}
			}
			h := seen.Header
			if seen.URL.Path != "/v1/messages" || h.Get("X-Api-Key") != "secret-key" || h.Get("Authorization") != "" || h.Get("Anthropic-Version") != version {
				t.Errorf("it asked %s with %v", seen.URL, h)
			}
		})
	}
}

func events(list ...string) string {
	var b strings.Builder
	for _, data := range list {
		var e event
		if json.Unmarshal([]byte(data), &e) != nil {
			panic(data)
		}
		fmt.Fprintf(&b, "event: %s\ndata: %s\n\n", e.Type, data)
	}
	return b.String()
}

const began = `{"type":"message_start","message":{"type":"message","id":"msg_1","model":"claude-x-1","content":[],"stop_reason":null,"usage":{"input_tokens":3,"output_tokens":1}}}`

func TestStreams(t *testing.T) {
	t.Parallel()
	e, _ := service(t, 200, "text/event-stream", events(began,
		`{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}`,
		`{"type":"ping"}`,
		`{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}`,
		`{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"xx"}}`,
		`{"type":"content_block_stop","index":0}`,
		`{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}`,
		`{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"hel"}}`,
		`{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"lo"}}`,
		`{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"t1","name":"f","input":{}}}`,
		`{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":""}}`,
		`{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"x\":"}}`,
		`{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"1}"}}`,
		`{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":7}}`,
		`{"type":"message_stop"}`))
	got, err := ask(t, e, chatPath, `,"stream":true,"stream_options":{"include_usage":true}`)
	if err != nil {
		t.Fatal(err)
	}
	var deltas []string
	meter := openai.NewMeter(openai.Chat)
	for scanner := openai.NewScanner(strings.NewReader(got)); ; {
		event, err := scanner.Next()
		if err != nil {
			break
		}
		if _, after, found := strings.Cut(string(event.Data), `"choices":`); found {
			deltas = append(deltas, strings.TrimSuffix(after, "}"))
		}
		meter.Event(event.Data)
	}
	want := []string{
		`[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]`,
		`[{"index":0,"delta":{"reasoning_content":"hm"},"finish_reason":null}]`,
		`[{"index":0,"delta":{"content":"hel"},"finish_reason":null}]`,
		`[{"index":0,"delta":{"content":"lo"},"finish_reason":null}]`,
		`[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"t1","type":"function","function":{"name":"f","arguments":""}}]},"finish_reason":null}]`,
		`[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\":"}}]},"finish_reason":null}]`,
		`[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]},"finish_reason":null}]`,
		`[{"index":0,"delta":{},"finish_reason":"tool_calls"}]`,
		`[],"usage":{"prompt_tokens":3,"completion_tokens":7,"total_tokens":10,"prompt_tokens_details":{"cached_tokens":0}}`,
	}
	if strings.Join(deltas, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(deltas, "\n"), strings.Join(want, "\n"))
	}
	if !meter.Ended() || meter.Usage != (openai.Usage{Input: 3, Output: 7, Known: true}) || !strings.HasSuffix(got, "data: [DONE]\n\n") {
		t.Errorf("the meter says %+v of %s", meter, got)
	}
}

// A stream that breaks never looks like one that ended.
func TestBrokenStreams(t *testing.T) {
	t.Parallel()
	e, _ := service(t, 200, "text/event-stream", events(began))
	if got, err := ask(t, e, chatPath, `,"stream":true`); !errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(got, openai.Done) {
		t.Errorf("cut: %q, %v", got, err)
	}
	e, _ = service(t, 200, "text/event-stream", events(began, `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`))
	got, err := ask(t, e, chatPath, `,"stream":true`)
	if err != nil || !strings.Contains(got, "Overloaded") || strings.Contains(got, openai.Done) {
		t.Errorf("failed: %q, %v", got, err)
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	e, _ := service(t, 529, "application/json", `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`)
	var failure *openai.Error
	if _, err := ask(t, e, chatPath, ""); !errors.As(err, &failure) || failure.Status != 529 || failure.Message != "Overloaded" {
		t.Errorf("overloaded: %v", err)
	}
	if _, err := ask(t, e, "/v1/embeddings", `,"input":"x"`); !errors.As(err, &failure) || failure.Status != 404 || failure.Code != "unsupported_path" {
		t.Errorf("embeddings: %v", err)
	}
	if _, err := ask(t, e, chatPath, `,"n":2`); !errors.As(err, &failure) || failure.Status != 400 || failure.Param != "n" {
		t.Errorf("two choices: %v", err)
	}
	e, _ = service(t, 401, "application/json", `{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}`)
	if _, err := ask(t, e, chatPath, ""); !errors.As(err, &failure) || failure.Status != 502 || failure.Code != openaiapi.KeyRefused || strings.Contains(err.Error(), "secret-key") {
		t.Errorf("a wrong key: %v", err)
	}
	e, _ = service(t, 200, "application/json", `{"type":"message","content":[]}`)
	if _, err := ask(t, e, chatPath, ""); !errors.As(err, &failure) || failure.Status != 502 || !strings.Contains(failure.Message, "no finished message") {
		t.Errorf("an unfinished answer: %v", err)
	}
}

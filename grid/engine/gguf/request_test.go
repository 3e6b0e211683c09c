package gguf

import (
	"net/http"
	"strings"
	"testing"
)

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

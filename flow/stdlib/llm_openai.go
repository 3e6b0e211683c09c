package stdlib

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"lobstah/flow/interp"
	"lobstah/flow/value"
)

// localRouters are where a lobstah router of this machine listens, first choice first.
var localRouters = []string{"http://127.0.0.1:17475/v1", "http://127.0.0.1:19001/v1"}

// openaiAdapter talks to any OpenAI-compatible address: OPENAI_BASE_URL, else LOBSTAH_ROUTER_URL, else the router of this machine.
// OPENAI_API_KEY goes to OPENAI_BASE_URL only.
func openaiAdapter(call *interp.Call) (adapter, error) {
	token := trimmedFlag(call, "token")
	base := value.Trim(call.Var("OPENAI_BASE_URL"))
	if base != "" {
		token = first(token, value.Trim(call.Var("OPENAI_API_KEY")))
	}
	if base = first(base, value.Trim(call.Var("LOBSTAH_ROUTER_URL"))); base != "" {
		if _, err := parseHTTP(call.Name, base); err != nil {
			return adapter{}, err
		}
	}
	return adapter{provider: "openai", url: base, token: token, call: openaiCall}, nil
}

// findRouter returns the first address of this machine at which a router answers.
func findRouter(ctx context.Context, env *interp.Env, command string) (string, error) {
	for _, base := range localRouters {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/models", nil)
		if err != nil || env.HTTP == nil {
			return "", errors.Join(err, interp.ErrNoHandler)
		}
		res, err := env.HTTP(req)
		if err != nil {
			continue
		}
		_ = res.Body.Close()
		if res.StatusCode == http.StatusOK {
			return base, nil
		}
	}
	return "", fmt.Errorf("%s found no lobstah router on this machine; set OPENAI_BASE_URL or LOBSTAH_ROUTER_URL for provider=openai", command)
}

func openaiCall(ctx context.Context, q *query, payload value.Value) (value.Value, error) {
	base := q.adapter.url
	if base == "" {
		var err error
		if base, err = findRouter(ctx, q.call.Env, q.call.Name); err != nil {
			return value.Undefined, err
		}
	}
	if q.model == "" {
		return value.Undefined, fmt.Errorf("%s requires --model or LOBSTER_LLM_MODEL for provider=openai", q.call.Name)
	}
	q.adapter.url = strings.TrimSuffix(base, "/") + "/chat/completions"
	v, err := q.post(ctx, chatRequest(q, payload.Field("retryContext")))
	q.adapter.url = base
	if err != nil {
		return value.Undefined, err
	}
	return chatResult(q, v)
}

// chatRequest words a query as a chat: the artifacts and then the prompt.
func chatRequest(q *query, retry value.Value) value.Value {
	var parts []string
	for _, a := range q.artifacts {
		if text, ok := a.Field("text").AsString(); ok && value.Text(a.Field("kind")) == "text" {
			parts = append(parts, text)
			continue
		}
		parts = append(parts, a.JSON())
	}
	parts = append(parts, q.prompt)
	if !retry.IsUndefined() {
		parts = append(parts, "Your last answer did not fit the schema: "+value.Join(retry.Field("validationErrors"), "; ")+". Answer again.")
	}
	message := value.Record(value.F("role", value.String("user")), value.F("content", value.String(strings.Join(parts, "\n\n"))))
	return value.Record(value.F("model", value.String(q.model)), value.F("messages", value.List(message)),
		value.F("temperature", q.temperature), value.F("max_tokens", q.maxTokens), value.F("response_format", responseFormat(q.schema)))
}

func responseFormat(schema value.Value) value.Value {
	if schema.IsUndefined() {
		return schema
	}
	return value.Record(value.F("type", value.String("json_schema")), value.F("json_schema",
		value.Record(value.F("name", value.String("answer")), value.F("schema", schema))))
}

// chatResult takes the answer out of a chat completion. Under a schema the text is read as JSON; what is no JSON stays text and then
// fails the schema.
func chatResult(q *query, v value.Value) (value.Value, error) {
	message := v.Field("choices").Property("0").Property("message")
	text, ok := message.Property("content").AsString()
	if !ok {
		return value.Undefined, fmt.Errorf("%s received invalid response envelope", q.call.Name)
	}
	data := value.Undefined
	if q.check != nil {
		if parsed, err := value.Parse(stripFence(text)); err == nil {
			data = parsed
		}
	}
	usage := v.Field("usage")
	if usage.Kind() == value.KindObject {
		usage = value.Record(value.F("inputTokens", usage.Field("prompt_tokens")), value.F("outputTokens", usage.Field("completion_tokens")),
			value.F("totalTokens", usage.Field("total_tokens")))
	}
	return value.Record(value.F("runId", v.Field("id")), value.F("model", v.Field("model")), value.F("usage", usage),
		value.F("output", value.Record(value.F("text", value.String(text)), value.F("data", data)))), nil
}

// stripFence takes a Markdown code fence off.
func stripFence(text string) string {
	text = value.Trim(text)
	if inner, ok := strings.CutPrefix(text, "```"); ok {
		_, inner, _ = strings.Cut(inner, "\n")
		return strings.TrimSuffix(value.Trim(inner), "```")
	}
	return text
}

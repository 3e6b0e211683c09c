package stdlib

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"lobstah/flow/interp"
	"lobstah/flow/value"
)

// localRouters are where a lobstah router of this machine listens, first choice first.
var localRouters = []string{"http://127.0.0.1:17475/v1", "http://127.0.0.1:19001/v1"}

// routerPatience is how long this machine's router may take to say that it is there.
const routerPatience = 2 * time.Second

// openaiAdapter talks to any OpenAI-compatible address: OPENAI_BASE_URL, else LOBSTAH_ROUTER_URL, else the router of this machine, which is
// looked for when it is needed: kept answers need none. OPENAI_API_KEY goes to OPENAI_BASE_URL only, LOBSTAH_API_KEY to the other two.
func openaiAdapter(call *interp.Call) (adapter, error) {
	base, key := value.Trim(call.Var("OPENAI_BASE_URL")), "OPENAI_API_KEY"
	isRouter := base == ""
	if isRouter {
		base, key = value.Trim(call.Var("LOBSTAH_ROUTER_URL")), "LOBSTAH_API_KEY"
	}
	if base != "" {
		if _, err := parseHTTP(call.Name, base); err != nil {
			return adapter{}, err
		}
	}
	token := first(trimmedFlag(call, "token"), value.Trim(call.Var(key)))
	choose := func(ctx context.Context, q *query) (string, error) { return chooseModel(ctx, q, isRouter) }
	return adapter{provider: "openai", url: base, token: token, choose: choose, call: openaiCall}, nil
}

// unnamedAdapter is who runs models when nothing names a provider: what the variables of [openaiAdapter] name, or a router that answers here.
func unnamedAdapter(ctx context.Context, call *interp.Call) (adapter, error) {
	a, err := openaiAdapter(call)
	if err == nil && a.url == "" {
		if a.url, err = findRouter(ctx, call, a.token); err != nil {
			err = ErrNoProvider
		}
	}
	return a, err
}

// findRouter returns the first address of this machine at which a router answers, if only to say that it wants a key.
func findRouter(ctx context.Context, call *interp.Call, token string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, routerPatience)
	defer cancel()
	for _, base := range localRouters {
		r, err := getJSON(ctx, call.Env, base+"/models", token)
		if err == nil && (r.ok() || r.status == http.StatusUnauthorized) {
			return base, nil
		}
	}
	return "", fmt.Errorf("%s found no lobstah router on this machine; start one with lobstah up, or set OPENAI_BASE_URL or LOBSTAH_ROUTER_URL for provider=openai", call.Name)
}

// reach returns the adapter's address, without a slash at its end.
func (q *query) reach(ctx context.Context) (string, error) {
	if q.adapter.url == "" {
		var err error
		if q.adapter.url, err = findRouter(ctx, q.call, q.adapter.token); err != nil {
			return "", err
		}
	}
	return strings.TrimSuffix(q.adapter.url, "/"), nil
}

// chooseModel names the model to ask: the only one there is, or the best of a router's, as lobstah ask does: rather not the demo model,
// rather one that is loaded, and none that only embeds.
func chooseModel(ctx context.Context, q *query, isRouter bool) (string, error) {
	base, err := q.reach(ctx)
	if err != nil {
		return "", err
	}
	r, err := getJSON(ctx, q.call.Env, base+"/models", q.adapter.token)
	if err != nil {
		return "", err
	}
	if !r.ok() {
		return "", fmt.Errorf("%s request failed: %d %s: %s", q.call.Name, r.status, r.text, r.quote())
	}
	list, err := value.Parse(r.body)
	models, isList := list.Field("data").AsList()
	if err != nil || !isList {
		return "", fmt.Errorf("%s requires --model or LOBSTER_LLM_MODEL for provider=openai", q.call.Name)
	}
	if !isRouter && len(models) != 1 {
		return "", fmt.Errorf("%s requires --model or LOBSTER_LLM_MODEL for provider=openai: %d models are at %s", q.call.Name, len(models), hostOf(base))
	}
	best, top := "", 0
	for _, m := range models {
		if id, _ := m.Field("id").AsString(); id != "" && fitness(m) > top {
			best, top = id, fitness(m)
		}
	}
	if best == "" {
		return "", fmt.Errorf("%s found no model that answers questions at %s", q.call.Name, hostOf(base))
	}
	return best, nil
}

// fitness is how well a model of a list suits somebody who named none; 0 not at all.
func fitness(model value.Value) int {
	abilities, _ := model.Field("capabilities").AsList()
	answers := func(v value.Value) bool {
		return slices.Contains([]string{"completion", "tools", "vision"}, value.Text(v))
	}
	if !slices.ContainsFunc(abilities, answers) && (len(abilities) > 0 || strings.Contains(strings.ToLower(value.Text(model.Field("id"))), "embed")) {
		return 0
	}
	n := 1
	if !model.Field("demo").Truthy() {
		n += 4
	}
	if model.Field("loaded").Truthy() {
		n += 2
	}
	return n
}

func openaiCall(ctx context.Context, q *query, payload value.Value) (value.Value, error) {
	base, err := q.reach(ctx)
	if err != nil {
		return value.Undefined, err
	}
	q.adapter.url = base + "/chat/completions"
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

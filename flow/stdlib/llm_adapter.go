package stdlib

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"lobstah/flow/interp"
	"lobstah/flow/schema"
	"lobstah/flow/value"
)

// adapter is who runs the model. One that knows which models there are says by itself which to ask when nobody named one.
type adapter struct {
	provider, url, token string
	choose               func(ctx context.Context, q *query) (model string, err error) // nil leaves the choice to the adapter
	call                 func(ctx context.Context, q *query, payload value.Value) (result value.Value, err error)
}

// hasProvider reports whether the environment names a provider.
func hasProvider(env *interp.Env) bool {
	return providerName(env, env.Var("LOBSTER_LLM_PROVIDER"), "llm.invoke") != ""
}

// providerName resolves the provider from its name, if it was given, else from the variables and the command; "" if nothing names one.
func providerName(env *interp.Env, given, command string) string {
	if name := strings.ToLower(value.Trim(given)); name != "" {
		return name
	}
	switch gateway, _ := env.FirstVar("OPENCLAW_URL", "CLAWD_URL"); {
	case command == "llm_task.invoke":
		return "openclaw"
	case value.Trim(env.Var("LOBSTER_PI_LLM_ADAPTER_URL")) != "":
		return "pi"
	case value.Trim(gateway) != "":
		return "openclaw"
	case value.Trim(env.Var("LOBSTER_LLM_ADAPTER_URL")) != "":
		return "http"
	}
	return ""
}

// ErrNoProvider says that nobody told who runs models, and that this machine has no router.
var ErrNoProvider = fault("llm.invoke could not resolve a provider. Set --provider or LOBSTER_LLM_PROVIDER")

func findAdapter(ctx context.Context, call *interp.Call) (adapter, error) {
	switch name := providerName(call.Env, givenFlag(call, "provider", call.Var("LOBSTER_LLM_PROVIDER")), call.Name); name {
	case "openclaw":
		return openclawAdapter(call)
	case "pi":
		return plainAdapter(call, name, "LOBSTER_PI_LLM_ADAPTER_URL", "LOBSTER_PI_LLM_ADAPTER_TOKEN")
	case "http":
		return plainAdapter(call, name, "LOBSTER_LLM_ADAPTER_URL", "LOBSTER_LLM_ADAPTER_TOKEN")
	case "openai":
		return openaiAdapter(call)
	case "":
		return unnamedAdapter(ctx, call)
	default:
		return adapter{}, fmt.Errorf("Unsupported llm provider: %s", name)
	}
}

// plainAdapter takes the payload as it is, at /invoke unless its URL has a path.
func plainAdapter(call *interp.Call, provider, urlVar, tokenVar string) (adapter, error) {
	raw := value.Trim(call.Var(urlVar))
	if raw == "" {
		return adapter{}, fmt.Errorf("%s requires %s for provider=%s", call.Name, urlVar, provider)
	}
	u, err := parseHTTP(call.Name, raw)
	if err != nil {
		return adapter{}, err
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/invoke"
	}
	token := givenFlag(call, "token", call.Var(tokenVar))
	return adapter{provider: provider, url: u.String(), token: token, call: plainCall}, nil
}

func plainCall(ctx context.Context, q *query, payload value.Value) (value.Value, error) {
	v, err := q.post(ctx, payload)
	if err != nil {
		return value.Undefined, err
	}
	return q.result(v)
}

// openclawAdapter takes the payload as arguments of the gateway's llm-task tool. A token from the environment goes only where
// the environment's tokens may go.
func openclawAdapter(call *interp.Call) (adapter, error) {
	raw, _ := call.FirstVar("OPENCLAW_URL", "CLAWD_URL")
	if value.Trim(raw) == "" {
		return adapter{}, fmt.Errorf("%s requires OPENCLAW_URL (or CLAWD_URL) for provider=openclaw", call.Name)
	}
	u, err := parseHTTP(call.Name, value.Trim(raw))
	if err != nil {
		return adapter{}, err
	}
	token := trimmedFlag(call, "token")
	if fromEnv, _ := call.FirstVar("OPENCLAW_TOKEN", "CLAWD_TOKEN"); !call.Args.Has("token") && value.Trim(fromEnv) != "" {
		if !mayGetToken(call.Env, u) {
			return adapter{}, tokenRefused(call.Name)
		}
		token = value.Trim(fromEnv)
	}
	u.Path, u.RawQuery, u.Fragment = "/tools/invoke", "", ""
	return adapter{provider: "openclaw", url: u.String(), token: token, call: openclawCall}, nil
}

// mayGetToken reports whether the gateway's token of the environment may go to a host: to this machine, and to hosts that
// LOBSTER_TOKEN_HOSTS names (separated by commas).
func mayGetToken(env *interp.Env, u *url.URL) bool {
	if isLocal(u) {
		return true
	}
	for _, host := range commaList(env.Var("LOBSTER_TOKEN_HOSTS")) {
		if strings.EqualFold(host, u.Hostname()) || strings.EqualFold(host, u.Host) {
			return true
		}
	}
	return false
}

func tokenRefused(command string) error {
	return fmt.Errorf("%s refuses to send OPENCLAW_TOKEN/CLAWD_TOKEN to non-local --url; pass --token explicitly for remote endpoints", command)
}

func openclawCall(ctx context.Context, q *query, payload value.Value) (value.Value, error) {
	v, err := q.post(ctx, value.Record(value.F("tool", value.String("llm-task")), value.F("action", value.String("invoke")), value.F("args", payload)))
	if err != nil {
		return value.Undefined, err
	}
	if outer, isObject := v.AsObject(); isObject && outer.Has("ok") {
		if !value.Same(v.Field("ok"), value.True) {
			message := "Unknown error"
			if m := v.Field("error").Property("message"); m.Truthy() {
				message = value.Text(m)
			}
			return value.Undefined, fmt.Errorf("%s request failed: openclaw adapter error: %s", q.call.Name, message)
		}
		v = v.Field("result")
	}
	return q.result(v)
}

// post sends a body to the adapter and returns the JSON of its answer; an empty answer is null.
func (q *query) post(ctx context.Context, body value.Value) (value.Value, error) {
	r, err := postJSON(ctx, q.call.Env, q.adapter.url, q.adapter.token, body)
	if err != nil {
		return value.Undefined, err
	}
	if !r.ok() {
		return value.Undefined, fmt.Errorf("%s request failed: %d %s: %s", q.call.Name, r.status, r.text, r.quote())
	}
	if value.Trim(r.body) == "" {
		return value.Null, nil
	}
	v, err := value.Parse(r.body)
	if err != nil {
		return value.Undefined, fmt.Errorf("%s request failed: Response was not JSON", q.call.Name)
	}
	return v, nil
}

const envelopeSchema = `{"type":"object","required":["ok"],"properties":{"ok":{"type":"boolean"},"result":{"type":"object","required":["output"],
"properties":{"runId":{"type":"string"},"model":{"type":"string"},"prompt":{"type":"string"},"status":{"type":"string"},
"output":{"type":"object","properties":{"text":{"type":"string"},"format":{"type":"string"}}},
"usage":{"type":"object","properties":{"inputTokens":{"type":"number"},"outputTokens":{"type":"number"},"totalTokens":{"type":"number"}}},
"warnings":{"type":"array","items":{"type":"string"}},"metadata":{"type":"object"},"diagnostics":{"type":"object"}}},
"error":{"type":"object"}}}`

// result takes the result out of an envelope; what has no ok is the result itself.
func (q *query) result(v value.Value) (value.Value, error) {
	if o, isObject := v.AsObject(); !isObject || !o.Has("ok") {
		v = value.Record(value.F("ok", value.True), value.F("result", v))
	}
	form, err := value.Parse(envelopeSchema)
	if err != nil {
		return value.Undefined, err
	}
	check, err := schema.Compile(form)
	if err != nil {
		return value.Undefined, err
	}
	if _, bad := check.Validate(v); bad {
		return value.Undefined, fmt.Errorf("%s received invalid response envelope", q.call.Name)
	}
	if !v.Field("ok").Truthy() {
		message := value.String("llm adapter returned an error")
		if m := v.Field("error").Field("message"); m.Truthy() {
			message = m
		}
		return value.Undefined, fmt.Errorf("%s remote error: %s", q.call.Name, value.Text(message))
	}
	return v.Field("result"), nil // Undefined, too, is an answer: one without any text
}

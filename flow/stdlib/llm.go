package stdlib

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"strings"
	"time"

	"lobstah/flow/interp"
	"lobstah/flow/schema"
	"lobstah/flow/value"
)

func llmCommand(name string) interp.Command {
	return interp.Command{
		Name:        name,
		Description: "Ask a model",
		Help: name + " --prompt 'Summarise these'\n" + name + " --prompt 'Rate each' --output-schema '{\"type\":\"object\"}' --model NAME\n\n" +
			"The items are sent along as artifacts. Providers: openclaw, pi, http, openai (--provider or LOBSTER_LLM_PROVIDER).\n" +
			"openai talks to OPENAI_BASE_URL, or to the lobstah router of this machine, and is taken when nothing names another;\n" +
			"--model may be left out where it has one, or is a router. Answers are cached; --refresh asks again.",
		Params: []interp.Param{
			stringParam("provider", "Who runs the model: openclaw, pi, http or openai"), stringParam("token", "Bearer token"), stringParam("prompt", "What to ask"),
			stringParam("model", "Model to ask"), stringParam("artifacts-json", "More artifacts, as a JSON list"), stringParam("metadata-json", "JSON object for the adapter"),
			stringParam("output-schema", "JSON Schema that the answer must fit"), stringParam("schema-version", "Version of that schema, for the cache"),
			numberParam("max-validation-retries", "How often to ask again after a misfit"), numberParam("temperature", "Temperature"),
			numberParam("max-output-tokens", "Most tokens of the answer"), stringParam("state-key", "Keep the answer under this key too"),
			boolParam("refresh", "Do not use a kept answer"), boolParam("disable-cache", "Neither read nor write the cache"), positional(),
		},
		Required:    []string{},
		SideEffects: []string{"calls_llm"},
		Run:         runLLM,
	}
}

func runLLM(ctx context.Context, call *interp.Call) (interp.Output, error) {
	q, err := newQuery(ctx, call)
	if err != nil {
		return interp.Output{}, err
	}
	items, err := call.Collect(call.Input)
	if err != nil {
		return interp.Output{}, err
	}
	if err := q.attach(items); err != nil {
		return interp.Output{}, err
	}
	kept, err := q.recall(ctx)
	if err != nil || kept != nil {
		return interp.Emit(kept...), err
	}
	item, err := q.ask(ctx)
	if err != nil {
		return interp.Output{}, err
	}
	return interp.Emit(item), q.keep(ctx, item)
}

// query is one question to a model.
type query struct {
	call    *interp.Call
	adapter adapter
	source  string // what items say about where they come from

	prompt, model, version string
	artifacts, hashes      []value.Value
	extra                  []value.Value // of --artifacts-json
	metadata, schema       value.Value   // Undefined if none
	temperature, maxTokens value.Value   // Undefined if none
	check                  *schema.Schema
	retries                int
	stateKey               string
	refresh, uncached      bool
	key                    string // of the cache
}

func newQuery(ctx context.Context, call *interp.Call) (*query, error) {
	q := &query{call: call}
	var err error
	if q.adapter, err = findAdapter(ctx, call); err != nil {
		return nil, err
	}
	q.source = q.adapter.provider
	if call.Name == "llm_task.invoke" {
		q.source = "clawd"
	}
	if q.prompt, _ = call.Args.Text("prompt"); q.prompt == "" {
		q.prompt = call.Args.Joined()
	}
	if value.Trim(q.prompt) == "" {
		return nil, fmt.Errorf("%s requires --prompt or positional text", call.Name)
	}
	if err := q.readJSON(); err != nil {
		return nil, err
	}
	if q.readOptions(); q.model == "" && q.adapter.choose != nil {
		q.model, err = q.adapter.choose(ctx, q)
	}
	return q, err
}

// trimmedFlag returns the text of the first flag that was given, trimmed; a flag without value is "true".
func trimmedFlag(call *interp.Call, names ...string) string {
	s, _ := call.Args.Text(names...)
	return value.Trim(s)
}

// givenFlag is trimmedFlag, or, unless the flag was given, even empty, the text otherwise.
func givenFlag(call *interp.Call, name, otherwise string) string {
	if call.Args.Has(name) {
		return trimmedFlag(call, name)
	}
	return value.Trim(otherwise)
}

func (q *query) readJSON() error {
	fail := func(flag, kind string) error { return fmt.Errorf("%s --%s must be a JSON %s", q.call.Name, flag, kind) }
	if text := trimmedFlag(q.call, "artifacts-json"); text != "" {
		v, err := value.Parse(text)
		list, isList := v.AsList()
		if err != nil || !isList {
			return fail("artifacts-json", "array")
		}
		q.extra = list
	}
	for flag, to := range map[string]*value.Value{"metadata-json": &q.metadata, "output-schema": &q.schema} {
		text := trimmedFlag(q.call, flag)
		if text == "" {
			continue
		}
		v, err := value.Parse(text)
		if err != nil || v.Kind() != value.KindObject {
			return fail(flag, "object")
		}
		*to = v
	}
	if q.schema.IsUndefined() {
		return nil
	}
	var err error
	if q.check, err = schema.Compile(q.schema); err != nil {
		return fmt.Errorf("%s --output-schema is invalid: %w", q.call.Name, err)
	}
	return nil
}

func (q *query) readOptions() {
	c := q.call
	setting := func(flag string, vars ...string) string {
		fromEnv, _ := c.FirstVar(vars...)
		return first(trimmedFlag(c, flag), value.Trim(fromEnv))
	}
	q.model = setting("model", "LOBSTER_LLM_MODEL", "LLM_TASK_MODEL")
	q.version = first(setting("schema-version", "LOBSTER_LLM_SCHEMA_VERSION", "LLM_TASK_SCHEMA_VERSION"), "v1")
	q.temperature = finite(c.Args.Get("temperature"))
	q.maxTokens = finite(c.Args.Get("max-output-tokens"))
	if n := value.ParseNumber(first(setting("max-validation-retries", "LOBSTER_LLM_VALIDATION_RETRIES", "LLM_TASK_VALIDATION_RETRIES"), "1")); q.check != nil && n > 0 {
		q.retries = int(min(n, 100))
	}
	q.stateKey = givenFlag(c, "state-key", c.Var("LOBSTER_RUN_STATE_KEY"))
	q.refresh = q.yes("refresh", "LOBSTER_LLM_FORCE_REFRESH", "LLM_TASK_FORCE_REFRESH")
	q.uncached = q.yes("disable-cache")
}

// yes reads a flag, else a variable, as a boolean that understands no, 0 and false.
func (q *query) yes(flag string, vars ...string) bool {
	v := q.call.Args.Get(flag)
	if v.IsUndefined() {
		text, _ := q.call.FirstVar(vars...)
		v = value.String(text)
	}
	switch strings.ToLower(value.Trim(value.Text(v))) {
	case "", "false", "0", "no":
		return false
	}
	return true
}

// finite returns the number that a flag gives, or Undefined. An empty flag is 0 and one without value 1, as JavaScript has it.
func finite(v value.Value) value.Value {
	if n := value.ToNumber(v); !math.IsNaN(n) && !math.IsInf(n, 0) {
		return value.Number(n)
	}
	return value.Undefined
}

// attach makes the items and --artifacts-json the query's artifacts and computes the cache key.
func (q *query) attach(items []value.Value) error {
	for _, item := range append(items, q.extra...) {
		a := artifact(item)
		q.artifacts = append(q.artifacts, a)
		q.hashes = append(q.hashes, value.String(digest(value.Canonical(a))))
	}
	if faults := artifactFaults(q.artifacts); len(faults) > 0 {
		return fmt.Errorf("%s payload invalid: %s", q.call.Name, strings.Join(faults, ", "))
	}
	q.key = digest(value.Canonical(value.Record(
		value.F("cacheKeyVersion", value.Int(2)), value.F("provider", value.String(q.adapter.provider)), value.F("prompt", value.String(q.prompt)),
		value.F("model", value.String(first(q.model, q.adapter.provider+"-default"))), value.F("schemaVersion", value.String(q.version)),
		value.F("artifactHashes", value.List(q.hashes...)), value.F("outputSchema", orNull(q.schema)),
		value.F("temperature", orNull(q.temperature)), value.F("maxOutputTokens", orNull(q.maxTokens)),
	)))
	return nil
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func artifact(item value.Value) value.Value {
	switch item.Kind() {
	case value.KindObject:
		return item
	case value.KindString, value.KindNumber, value.KindBool:
		return value.Record(value.F("kind", value.String("text")), value.F("text", value.String(value.Text(item))))
	}
	return value.Record(value.F("kind", value.String("json")), value.F("data", item))
}

func artifactFaults(artifacts []value.Value) []string {
	var faults []string
	for i, a := range artifacts {
		for _, f := range []string{"kind", "role", "name", "mimeType", "text", "uri"} {
			if v := a.Field(f); !v.IsUndefined() && v.Kind() != value.KindString {
				faults = append(faults, fmt.Sprintf("data/artifacts/%d/%s must be string", i, f))
			}
		}
	}
	return faults
}

// payload is what an adapter gets.
func (q *query) payload(retry value.Value) value.Value {
	model := value.Undefined
	if q.model != "" {
		model = value.String(q.model)
	}
	return value.Record(
		value.F("prompt", value.String(q.prompt)), value.F("model", model), value.F("artifacts", value.List(q.artifacts...)),
		value.F("artifactHashes", value.List(q.hashes...)), value.F("metadata", q.metadata), value.F("outputSchema", q.schema),
		value.F("schemaVersion", value.String(q.version)), value.F("maxOutputTokens", q.maxTokens), value.F("temperature", q.temperature),
		value.F("retryContext", retry),
	)
}

// ask calls the model until its answer fits the schema or the retries are used up.
func (q *query) ask(ctx context.Context) (value.Value, error) {
	retry := value.Undefined
	for attempt := 1; ; attempt++ {
		result, err := q.adapter.call(ctx, q, q.payload(retry))
		if err != nil {
			return value.Undefined, err
		}
		item := q.item(result, attempt)
		if q.call.OnAnswer != nil {
			q.call.OnAnswer(interp.Answer{Item: item, Key: q.key, Attempt: attempt})
		}
		faults := q.misfit(item)
		if len(faults) == 0 {
			return item, nil
		}
		if attempt > q.retries {
			return value.Undefined, fmt.Errorf("%s output failed schema validation: %s", q.call.Name, strings.Join(faults, "; "))
		}
		retry = value.Record(value.F("attempt", value.Int(attempt+1)), value.F("validationErrors", value.Strings(faults)))
	}
}

func (q *query) misfit(item value.Value) []string {
	if q.check == nil {
		return nil
	}
	var faults []string
	for _, issue := range q.check.All(orNull(item.Field("output").Field("data"))) {
		faults = append(faults, issue.Where()+" "+issue.Message)
	}
	return faults
}

// item is what the pipeline gets of a result.
func (q *query) item(result value.Value, attempt int) value.Value {
	out := result.Field("output")
	format := out.Field("format")
	if !format.Truthy() {
		format = value.String("text")
		if out.Field("data").Truthy() {
			format = value.String("json")
		}
	}
	status := result.Field("status")
	if status.IsNullish() {
		status = value.String("completed")
	}
	return value.Record(
		value.F("kind", value.String(q.call.Name)), value.F("runId", orNull(result.Field("runId"))), value.F("prompt", orNull(result.Field("prompt"))),
		value.F("model", orNull(result.Field("model"))), value.F("schemaVersion", value.String(q.version)), value.F("status", status),
		value.F("cacheKey", value.String(q.key)), value.F("artifactHashes", value.List(q.hashes...)),
		value.F("output", value.Record(value.F("format", format), value.F("text", orNull(out.Field("text"))), value.F("data", orNull(out.Field("data"))))),
		value.F("usage", orNull(result.Field("usage"))), value.F("metadata", orNull(result.Field("metadata"))),
		value.F("warnings", orNull(result.Field("warnings"))), value.F("diagnostics", orNull(result.Field("diagnostics"))),
		value.F("createdAt", value.String(stamp(q.call.Env))), value.F("source", value.String(q.source)), value.F("cached", value.False),
		value.F("attemptCount", value.Int(attempt)),
	)
}

func stamp(env *interp.Env) string {
	now := time.Now
	if env.Now != nil {
		now = env.Now
	}
	return now().UTC().Format("2006-01-02T15:04:05.000Z")
}

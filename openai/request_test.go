package openai

import (
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

func TestParseRequest(t *testing.T) {
	r, err := ParseRequest([]byte(` {"messages":[{"role":"user","content":"\"model\":\"fake\" }"}], "model" : "tiny", "stream":true,"stream_options":{"include_usage":true},"x":{"model":"inner"}} `))
	if err != nil {
		t.Fatal(err)
	}
	if r.Model != "tiny" || !r.Stream || !r.IncludeUsage {
		t.Errorf("read model %q, stream %v, usage %v", r.Model, r.Stream, r.IncludeUsage)
	}
	if got := string(r.Value("x")); got != `{"model":"inner"}` {
		t.Errorf("Value(x) = %s", got)
	}
	if r.Value("y") != nil {
		t.Errorf("Value(y) = %s; want nil", r.Value("y"))
	}
}

func TestParseRequestRefuses(t *testing.T) {
	for body, param := range map[string]string{
		``: "", `{`: "", `[]`: "", `null`: "", `"x"`: "", `{}`: "model", `{"model":""}`: "model", `{"model":5}`: "model",
		`{"Model":"m"}`: "model", `{"model":null}`: "model", `{"model":"m","stream":"yes"}`: "stream", `{"model":"m"} x`: "",
		`{"model":"m","stream_options":[]}`: "stream_options", "{\"model\":\"m\xff": "",
		// What engines in Go, which do not mind the case, would take for these.
		`{"model":"m","Model":"n"}`: "model", `{"MODEL":"n","model":"m"}`: "model", `{"model":"m","\u004dodel":"n"}`: "model",
		`{"model":"m","model":"n"}`: "model", `{"model":"m","mode\u006c":"m"}`: "model",
		`{"model":"m","Stream":true}`: "stream", `{"model":"m","ſtream":true}`: "stream", `{"model":"m","\u017ftream_option\u017f":{}}`: "stream_options",
	} {
		_, err := ParseRequest([]byte(body))
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Status != http.StatusBadRequest || e.Param != param || e.Message == "" {
			t.Errorf("ParseRequest(%q): %#v; want a 400 about %q", body, err, param)
		}
	}
}

func TestWith(t *testing.T) {
	for _, test := range []struct{ body, name, raw, want string }{
		{`{"model":"a@sha256:1","n":1}`, "model", `"a"`, `{"model":"a","n":1}`},
		{`{ "model" : "m" }`, "stream_options", `{"include_usage":true}`, `{"stream_options":{"include_usage":true}, "model" : "m" }`},
		{`{"model":"m","stream_options": {"include_usage":false} }`, "stream_options", `{}`, `{"model":"m","stream_options": {} }`},
		{`{"model":"m","a":1,"a":[2,"}"]}`, "a", `3`, `{"model":"m","a":3,"a":3}`},
	} {
		r, err := ParseRequest([]byte(test.body))
		if err != nil {
			t.Fatal(err)
		}
		if got := string(r.With(test.name, []byte(test.raw))); got != test.want {
			t.Errorf("With(%s, %s)\n got %s\nwant %s", test.name, test.raw, got, test.want)
		}
		if string(r.Body) != test.body {
			t.Errorf("With changed the body to %s", r.Body)
		}
	}
}

func TestErrorShapes(t *testing.T) {
	e := &Error{Status: 429, Type: "rate_limit_error", Message: "queue full <3>", Extra: map[string]any{"queueDepth": 4}}
	if got, want := string(e.JSON()), `{"error":{"code":null,"message":"queue full <3>","param":null,"queueDepth":4,"type":"rate_limit_error"}}`; got != want {
		t.Errorf("JSON\n got %s\nwant %s", got, want)
	}
	if got, want := string(e.Body(Messages)), `{"error":{"message":"queue full <3>","type":"rate_limit_error"},"type":"error"}`; got != want {
		t.Errorf("Anthropic's body\n got %s\nwant %s", got, want)
	}
	for d, want := range map[Dialect]string{Chat: "data: {\"error\":", Messages: "event: error\ndata: {", Responses: "event: error\ndata: {"} {
		event := string(e.Event(d))
		if !strings.HasPrefix(event, want) || !strings.HasSuffix(event, "}\n\n") {
			t.Errorf("event of dialect %d is %q", d, event)
		}
	}
}

func TestParseError(t *testing.T) {
	for body, want := range map[string]Error{
		`{"error":{"message":"no such model","type":"not_found_error","code":"model_not_found","param":"model"}}`: {Message: "no such model", Type: "not_found_error", Code: "model_not_found", Param: "model"},
		`{"error":{"code":400,"message":"too long","type":"exceed_context_size_error"}}`:                          {Message: "too long", Type: "exceed_context_size_error"},
		`{"error":"model 'nope' not found"}`: {Message: "model 'nope' not found", Type: "engine_error"},
		`{"error":"{\"error\":{\"code\":400,\"message\":\"request exceeds\",\"type\":\"exceed_context_size_error\"}}"}`: {Message: "request exceeds", Type: "exceed_context_size_error"},
		`{"type":"error","error":{"type":"overloaded_error","message":"busy"}}`:                                         {Message: "busy", Type: "overloaded_error"},
		`{"message":"Unauthorized"}`:      {Message: "Unauthorized", Type: "engine_error"},
		`<html><body>hello</body></html>`: {Message: "it answered with a web page, not with an API's JSON; check the address", Type: "engine_error"},
		`plain text`:                      {Message: "plain text", Type: "engine_error"},
		``:                                {Message: "bad gateway", Type: "engine_error"},
	} {
		want.Status = 502
		if got := ParseError(502, []byte(body)); !reflect.DeepEqual(*got, want) {
			t.Errorf("ParseError(%s)\n got %+v\nwant %+v", body, *got, want)
		}
	}
	if got := ParseError(500, []byte(strings.Repeat("é", 4000))); len(got.Message) > maxErrorText+4 {
		t.Errorf("a long text is kept with %d bytes", len(got.Message))
	}
}

func FuzzParseRequest(f *testing.F) {
	f.Add([]byte(`{"model":"m","stream_options":{"include_usage":true},"messages":[{"content":"a\\\"b"}]}`))
	f.Add([]byte(`{"a":1e5,"model":"\u006d","b":[[]],"c":{}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := ParseRequest(body)
		if err != nil {
			return
		}
		var exact map[string]json.RawMessage
		if err := json.Unmarshal(body, &exact); err != nil {
			t.Fatalf("%q was accepted: %v", body, err)
		}
		// As an engine in Go reads it.
		var engine struct {
			Model  string `json:"model"`
			Stream bool   `json:"stream"`
		}
		if err := json.Unmarshal(body, &engine); err == nil && (engine.Model != r.Model || engine.Stream != r.Stream) {
			t.Fatalf("%q: read model %q and stream %v, an engine reads %q and %v", body, r.Model, r.Stream, engine.Model, engine.Stream)
		}
		for name, raw := range exact {
			if got := r.Value(name); !reflect.DeepEqual(got, []byte(raw)) && json.Valid(body) && !strings.ContainsRune(name, '\uFFFD') {
				t.Fatalf("%q: member %q is %q; want %q", body, name, got, raw)
			}
		}
		changed := r.With("model", []byte(`"other"`))
		again, err := ParseRequest(changed)
		if err != nil || again.Model != "other" || again.Stream != r.Stream {
			t.Fatalf("%q became %q: %v", body, changed, err)
		}
	})
}

func TestWithout(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"model":"m","stream":true}`:                               `{"model":"m"}`,
		` { "stream" : true , "model" : "m" } `:                     `{"model" : "m"}`,
		`{"model":"m","x":1e2,"metadata":{"a":"}"},"y":[1, 2]}`:     `{"model":"m","x":1e2,"y":[1, 2]}`,
		`{"stream":1,"model":"m","stream":2,"metadata":null}`:       `{"model":"m"}`,
		`{"m\u006fdel":"m","str\u0065am":false,"stream_options":1}`: `{"m\u006fdel":"m","stream_options":1}`,
	} {
		r := &Request{Body: []byte(body), members: scanMembers([]byte(body))}
		got := string(r.Without("stream", "metadata"))
		if got != want || !json.Valid([]byte(got)) {
			t.Errorf("%s without stream and metadata: %s; want %s", body, got, want)
		}
	}
}

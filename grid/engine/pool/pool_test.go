package pool

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lobstah/grid"
	"lobstah/grid/engine"
	"lobstah/openai"
)

var _ engine.Engine = (*Pool)(nil)

// fake answers with its name, or fails.
type fake struct {
	name    string
	models  []grid.Model
	down    error // of Models
	refusal error // of Do
	called  int
}

func (f *fake) Name() string { return f.name }

func (f *fake) Models(context.Context) ([]grid.Model, error) { return f.models, f.down }

func (f *fake) Do(context.Context, engine.Call) (*engine.Answer, error) {
	f.called++
	if f.refusal != nil {
		return nil, f.refusal
	}
	return &engine.Answer{Status: 200, Body: io.NopCloser(strings.NewReader(f.name))}, nil
}

func models(ids ...string) []grid.Model {
	list := make([]grid.Model, len(ids))
	for i, id := range ids {
		list[i].ID = id
	}
	return list
}

func call(model string) engine.Call {
	return engine.Call{Path: "/v1/chat/completions", Body: []byte(`{"model":"` + model + `"}`)}
}

// served returns who answers; its answer stays open.
func served(t *testing.T, p *Pool, model string) (string, io.Closer) {
	t.Helper()
	answer, err := p.Do(t.Context(), call(model))
	if err != nil {
		t.Fatalf("Do(%s): %v", model, err)
	}
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), answer.Body
}

func TestModels(t *testing.T) {
	down := errors.New("it is down")
	a := &fake{name: "a", models: []grid.Model{{ID: "m", Digest: "sha256:1"}, {ID: "only-a"}}}
	b := &fake{name: "b", models: []grid.Model{{ID: "m", Digest: "sha256:2", Loaded: true}, {ID: "only-b"}}}
	broken := &fake{name: "broken", down: down}
	got, err := New(broken, a, b).Models(t.Context())
	want := []grid.Model{{ID: "m", Digest: "sha256:1", Loaded: true}, {ID: "only-a"}, {ID: "only-b"}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Models(): %v (-want +got):\n%s", err, diff)
	}
	if _, err := New(broken, broken).Models(t.Context()); !errors.Is(err, down) {
		t.Errorf("Models() of broken engines: %v", err)
	}
	if _, err := New().Models(t.Context()); err == nil {
		t.Error("Models() of no engine: no error")
	}
}

func TestDoGoesToTheLessBusy(t *testing.T) {
	a, b := &fake{name: "a", models: models("m", "only-a")}, &fake{name: "b", models: models("m")}
	p := New(a, b)
	first, firstBody := served(t, p, "m")
	second, secondBody := served(t, p, "m")
	if first != "a" || second != "b" {
		t.Errorf("two calls at a time went to %s and %s; want a and b", first, second)
	}
	for range 2 {
		if got, body := served(t, p, "only-a"); got != "a" {
			t.Errorf("only-a was served by %s", got)
		} else {
			body.Close()
			body.Close() // counts once
		}
	}
	secondBody.Close()
	if got, body := served(t, p, "m"); got != "b" {
		t.Errorf("with a busy, %s served", got)
	} else {
		body.Close()
	}
	firstBody.Close()
	for _, m := range p.members {
		if n := m.busy.Load(); n != 0 {
			t.Errorf("%s has %d calls after the last one", m.Name(), n)
		}
	}
	loaded := &fake{name: "loaded", models: []grid.Model{{ID: "m", Loaded: true}}}
	if got, _ := served(t, New(a, loaded), "m"); got != "loaded" {
		t.Errorf("%s served; want the one that has the model in memory", got)
	}
}

func TestDoGoesOnToTheNext(t *testing.T) {
	refusal := func(status int) error { return &openai.Error{Status: status, Message: "no"} }
	tests := []struct {
		name   string
		err    error
		next   bool
		status int // when the others fail too
	}{
		{"gone", refusal(502), true, 502},
		{"loading", refusal(503), true, 503},
		{"busy", refusal(429), true, 429},
		{"without the model", refusal(404), true, 404},
		{"bad request", refusal(400), false, 400},
		{"too large", refusal(413), false, 413},
		{"client left", context.Canceled, false, 0},
	}
	for _, test := range tests {
		bad := &fake{name: "bad", models: models("m"), refusal: test.err}
		good := &fake{name: "good", models: models("m")}
		_, err := New(bad, good).Do(t.Context(), call("m"))
		if went := err == nil; went != test.next || good.called > 0 != test.next {
			t.Errorf("%s: went on %v (%v); want %v", test.name, went, err, test.next)
		}
		lost := &fake{name: "lost", models: models("m"), refusal: refusal(404)}
		_, err = New(bad, lost).Do(t.Context(), call("m"))
		if got := statusOf(err); got != test.status {
			t.Errorf("%s, then 404: the answer is %v; want status %d", test.name, err, test.status)
		}
	}
}

func TestDoUnknownModel(t *testing.T) {
	// A name that no list has is tried: the engine may know it by another.
	alias := &fake{name: "alias", models: models("m:latest")}
	if got, _ := served(t, New(&fake{name: "other", refusal: &openai.Error{Status: 404}}, alias), "m"); got != "alias" {
		t.Errorf("%s served", got)
	}
	_, err := New().Do(t.Context(), call("m"))
	if refusal, ok := errors.AsType[*openai.Error](err); !ok || refusal.Status != 404 || !strings.Contains(refusal.Message, `"m"`) {
		t.Errorf("no engine: %v; want 404", err)
	}
	if _, err := New(alias).Do(t.Context(), engine.Call{Body: []byte("{")}); statusOf(err) != 400 {
		t.Errorf("a bad body: %v; want 400", err)
	}
}

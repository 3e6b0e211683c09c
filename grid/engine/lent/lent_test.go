package lent

import (
	"context"
	"errors"
	"strings"
	"testing"

	"lobstah/grid"
	"lobstah/grid/engine"
	"lobstah/grid/engine/openaiapi"
	"lobstah/openai"
)

// fake is an engine that tells what it was asked.
type fake struct {
	models []string
	err    error
	fails  error // of calls
	asked  engine.Call
}

func (f *fake) Name() string { return "fake" }

func (f *fake) Models(context.Context) ([]grid.Model, error) {
	var list []grid.Model
	for _, id := range f.models {
		list = append(list, grid.Model{ID: id, ContextLength: 9})
	}
	return list, f.err
}

func (f *fake) Do(_ context.Context, call engine.Call) (*engine.Answer, error) {
	f.asked = call
	return &engine.Answer{Status: 200}, f.fails
}

func TestTheModelHasItsOwnersName(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		id, wire string
		models   []string
		want     string
	}{
		{"m", "", []string{"x", "m"}, "m"},
		{"mine", "m", []string{"m-2", "m"}, "m"},
		{"claude-sonnet", "", []string{"claude-opus-4", "claude-sonnet-4-5", "claude-sonnet-4"}, "claude-sonnet-4-5"},
		{"q", "", []string{"q:latest"}, "q:latest"},
	} {
		f := &fake{models: test.models}
		m := &Model{ID: test.id, Wire: test.wire, Engine: f}
		models, err := m.Models(t.Context())
		if err != nil || len(models) != 1 || models[0].ID != test.id || models[0].ContextLength != 9 {
			t.Errorf("%s: listed as %+v, %v", test.id, models, err)
		}
		_, err = m.Do(t.Context(), engine.Call{Path: "/v1/chat/completions", Body: []byte(`{"model":"` + test.id + `","x":1}`)})
		if want := `{"model":"` + test.want + `","x":1}`; err != nil || string(f.asked.Body) != want || f.asked.Model != test.want {
			t.Errorf("%s: asked %s, %v; want %s", test.id, f.asked.Body, err, want)
		}
	}
}

func TestWhatItDoesNotServe(t *testing.T) {
	t.Parallel()
	f := &fake{models: []string{"m", "secret"}}
	m := &Model{ID: "m", Engine: f}
	var refused *openai.Error
	if _, err := m.Do(t.Context(), engine.Call{Body: []byte(`{"model":"secret"}`)}); !errors.As(err, &refused) || refused.Status != 404 {
		t.Errorf("another model of the engine: %v", err)
	}
	f.models = nil
	if models, err := m.Models(t.Context()); err != nil || len(models) != 0 {
		t.Errorf("a model that is gone: %v, %v", models, err)
	}
	if _, err := m.Do(t.Context(), engine.Call{Body: []byte(`{"model":"m"}`)}); !errors.As(err, &refused) || refused.Status != 404 {
		t.Errorf("a model that is gone: %v", err)
	}
	if err := m.Check(t.Context()); err == nil || err.Error() != "fake has no model m" {
		t.Errorf("its owner is told %v", err)
	}
	f.err = errors.New("down")
	if _, err := m.Models(t.Context()); !errors.Is(err, f.err) {
		t.Errorf("an engine that is down: %v", err)
	}
	f.err = &openai.Error{Status: 502, Code: openaiapi.Unreachable, Message: "no engine answers at http://10.0.0.7"}
	if _, err := m.Models(t.Context()); err == nil || strings.Contains(err.Error(), "10.0.0.7") {
		t.Errorf("askers are told %v", err)
	}
	if err := m.Check(t.Context()); !errors.Is(err, f.err) {
		t.Errorf("its owner is told %v; want %v", err, f.err)
	}
}

// Whoever asks may be far away: where the engine is, its owner alone is told.
func TestAddressesStayWithTheOwner(t *testing.T) {
	t.Parallel()
	f := &fake{models: []string{"m"}}
	var told []error
	m := &Model{ID: "m", Engine: f, Failed: func(err error) { told = append(told, err) }}
	for _, fault := range []openai.Error{
		{Status: 502, Type: "engine_error", Code: openaiapi.Unreachable, Message: "no engine answers at http://10.0.0.7"},
		{Status: 502, Type: "engine_error", Code: openaiapi.KeyRefused, Message: "the engine at http://10.0.0.7 refuses our key"},
		{Status: 400, Type: "engine_error", Message: "at most 10.0.0.7 tokens"}, // the request's own fault
	} {
		told, f.fails = nil, &fault
		_, err := m.Do(t.Context(), engine.Call{Body: []byte(`{"model":"m"}`)})
		var got *openai.Error
		if !errors.As(err, &got) || got.Status != fault.Status || got.Code != fault.Code {
			t.Fatalf("%+v became %v", fault, err)
		}
		hidden := !strings.Contains(got.Message, "10.0.0.7")
		if want := fault.Status == 502; hidden != want || (len(told) == 1) != want {
			t.Errorf("askers are told %q, the owner %v", got.Message, told)
		}
	}
}

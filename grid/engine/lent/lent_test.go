package lent

import (
	"context"
	"errors"
	"testing"

	"lobstah/grid"
	"lobstah/grid/engine"
	"lobstah/openai"
)

// fake is an engine that tells what it was asked.
type fake struct {
	models []string
	err    error
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
	return &engine.Answer{Status: 200}, nil
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
	f.err = errors.New("down")
	if _, err := m.Models(t.Context()); !errors.Is(err, f.err) {
		t.Errorf("an engine that is down: %v", err)
	}
}

// Package lent makes an engine of one model of another engine, under the name
// that its owner chose for it.
//
// Start from a [Model], which is an engine.Engine; package pool makes one engine
// of several. Commands import it, and it knows engines by their interface and the
// codes of their failures. Names in calls are hostile: any other than the chosen
// one is refused.
package lent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"lobstah/grid"
	"lobstah/grid/engine"
	"lobstah/grid/engine/openaiapi"
	"lobstah/openai"
)

// fresh is how long the name of the model at its engine is believed.
const fresh = time.Minute

// A Model is one model of an engine. It is safe for concurrent use and must not
// be copied.
type Model struct {
	ID     string // as others know it
	Wire   string // as its engine knows it, or the beginning of that; empty: ID
	Engine engine.Engine
	Failed func(error) // is told what askers are not, nil for nobody

	mu    sync.Mutex // guards what follows
	found grid.Model
	at    time.Time
}

// Name is the engine's.
func (m *Model) Name() string { return m.Engine.Name() }

// Models lists the one model, or none while its engine has it not.
func (m *Model) Models(ctx context.Context) ([]grid.Model, error) {
	found, err := m.look(ctx)
	if err != nil || found.ID == "" {
		return nil, m.discreet(err)
	}
	found.ID = m.ID
	return []grid.Model{found}, nil
}

// Check tells the owner why the model cannot be used now, nil when it can.
func (m *Model) Check(ctx context.Context) error {
	found, err := m.look(ctx)
	if err == nil && found.ID == "" {
		err = fmt.Errorf("%s has no model %s", m.Engine.Name(), cmp.Or(m.Wire, m.ID))
	}
	return err
}

// look finds the model at its engine: by its name, or the first whose name goes
// on after a dash, as claude-sonnet names claude-sonnet-4-5.
func (m *Model) look(ctx context.Context) (grid.Model, error) {
	models, err := m.Engine.Models(ctx)
	if err != nil {
		return grid.Model{}, err
	}
	wanted := cmp.Or(m.Wire, m.ID)
	var found grid.Model
	for _, one := range models {
		if one.Serves(wanted) {
			found = one
			break
		}
		if found.ID == "" && strings.HasPrefix(one.ID, wanted+"-") {
			found = one
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.found, m.at = found, time.Now()
	return found, nil
}

// Do sends a call under the engine's name for the model.
func (m *Model) Do(ctx context.Context, call engine.Call) (*engine.Answer, error) {
	request, err := openai.ParseRequest(call.Body)
	if err != nil {
		return nil, err
	}
	if !(grid.Model{ID: m.ID}).Serves(request.Model) {
		return nil, m.missing(request.Model)
	}
	wire, err := m.wire(ctx)
	if err != nil {
		return nil, err
	}
	if wire == "" {
		return nil, m.missing(request.Model)
	}
	if wire != request.Model {
		name, err := json.Marshal(wire)
		if err != nil {
			return nil, fmt.Errorf("encoding a model's name: %w", err)
		}
		call.Body = request.With("model", name)
	}
	call.Model = wire
	answer, err := m.Engine.Do(ctx, call)
	if err != nil && m.Failed != nil && m.discreet(err) != err {
		m.Failed(err)
	}
	return answer, m.discreet(err)
}

// discreet keeps to the owner what names an engine's address: it may lie in a
// network of which those who ask should learn nothing.
func (m *Model) discreet(err error) error {
	e, ok := errors.AsType[*openai.Error](err)
	if !ok || !slices.Contains([]string{openaiapi.Unreachable, openaiapi.KeyRefused, openaiapi.Failure}, e.Code) {
		return err
	}
	out := *e
	out.Message = fmt.Sprintf("the engine of the model %s failed, or cannot be reached; its owner can see why", m.ID)
	return &out
}

func (m *Model) wire(ctx context.Context) (string, error) {
	m.mu.Lock()
	name, known := m.found.ID, time.Since(m.at) < fresh && m.found.ID != ""
	m.mu.Unlock()
	if known {
		return name, nil
	}
	found, err := m.look(ctx)
	return found.ID, m.discreet(err)
}

func (m *Model) missing(name string) *openai.Error {
	return &openai.Error{
		Status: http.StatusNotFound, Type: "invalid_request_error", Code: "model_not_found", Param: "model",
		Message: fmt.Sprintf("the model %.100q is not served here", name),
	}
}

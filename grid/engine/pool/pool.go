// Package pool makes one engine of several, so that a machine with an Ollama and
// a llama-server offers the models of both. Start from [New]; commands import
// it, and it knows engines by their interface only.
//
// A call goes to the engine that has the model; of several the one with the
// fewest calls under way, and among those one that has it in memory. When that
// one fails before it answered, the next one gets the call. An engine that fails
// hides no other.
package pool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"lobstah/grid"
	"lobstah/grid/engine"
	"lobstah/openai"
)

// A Pool is an engine.Engine over others. Its engines stay its caller's: it
// starts and closes none.
type Pool struct {
	members []*member
}

// member is one engine with what the pool knows of it.
type member struct {
	engine.Engine
	busy atomic.Int64 // calls under way, until their bodies are closed

	mu     sync.Mutex // guards what follows
	models []grid.Model
	asked  bool // models was told once
}

// New returns a pool; its order breaks ties.
func New(engines ...engine.Engine) *Pool {
	p := &Pool{members: make([]*member, len(engines))}
	for i, e := range engines {
		p.members[i] = &member{Engine: e}
	}
	return p
}

// Name names the engines.
func (p *Pool) Name() string {
	names := make([]string, len(p.members))
	for i, m := range p.members {
		names[i] = m.Name()
	}
	return strings.Join(names, ", ")
}

// Models returns the models of all engines that answer, each name and digest
// once. It fails when none answers.
func (p *Pool) Models(ctx context.Context) ([]grid.Model, error) {
	lists := make([][]grid.Model, len(p.members))
	failures := make([]error, len(p.members))
	var group sync.WaitGroup
	for i, m := range p.members {
		group.Go(func() { lists[i], failures[i] = m.ask(ctx) })
	}
	group.Wait()
	if !slices.Contains(failures, nil) {
		return nil, allFailed(failures)
	}
	return merge(lists), nil
}

func allFailed(failures []error) error {
	if len(failures) == 0 {
		return errors.New("there is no engine here; start one or use --engine demo")
	}
	return errors.Join(failures...)
}

// ask renews a member's models; one that fails serves none until it answers.
func (m *member) ask(ctx context.Context) ([]grid.Model, error) {
	models, err := m.Engine.Models(ctx)
	if err != nil && ctx.Err() != nil {
		return nil, err // it tells nothing about the engine
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.models, m.asked = models, true
	return models, err
}

// merge lists each name once. Where several engines have it, the first one's
// facts stand, and it is loaded if it is loaded anywhere.
func merge(lists [][]grid.Model) []grid.Model {
	var all []grid.Model
	at := map[string]int{}
	for _, m := range slices.Concat(lists...) {
		if i, known := at[m.ID]; known {
			all[i].Loaded = all[i].Loaded || m.Loaded
			continue
		}
		at[m.ID] = len(all)
		all = append(all, m)
	}
	return all
}

// Do sends the call to the best engine for its model, and to the next one when
// that cannot serve it. The last refusal is the answer when all refuse; a 404
// counts only when there is no other.
func (p *Pool) Do(ctx context.Context, call engine.Call) (*engine.Answer, error) {
	if call.Model == "" {
		request, err := openai.ParseRequest(call.Body)
		if err != nil {
			return nil, err
		}
		call.Model = request.Model
	}
	refusal := error(&openai.Error{
		Status: http.StatusNotFound, Type: "invalid_request_error", Code: "model_not_found", Param: "model",
		Message: fmt.Sprintf("no engine here serves the model %.100q", call.Model),
	})
	for _, m := range p.order(ctx, call.Model) {
		answer, err := m.do(ctx, call)
		if err == nil {
			return answer, nil
		}
		if !othersMayServe(err) {
			return nil, err
		}
		if statusOf(err) != http.StatusNotFound || statusOf(refusal) == http.StatusNotFound {
			refusal = err
		}
	}
	return nil, refusal
}

func statusOf(err error) int {
	if e, ok := errors.AsType[*openai.Error](err); ok {
		return e.Status
	}
	return 0
}

// othersMayServe tells refusals of this engine from faults of the request.
func othersMayServe(err error) bool {
	switch status := statusOf(err); status {
	case http.StatusNotFound, http.StatusTooManyRequests, http.StatusNotImplemented:
		return true
	default:
		return status >= http.StatusInternalServerError
	}
}

// order puts the engines that have the model first to last. When none is known
// to, all are asked: they know other names of their models, and say 404.
func (p *Pool) order(ctx context.Context, model string) []*member {
	type choice struct {
		*member
		busy   int64
		loaded bool
	}
	var choices []choice
	for _, m := range p.members {
		if has, loaded := m.serves(ctx, model); has {
			choices = append(choices, choice{m, m.busy.Load(), loaded})
		}
	}
	if len(choices) == 0 {
		return p.members
	}
	slices.SortStableFunc(choices, func(a, b choice) int {
		if a.busy != b.busy {
			return cmp.Compare(a.busy, b.busy)
		}
		return cmp.Compare(number(b.loaded), number(a.loaded))
	})
	list := make([]*member, len(choices))
	for i, c := range choices {
		list[i] = c.member
	}
	return list
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// serves looks the model up in what the engine told last, and asks it when it
// never was.
func (m *member) serves(ctx context.Context, model string) (has, loaded bool) {
	m.mu.Lock()
	models, asked := m.models, m.asked
	m.mu.Unlock()
	if !asked {
		models, _ = m.ask(ctx) // one that fails has none; Do says why when nobody has
	}
	i := slices.IndexFunc(models, func(g grid.Model) bool { return g.Serves(model) })
	if i < 0 {
		return false, false
	}
	return true, models[i].Loaded
}

func (m *member) do(ctx context.Context, call engine.Call) (*engine.Answer, error) {
	m.busy.Add(1)
	answer, err := m.Engine.Do(ctx, call)
	if err != nil {
		m.busy.Add(-1)
		return nil, err
	}
	answer.Body = &counted{ReadCloser: answer.Body, busy: &m.busy}
	return answer, nil
}

// counted ends a call when its body is closed.
type counted struct {
	io.ReadCloser
	once sync.Once
	busy *atomic.Int64
}

func (c *counted) Close() error {
	c.once.Do(func() { c.busy.Add(-1) })
	return c.ReadCloser.Close()
}

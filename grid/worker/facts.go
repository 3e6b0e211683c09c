package worker

import (
	"context"
	"slices"
	"sync"
	"time"

	"lobstah/grid"
	"lobstah/grid/engine"
	"lobstah/openai"
)

const (
	pollEvery   = 10 * time.Second // while the engine answers
	pollFailing = 2 * time.Second  // while it does not
	pollTimeout = 5 * time.Second
	pollStale   = 30 * time.Second // never reached while facts.run runs
	pollAgain   = time.Second      // for a model that is not in the list, at most this often
)

// facts is what the engine last said of its models, kept in memory so that no
// request waits for the engine to say it again.
type facts struct {
	engine  engine.Engine
	early   chan struct{} // a wish for the next poll at once
	polling sync.Mutex    // one poll at a time

	mu     sync.RWMutex // guards the following
	models []grid.Model
	err    error
	at     time.Time
}

func newFacts(e engine.Engine) *facts { return &facts{engine: e, early: make(chan struct{}, 1)} }

// run polls until ctx ends.
func (f *facts) run(ctx context.Context) {
	for {
		f.poll(ctx, 0)
		_, _, err := f.last()
		pause := pollEvery
		if err != nil {
			pause = pollFailing
		}
		select {
		case <-time.After(pause):
		case <-f.early:
		case <-ctx.Done():
			return
		}
	}
}

// soon makes run ask again at once, because something speaks against what the
// engine said last.
func (f *facts) soon() {
	select {
	case f.early <- struct{}{}:
	default: // it is wished for already
	}
}

// poll asks the engine, unless somebody did within the last age.
func (f *facts) poll(ctx context.Context, age time.Duration) {
	f.polling.Lock()
	defer f.polling.Unlock()
	if _, at, _ := f.last(); !at.IsZero() && time.Since(at) < age {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	models, err := f.engine.Models(ctx)
	if len(models) > grid.MaxModels {
		models = models[:grid.MaxModels]
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		f.models = models
	}
	f.err, f.at = err, time.Now()
}

// pollFor polls on a request's behalf, whose client may leave: the answer
// serves the others too.
func (f *facts) pollFor(ctx context.Context, age time.Duration) {
	f.poll(context.WithoutCancel(ctx), age)
}

func (f *facts) last() ([]grid.Model, time.Time, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.models, f.at, f.err
}

// current is the list of models, from memory but for the very first time. The
// error says that the engine cannot be reached.
func (f *facts) current(ctx context.Context) ([]grid.Model, *openai.Error) {
	models, at, err := f.last()
	if at.IsZero() || time.Since(at) > pollStale || err != nil && time.Since(at) > 2*pollFailing {
		f.pollFor(ctx, pollFailing)
		models, _, err = f.last()
	}
	if err != nil {
		return nil, unavailable("engine_unavailable", pollFailing, "the worker's engine cannot be reached: %v", err)
	}
	return models, nil
}

// find returns the model that text asks for. The error is a 404 that says what
// there is of what shown lets through.
func (f *facts) find(ctx context.Context, text string, shown func([]grid.Model) []grid.Model) (grid.Model, *openai.Error) {
	models, fault := f.current(ctx)
	if fault != nil {
		return grid.Model{}, fault
	}
	if m, ok := serving(models, text); ok {
		return m, nil
	}
	f.pollFor(ctx, pollAgain) // it may be new
	if models, fault = f.current(ctx); fault != nil {
		return grid.Model{}, fault
	}
	if m, ok := serving(models, text); ok {
		return m, nil
	}
	return grid.Model{}, notFound(shown(models), text)
}

// serving looks for the model; a name without a tag means its tag latest, as
// in Ollama.
func serving(models []grid.Model, text string) (grid.Model, bool) {
	name, digest := grid.SplitModel(text)
	tagged := name + ":latest"
	if digest != "" {
		tagged += "@" + digest
	}
	for _, want := range []string{text, tagged} {
		i := slices.IndexFunc(models, func(m grid.Model) bool { return m.Serves(want) })
		if i >= 0 {
			return models[i], true
		}
	}
	return grid.Model{}, false
}

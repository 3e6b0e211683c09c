package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"

	"lobstah/grid"
	"lobstah/openai"
)

// capacity is what GET /capacity answers, from memory.
func (w *Worker) capacity(r *http.Request) (*grid.Capacity, *openai.Error) {
	if fault := w.health(); fault != nil {
		return nil, fault
	}
	models, fault := w.lentTo(r)
	if fault != nil {
		return nil, fault
	}
	running, waiting := w.queue.load()
	counts, fault := w.jobCounts(r.Context())
	if fault != nil {
		return nil, fault
	}
	names := make([]string, len(models)) // never null
	for i, m := range models {
		names[i] = m.ID
	}
	return &grid.Capacity{
		Pubkey:      w.id,
		Models:      names,
		Tier:        w.config.Tier,
		Concurrency: w.config.Concurrency,
		QueueDepth:  waiting,
		JobCounts:   counts,
		Running:     running,
		MaxQueue:    w.config.MaxQueue,
		ModelFacts:  models,
		Signs:       w.book != nil,
		Version:     w.config.Version,
		Now:         w.config.Now().UnixMilli(),
	}, nil
}

// lentTo are the models that whoever asks may use. A guest's request need not
// prove its key here: naming one only leaves models out.
func (w *Worker) lentTo(r *http.Request) ([]grid.Model, *openai.Error) {
	models, fault := w.facts.current(r.Context())
	c, _ := w.claim(r)
	return w.usable(c, models), fault
}

// usable are those of the models that permit does not refuse.
func (w *Worker) usable(c claim, models []grid.Model) []grid.Model {
	if c.id.IsZero() || c.id == w.id || c.how == byLegacy {
		return models
	}
	if _, known := w.config.Admission.Allowed(c.id); !known {
		return models
	}
	return slices.DeleteFunc(slices.Clone(models), func(m grid.Model) bool { return !w.config.Admission.MayUse(c.id, m) })
}

func (w *Worker) jobCounts(ctx context.Context) (counts grid.JobCounts, fault *openai.Error) {
	if w.config.JobCounts == nil {
		return counts, nil
	}
	counts, err := w.config.JobCounts(ctx)
	if err != nil {
		w.config.Logger.Error("cannot count jobs", "err", err)
		fault = ledgerFault()
	}
	return counts, fault
}

// health says why the worker takes nothing new, nil when it does.
func (w *Worker) health() *openai.Error {
	switch {
	case w.isDraining():
		w.queue.mu.Lock()
		defer w.queue.mu.Unlock()
		return w.queue.drainingError()
	case w.book != nil && w.book.failing():
		return ledgerFault()
	}
	return nil
}

// listedModel is an entry of GET /v1/models: OpenAI's members, then what the
// engine told of the model.
type listedModel struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
	grid.Model
}

func (w *Worker) listModels(r *http.Request) (any, *openai.Error) {
	models, fault := w.lentTo(r)
	if fault != nil {
		return nil, fault
	}
	list := make([]listedModel, len(models))
	for i, m := range models {
		list[i] = listedModel{m.ID, "model", w.started.Unix(), "lobstah:" + w.id.Short(), m}
	}
	return struct {
		Object string        `json:"object"`
		Data   []listedModel `json:"data"`
	}{"list", list}, nil
}

// A status is what GET /healthz answers.
type status struct {
	Status  string `json:"status"` // ok, or the code of what is wrong
	Message string `json:"message,omitempty"`
	Running int    `json:"running"`
	Queued  int    `json:"queued"`
}

func (w *Worker) healthz(rw http.ResponseWriter, r *http.Request) {
	s, code := status{Status: "ok"}, http.StatusOK
	s.Running, s.Queued = w.queue.load()
	fault := w.health()
	if fault == nil {
		_, fault = w.facts.current(r.Context())
	}
	if fault != nil {
		s.Status, s.Message, code = fault.Code, fault.Message, fault.Status
	}
	writeJSON(rw, code, s)
}

func writeJSON(rw http.ResponseWriter, status int, v any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err) // our own types always encode
	}
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(status)
	_, _ = rw.Write(bytes.TrimSuffix(b.Bytes(), []byte("\n"))) // a client that left needs no answer
}

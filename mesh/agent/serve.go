package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/time/rate"
)

// Path is where a desk is mounted.
const Path = "/mesh/v1/agents/"

const (
	maxCallers = 4096             // whose rates are counted one by one
	stillHere  = 15 * time.Second // between two lines of a stream at the most
)

// A refused is an answer that says no, in OpenAI's error shape.
type refused struct {
	status     int
	code       string
	message    string
	retryAfter time.Duration
}

func (r *refused) Error() string { return r.message }

// final reports whether asking again would change nothing.
func (r *refused) final() bool { return r.retryAfter == 0 && r.status < 500 }

func refuse(status int, code, format string, args ...any) *refused {
	return &refused{status: status, code: code, message: fmt.Sprintf(format, args...)}
}

func (r *refused) write(w http.ResponseWriter) {
	if r.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((r.retryAfter+time.Second-1)/time.Second)))
	}
	kind := "invalid_request_error"
	if r.status >= 500 {
		kind = "server_error"
	}
	writeJSON(w, r.status, map[string]any{"error": map[string]any{"message": r.message, "type": kind, "param": nil, "code": r.code}})
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // who asked is gone when it fails
}

// An Update is one line of a followed task's stream: what is new since the line
// before.
type Update struct {
	State    State  `json:"state"`
	At       int    `json:"at"`             // where text begins in all that the agent said
	Text     string `json:"text,omitempty"` // what it said since
	Question string `json:"question,omitempty"`
	Output   string `json:"output,omitempty"`
	Error    string `json:"error,omitempty"`
}

// ServeHTTP answers other nodes:
//
//	PUT    /mesh/v1/agents/tasks/ID         a Brief; the same again changes nothing
//	GET    /mesh/v1/agents/tasks/ID?from=N  Updates, a line each, until the end
//	POST   /mesh/v1/agents/tasks/ID/answer  {"text": …} to a question
//	DELETE /mesh/v1/agents/tasks/ID         cancels
//
// A task is known to the node that asked it and to nobody else.
func (d *Desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT "+Path+"tasks/{id}", d.with(d.serveTake))
	mux.HandleFunc("GET "+Path+"tasks/{id}", d.with(d.serveFollow))
	mux.HandleFunc("POST "+Path+"tasks/{id}/answer", d.with(d.serveAnswer))
	mux.HandleFunc("DELETE "+Path+"tasks/{id}", d.with(d.serveCancel))
	mux.ServeHTTP(w, r)
}

func (d *Desk) with(serve func(http.ResponseWriter, *http.Request, Caller) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who, err := d.cfg.Who(r)
		if err != nil {
			err = refuse(http.StatusUnauthorized, "unknown_caller", "it is not known who asks: %v", err)
		} else if !goodID(r.PathValue("id")) {
			err = refuse(http.StatusBadRequest, "bad_id", "a task's identifier has 32 hex digits")
		} else {
			err = serve(w, r, who)
		}
		if err == nil {
			return
		}
		no, ok := errors.AsType[*refused](err)
		if !ok {
			no = refuse(http.StatusInternalServerError, "failed", "%v", err)
		}
		no.write(w)
	}
}

func (d *Desk) serveTake(w http.ResponseWriter, r *http.Request, who Caller) error {
	var b Brief
	if err := readJSON(w, r, &b); err != nil {
		return err
	}
	if err := b.Check(); err != nil {
		return refuse(http.StatusBadRequest, "bad_task", "%v", err)
	}
	t, err := d.take(who, r.PathValue("id"), b)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusAccepted, Update{State: t.State})
	return nil
}

func readJSON(w http.ResponseWriter, r *http.Request, into any) error {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	if err := decoder.Decode(into); err != nil {
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			return refuse(http.StatusRequestEntityTooLarge, "too_large", "the body is larger than %d KiB", maxBody>>10)
		}
		return refuse(http.StatusBadRequest, "bad_json", "the body cannot be read: %v", err)
	}
	return nil
}

// take accepts a task, or finds it when it was asked before. Either way it has been
// written down when take returns it.
func (d *Desk) take(who Caller, id string, b Brief) (Task, error) {
	e, s, err := d.enter(who, id, b)
	if err != nil {
		return Task{}, err
	}
	if s == nil && e.kept != nil {
		<-e.kept
	}
	if s != nil {
		err = d.keep(e)
		d.seat(e, s, err)
	}
	if err != nil {
		return Task{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.tasks[taskKey{who.ID, id}] != e {
		return Task{}, refuse(http.StatusServiceUnavailable, "not_kept", "the task could not be written down")
	}
	return e.task, nil
}

// enter finds a task that was asked before, or makes an entry of a new one, for
// which it returns the seat.
func (d *Desk) enter(who Caller, id string, b Brief) (*entry, *seat, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e := d.tasks[taskKey{who.ID, id}]; e != nil {
		if e.task.Brief != b {
			return nil, nil, refuse(http.StatusConflict, "id_taken", "another task has this identifier")
		}
		return e, nil, nil
	}
	s, err := d.admit(who, b)
	if err != nil {
		return nil, nil, err
	}
	if len(d.tasks) >= 2*d.cfg.Kept {
		d.sweep()
	}
	now := d.cfg.Now()
	e := &entry{changed: make(chan struct{}), kept: make(chan struct{}), task: Task{
		ID: id, Node: who.ID, NodeName: who.Name, Brief: b, State: Queued, Created: now, Updated: now,
	}}
	d.tasks[taskKey{who.ID, id}] = e
	s.coming++
	return e, s, nil
}

// seat lets a new task wait for its agent once it was written down, and forgets it
// when it could not be.
func (d *Desk) seat(e *entry, s *seat, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer close(e.kept)
	s.coming--
	switch {
	case err != nil:
		delete(d.tasks, taskKey{e.task.Node, e.task.ID})
	case !e.task.State.Final(): // nobody cancelled it meanwhile
		s.queue = append(s.queue, e)
		d.nudge()
		from := Caller{ID: e.task.Node, Name: e.task.NodeName}
		d.cfg.Log.Info("a task came", "agent", s.ID, "kind", e.task.Brief.Kind, "from", from.String(), "task", e.task.ID[:8])
	}
}

// admit judges the caller, the agent's queue and the caller's rate. An agent that does
// not take the caller's tasks looks like one that is not there only in what it
// reveals: the reason names the caller, never others.
func (d *Desk) admit(who Caller, b Brief) (*seat, error) {
	s := d.seats[b.Agent]
	if s == nil {
		return nil, refuse(http.StatusNotFound, "no_agent", "this node has no agent %.128q", b.Agent)
	}
	why := errors.New("it takes no tasks from other nodes")
	if s.Accepts != nil {
		why = s.Accepts(who)
	}
	if why != nil {
		return nil, refuse(http.StatusForbidden, "not_accepted", "the agent %s does not take tasks of %s: %v", b.Agent, who, why)
	}
	// Who is not accepted takes no place among those whose rates are counted.
	if !d.limiter(who).AllowN(d.cfg.Now(), 1) {
		no := refuse(http.StatusTooManyRequests, "rate", "%s asks too often", who)
		no.retryAfter = time.Duration(float64(time.Second) / float64(d.cfg.Rate))
		return nil, no
	}
	if waiting := len(s.queue) + s.coming; waiting >= d.cfg.Waiting {
		no := refuse(http.StatusServiceUnavailable, "busy", "%d tasks wait for the agent %s already", waiting, b.Agent)
		no.retryAfter = 10 * time.Second
		return nil, no
	}
	return s, nil
}

// limiter is the caller's; when too many are counted, newcomers share one. The
// lock is held.
func (d *Desk) limiter(who Caller) *rate.Limiter {
	id := who.ID
	if d.callers[id] == nil && len(d.callers) >= maxCallers {
		clear(id[:])
	}
	if d.callers[id] == nil {
		d.callers[id] = rate.NewLimiter(d.cfg.Rate, 10)
	}
	return d.callers[id]
}

func (d *Desk) find(who Caller, id string) (*entry, error) {
	if e := d.tasks[taskKey{who.ID, id}]; e != nil {
		return e, nil
	}
	return nil, refuse(http.StatusNotFound, "no_task", "this node knows no such task")
}

func (d *Desk) serveFollow(w http.ResponseWriter, r *http.Request, who Caller) error {
	at, err := strconv.Atoi(r.FormValue("from"))
	if r.FormValue("from") != "" && (err != nil || at < 0) {
		return refuse(http.StatusBadRequest, "bad_from", "from: want a number of bytes")
	}
	d.mu.Lock()
	e, err := d.find(who, r.PathValue("id"))
	d.mu.Unlock()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	lines := json.NewEncoder(w)
	for {
		update, changed := d.update(e, at)
		if lines.Encode(update) != nil || http.NewResponseController(w).Flush() != nil || update.State.Final() {
			return nil // it was told all, or is gone
		}
		at = update.At + len(update.Text)
		select {
		case <-changed:
		case <-time.After(stillHere):
		case <-r.Context().Done():
			return nil
		}
	}
}

// update is what is new after a place, and the channel that tells of more.
func (d *Desk) update(e *entry, at int) (Update, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	u := Update{State: e.task.State, Question: e.task.Question, Output: e.task.Output, Error: e.task.Error}
	u.Text, u.At = e.said.from(at)
	return u, e.changed
}

func (d *Desk) serveAnswer(w http.ResponseWriter, r *http.Request, who Caller) error {
	var in struct {
		Text string `json:"text"`
	}
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	if len(in.Text) > MaxText {
		return refuse(http.StatusRequestEntityTooLarge, "too_large", "an answer has at most %d KiB", MaxText>>10)
	}
	if err := d.answer(who, r.PathValue("id"), in.Text); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, Update{State: Working})
	return nil
}

func (d *Desk) answer(who Caller, id, text string) error {
	d.mu.Lock()
	defer d.unlock()
	e, err := d.find(who, id)
	if err != nil {
		return err
	}
	if e.task.State != InputRequired || e.answer == nil {
		return refuse(http.StatusConflict, "no_question", "the agent asks nothing now: the task is %s", e.task.State)
	}
	e.answer <- text // buffered, and once for each question
	e.answer = nil
	e.task.State, e.task.Question = Working, ""
	d.change(e)
	return nil
}

func (d *Desk) serveCancel(w http.ResponseWriter, r *http.Request, who Caller) error {
	state, err := d.cancel(who, r.PathValue("id"))
	if err == nil {
		writeJSON(w, http.StatusOK, Update{State: state})
	}
	return err
}

func (d *Desk) cancel(who Caller, id string) (State, error) {
	d.mu.Lock()
	defer d.unlock()
	e, err := d.find(who, id)
	if err != nil {
		return "", err
	}
	d.stop(e, "by the node that asked")
	return e.task.State, nil
}

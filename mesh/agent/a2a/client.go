package a2a

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"lobstah/mesh/agent"
)

const (
	maxAnswer    = 8 << 20 // bytes of a whole answer
	maxEvent     = 4 << 20 // bytes of one event
	maxKept      = 4 * agent.MaxOutput
	maxArtifacts = 256
	retry        = 2 * time.Second
	farewell     = 5 * time.Second
)

// An Agent is an A2A agent as the backend of one of this node's agents.
type Agent struct {
	URL    string                 // of the agent, or of its card
	Token  func() (string, error) // a bearer token; nil sends none
	Client *http.Client           // nil: one without a time limit, that goes where the owner sent it
}

// Run implements agent.Backend. A question of the agent is asked back over the
// mesh. A lost connection is taken up again by asking for the task.
func (a Agent) Run(ctx context.Context, w agent.Work) (string, error) {
	r := &run{Agent: a, w: w, id: w.Task.Handle}
	if err := r.findAgain(ctx); err != nil {
		return "", err
	}
	answer, err := r.work(ctx)
	if ctx.Err() != nil {
		if agent.Unwanted(ctx) {
			r.abort(context.WithoutCancel(ctx))
		}
		return answer, context.Cause(ctx)
	}
	return answer, err
}

// findAgain reads the card. For a task that began before a restart it waits for an
// agent that does not answer yet.
func (r *run) findAgain(ctx context.Context) error {
	for {
		err := r.find(ctx)
		if _, refused := errors.AsType[*fault](err); err == nil || refused || r.id == "" {
			return err
		}
		select {
		case <-time.After(retry):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// A run is one task at the other agent. It is owned by Run's goroutine.
type run struct {
	Agent
	w        agent.Work
	endpoint string
	streams  bool
	id       string // of the task; empty until it is told
	context  string // of the conversation
	state    state
	words    string // its last message: a question, a reason, or all of an answer
	parts    []artifact
	kept     int // bytes of the parts' texts
}

// find reads the card.
func (r *run) find(ctx context.Context) error {
	address := strings.TrimSuffix(r.URL, "/")
	if !strings.HasSuffix(address, ".json") {
		address += cardPath
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return fmt.Errorf("the A2A agent's address: %w", err)
	}
	response, err := r.send(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var c card
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(&c); err != nil {
		return fmt.Errorf("reading the agent's card at %s: %w", address, err)
	}
	for _, i := range c.Interfaces {
		if i.Binding == "JSONRPC" && strings.HasPrefix(i.Protocol, "1.") {
			r.streams = c.Capabilities.Streaming
			r.endpoint, err = endpointOf(address, i.URL)
			return err
		}
	}
	return fmt.Errorf("the agent's card at %s offers no JSON-RPC of version 1", address)
}

func (r *run) send(request *http.Request) (*http.Response, error) {
	request.Header.Set("A2A-Version", Version)
	if r.Token != nil {
		token, err := r.Token()
		if err != nil {
			return nil, fmt.Errorf("reading the agent's token: %w", err)
		}
		request.Header.Set("Authorization", "Bearer "+token)
	}
	client := r.Client
	if client == nil {
		client = direct
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking the A2A agent: %w", err)
	}
	if response.StatusCode >= 300 {
		defer response.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(response.Body, 300)) // what came tells more than nothing
		return nil, &fault{codeInternal, fmt.Sprintf("the A2A agent answered %s: %s", response.Status, bytes.TrimSpace(text))}
	}
	return response, nil
}

// work drives the task to its end.
func (r *run) work(ctx context.Context) (string, error) {
	next := func() error {
		return r.call(ctx, r.method("SendStreamingMessage", "SendMessage"), r.message(r.w.Prompt))
	}
	if r.id != "" { // it began before a restart
		next = func() error { return r.look(ctx) }
	}
	for {
		err := next()
		if _, refused := errors.AsType[*fault](err); refused || ctx.Err() != nil || err != nil && r.id == "" {
			return r.answer(), err
		}
		switch r.state {
		case completed:
			return r.answer(), nil
		case failed, canceled, rejected, authRequired:
			return r.answer(), fmt.Errorf("the A2A agent ended the task as %s: %s", strings.ToLower(strings.TrimPrefix(string(r.state), "TASK_STATE_")), r.words)
		case inputRequired:
			reply, err := r.w.Ask(ctx, r.words)
			if err != nil {
				return r.answer(), err
			}
			next = func() error { return r.call(ctx, r.method("SendStreamingMessage", "SendMessage"), r.message(reply)) }
		default:
			if r.id == "" {
				return "", errors.New("the A2A agent ended its answer without a task and without a message")
			}
			select {
			case <-time.After(retry):
			case <-ctx.Done():
			}
			next = func() error { return r.look(ctx) }
		}
	}
}

func (r *run) method(streaming, whole string) string {
	if r.streams {
		return streaming
	}
	return whole
}

func (r *run) message(text string) any {
	r.state = ""
	return map[string]any{"message": message{
		MessageID: agent.NewID(), ContextID: r.context, TaskID: r.id, Role: "ROLE_USER", Parts: []part{{text}},
	}}
}

// look asks how far a task is. An answer is a sign of life.
func (r *run) look(ctx context.Context) error {
	err := r.call(ctx, "GetTask", map[string]string{"id": r.id})
	if err == nil {
		r.w.Say("")
	}
	return err
}

func (r *run) abort(ctx context.Context) {
	if r.id == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, farewell)
	defer cancel()
	_ = r.call(ctx, "CancelTask", map[string]string{"id": r.id}) // best effort: it may be gone
}

// call makes one JSON-RPC call and takes in what it answers, one event or many.
func (r *run) call(ctx context.Context, method string, params any) error {
	raw, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	if err != nil {
		return fmt.Errorf("encoding a call: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.endpoint, bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("the A2A agent's address: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := r.send(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if strings.HasPrefix(response.Header.Get("Content-Type"), "text/event-stream") {
		return r.listen(response.Body)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("reading the A2A agent's answer: %w", err)
	}
	return r.take(body)
}

func (r *run) listen(body io.Reader) error {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxEvent)
	for lines.Scan() {
		if data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data:")); ok {
			if err := r.take(data); err != nil {
				return err
			}
		}
	}
	return lines.Err()
}

// take reads one JSON-RPC answer: an event, or a bare task.
func (r *run) take(raw []byte) error {
	var in struct {
		Result json.RawMessage `json:"result"`
		Error  *fault          `json:"error"`
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return fmt.Errorf("reading the A2A agent's answer: %w", err)
	}
	if in.Error != nil {
		return in.Error
	}
	var e event
	var bare task
	if err := errors.Join(json.Unmarshal(in.Result, &e), json.Unmarshal(in.Result, &bare)); err != nil {
		return fmt.Errorf("reading the A2A agent's answer: %w", err)
	}
	if bare.ID != "" {
		e.Task = &bare
	}
	return r.apply(e)
}

func (r *run) apply(e event) error {
	switch {
	case e.Message != nil: // an answer without a task
		r.state, r.words = completed, textOf(e.Message.Parts)
	case e.Task != nil:
		for _, a := range e.Task.Artifacts {
			r.keep(a, false)
		}
		return r.at(e.Task.ID, e.Task.ContextID, e.Task.Status)
	case e.Artifact != nil:
		r.keep(e.Artifact.Artifact, e.Artifact.Append)
		r.w.Say(textOf(e.Artifact.Artifact.Parts))
	case e.Status != nil:
		return r.at(e.Status.TaskID, e.Status.ContextID, e.Status.Status)
	}
	return nil
}

// keep gathers the answer: what comes whole takes the place of what was there.
func (r *run) keep(a artifact, more bool) {
	text := textOf(a.Parts)
	i := slices.IndexFunc(r.parts, func(p artifact) bool { return p.ArtifactID == a.ArtifactID })
	if i < 0 {
		if len(r.parts) == maxArtifacts {
			return
		}
		i = len(r.parts)
		r.parts = append(r.parts, artifact{ArtifactID: a.ArtifactID})
	}
	if !more {
		r.kept -= len(textOf(r.parts[i].Parts))
		r.parts[i].Parts = nil
	}
	if r.kept+len(text) > maxKept {
		return // the mesh passes on less than is kept
	}
	r.kept += len(text)
	r.parts[i].Parts = append(r.parts[i].Parts, part{text})
}

// answer is what the agent made, or its last words when it made nothing.
func (r *run) answer() string {
	var b strings.Builder
	for _, a := range r.parts {
		b.WriteString(textOf(a.Parts))
	}
	if b.Len() == 0 && r.state == completed {
		return r.words
	}
	return b.String()
}

func (r *run) at(id, contextID string, s status) error {
	r.state, r.context = s.State, contextID
	if s.Message != nil {
		if r.words = textOf(s.Message.Parts); s.State == working {
			r.w.Say(r.words)
		}
	}
	if id == "" || id == r.id {
		return nil
	}
	r.id = id
	return r.w.Keep(id)
}

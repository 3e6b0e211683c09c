package a2a

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"lobstah/mesh/agent"
)

const maxBody = 2 << 20

// Tasks are the mesh's; *agent.Exchange is one.
type Tasks interface {
	Agents() []agent.Match
	Ask(ctx context.Context, target string, b agent.Brief) (agent.Task, error)
	Get(id string) (agent.Task, error)
	Wait(ctx context.Context, id string, each func(text string)) (agent.Task, error)
	Answer(ctx context.Context, id, text string) error
	Cancel(ctx context.Context, id string) error
}

// A Server shows the mesh's agents, each below PATH/AGENT@NODE:
//
//	GET  PATH/AGENT@NODE/.well-known/agent-card.json   its card
//	POST PATH/AGENT@NODE                               JSON-RPC
//
// AGENT alone means what it means everywhere in the mesh. GET PATH/ lists the
// cards' addresses.
type Server struct {
	Base  string // where clients reach it, without a slash at its end, such as http://127.0.0.1:19002/a2a
	Path  string // where it is mounted, such as /a2a
	Tasks Tasks
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	target := strings.Trim(strings.TrimPrefix(r.URL.Path, s.Path), "/")
	name, isCard := strings.CutSuffix("/"+target, cardPath)
	switch {
	case r.Method == http.MethodGet && target == "":
		s.serveList(w)
	case r.Method == http.MethodGet && isCard:
		s.serveCard(w, strings.TrimPrefix(name, "/"))
	case r.Method == http.MethodPost && target != "" && !strings.Contains(target, "/"):
		s.serveCall(w, r, target)
	default:
		http.Error(w, "there is no agent here; GET "+s.Path+"/ lists them", http.StatusNotFound)
	}
}

func (s *Server) serveList(w http.ResponseWriter) {
	cards := []string{}
	for _, m := range s.Tasks.Agents() {
		cards = append(cards, s.Base+"/"+m.Agent+"@"+m.Node.Name+cardPath)
	}
	writeJSON(w, map[string]any{"cards": cards})
}

func (s *Server) serveCard(w http.ResponseWriter, target string) {
	id, node, pinned := strings.Cut(target, "@")
	for _, m := range s.Tasks.Agents() {
		if m.Agent == id && (!pinned || m.Node.Name == node || m.Node.ID.String() == node) {
			writeJSON(w, s.card(target, m))
			return
		}
	}
	http.Error(w, "no node of the mesh offers that agent", http.StatusNotFound)
}

func (s *Server) card(target string, m agent.Match) card {
	description, tags := "An agent of the node "+m.Node.Name+".", []string{}
	for _, a := range m.Node.Agents {
		if a.ID == m.Agent {
			description, tags = strings.TrimSpace(a.Description+" "+description), append(tags, a.Tags...)
		}
	}
	return card{
		Name: target, Description: description, Version: Version,
		Interfaces:   []endpoint{{s.Base + "/" + target, "JSONRPC", Version}},
		Capabilities: capabilities{Streaming: true},
		InputModes:   []string{"text/plain"}, OutputModes: []string{"text/plain"},
		Skills: []skill{{"task", "Do a task", description, tags}},
	}
}

// A call is a JSON-RPC request.
type call struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Method  string          `json:"method"`
	Params  json.RawMessage `json:"params"`
}

// A fault is a JSON-RPC error, with the protocol's codes.
type fault struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (f *fault) Error() string { return f.Message }

const (
	codeParse       = -32700
	codeMethod      = -32601
	codeParams      = -32602
	codeInternal    = -32603
	codeNoTask      = -32001
	codeUnsupported = -32004
)

func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // who asked is gone when it fails
}

type reply struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Result  any             `json:"result,omitempty"`
	Error   *fault          `json:"error,omitempty"`
}

func (s *Server) serveCall(w http.ResponseWriter, r *http.Request, target string) {
	var c call
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&c); err != nil {
		writeJSON(w, reply{"2.0", json.RawMessage("null"), nil, &fault{codeParse, "the body is no JSON-RPC request: " + err.Error()}})
		return
	}
	if c.Method == "SendStreamingMessage" || c.Method == "SubscribeToTask" {
		s.stream(w, r, target, c)
		return
	}
	result, err := s.answer(r.Context(), target, c)
	if err != nil {
		writeJSON(w, reply{"2.0", c.ID, nil, faultOf(err)})
		return
	}
	writeJSON(w, reply{"2.0", c.ID, result, nil})
}

func faultOf(err error) *fault {
	if f, ok := errors.AsType[*fault](err); ok {
		return f
	}
	return &fault{codeInternal, err.Error()}
}

func (s *Server) answer(ctx context.Context, target string, c call) (any, error) {
	switch c.Method {
	case "SendMessage":
		return s.send(ctx, target, c.Params)
	case "GetTask":
		t, err := s.named(c.Params)
		return taskOf(t), err
	case "CancelTask":
		t, err := s.named(c.Params)
		if err != nil {
			return nil, err
		}
		if err := s.Tasks.Cancel(ctx, t.ID); err != nil {
			return nil, err
		}
		t, err = s.Tasks.Get(t.ID)
		return taskOf(t), err
	}
	return nil, &fault{codeMethod, fmt.Sprintf("the method %.60q is not spoken here", c.Method)}
}

// named finds the task that a call names.
func (s *Server) named(params json.RawMessage) (agent.Task, error) {
	var in struct{ ID string }
	if err := json.Unmarshal(params, &in); err != nil {
		return agent.Task{}, &fault{codeParams, "want {\"id\": …}"}
	}
	t, err := s.Tasks.Get(in.ID)
	if err != nil {
		return t, &fault{codeNoTask, err.Error()}
	}
	return t, nil
}

// send begins a task or answers the question of one, and waits for what comes
// of it, unless it is told not to.
func (s *Server) send(ctx context.Context, target string, params json.RawMessage) (any, error) {
	var in struct {
		Configuration struct {
			ReturnImmediately bool `json:"returnImmediately"`
		} `json:"configuration"`
	}
	t, err := s.begin(ctx, target, params)
	if err != nil {
		return nil, err
	}
	if json.Unmarshal(params, &in) == nil && !in.Configuration.ReturnImmediately {
		if t, err = s.Tasks.Wait(ctx, t.ID, nil); err != nil {
			return nil, err
		}
	}
	return event{Task: taskOf(t)}, nil
}

func (s *Server) begin(ctx context.Context, target string, params json.RawMessage) (agent.Task, error) {
	var in struct {
		Message message `json:"message"`
	}
	if err := json.Unmarshal(params, &in); err != nil {
		return agent.Task{}, &fault{codeParams, "the message cannot be read: " + err.Error()}
	}
	text := textOf(in.Message.Parts)
	if text == "" {
		return agent.Task{}, &fault{codeParams, "the message has no text; other parts are not carried over the mesh"}
	}
	if in.Message.TaskID == "" {
		return s.Tasks.Ask(ctx, target, agent.Brief{Kind: agent.Handoff, Text: text})
	}
	t, err := s.Tasks.Get(in.Message.TaskID)
	if err != nil {
		return t, &fault{codeNoTask, err.Error()}
	}
	if t.State != agent.InputRequired {
		return t, &fault{codeUnsupported, fmt.Sprintf("the task waits for no message: it is %s", t.State)}
	}
	if err := s.Tasks.Answer(ctx, t.ID, text); err != nil {
		return t, err
	}
	return s.Tasks.Get(t.ID)
}

// taskOf is a task of the mesh in the protocol's shape. It is its own context.
func taskOf(t agent.Task) *task {
	out := &task{ID: t.ID, ContextID: t.ID, Status: status{stateOf(t.State), said(t.ID+"-status", t.Question+t.Error)}}
	if t.Output != "" {
		out.Artifacts = []artifact{{"answer", []part{{t.Output}}}}
	}
	return out
}

// stream tells a task's progress as server-sent events until it ends or asks.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, target string, c call) {
	begin := func() (agent.Task, error) { return s.begin(r.Context(), target, c.Params) }
	if c.Method == "SubscribeToTask" {
		begin = func() (agent.Task, error) { return s.named(c.Params) }
	}
	t, err := begin()
	if err != nil {
		writeJSON(w, reply{"2.0", c.ID, nil, faultOf(err)})
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(w).Flush
	send := func(value reply) {
		raw, err := json.Marshal(value)
		if err == nil {
			_, err = fmt.Fprintf(w, "data: %s\n\n", raw)
		}
		if err == nil {
			_ = flush() // who asked is gone when it fails; the request's context ends the wait
		}
	}
	tell := func(e event) { send(reply{"2.0", c.ID, e, nil}) }
	tell(event{Task: taskOf(t)})
	t, err = s.Tasks.Wait(r.Context(), t.ID, func(text string) {
		tell(event{Status: &statusUpdate{t.ID, t.ID, status{working, said(t.ID+"-progress", text)}}})
	})
	if err != nil {
		send(reply{"2.0", c.ID, nil, faultOf(err)})
		return
	}
	if t.Output != "" {
		tell(event{Artifact: &artifactUpdate{t.ID, t.ID, taskOf(t).Artifacts[0], false, true}})
	}
	tell(event{Status: &statusUpdate{t.ID, t.ID, taskOf(t).Status}})
}

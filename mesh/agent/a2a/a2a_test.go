package a2a

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"lobstah/mesh/agent"
)

// exchange is a mesh with one agent, whose tasks end as the test says.
type exchange struct {
	said     []string
	question string // asked once
	end      agent.Task

	mu    sync.Mutex
	asked []agent.Brief
	heard []string
	tasks map[string]agent.Task
}

func (x *exchange) Agents() []agent.Match {
	return []agent.Match{{Agent: "coder", Node: agent.Node{Name: "office", Agents: []agent.Offered{{ID: "coder", Description: "Writes code.", Tags: []string{"code"}}}}}}
}

func (x *exchange) Ask(_ context.Context, target string, b agent.Brief) (agent.Task, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if target != "coder" && target != "coder@office" {
		return agent.Task{}, errors.New("no node of the mesh offers " + target)
	}
	t := agent.Task{ID: agent.NewID(), Brief: b, State: agent.Working}
	x.asked = append(x.asked, b)
	if x.tasks == nil {
		x.tasks = map[string]agent.Task{}
	}
	x.tasks[t.ID] = t
	return t, nil
}

func (x *exchange) Get(id string) (agent.Task, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	t, ok := x.tasks[id]
	if !ok {
		return t, errors.New("no task has that identifier")
	}
	return t, nil
}

func (x *exchange) set(id string, change func(*agent.Task)) agent.Task {
	x.mu.Lock()
	defer x.mu.Unlock()
	t := x.tasks[id]
	change(&t)
	x.tasks[id] = t
	return t
}

func (x *exchange) Wait(_ context.Context, id string, each func(string)) (agent.Task, error) {
	if _, err := x.Get(id); err != nil {
		return agent.Task{}, err
	}
	if each != nil {
		for _, text := range x.said {
			each(text)
		}
	}
	return x.set(id, func(t *agent.Task) {
		switch {
		case t.State.Final():
		case x.question != "":
			t.State, t.Question, x.question = agent.InputRequired, x.question, ""
		case t.State == agent.Working:
			t.State, t.Output, t.Error = x.end.State, x.end.Output, x.end.Error
		}
	}), nil
}

func (x *exchange) Answer(_ context.Context, id, text string) error {
	x.set(id, func(t *agent.Task) { t.State, t.Question = agent.Working, "" })
	x.heard = append(x.heard, text)
	return nil
}

func (x *exchange) Cancel(_ context.Context, id string) error {
	x.set(id, func(t *agent.Task) { t.State = agent.Cancelled })
	return nil
}

func serve(t *testing.T, x *exchange) *httptest.Server {
	t.Helper()
	s := &Server{Path: "/a2a", Tasks: x}
	server := httptest.NewServer(s)
	s.Base = server.URL + "/a2a"
	t.Cleanup(server.Close)
	return server
}

// work has our own client hand a task to our own server.
func work(t *testing.T, url string, w agent.Work) (answer, said string, err error) {
	t.Helper()
	w.Prompt, w.Say = "the prompt", func(text string) { said += text }
	if w.Keep == nil {
		w.Keep = func(string) error { return nil }
	}
	answer, err = Agent{URL: url}.Run(t.Context(), w)
	return answer, said, err
}

func TestATask(t *testing.T) {
	t.Parallel()
	x := &exchange{said: []string{"one ", "two "}, end: agent.Task{State: agent.Done, Output: "the answer"}}
	server := serve(t, x)
	kept := ""
	answer, said, err := work(t, server.URL+"/a2a/coder@office", agent.Work{Keep: func(id string) error { kept = id; return nil }})
	if err != nil || answer != "the answer" || said != "one two the answer" {
		t.Errorf("got %q after %q, %v", answer, said, err)
	}
	if x.asked[0] != (agent.Brief{Kind: agent.Handoff, Text: "the prompt"}) || x.tasks[kept].ID != kept {
		t.Errorf("asked %+v, kept %q", x.asked, kept)
	}
	again, _, err := work(t, server.URL+"/a2a/coder", agent.Work{Task: agent.Task{Handle: kept}})
	if err != nil || again != "the answer" || len(x.asked) != 1 {
		t.Errorf("after a restart: %q, %v, asked %d times", again, err, len(x.asked))
	}
}

func TestAQuestionIsAskedBack(t *testing.T) {
	t.Parallel()
	x := &exchange{question: "which branch?", end: agent.Task{State: agent.Done, Output: "merged"}}
	server := serve(t, x)
	answer, _, err := work(t, server.URL+"/a2a/coder", agent.Work{Ask: func(_ context.Context, question string) (string, error) {
		return "answer to " + question, nil
	}})
	if err != nil || answer != "merged" || !slices.Equal(x.heard, []string{"answer to which branch?"}) {
		t.Errorf("got %q, %v; it heard %q", answer, err, x.heard)
	}
}

func TestATaskThatFails(t *testing.T) {
	t.Parallel()
	server := serve(t, &exchange{end: agent.Task{State: agent.Failed, Error: "no such branch"}})
	if _, _, err := work(t, server.URL+"/a2a/coder", agent.Work{}); err == nil || !strings.Contains(err.Error(), "no such branch") {
		t.Errorf("a failure: %v", err)
	}
	if _, _, err := work(t, server.URL+"/a2a/nobody", agent.Work{}); err == nil || !strings.Contains(err.Error(), "no node of the mesh offers that agent") {
		t.Errorf("no card: %v", err)
	}
}

// An agent that does not stream is asked until it has ended, and its last words
// are the answer when it makes nothing else.
func TestAnAgentThatDoesNotStream(t *testing.T) {
	t.Parallel()
	var methods []string
	var base string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			writeJSON(w, card{Interfaces: []endpoint{{"http://other", "GRPC", "1.0"}, {base, "JSONRPC", "1.0"}}})
			return
		}
		var c call
		if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
			t.Error(err)
		}
		methods = append(methods, c.Method)
		var result any = event{Task: &task{ID: "t", ContextID: "c", Status: status{State: submitted}}}
		if c.Method == "GetTask" {
			result = task{ID: "t", ContextID: "c", Status: status{completed, said("m", "done here")}}
		}
		writeJSON(w, reply{"2.0", c.ID, result, nil})
	}))
	defer server.Close()
	base = server.URL
	answer, _, err := work(t, server.URL, agent.Work{})
	if err != nil || answer != "done here" || !slices.Equal(methods, []string{"SendMessage", "GetTask"}) {
		t.Errorf("got %q, %v; it called %q", answer, err, methods)
	}
}

func TestTheServerRefuses(t *testing.T) {
	t.Parallel()
	server := serve(t, &exchange{})
	for body, says := range map[string]string{
		`{`: "no JSON-RPC request",
		`{"jsonrpc":"2.0","id":1,"method":"Reboot"}`:                                                                          "not spoken here",
		`{"jsonrpc":"2.0","id":1,"method":"GetTask","params":{"id":"x"}}`:                                                     "no task",
		`{"jsonrpc":"2.0","id":1,"method":"SendMessage","params":{"message":{"parts":[{"url":"http://x"}]}}}`:                 "no text",
		`{"jsonrpc":"2.0","id":1,"method":"SendStreamingMessage","params":{"message":{"taskId":"x","parts":[{"text":"y"}]}}}`: "no task",
	} {
		response, err := http.Post(server.URL+"/a2a/coder", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		var got reply
		if err := json.NewDecoder(response.Body).Decode(&got); err != nil || got.Error == nil || !strings.Contains(got.Error.Message, says) {
			t.Errorf("%s: %+v, %v; want %q", body, got.Error, err, says)
		}
		response.Body.Close()
	}
}

func FuzzTake(f *testing.F) {
	f.Add([]byte(`{"result":{"task":{"id":"t","status":{"state":"TASK_STATE_WORKING","message":{"parts":[{"text":"x"}]}},"artifacts":[{"parts":[]}]}}}`))
	f.Add([]byte(`{"result":{"artifactUpdate":{"artifact":{"artifactId":"a","parts":[{"text":"x"}]},"append":true}}}`))
	f.Add([]byte(`{"error":{"code":1,"message":"no"}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := &run{w: agent.Work{Say: func(string) {}, Keep: func(string) error { return nil }}}
		err := r.take(raw)
		if err == nil && len(r.answer()) > len(raw)*4 {
			t.Errorf("%q became an answer of %d bytes", raw, len(r.answer()))
		}
	})
}

// polled is an A2A agent that does not stream: look answers each GetTask.
func polled(t *testing.T, look func(turn int) (any, int)) (server *httptest.Server, cancelled func() int) {
	t.Helper()
	var mu sync.Mutex
	var turns, cancels int
	var base string
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			writeJSON(w, card{Interfaces: []endpoint{{base, "JSONRPC", "1.0"}}})
			return
		}
		var c call
		if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		switch c.Method {
		case "GetTask":
			turns++
			result, status := look(turns)
			if status != 0 {
				panic(http.ErrAbortHandler) // the connection is cut
			}
			writeJSON(w, reply{"2.0", c.ID, result, nil})
			return
		case "CancelTask":
			cancels++
		}
		writeJSON(w, reply{"2.0", c.ID, event{Task: &task{ID: "t", ContextID: "c", Status: status{State: working}}}, nil})
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	base = server.URL
	t.Cleanup(server.Close)
	return server, func() int { mu.Lock(); defer mu.Unlock(); return cancels }
}

// What is told again and again is kept once, however long the agent works.
func TestTheSameArtifactManyTimes(t *testing.T) {
	t.Parallel()
	r := &run{w: agent.Work{Say: func(string) {}}}
	large := artifact{"log", []part{{strings.Repeat("x", agent.MaxOutput)}}}
	for range 100 {
		r.keep(large, false)
	}
	r.keep(artifact{"answer", []part{{"the end"}}}, false)
	if got := r.answer(); len(got) != agent.MaxOutput+len("the end") || !strings.HasSuffix(got, "the end") {
		t.Errorf("an answer of %d bytes that ends in %q", len(got), got[max(0, len(got)-10):])
	}
	for i := range 10_000 {
		r.keep(artifact{fmt.Sprint("more", i), []part{{strings.Repeat("y", 1000)}}}, false)
		r.keep(artifact{"log", []part{{strings.Repeat("z", 1000)}}}, true)
	}
	if len(r.parts) > maxArtifacts || r.kept > maxKept || len(r.answer()) != r.kept {
		t.Errorf("%d artifacts of %d bytes, counted as %d", len(r.parts), len(r.answer()), r.kept)
	}
}

// An agent that does not answer gives no sign of life, and is asked on.
func TestAnAgentThatGoesAway(t *testing.T) {
	t.Parallel()
	server, _ := polled(t, func(turn int) (any, int) {
		if turn == 1 {
			return nil, 500
		}
		return task{ID: "t", ContextID: "c", Status: status{completed, said("m", "back")}}, 0
	})
	signs := 0
	answer, err := Agent{URL: server.URL}.Run(t.Context(), agent.Work{Say: func(string) { signs++ }, Keep: func(string) error { return nil }})
	if err != nil || answer != "back" || signs != 1 {
		t.Errorf("got %q, %v, %d signs of life; want one, for the answer", answer, err, signs)
	}
}

// Work that nobody wants is ended at the agent; when this process stops it goes on.
func TestWhenWorkIsEndedAtTheAgent(t *testing.T) {
	t.Parallel()
	for cause, want := range map[error]int{agent.ErrCancelled: 1, nil: 0} {
		server, cancelled := polled(t, func(int) (any, int) { return task{ID: "t", ContextID: "c", Status: status{State: working}}, 0 })
		ctx, cancel := context.WithCancelCause(t.Context())
		_, err := Agent{URL: server.URL}.Run(ctx, agent.Work{Say: func(string) {}, Keep: func(string) error { cancel(cause); return nil }})
		if err == nil || cancelled() != want {
			t.Errorf("ended by %v: %v, and the agent was told %d times, want %d", cause, err, cancelled(), want)
		}
	}
}

// After a restart of this node an agent that is not up yet is waited for.
func TestAnAgentThatStartsLater(t *testing.T) {
	t.Parallel()
	later, _ := polled(t, func(int) (any, int) {
		return task{ID: "t", ContextID: "c", Status: status{completed, said("m", "found")}}, 0
	})
	refused := 0
	client := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		if refused == 0 {
			refused++
			return nil, errors.New("connection refused")
		}
		return http.DefaultTransport.RoundTrip(r)
	})}
	w := agent.Work{Task: agent.Task{Handle: "t"}, Say: func(string) {}, Keep: func(string) error { return nil }}
	if answer, err := (Agent{URL: later.URL, Client: client}).Run(t.Context(), w); err != nil || answer != "found" {
		t.Errorf("got %q, %v", answer, err)
	}
	refused, w.Task.Handle = 0, ""
	if _, err := (Agent{URL: later.URL, Client: client}).Run(t.Context(), w); err == nil {
		t.Error("new work waits for an agent that is not there")
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

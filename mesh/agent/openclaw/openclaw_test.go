package openclaw

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"lobstah/key"
	"lobstah/mesh/agent"
)

// A recording is a conversation with a real gateway. In is what the gateway sent.
type recording struct {
	Frames []struct {
		Dir   string          `json:"dir"`
		Frame json.RawMessage `json:"frame"`
	} `json:"frames"`
}

type request struct {
	ID     string         `json:"id"`
	Method string         `json:"method"`
	Params map[string]any `json:"params"`
}

const recordedRun = "143ee9b3-e4fa-4735-8172-1d2e5943fe10"

// replay is a gateway that answers as a recorded one did: what came after a
// request of the recording is sent after the same request now.
type replay struct {
	after map[string][]json.RawMessage // by method; "" is the greeting
	cut   string                       // a method at which the connection is lost, once

	mu    sync.Mutex
	asked []request
}

func load(t *testing.T, name string) *replay {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var rec recording
	if err := json.Unmarshal(raw, &rec); err != nil {
		t.Fatal(err)
	}
	r := &replay{after: map[string][]json.RawMessage{}}
	ids, method := map[string]string{}, ""
	for _, f := range rec.Frames {
		var q struct{ ID, Method, Type string }
		if err := json.Unmarshal(f.Frame, &q); err != nil {
			t.Fatal(err)
		}
		if f.Dir == "out" {
			ids[q.ID], method = q.Method, q.Method
			continue
		}
		to := method
		if q.Type == "res" {
			to = ids[q.ID]
		}
		r.after[to] = append(r.after[to], f.Frame)
	}
	return r
}

func (r *replay) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	ws, err := websocket.Accept(w, q, nil)
	if err != nil {
		return
	}
	defer ws.CloseNow()
	r.send(q.Context(), ws, "", "")
	for {
		_, raw, err := ws.Read(q.Context())
		if err != nil {
			return
		}
		var asked request
		if json.Unmarshal(raw, &asked) != nil {
			return
		}
		r.mu.Lock()
		r.asked = append(r.asked, asked)
		lost := r.cut == asked.Method
		if lost {
			r.cut = ""
		}
		r.mu.Unlock()
		if lost {
			return
		}
		r.send(q.Context(), ws, asked.Method, asked.ID)
	}
}

// send plays what came after a request, under the identifiers of now.
func (r *replay) send(ctx context.Context, ws *websocket.Conn, method, id string) {
	for _, raw := range r.after[method] {
		text := strings.ReplaceAll(string(raw), recordedRun, runID)
		var f map[string]any
		if json.Unmarshal([]byte(text), &f) == nil && f["type"] == "res" {
			f["id"] = id
		}
		out, err := json.Marshal(f)
		if err != nil || ws.Write(ctx, websocket.MessageText, out) != nil {
			return
		}
	}
}

func (r *replay) methods() (list []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, q := range r.asked {
		list = append(list, q.Method)
	}
	return list
}

func (r *replay) params(method string) map[string]any {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, q := range r.asked {
		if q.Method == method {
			return q.Params
		}
	}
	return nil
}

var (
	taskID = strings.Repeat("0d", 16)
	runID  = "clawmatrix-" + taskID
)

// handOver hands a task to a gateway.
func handOver(t *testing.T, gateway http.Handler, change func(*agent.Task)) (answer, said, kept string, err error) {
	t.Helper()
	server := httptest.NewServer(gateway)
	t.Cleanup(server.Close)
	a := Agent{URL: "ws" + strings.TrimPrefix(server.URL, "http"), ID: "main", Token: func() (string, error) { return "the-token", nil }}
	task := agent.Task{ID: taskID, Node: key.ID{5}, Brief: agent.Brief{Kind: agent.Handoff, Agent: "main", Text: "x"}}
	if change != nil {
		change(&task)
	}
	answer, err = a.Run(t.Context(), agent.Work{
		Task: task, Prompt: "marked text",
		Say:  func(text string) { said += text },
		Keep: func(handle string) error { kept = handle; return nil },
	})
	return answer, said, kept, err
}

const recordedAnswer = "TOOLRESULT<<ws-handoff\nvm>>"

func TestHandoffAsRecorded(t *testing.T) {
	t.Parallel()
	r := load(t, "agent-run.json")
	answer, said, kept, err := handOver(t, r, nil)
	if err != nil || answer != recordedAnswer || said != recordedAnswer || kept != runID {
		t.Errorf("got %q after %q, kept %q, %v", answer, said, kept, err)
	}
	if got := r.methods(); !slices.Equal(got, []string{"connect", "agent", "agent.wait"}) {
		t.Errorf("it asked %q", got)
	}
	connect, begin := r.params("connect"), r.params("agent")
	if connect["auth"].(map[string]any)["token"] != "the-token" || slices.Contains(connect["scopes"].([]any), any("operator.admin")) {
		t.Errorf("it connected with %v", connect)
	}
	if begin["message"] != "marked text" || begin["idempotencyKey"] != runID || begin["deliver"] != false ||
		begin["sessionKey"] != "agent:main:clawmatrix-lob105000000000000000000000000000000" {
		t.Errorf("it began with %v", begin)
	}
}

// A connection that is lost while the agent works begins no second run.
func TestALostConnection(t *testing.T) {
	t.Parallel()
	r := load(t, "agent-run.json")
	r.cut = "agent.wait"
	answer, _, _, err := handOver(t, r, nil)
	if err != nil || answer != recordedAnswer {
		t.Errorf("got %q, %v", answer, err)
	}
	if got := r.methods(); !slices.Equal(got, []string{"connect", "agent", "agent.wait", "connect", "agent.wait"}) {
		t.Errorf("it asked %q", got)
	}
}

func TestAfterARestart(t *testing.T) {
	t.Parallel()
	r := load(t, "agent-run.json")
	answer, _, _, err := handOver(t, r, func(task *agent.Task) { task.Handle = runID })
	if got := r.methods(); err != nil || answer != recordedAnswer || !slices.Equal(got, []string{"connect", "agent.wait"}) {
		t.Errorf("got %q, %v; it asked %q", answer, err, got)
	}
}

func TestAMessageGoesToTheAgentsOwnSession(t *testing.T) {
	t.Parallel()
	r := load(t, "agent-run.json")
	_, _, _, err := handOver(t, r, func(task *agent.Task) { task.Brief.Kind = agent.Send })
	p := r.params("agent")
	if err != nil || p["sessionKey"] != "agent:main:main" || p["message"] != "marked text" || p["idempotencyKey"] != runID {
		t.Errorf("it sent %v, %v", p, err)
	}
	if origin, _ := p["inputProvenance"].(map[string]any); origin["kind"] != "external_user" || origin["sourceTool"] != "cluster_send" {
		t.Errorf("its origin is %v", p["inputProvenance"])
	}
	// The others would let the text give orders, and this is not waited for.
	if got := r.methods(); !slices.Equal(got, []string{"connect", "agent"}) {
		t.Errorf("it asked %q", got)
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	if _, _, _, err := handOver(t, load(t, "badtoken.json"), nil); err == nil || !strings.Contains(err.Error(), "gateway token mismatch") {
		t.Errorf("a wrong token: %v", err)
	}
	nobody := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusNotFound) })
	if _, _, _, err := handOver(t, nobody, nil); err == nil || !strings.Contains(err.Error(), "no OpenClaw gateway answers at ws://") {
		t.Errorf("no gateway: %v", err)
	}
	r := load(t, "agent-run.json")
	r.after["agent.wait"] = []json.RawMessage{json.RawMessage(`{"type":"res","ok":true,"payload":{"status":"error","error":{"message":"the model is gone"}}}`)}
	if _, _, _, err := handOver(t, r, nil); err == nil || !strings.Contains(err.Error(), "the model is gone") {
		t.Errorf("a run that failed: %v", err)
	}
	stop := errors.New("stop")
	a := Agent{Token: func() (string, error) { return "", stop }}
	if _, err := a.Run(t.Context(), agent.Work{}); !errors.Is(err, stop) {
		t.Errorf("no token: %v", err)
	}
}

// A task that is cancelled stops its run at the gateway. When this process stops,
// the run goes on, and the next process finds it.
func TestCancelled(t *testing.T) {
	t.Parallel()
	for cause, aborted := range map[error]bool{agent.ErrCancelled: true, nil: false} {
		got := endedBy(t, cause)
		if slices.Contains(got, "chat.abort") != aborted {
			t.Errorf("ended by %v it asked %q", cause, got)
		}
	}
}

func endedBy(t *testing.T, cause error) (methods []string) {
	r := load(t, "agent-run.json")
	ctx, cancel := context.WithCancelCause(t.Context())
	delete(r.after, "agent.wait") // it works, and works
	r.after["chat.abort"] = []json.RawMessage{json.RawMessage(`{"type":"res","ok":true,"payload":{"ok":true}}`)}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	a := Agent{URL: "ws" + strings.TrimPrefix(server.URL, "http"), ID: "main", Token: func() (string, error) { return "", nil }}
	_, err := a.Run(ctx, agent.Work{
		Task: agent.Task{ID: taskID, Brief: agent.Brief{Kind: agent.Handoff}}, Say: func(string) {},
		Keep: func(string) error { cancel(cause); return nil },
	})
	if want := cmp.Or(cause, context.Canceled); !errors.Is(err, want) {
		t.Errorf("it ended with %v, want %v", err, want)
	}
	return r.methods()
}

// Package openclaw lets an agent of an OpenClaw gateway take tasks and messages
// from other nodes, over the gateway's WebSocket.
//
// Start from an [Agent], which is an agent.Backend. Commands import it; it
// imports mesh/agent. The gateway runs on this machine and is its owner's; the
// task is hostile text, which goes in as a message and no other way. Each node's
// hand-offs have a session of their own, so that no node reads what another one
// said, and none is the owner's.
//
// Facts of the protocol were read off a gateway of version 2026.9.6: a run is
// named by its idempotency key, so it is found again after a restart.
package openclaw

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"lobstah/mesh/agent"
)

const (
	waitFor  = 30 * time.Second // one question for a run's end
	retry    = 2 * time.Second  // after a lost connection
	farewell = 5 * time.Second  // to stop a run that nobody wants

	sessionName = len("lob1") + 32 // of a key: enough that nobody makes one that begins like another's
)

// An Agent is one agent of a gateway.
type Agent struct {
	URL   string                 // of the gateway; empty means ws://127.0.0.1:18789
	ID    string                 // in the gateway's configuration
	Token func() (string, error) // asked at each connection
}

// Run implements agent.Backend. A lost connection is taken up again until ctx
// ends.
func (a Agent) Run(ctx context.Context, w agent.Work) (string, error) {
	r := &run{Agent: a, w: w, handle: w.Task.Handle}
	for {
		answer, err := r.attempt(ctx)
		if lost, ok := errors.AsType[*lostError](err); !ok || ctx.Err() != nil {
			if ctx.Err() != nil {
				if agent.Unwanted(ctx) {
					r.abort(context.WithoutCancel(ctx))
				}
				return answer, context.Cause(ctx)
			}
			return answer, err
		} else if r.handle == "" && !lost.connected {
			return "", err // the gateway is not there: better said at once
		}
		select {
		case <-time.After(retry):
		case <-ctx.Done():
		}
	}
}

// A run is one task at the gateway. It is owned by Run's goroutine.
type run struct {
	Agent
	w      agent.Work
	handle string // the run's identifier; empty until the gateway took it
}

// id names the run. The gateway's plugin knows what other nodes ask by it, and
// keeps the tools that rule over the gateway from such runs.
func (r *run) id() string { return "clawmatrix-" + r.w.Task.ID }

// session keeps nodes apart, and all of them from the owner. A message goes to
// the owner's own session, where the agent lives.
func (r *run) session() string {
	if r.w.Task.Brief.Kind == agent.Send {
		return "agent:" + r.ID + ":main"
	}
	return "agent:" + r.ID + ":clawmatrix-" + r.w.Task.Node.String()[:sessionName]
}

// attempt does what is to be done over one connection.
func (r *run) attempt(ctx context.Context) (string, error) {
	g, err := r.connect(ctx)
	if err != nil {
		return "", err
	}
	defer g.close()
	g.event = r.hear
	if r.handle == "" {
		if err := r.begin(ctx, g); err != nil {
			return "", err
		}
	}
	if r.w.Task.Brief.Kind == agent.Send {
		return "", nil // nobody waits for what comes of it
	}
	return r.wait(ctx, g)
}

func (r *run) connect(ctx context.Context) (*gateway, error) {
	token, err := r.Token()
	if err != nil {
		return nil, fmt.Errorf("reading the gateway's token: %w", err)
	}
	return dial(ctx, cmp.Or(r.URL, "ws://127.0.0.1:18789"), token)
}

// begin starts the run. The gateway's other ways in, chat.send and sessions.send,
// take orders out of the text: /exec security=full in the middle of it would lift
// the owner's approvals, /model would change the session. This one has none.
func (r *run) begin(ctx context.Context, g *gateway) error {
	var taken struct {
		RunID string `json:"runId"`
	}
	err := g.call(ctx, "agent", map[string]any{
		"message": r.w.Prompt, "agentId": r.ID, "sessionKey": r.session(), "deliver": false, "idempotencyKey": r.id(),
		"inputProvenance": map[string]string{"kind": "external_user", "sourceChannel": "clawmatrix", "sourceTool": string("cluster_" + r.w.Task.Brief.Kind)},
	}, &taken)
	if err != nil {
		return err
	}
	r.handle = cmp.Or(taken.RunID, r.id())
	return r.w.Keep(r.handle)
}

// ended is the answer to agent.wait.
type ended struct {
	Status string          `json:"status"` // ok, error, timeout, pending
	Error  json.RawMessage `json:"error"`
	Reply  struct {
		Text string `json:"text"`
	} `json:"terminalReply"`
	Stop string `json:"stopReason"`
}

func (r *run) wait(ctx context.Context, g *gateway) (string, error) {
	for {
		var end ended
		err := g.call(ctx, "agent.wait", map[string]any{"runId": r.handle, "timeoutMs": waitFor.Milliseconds()}, &end)
		if err != nil {
			return "", err
		}
		switch end.Status {
		case "ok":
			return end.Reply.Text, nil
		case "pending", "timeout", "accepted", "running", "started":
			r.w.Say("") // the gateway still knows it: a sign of life
		default:
			return end.Reply.Text, fmt.Errorf("the agent's run ended as %q: %s", end.Status, reason(end))
		}
	}
}

func reason(e ended) string {
	var text string
	if json.Unmarshal(e.Error, &text) == nil && text != "" {
		return text
	}
	var object struct{ Message string }
	if json.Unmarshal(e.Error, &object) == nil && object.Message != "" {
		return object.Message
	}
	return cmp.Or(e.Stop, "it gave no reason")
}

// hear passes on what the agent says, and takes its use of tools for a sign of
// life.
func (r *run) hear(event string, payload json.RawMessage) {
	var p struct {
		RunID  string `json:"runId"`
		Stream string `json:"stream"`
		Data   struct {
			Text  string `json:"text"` // all that was said in this item
			Delta string `json:"delta"`
		} `json:"data"`
	}
	if event != "agent" || json.Unmarshal(payload, &p) != nil || p.RunID != r.handle {
		return
	}
	if p.Stream == "assistant" {
		r.w.Say(strings.ToValidUTF8(p.Data.Delta, "\uFFFD"))
		return
	}
	r.w.Say("")
}

// abort stops a run that is not wanted any longer, as well as it can.
func (r *run) abort(ctx context.Context) {
	if r.handle == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, farewell)
	defer cancel()
	g, err := r.connect(ctx)
	if err != nil {
		return // a gateway that is gone runs nothing
	}
	defer g.close()
	_ = g.call(ctx, "chat.abort", map[string]any{"sessionKey": r.session(), "runId": r.handle}, nil)
}

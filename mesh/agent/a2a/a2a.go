// Package a2a speaks the Agent2Agent protocol, version 1.0, over JSON-RPC: an
// [Agent] is any A2A agent behind this node's desk, and a [Server] shows every
// agent of the mesh as an A2A agent with a card of its own.
//
// Commands import it; it imports mesh/agent. What an A2A agent answers is
// hostile: bodies, events and texts are capped. Who may reach the server is for
// its composer to decide, who puts it behind the token of this machine's owner.
//
// The wire is the protocol's JSON mapping (https://a2a-protocol.org), as far as
// text goes: messages, tasks with their states, artifacts, streams and cards.
package a2a

import (
	"strings"

	"lobstah/mesh/agent"
)

// Version is the protocol's.
const Version = "1.0"

// cardPath is where a card lies below an agent's address (RFC 8615).
const cardPath = "/.well-known/agent-card.json"

type part struct {
	Text string `json:"text,omitempty"`
}

type message struct {
	MessageID string `json:"messageId"`
	ContextID string `json:"contextId,omitempty"`
	TaskID    string `json:"taskId,omitempty"`
	Role      string `json:"role"` // ROLE_USER or ROLE_AGENT
	Parts     []part `json:"parts"`
}

type status struct {
	State   state    `json:"state"`
	Message *message `json:"message,omitempty"`
}

type artifact struct {
	ArtifactID string `json:"artifactId"`
	Parts      []part `json:"parts"`
}

type task struct {
	ID        string     `json:"id"`
	ContextID string     `json:"contextId"`
	Status    status     `json:"status"`
	Artifacts []artifact `json:"artifacts,omitempty"`
}

// An event is one of a stream's, and the answer to a message too: one of its
// members is set.
type event struct {
	Task     *task           `json:"task,omitempty"`
	Message  *message        `json:"message,omitempty"`
	Status   *statusUpdate   `json:"statusUpdate,omitempty"`
	Artifact *artifactUpdate `json:"artifactUpdate,omitempty"`
}

type statusUpdate struct {
	TaskID    string `json:"taskId"`
	ContextID string `json:"contextId"`
	Status    status `json:"status"`
}

type artifactUpdate struct {
	TaskID    string   `json:"taskId"`
	ContextID string   `json:"contextId"`
	Artifact  artifact `json:"artifact"`
	Append    bool     `json:"append,omitempty"`
	LastChunk bool     `json:"lastChunk,omitempty"`
}

type card struct {
	Name         string       `json:"name"`
	Description  string       `json:"description"`
	Version      string       `json:"version"`
	Interfaces   []endpoint   `json:"supportedInterfaces"`
	Capabilities capabilities `json:"capabilities"`
	InputModes   []string     `json:"defaultInputModes"`
	OutputModes  []string     `json:"defaultOutputModes"`
	Skills       []skill      `json:"skills"`
}

// capabilities are what is used here of them.
type capabilities struct {
	Streaming         bool `json:"streaming"`
	PushNotifications bool `json:"pushNotifications"`
}

type endpoint struct {
	URL      string `json:"url"`
	Binding  string `json:"protocolBinding"`
	Protocol string `json:"protocolVersion"`
}

type skill struct {
	ID          string   `json:"id"`
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Tags        []string `json:"tags"`
}

// A state is a task's, in the protocol's words.
type state string

const (
	submitted     state = "TASK_STATE_SUBMITTED"
	working       state = "TASK_STATE_WORKING"
	completed     state = "TASK_STATE_COMPLETED"
	failed        state = "TASK_STATE_FAILED"
	canceled      state = "TASK_STATE_CANCELED"
	rejected      state = "TASK_STATE_REJECTED"
	inputRequired state = "TASK_STATE_INPUT_REQUIRED"
	authRequired  state = "TASK_STATE_AUTH_REQUIRED"
)

// stateOf says in the protocol's words how far a task of the mesh is.
func stateOf(s agent.State) state {
	switch s {
	case agent.Working:
		return working
	case agent.InputRequired:
		return inputRequired
	case agent.Done:
		return completed
	case agent.Cancelled:
		return canceled
	case agent.Failed, agent.Lost:
		return failed
	}
	return submitted
}

func textOf(parts []part) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString(p.Text)
	}
	return b.String()
}

func said(id, text string) *message {
	if text == "" {
		return nil
	}
	return &message{MessageID: id, Role: "ROLE_AGENT", Parts: []part{{text}}}
}

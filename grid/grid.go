// Package grid is the vocabulary that the grid's parts share: what a model is,
// what a peer is, what a worker says of itself and what a request to it looks
// like on the wire. It has no behaviour beyond reading and writing these.
//
// Everything below grid/ and cmd/ may import it; it imports key and receipt.
// [Capacity] and [Model] come from peers and are hostile: readers cap their
// bytes ([MaxCapacityBytes]) before decoding and call [Capacity.Validate].
package grid

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"lobstah/key"
)

// A Model is one model that an engine serves, with the facts it told. Its JSON
// is a member of GET /capacity and GET /v1/models.
type Model struct {
	ID            string   `json:"id"`
	Digest        string   `json:"digest,omitempty"`             // "sha256:" and hex: of the weights, or of the manifest that names them (Ollama)
	ContextLength int      `json:"context_length,omitempty"`     // tokens that the engine takes as it runs now; 0 for unknown
	MaxContext    int      `json:"max_context_length,omitempty"` // tokens that the model was made for
	Loaded        bool     `json:"loaded,omitempty"`             // in memory now
	Capabilities  []string `json:"capabilities,omitempty"`       // such as completion, tools, vision, embedding
	Family        string   `json:"family,omitempty"`
	Parameters    string   `json:"parameters,omitempty"` // such as 8.0B
	Quantization  string   `json:"quantization,omitempty"`
	Engine        string   `json:"engine,omitempty"` // such as ollama, llama-server, demo
	Demo          bool     `json:"demo,omitempty"`   // a test model that answers nothing
}

// SplitModel cuts "name@sha256:…" into the name and the digest that the client
// insists on; the digest is empty without that suffix.
func SplitModel(text string) (name, digest string) {
	if i := strings.LastIndex(text, "@sha256:"); i > 0 {
		return text[:i], text[i+1:]
	}
	return text, ""
}

// Serves reports whether m is what a request for text asks for. A name without
// a tag means its tag latest too, as in Ollama; a digest may be shortened to no
// less than 12 digits.
func (m Model) Serves(text string) bool {
	if m.ID == text {
		return true
	}
	name, digest := SplitModel(text)
	if m.ID != name && m.ID != name+LatestTag {
		return false
	}
	return digest == "" || len(digest) >= len("sha256:")+12 && strings.HasPrefix(m.Digest, digest)
}

// LatestTag is the tag that a model's name without one means.
const LatestTag = ":latest"

// A Tier says what a worker is meant for.
type Tier string

// The tiers; a worker that names none is best-effort.
const (
	Interactive Tier = "interactive"
	Batch       Tier = "batch"
	BestEffort  Tier = "best-effort"
)

// ParseTier reads a tier's text; the empty text is best-effort.
func ParseTier(text string) (Tier, error) {
	switch t := Tier(text); t {
	case Interactive, Batch, BestEffort:
		return t, nil
	case "":
		return BestEffort, nil
	}
	return "", fmt.Errorf("tier %.40q is not interactive, batch or best-effort", text)
}

// Limits on what a peer's capacity may say.
const (
	MaxCapacityBytes = 1 << 20
	MaxModels        = 2000
)

// Capacity is the answer to GET /capacity: the original's members first, then
// ours, which its programs ignore.
type Capacity struct {
	Pubkey      key.ID    `json:"pubkey"`
	Models      []string  `json:"models"`
	Tier        Tier      `json:"tier"`
	Concurrency int       `json:"concurrency"`
	QueueDepth  int       `json:"queueDepth"` // requests that wait for a slot
	JobCounts   JobCounts `json:"jobCounts"`

	Running    int     `json:"running,omitempty"`    // requests that are being answered
	MaxQueue   int     `json:"maxQueue,omitempty"`   // how many may wait
	ModelFacts []Model `json:"modelFacts,omitempty"` // one for each of Models
	Signs      bool    `json:"signs,omitempty"`      // its receipts are bound to request and response
	Version    string  `json:"version,omitempty"`    // of the worker's program
	Now        int64   `json:"now,omitempty"`        // its clock, Unix milliseconds
}

// JobCounts counts asynchronous jobs by state.
type JobCounts struct {
	Queued  int `json:"queued"`
	Running int `json:"running"`
	Done    int `json:"done"`
	Error   int `json:"error"`
}

// Facts returns what the worker told of each model, by name alone where it told
// no more.
func (c *Capacity) Facts() []Model {
	if len(c.ModelFacts) > 0 {
		return c.ModelFacts
	}
	list := make([]Model, len(c.Models))
	for i, id := range c.Models {
		list[i].ID = id
	}
	return list
}

// Validate refuses what no honest worker says; from is the peer that was asked.
func (c *Capacity) Validate(from key.ID) error {
	switch {
	case c.Pubkey != from:
		return fmt.Errorf("capacity: it says it is %s", c.Pubkey.Short())
	case c.Models == nil:
		return errors.New("capacity: it names no models member")
	case len(c.Models) > MaxModels || len(c.ModelFacts) > MaxModels:
		return fmt.Errorf("capacity: more than %d models", MaxModels)
	case c.Concurrency < 0 || c.QueueDepth < 0 || c.Running < 0 || c.MaxQueue < 0:
		return errors.New("capacity: a negative number")
	case slices.ContainsFunc(c.Models, badModelID) ||
		slices.ContainsFunc(c.ModelFacts, func(m Model) bool { return badModelID(m.ID) }):
		return errors.New("capacity: a model's name is empty, too long or has control characters")
	}
	tier, err := ParseTier(string(c.Tier))
	c.Tier = tier
	return err
}

func badModelID(id string) bool {
	return id == "" || len(id) > 256 || strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r == 0x7F })
}

package openaiapi

import (
	"context"
	"encoding/json"
	"net/http"
	"regexp"
	"slices"

	"lobstah/grid"
)

// An openAIList reads GET /v1/models and asks llama-server and LM Studio, which
// have more to say, for that. It is used by one goroutine at a time.
type openAIList struct {
	props    props // of a llama-server with one model
	propsFor string
	studio   map[string]studioModel
}

// listed is a model in the answers of the engines that are known.
type listed struct {
	ID      string   `json:"id"`
	Aliases []string `json:"aliases"` // llama-server
	OwnedBy string   `json:"owned_by"`

	MaxModelLen   int `json:"max_model_len"`  // vLLM, SGLang
	ContextLength int `json:"context_length"` // llama-server with several models, gateways
	ContextWindow int `json:"context_window"` // gateways

	Meta *struct { // llama-server, once loaded, and the embedded runner
		Context      int    `json:"n_ctx"`
		TrainContext int    `json:"n_ctx_train"`
		Parameters   int64  `json:"n_params"`
		FileType     string `json:"ftype"`
		Digest       string `json:"digest"`       // the embedded runner
		Architecture string `json:"architecture"` // the embedded runner
	} `json:"meta"`
	Status *struct {
		Value string `json:"value"`
	} `json:"status"` // llama-server with several models
	Architecture struct {
		Input []string `json:"input_modalities"`
	} `json:"architecture"`
}

func (l *openAIList) entries(ctx context.Context, c *Client) ([]Entry, error) {
	var answer struct {
		Data   json.RawMessage `json:"data"`
		Models []struct {
			Capabilities []string `json:"capabilities"`
		} `json:"models"` // llama-server
	}
	if err := c.JSON(ctx, http.MethodGet, "/v1/models", nil, &answer); err != nil {
		return nil, err
	}
	var list []listed
	if err := json.Unmarshal(answer.Data, &list); err != nil && list == nil {
		return nil, c.failure("it answers GET /v1/models with something that is no list of models")
	}
	var entries []Entry
	for _, m := range list {
		entries = append(entries, m.entries()...)
	}
	switch {
	case len(list) == 1 && kindOf(list[0].OwnedBy) == "llama-server" && list[0].Status == nil:
		if len(answer.Models) == 1 {
			describe(entries, answer.Models[0].Capabilities)
		}
		l.llamaServer(ctx, c, string(answer.Data), entries)
	case len(list) > 0 && kindOf(list[0].OwnedBy) == "lm-studio":
		l.lmStudio(ctx, c, entries)
	}
	return entries, nil
}

// entries are the model under its name and under each of its aliases. A path
// becomes the file's name: it is nobody else's business where the file lies.
func (m listed) entries() []Entry {
	model := m.model()
	list := []Entry{entryFor(model, m.ID)}
	for _, alias := range m.Aliases {
		if e := entryFor(model, alias); !slices.ContainsFunc(list, func(o Entry) bool { return o.ID == e.ID }) {
			list = append(list, e)
		}
	}
	return list
}

func entryFor(model grid.Model, name string) Entry {
	e := Entry{Model: model}
	e.Capabilities = slices.Clone(model.Capabilities)
	e.ID = shortName(name)
	if e.ID != name {
		e.Wire = name
	}
	return e
}

func (m listed) model() grid.Model {
	kind := kindOf(m.OwnedBy)
	model := grid.Model{
		ContextLength: firstPositive(m.MaxModelLen, m.ContextLength, m.ContextWindow),
		Engine:        kind,
		Loaded:        slices.Contains(startLoaded, kind),
	}
	if m.Status != nil {
		model.Loaded = m.Status.Value == "loaded"
	}
	if slices.Contains(m.Architecture.Input, "image") {
		model.Capabilities = append(model.Capabilities, "vision")
	}
	if m.Meta != nil {
		model.ContextLength = firstPositive(m.Meta.Context, model.ContextLength)
		model.MaxContext = m.Meta.TrainContext
		model.Parameters = countText(m.Meta.Parameters)
		model.Quantization = quantization(m.Meta.FileType)
		model.Family = m.Meta.Architecture
		if digestPattern.MatchString(m.Meta.Digest) {
			model.Digest = m.Meta.Digest
		}
	}
	return model
}

var digestPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// startLoaded are the engines that load their models when they start.
var startLoaded = []string{"llama-server", "vllm", "sglang", "embedded"}

// kindOf names an engine by what it calls itself in owned_by.
func kindOf(ownedBy string) string {
	switch ownedBy {
	case "llamacpp":
		return "llama-server"
	case "vllm", "sglang":
		return ownedBy
	case "organization_owner", "organization-owner":
		return "lm-studio"
	case "library":
		return "ollama"
	case "lobstah":
		return "embedded"
	}
	return ""
}

func firstPositive(numbers ...int) int {
	for _, n := range numbers {
		if n > 0 {
			return n
		}
	}
	return 0
}

package openaiapi

import (
	"context"
	"encoding/json"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"

	"lobstah/grid"
)

// An openAIList reads GET /v1/models and asks llama-server and LM Studio, which
// have more to say, again when that answer changed. It is used by one goroutine
// at a time.
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

// props is llama-server's GET /props, which tells paths and settings and is
// never passed on.
type props struct {
	ModelPath string `json:"model_path"`
	FileType  string `json:"model_ftype"`
	Settings  struct {
		Context int `json:"n_ctx"`
	} `json:"default_generation_settings"`
	Modalities struct {
		Vision bool `json:"vision"`
		Audio  bool `json:"audio"`
	} `json:"modalities"`
	Template     string `json:"chat_template"`
	TemplateCaps struct {
		Tools bool `json:"supports_tools"`
	} `json:"chat_template_caps"`
}

func (l *openAIList) entries(ctx context.Context, c *Client) ([]Entry, error) {
	var raw struct {
		Data   json.RawMessage `json:"data"`
		Models []struct {
			Capabilities []string `json:"capabilities"`
		} `json:"models"`
	}
	if err := c.JSON(ctx, http.MethodGet, "/v1/models", nil, &raw); err != nil {
		return nil, err
	}
	var list []listed
	if err := json.Unmarshal(raw.Data, &list); err != nil && list == nil {
		return nil, c.failure("it answers GET /v1/models with something that is no list of models")
	}
	var entries []Entry
	for _, m := range list {
		entries = append(entries, m.entries()...)
	}
	if len(list) == 1 && list[0].OwnedBy == "llamacpp" && list[0].Status == nil {
		var capabilities []string
		if len(raw.Models) == 1 {
			capabilities = raw.Models[0].Capabilities
		}
		l.askProps(ctx, c, string(raw.Data))
		for i := range entries {
			l.props.describe(&entries[i].Model, capabilities)
		}
	}
	if len(list) > 0 && strings.HasPrefix(list[0].OwnedBy, "organization") {
		l.askStudio(ctx, c)
		for i := range entries {
			l.studio[entries[i].ID].describe(&entries[i].Model)
		}
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

// askProps keeps llama-server's properties for as long as its list stays the
// same. Without them (they may be switched off) the list alone has to do.
func (l *openAIList) askProps(ctx context.Context, c *Client, list string) {
	if l.propsFor == list {
		return
	}
	var p props
	if c.JSON(ctx, http.MethodGet, "/props", nil, &p) == nil {
		l.props, l.propsFor = p, list
	}
}

func (p props) describe(m *grid.Model, capabilities []string) {
	m.ContextLength = firstPositive(p.Settings.Context, m.ContextLength)
	if m.Quantization == "" {
		m.Quantization = quantization(p.FileType)
	}
	if m.Quantization == "" {
		m.Quantization = quantizationInName(path.Base(p.ModelPath))
	}
	add := func(name string, has bool) {
		if has && !slices.Contains(m.Capabilities, name) {
			m.Capabilities = append(m.Capabilities, name)
		}
	}
	m.Capabilities = append(slices.Clone(capabilities), m.Capabilities...)
	add("tools", p.TemplateCaps.Tools)
	add("thinking", strings.Contains(p.Template, "<think>"))
	add("vision", p.Modalities.Vision)
	add("audio", p.Modalities.Audio)
}

// studioModel is a model in LM Studio's GET /api/v0/models.
type studioModel struct {
	ID            string   `json:"id"`
	Type          string   `json:"type"` // llm, vlm, embeddings
	Arch          string   `json:"arch"`
	Quantization  string   `json:"quantization"`
	State         string   `json:"state"` // loaded, not-loaded
	MaxContext    int      `json:"max_context_length"`
	LoadedContext int      `json:"loaded_context_length"`
	Capabilities  []string `json:"capabilities"` // tool_use
}

// askStudio asks each time, since what is loaded changes without the list.
func (l *openAIList) askStudio(ctx context.Context, c *Client) {
	var answer struct {
		Data []studioModel `json:"data"`
	}
	if c.JSON(ctx, http.MethodGet, "/api/v0/models", nil, &answer) != nil {
		return // an old one has no such list
	}
	l.studio = make(map[string]studioModel, len(answer.Data))
	for _, m := range answer.Data {
		l.studio[m.ID] = m
	}
}

func (s studioModel) describe(m *grid.Model) {
	m.Family, m.Quantization = s.Arch, s.Quantization
	m.Loaded = s.State == "loaded"
	m.ContextLength, m.MaxContext = s.LoadedContext, s.MaxContext
	switch s.Type {
	case "embeddings":
		m.Capabilities = []string{"embedding"}
	case "vlm":
		m.Capabilities = []string{"completion", "vision"}
	case "llm":
		m.Capabilities = []string{"completion"}
	}
	if slices.Contains(s.Capabilities, "tool_use") {
		m.Capabilities = append(m.Capabilities, "tools")
	}
}

func firstPositive(numbers ...int) int {
	for _, n := range numbers {
		if n > 0 {
			return n
		}
	}
	return 0
}

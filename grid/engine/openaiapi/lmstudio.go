package openaiapi

import (
	"context"
	"net/http"
	"slices"

	"lobstah/grid"
)

// studioModel is a model in LM Studio's GET /api/v0/models (since 0.3.6).
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

// lmStudio adds what LM Studio's own list tells. It is asked each time, since
// what is loaded changes while the models stay; when it fails, the last answer
// has to do.
func (l *openAIList) lmStudio(ctx context.Context, c *Client, entries []Entry) {
	var answer struct {
		Data []studioModel `json:"data"`
	}
	if c.JSON(ctx, http.MethodGet, "/api/v0/models", nil, &answer) == nil {
		l.studio = make(map[string]studioModel, len(answer.Data))
		for _, m := range answer.Data {
			l.studio[m.ID] = m
		}
	}
	for i := range entries {
		if told, ok := l.studio[entries[i].ID]; ok {
			told.complete(&entries[i].Model)
		}
	}
}

func (s studioModel) complete(m *grid.Model) {
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

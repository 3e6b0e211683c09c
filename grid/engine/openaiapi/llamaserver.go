package openaiapi

import (
	"context"
	"net/http"
	"path"
	"slices"
	"strings"

	"lobstah/grid"
)

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

// llamaServer adds the properties of a llama-server's one model. They are kept
// for as long as its list stays the same; without them (they may be switched off)
// the list alone has to do.
func (l *openAIList) llamaServer(ctx context.Context, c *Client, list string, entries []Entry) {
	if l.propsFor != list {
		var p props
		if c.JSON(ctx, http.MethodGet, "/props", nil, &p) != nil {
			return
		}
		l.props, l.propsFor = p, list
	}
	for i := range entries {
		l.props.complete(&entries[i].Model)
	}
	describe(entries, l.props.capabilities())
}

func (p props) complete(m *grid.Model) {
	m.ContextLength = firstPositive(p.Settings.Context, m.ContextLength)
	if m.Quantization == "" {
		m.Quantization = quantization(p.FileType)
	}
	if m.Quantization == "" {
		m.Quantization = quantizationInName(path.Base(strings.ReplaceAll(p.ModelPath, `\`, "/")))
	}
}

func (p props) capabilities() []string {
	var list []string
	for _, c := range []struct {
		name string
		has  bool
	}{
		{"tools", p.TemplateCaps.Tools},
		{"thinking", strings.Contains(p.Template, "<think>")},
		{"vision", p.Modalities.Vision},
		{"audio", p.Modalities.Audio},
	} {
		if c.has {
			list = append(list, c.name)
		}
	}
	return list
}

// describe adds capabilities to the entries of one model.
func describe(entries []Entry, capabilities []string) {
	for i := range entries {
		for _, c := range capabilities {
			if !slices.Contains(entries[i].Capabilities, c) {
				entries[i].Capabilities = append(entries[i].Capabilities, c)
			}
		}
	}
}

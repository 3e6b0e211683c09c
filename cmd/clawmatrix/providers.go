package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"lobstah/grid/engine"
	"lobstah/grid/engine/anthropic"
	"lobstah/grid/engine/detect"
	"lobstah/grid/engine/lent"
	"lobstah/grid/engine/ollama"
	"lobstah/grid/engine/openaiapi"
	"lobstah/grid/engine/pool"
	"lobstah/internal/secretfile"
	"lobstah/mesh/config"
)

// A service is a provider in the cloud, known by its name.
type service struct {
	base, variable string
	messages       bool // it speaks Anthropic's API
}

var services = map[string]service{
	"anthropic":  {anthropic.Address, "ANTHROPIC_API_KEY", true},
	"openai":     {"https://api.openai.com/v1", "OPENAI_API_KEY", false},
	"openrouter": {"https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", false},
}

// providers find the engine behind a model of the configuration.
type providers struct {
	*app
	found    []detect.Finding // engines of this machine
	openclaw map[string]openclawProvider
}

// lend makes engines of the models that the configuration lends, and says why some
// cannot be lent before the node is started again.
func (a *app) lend(ctx context.Context, models []config.Model) (list []*lent.Model, problems []string) {
	if len(models) == 0 {
		return nil, nil
	}
	done := a.Progress("looking for engines on this machine")
	p := providers{app: a, found: detect.Look(ctx, detect.Config{OllamaHost: a.Getenv("OLLAMA_HOST")})}
	done()
	var err error
	if p.openclaw, err = a.openclawProviders(); err != nil {
		problems = append(problems, err.Error())
	}
	for _, m := range models {
		e, err := p.engine(m)
		if err != nil {
			problems = append(problems, fmt.Sprintf("the model %s is not lent: %v", m.ID, err))
			continue
		}
		list = append(list, &lent.Model{ID: m.ID, Wire: m.Model, Engine: e})
	}
	return list, problems
}

// engine is that of a model's provider: an engine of this machine, a provider of
// this machine's OpenClaw, a service, or an address.
func (p *providers) engine(m config.Model) (engine.Engine, error) {
	k, advice, err := p.key(m)
	if err != nil {
		return nil, err
	}
	found := p.local(m.Provider)
	own, inOpenClaw := p.openclaw[m.Provider]
	cloud, isCloud := services[m.Provider]
	address := strings.Contains(m.Provider, "://")
	switch {
	case m.NamesKey() && (len(found) > 0 || inOpenClaw || !isCloud && !address):
		return nil, fmt.Errorf("a key is named for it, and its provider %s takes none from here", m.Provider)
	case len(found) > 0:
		return pool.New(found...), nil
	case inOpenClaw:
		return own.engine(p.app)
	case isCloud && k == "":
		return nil, fmt.Errorf("the provider %s needs its key in %s where the node is started, or in a file that apiKeyFile names", m.Provider, cloud.variable)
	case isCloud:
		return newEngine(cloud.base, k, advice, cloud.messages)
	case address:
		return newEngine(m.Provider, k, advice, false)
	case m.Provider == detect.Ollama: // it may be started later
		return ollama.New(ollama.HostURL(p.Getenv("OLLAMA_HOST")), nil)
	case m.Provider == "":
		return nil, errors.New("no engine was found on this machine; name its provider, or an address such as http://127.0.0.1:8080/v1")
	}
	return nil, fmt.Errorf("no engine of this machine and no provider of OpenClaw is called %q; an address such as http://127.0.0.1:8080/v1 works too", m.Provider)
}

// key is what the configuration names for a model, else what stands in the usual
// variable of its service, and what to do when it is refused.
func (p *providers) key(m config.Model) (key, advice string, err error) {
	switch s := services[m.Provider]; {
	case m.APIKeyFile != "":
		path, err := p.ownPath(m.APIKeyFile)
		if err != nil {
			return "", "", err
		}
		key, err = secretfile.Read(path)
		return key, "put another into its apiKeyFile and start the node again", err
	case m.APIKeyEnv != "":
		key = p.Getenv(m.APIKeyEnv)
		if key == "" {
			err = errors.New("the variable that its apiKeyEnv names is not set where the node is started")
		}
		return key, "set the variable that its apiKeyEnv names and start the node again", err
	case s.variable != "":
		return p.Getenv(s.variable), "set " + s.variable + " and start the node again", nil
	}
	return "", "name one by apiKeyEnv or apiKeyFile", nil
}

// ownPath is a file that the configuration names, absolute; ~ is the user's home.
func (a *app) ownPath(path string) (string, error) {
	rest, below := strings.CutPrefix(path, "~/")
	if !below {
		return filepath.Abs(path)
	}
	user, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the folder that ~ means: %w", err)
	}
	return filepath.Join(user, rest), nil
}

// local are the engines of this machine of a kind, or all.
func (p *providers) local(kind string) (list []engine.Engine) {
	for _, f := range p.found {
		if f.Engine != nil && (f.Kind == kind || kind == "") {
			list = append(list, f.Engine)
		}
	}
	return list
}

// newEngine is one behind an address; advice is for when its key is refused.
func newEngine(base, key, advice string, messages bool) (engine.Engine, error) {
	if messages {
		return anthropic.New(anthropic.Config{BaseURL: base, Key: key, KeyAdvice: advice})
	}
	return openaiapi.New(openaiapi.Config{BaseURL: base, Key: key, KeyAdvice: advice})
}

// An openclawProvider is one of models.providers in OpenClaw's configuration.
type openclawProvider struct {
	BaseURL string `json:"baseUrl"`
	APIKey  any    `json:"apiKey"` // a text, or a reference to a secret
	API     string `json:"api"`
}

// openclawProviders reads those of this machine's OpenClaw, if it has one.
func (a *app) openclawProviders() (map[string]openclawProvider, error) {
	path := a.Getenv("OPENCLAW_CONFIG_PATH")
	if path == "" {
		path = filepath.Join(a.Getenv("HOME"), ".openclaw", "openclaw.json")
	}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var file struct {
		Models struct {
			Providers map[string]openclawProvider `json:"providers"`
		} `json:"models"`
	}
	if err == nil {
		err = readJSON5(raw, &file)
	}
	if err != nil {
		return nil, fmt.Errorf("the providers of OpenClaw are not known: reading %s: %w", path, err)
	}
	return file.Models.Providers, nil
}

// readJSON5 reads what OpenClaw's configuration is written in: JSON, and JSON with
// comments, names without quotes and commas at the end, when a person has edited it.
func readJSON5(raw []byte, into any) error {
	err := json.Unmarshal(raw, into)
	if err == nil || yaml.UnmarshalWithOptions(withoutComments(raw), into, yaml.UseJSONUnmarshaler()) == nil {
		return nil
	}
	return err
}

// withoutComments replaces comments of JSON5 by spaces; what is left is YAML.
func withoutComments(raw []byte) []byte {
	out := bytes.ReplaceAll(raw, []byte("\t"), []byte(" "))
	quote := byte(0)
	for i := 0; i < len(out); i++ {
		switch c := out[i]; {
		case quote != 0 && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case bytes.HasPrefix(out[i:], []byte("//")):
			i = blank(out, i, "\n")
		case bytes.HasPrefix(out[i:], []byte("/*")):
			i = blank(out, i, "*/")
		}
	}
	return out
}

// blank writes spaces from a place up to the end of what is named, and returns where
// that ends.
func blank(text []byte, from int, until string) int {
	n := bytes.Index(text[from:], []byte(until))
	if n < 0 {
		n = len(text) - from - len(until)
	}
	end := min(len(text), from+n+len(until))
	for i := from; i < end; i++ {
		if text[i] != '\n' {
			text[i] = ' '
		}
	}
	return end - 1
}

func (o openclawProvider) engine(a *app) (engine.Engine, error) {
	speaks := []string{"", "openai-completions", "openai-responses", "anthropic-messages"}
	if !slices.Contains(speaks, o.API) {
		return nil, fmt.Errorf("its API in OpenClaw's configuration is %q, which is not spoken here", o.API)
	}
	k, _ := o.APIKey.(string)
	if name, ok := strings.CutPrefix(k, "${"); ok {
		k = a.Getenv(strings.TrimSuffix(name, "}"))
	}
	if _, reference := o.APIKey.(map[string]any); reference {
		return nil, errors.New("its key in OpenClaw's configuration is a reference to a secret; give the node the key in its usual variable")
	}
	return newEngine(o.BaseURL, k, "correct it in OpenClaw's configuration and start the node again", o.API == "anthropic-messages")
}

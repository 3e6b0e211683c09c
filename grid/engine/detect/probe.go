package detect

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"lobstah/grid/engine/ollama"
	"lobstah/grid/engine/openaiapi"
	"lobstah/openai"
)

// ourPorts are those of our own worker and router.
var ourPorts = []string{"17474", "17475"}

func ours(address string) bool {
	_, port, err := net.SplitHostPort(address)
	return err == nil && slices.Contains(ourPorts, port)
}

func dialAddress(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return ""
	}
	port := cmp.Or(u.Port(), map[string]string{"https": "443"}[u.Scheme], "80")
	return net.JoinHostPort(u.Hostname(), port)
}

// probe looks at one address; nil means that nothing is there, or one of ours.
func (c Config) probe(ctx context.Context, at candidate) *Finding {
	if !listens(ctx, at.dial) {
		if at.named {
			return &Finding{Kind: Ollama, URL: at.url, Problem: Unreachable}
		}
		return nil
	}
	open := c
	open.Key = ""
	if open.asker(at.url).isOurs(ctx) {
		return nil
	}
	f := open.examine(ctx, at.url)
	if f.Problem == NeedsKey && c.Key != "" { // only now: most of what listens is no engine
		f = c.examine(ctx, at.url)
	}
	return f
}

// examine tells what kind of engine listens at a base URL.
func (c Config) examine(ctx context.Context, base string) *Finding {
	if version, ok := c.asker(base).ollamaVersion(ctx); ok {
		return c.ollama(ctx, base, version)
	}
	return c.other(ctx, base)
}

func (c Config) ollama(ctx context.Context, base, version string) *Finding {
	f := &Finding{Kind: Ollama, URL: base, Version: version}
	e, err := ollama.Open(openaiapi.Config{BaseURL: base, Key: c.Key, Transport: c.Transport})
	if err != nil {
		f.Err, f.Problem = err, NotAnEngine
		return f
	}
	return f.judge(ctx, e)
}

func (c Config) other(ctx context.Context, base string) *Finding {
	f := &Finding{Kind: Other, URL: base}
	e, err := openaiapi.New(openaiapi.Config{BaseURL: base, Key: c.Key, Transport: c.Transport})
	if err != nil {
		f.Err, f.Problem = err, NotAnEngine
		return f
	}
	return f.judge(ctx, e)
}

// judge asks for the models, which also tells whether it is an engine.
func (f *Finding) judge(ctx context.Context, e *openaiapi.Engine) *Finding {
	models, err := e.Models(ctx)
	f.Models, f.Err, f.Problem = models, err, problem(err)
	switch f.Problem {
	case NeedsKey, NotAnEngine:
		e.Close()
		return f
	case Loading:
		f.Kind = LlamaServer // no other engine says so
	case None:
		if len(f.Models) == 0 {
			f.Problem = NoModels
		} else {
			f.Kind = cmp.Or(f.Models[0].Engine, f.Kind)
		}
	}
	f.Engine = e
	return f
}

func problem(err error) Problem {
	if err == nil {
		return None
	}
	e, ok := errors.AsType[*openai.Error](err)
	switch {
	case ok && e.Status == http.StatusServiceUnavailable:
		return Loading
	case ok && e.Code == openaiapi.KeyRefused && e.Type == "authentication_error":
		return NeedsKey
	}
	return NotAnEngine
}

// idleOllama finds an Ollama that is installed while none runs.
func (c Config) idleOllama(found []Finding) (Finding, bool) {
	if slices.ContainsFunc(found, func(f Finding) bool { return f.Kind == Ollama && f.Engine != nil }) {
		return Finding{}, false
	}
	path, ok := c.Program()
	return Finding{Kind: Ollama, Program: path, Problem: NotRunning}, ok
}

// maxProbe caps the small answers that tell servers apart.
const maxProbe = 64 << 10

// asker asks one address.
type asker struct {
	base, key string
	transport http.RoundTripper
}

func (c Config) asker(base string) *asker { return &asker{base, c.Key, c.Transport} }

// isOurs reports whether a worker or router of ours answers, whatever its port.
func (a *asker) isOurs(ctx context.Context) bool {
	var answer struct {
		Pubkey string `json:"pubkey"`
	}
	return a.get(ctx, "/pubkey", &answer) == nil && strings.HasPrefix(answer.Pubkey, "lob1")
}

func (a *asker) ollamaVersion(ctx context.Context) (string, bool) {
	var answer struct {
		Version string `json:"version"`
	}
	err := a.get(ctx, "/api/version", &answer)
	if err != nil || answer.Version == "" || len(answer.Version) > 40 {
		return "", false
	}
	return answer.Version, true
}

func (a *asker) get(ctx context.Context, path string, out any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.base+path, nil)
	if err != nil {
		return fmt.Errorf("asking %s: %w", a.base, err)
	}
	request.Close = true
	if a.key != "" {
		request.Header.Set("Authorization", "Bearer "+a.key)
	}
	client := http.Client{
		Transport:     a.transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("asking %s: %w", a.base, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("asking %s%s: status %d", a.base, path, response.StatusCode)
	}
	return json.NewDecoder(io.LimitReader(response.Body, maxProbe)).Decode(out)
}

// Package gateway offers the tools of an agent gateway on this machine, such as
// OpenClaw's web_search or browser, by the small HTTP bridge that the gateway's
// plugin serves. docs/clawmatrix-bridge.md describes the bridge for who writes one.
//
// Make a [Bridge] with [New]; it is a tool.Backend. Commands compose it into a
// tool.Server. The bridge is on loopback and has the owner's trust; still, what it
// answers is capped. The token is read from its file for each call, so that the
// plugin may replace it, and is never logged. Safe for concurrent use; no
// goroutines.
package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"lobstah/internal/secretfile"
	"lobstah/key"
	"lobstah/mesh/tool"
)

// Limits of the bridge.
const (
	maxAnswer  = 32 << 20
	maxTools   = 1000
	listWithin = 10 * time.Second
	keepList   = 30 * time.Second
)

// New makes the bridge of a configuration. It asks nothing yet.
func New(cfg tool.Gateway) (*Bridge, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Scheme != "http" || !loopback(u.Hostname()) || u.User != nil || u.RawQuery != "" {
		return nil, fmt.Errorf("toolProxy.gateway.url %q is no bridge: want http://127.0.0.1:PORT/PATH", cfg.URL)
	}
	return &Bridge{
		base: strings.TrimRight(cfg.URL, "/"), tokenFile: cfg.TokenFile,
		client: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}, nil
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// A Bridge is a client of the gateway's plugin.
type Bridge struct {
	base      string
	tokenFile string
	client    *http.Client

	mu    sync.Mutex
	tools []tool.Info // guarded by mu
	asked time.Time   // guarded by mu
}

// Tools lists what the gateway offers. The list is kept for half a minute.
func (b *Bridge) Tools(ctx context.Context) ([]tool.Info, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tools != nil && time.Since(b.asked) < keepList {
		return b.tools, nil
	}
	ctx, cancel := context.WithTimeout(ctx, listWithin)
	defer cancel()
	var answer struct {
		OK    bool        `json:"ok"`
		Tools []tool.Info `json:"tools"`
		Error *failure    `json:"error"`
	}
	if err := b.ask(ctx, http.MethodGet, "/tools", nil, &answer); err != nil {
		return nil, fmt.Errorf("list the gateway's tools: %w", err)
	}
	if !answer.OK || len(answer.Tools) > maxTools {
		return nil, fmt.Errorf("list the gateway's tools: %w", answer.Error.asError("the list"))
	}
	b.tools, b.asked = append([]tool.Info{}, answer.Tools...), time.Now()
	for i := range b.tools {
		b.tools[i].ReadOnly = false // a plugin does not decide what may be repeated
	}
	return b.tools, nil
}

// Has reports whether the gateway offers a tool.
func (b *Bridge) Has(ctx context.Context, name string) (bool, error) {
	tools, err := b.Tools(ctx)
	for _, t := range tools {
		if t.Name == name {
			return true, nil
		}
	}
	return false, err
}

// invocation is what the bridge gets.
type invocation struct {
	Tool           string          `json:"tool"`
	Args           json.RawMessage `json:"args"`
	Caller         caller          `json:"caller"`
	Call           string          `json:"call"`
	IdempotencyKey string          `json:"idempotencyKey,omitempty"`
}

type caller struct {
	Node     string `json:"node"`
	Key      key.ID `json:"key"`
	Verified bool   `json:"verified"`
}

// Call runs a tool of the gateway. When ctx ends the connection is closed, which
// tells the plugin to end the call.
func (b *Bridge) Call(ctx context.Context, call *tool.Call, _ tool.Progress) (*tool.Result, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, call.Grant.Timeout, tool.Errorf(tool.CodeTimeout, "the gateway did not finish %s within %s", call.Tool, call.Grant.Timeout))
	defer cancel()
	body, err := json.Marshal(invocation{call.Tool, call.Args, caller{call.Caller.String(), call.Caller.Key, call.Caller.Verified}, call.ID, call.Key})
	if err != nil {
		return nil, err
	}
	var answer struct {
		OK     bool         `json:"ok"`
		Result *tool.Result `json:"result"`
		Error  *failure     `json:"error"`
	}
	if err := b.ask(ctx, http.MethodPost, "/invoke", body, &answer); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		return nil, fmt.Errorf("call the gateway's %s: %w", call.Tool, err) // for the owner's log
	}
	if !answer.OK || answer.Result == nil {
		return nil, answer.Error.asError(call.Tool)
	}
	return answer.Result, nil
}

// failure is how the bridge says no: a text, or an object with a code of ours.
type failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// UnmarshalJSON reads both forms.
func (f *failure) UnmarshalJSON(data []byte) error {
	if json.Unmarshal(data, &f.Message) == nil {
		return nil
	}
	type plain failure
	return json.Unmarshal(data, (*plain)(f))
}

func (f *failure) asError(what string) error {
	if f == nil || f.Message == "" {
		return tool.Errorf(tool.CodeFailed, "the gateway of this node failed at %s and did not say why", what)
	}
	code := tool.CodeFailed
	switch f.Code {
	case tool.CodeDenied, tool.CodeApproval, tool.CodeArguments, tool.CodeUnknown, tool.CodeTimeout, tool.CodeConflict:
		code = f.Code
	}
	return tool.Errorf(code, "the gateway of this node: %.1000s", f.Message)
}

// ask makes one request. Answers with another status than 200 hold an error in the
// same form.
func (b *Bridge) ask(ctx context.Context, method, path string, body []byte, into any) error {
	token, err := b.token()
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, method, b.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	response, err := b.client.Do(r)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return fmt.Errorf("the bridge cannot be reached: %w", err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("the bridge's answer broke: %w", err)
	case len(data) > maxAnswer:
		return fmt.Errorf("the bridge's answer is larger than %d bytes", maxAnswer)
	case response.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("the bridge refuses the token in %s", b.tokenFile)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("the bridge answered %s and no JSON", response.Status)
	}
	return nil
}

// token reads the file, which nobody else may read.
func (b *Bridge) token() (string, error) {
	token, err := secretfile.Read(b.tokenFile)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("there is no token for the bridge at %s: the gateway's plugin writes it when it starts", b.tokenFile)
	}
	return token, err
}

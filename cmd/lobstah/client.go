package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"time"

	"lobstah/grid"
	"lobstah/internal/cli"
	"lobstah/key"
	"lobstah/openai"
	"lobstah/receipt"
)

const (
	maxPage       = 16 << 20
	settleFor     = 5 * time.Second // how long a receipt may come behind its answer
	settlePoll    = 50 * time.Millisecond
	recentEnough  = 50 // receipts among which ours has to be
	answeredBy    = ": answered by "
	checkTokens   = 8
	checkQuestion = "Say hello."
)

// An apiClient talks to a router.
type apiClient struct {
	base string // without /v1
	key  string // empty for none
}

func (c *apiClient) do(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if c.key != "" {
		request.Header.Set("Authorization", "Bearer "+c.key)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, c.explain(err)
	}
	if response.StatusCode == http.StatusOK {
		return response, nil
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxPage))
	if err != nil {
		return nil, err
	}
	return nil, c.refused(response.StatusCode, openai.ParseError(response.StatusCode, text))
}

func (c *apiClient) explain(err error) error {
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.Errno(10061)) { // WSAECONNREFUSED
		return cli.Hintf(fmt.Errorf("no router answers at %s", c.base), "start one with: lobstah up (or name another with --router URL)")
	}
	return fmt.Errorf("ask the router: %w", err)
}

func (c *apiClient) refused(status int, e *openai.Error) error {
	err := fmt.Errorf("%s (status %d)", cli.CleanLine(e.Message), status)
	if status == http.StatusUnauthorized {
		return cli.Hintf(err, "--api-key KEY, or the variable LOBSTAH_API_KEY")
	}
	if e.Type == "all_peers_failed" || e.Type == "no_capable_peer" {
		return cli.Hintf(err, "lobstah doctor goes the way to each peer and says what fails")
	}
	return err
}

func (c *apiClient) get(ctx context.Context, path string, out any) error {
	response, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if err := json.NewDecoder(io.LimitReader(response.Body, maxPage)).Decode(out); err != nil {
		return fmt.Errorf("%s%s answers something that a router does not: %w", c.base, path, err)
	}
	return nil
}

func (c *apiClient) models(ctx context.Context) ([]grid.Model, error) {
	var list struct{ Data []grid.Model }
	err := c.get(ctx, "/v1/models", &list)
	return list.Data, err
}

// try asks the model for a few words.
func (c *apiClient) try(ctx context.Context, model string) error {
	body, err := json.Marshal(chatRequest{Model: model, Messages: []message{{"user", checkQuestion}}, MaxTokens: checkTokens})
	if err != nil {
		return err
	}
	response, err := c.do(ctx, http.MethodPost, "/v1/chat/completions", body)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxPage))
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	meter := openai.NewMeter(openai.Chat)
	if meter.Body(answer); meter.Failure != nil {
		return meter.Failure
	}
	if !meter.Ended() {
		return errors.New("the answer has no end")
	}
	return nil
}

type chatRequest struct {
	Model         string         `json:"model"`
	Messages      []message      `json:"messages"`
	Stream        bool           `json:"stream,omitempty"`
	StreamOptions map[string]any `json:"stream_options,omitempty"`
	MaxTokens     int            `json:"max_tokens,omitempty"`
}

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// An answer is what came back for one question, and what is known of it.
type answer struct {
	Text      string          `json:"answer"`
	Model     string          `json:"model"`
	Peer      string          `json:"peer"` // the key of who answered
	Route     string          `json:"route,omitempty"`
	RequestID string          `json:"requestId,omitempty"`
	Finish    string          `json:"finishReason,omitempty"`
	Input     int64           `json:"inputTokens"`
	Output    int64           `json:"outputTokens"`
	Seconds   float64         `json:"seconds"`
	Receipt   *receipt.Signed `json:"-"` // nil when none came
	requested string          // hash of the request's body
	responded string          // hash of the stream's data
}

// A listener hears an answer as it comes.
type listener struct {
	Piece  func(text string) // of the answer
	Thinks func()            // for each piece of what the model thinks before it; nil to ignore them
}

// stream asks a question and lets the listener hear the answer.
func (c *apiClient) stream(ctx context.Context, r chatRequest, hear listener) (*answer, error) {
	r.Stream, r.StreamOptions = true, map[string]any{"include_usage": true}
	body, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	response, err := c.do(ctx, http.MethodPost, "/v1/chat/completions", body)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	a := &answer{
		Model: r.Model, Peer: response.Header.Get(grid.PeerHeader), Route: response.Header.Get(grid.RouteHeader),
		RequestID: response.Header.Get(grid.RequestIDHeader), requested: receipt.HashBody(body),
	}
	err = a.read(response.Body, hear)
	a.Seconds = time.Since(start).Seconds()
	return a, err
}

// read takes the stream in. What ends without a finish was cut.
func (a *answer) read(body io.Reader, hear listener) error {
	meter, events := openai.NewMeter(openai.Chat), openai.NewScanner(body)
	var hash receipt.StreamHash
	var text strings.Builder
	for {
		event, err := events.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("the answer broke off: %w", err)
		}
		a.comment(string(event.Raw))
		if event.Data == nil {
			continue
		}
		hash.Data(event.Data)
		meter.Event(event.Data)
		piece, thought := contentOf(event.Data)
		if thought && hear.Thinks != nil {
			hear.Thinks()
		}
		if piece != "" {
			text.WriteString(piece)
			hear.Piece(piece)
		}
	}
	a.Text, a.Finish, a.responded = text.String(), meter.Finish, hash.Hex()
	a.Input, a.Output = meter.Usage.Input, meter.Usage.Output
	switch {
	case meter.Failure != nil:
		return errors.New(cli.CleanLine(meter.Failure.Message))
	case !meter.Ended():
		return errors.New("the answer broke off")
	}
	return nil
}

// comment finds who answers, where a keep-alive went out before the headers
// could say so.
func (a *answer) comment(raw string) {
	rest, ok := strings.CutPrefix(raw, answeredBy)
	if !ok {
		return
	}
	if fields := strings.Fields(rest); len(fields) > 0 {
		if _, err := key.ParseID(fields[0]); err == nil {
			a.Peer = fields[0]
		}
	}
}

// contentOf returns an event's piece of the answer, and whether it has a piece of
// thought, for which engines have two names.
func contentOf(data []byte) (piece string, thought bool) {
	var event struct {
		Choices []struct {
			Delta struct {
				Content          string `json:"content"`
				Reasoning        string `json:"reasoning"`
				ReasoningContent string `json:"reasoning_content"`
			} `json:"delta"`
		} `json:"choices"`
	}
	if json.Unmarshal(data, &event) != nil || len(event.Choices) == 0 {
		return "", false // [DONE], usage
	}
	d := event.Choices[0].Delta
	return d.Content, d.Reasoning != "" || d.ReasoningContent != ""
}

// findReceipt waits until the router has checked and kept the answer's receipt:
// the one that names the very bytes that were sent and came. It leaves it nil
// when none comes in time.
func (c *apiClient) findReceipt(ctx context.Context, a *answer) error {
	ctx, cancel := context.WithTimeout(ctx, settleFor)
	defer cancel()
	tick := time.NewTicker(settlePoll)
	defer tick.Stop()
	for {
		var page struct{ Receipts []json.RawMessage }
		if err := c.get(ctx, fmt.Sprintf("/ledger?limit=%d", recentEnough), &page); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		for _, envelope := range page.Receipts {
			if s, err := receipt.Open(envelope); err == nil && a.covers(s) {
				a.Receipt = s
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (a *answer) covers(s *receipt.Signed) bool {
	return s.Worker.String() == a.Peer && s.RequestHash == a.requested && s.ResponseHash == a.responded
}

// Package anthropic makes Anthropic's Messages API an engine for clients that
// speak OpenAI's: a chat completion is translated on its way there and back,
// whole or streamed, with tools, images and structured answers. Requests in
// Anthropic's own dialect pass as they are.
//
// Start from [New]. The work is done by [Transport], which package openaiapi
// uses as its connection, so lists, failures and keys are handled there, once.
// Commands import it; it imports openai and grid/engine/openaiapi.
//
// The clients' bodies and the service's answers are hostile: bodies are capped
// by those who call, events by openai's scanner, and whole answers here. What
// cannot be carried over (several choices, log probabilities, audio) is refused
// with 400, not dropped. The key leaves only in the header that is for it.
package anthropic

import (
	"cmp"
	"net/http"

	"lobstah/grid/engine/openaiapi"
)

// Address is Anthropic's service.
const Address = "https://api.anthropic.com"

// version is the API's version whose shapes are spoken here.
const version = "2023-06-01"

// Config says which service and with which key.
type Config struct {
	BaseURL   string            // empty: Address
	Key       string            // of the account that pays
	KeyAdvice string            // what to do when it is refused
	Transport http.RoundTripper // nil: http.DefaultTransport
}

// New checks the configuration; it asks nothing yet.
func New(c Config) (*openaiapi.Engine, error) {
	return openaiapi.New(openaiapi.Config{
		BaseURL: cmp.Or(c.BaseURL, Address), Key: c.Key, KeyAdvice: c.KeyAdvice, Kind: "anthropic",
		Transport: &Transport{Base: c.Transport},
	})
}

// Package openai is the wire vocabulary of OpenAI-compatible APIs as far as a
// proxy needs it: the few request members that decide where a call goes, the
// error shape, server-sent events, and what an answer says about its own cost
// and end.
//
// Start from [ParseRequest] for a body that came in, [NewScanner] for a stream
// and [Meter] to watch an answer pass by. Everything else in a body stays the
// bytes it was: unknown members survive in both directions.
//
// Grid packages import it; it imports the standard library only, knows no
// client and no server, and starts no goroutine. Bodies and events are hostile:
// callers cap bodies before parsing, the scanner caps events.
package openai

import (
	"maps"
	"slices"
)

// A Dialect is one of the request and answer shapes that pass through.
type Dialect uint8

// The dialects. Unknown is the zero value.
const (
	Unknown Dialect = iota
	Chat
	Completions
	Embeddings
	Responses   // OpenAI's Responses API
	Messages    // Anthropic's Messages API
	CountTokens // Anthropic's token counting: an answer without usage
)

var paths = map[string]Dialect{
	"/v1/chat/completions":      Chat,
	"/v1/completions":           Completions,
	"/v1/embeddings":            Embeddings,
	"/v1/responses":             Responses,
	"/v1/messages":              Messages,
	"/v1/messages/count_tokens": CountTokens,
}

// DialectOf returns the dialect that is spoken on an URL path.
func DialectOf(path string) Dialect { return paths[path] }

// Paths returns the paths on which requests are served, in no order.
func Paths() []string {
	return slices.Collect(maps.Keys(paths))
}

// OpenAI reports whether streams of d end with data: [DONE].
func (d Dialect) OpenAI() bool { return d == Chat || d == Completions }

package gguf

import "context"

// Reasons for which an answer ends, as OpenAI names them.
const (
	finishStop   = "stop"   // the model or a stop text ended it
	finishLength = "length" // the limit of tokens or of the context did
)

// order is one answer to be made.
type order struct {
	prompt   []int
	most     int // tokens, at least 1
	stops    []string
	sampling sampling
	endless  bool // tokens that end an answer do not
}

// outcome is how an answer ended.
type outcome struct {
	finish string
	tokens int // produced, the one that ended the answer included
	cached int // tokens of the prompt that the session already had
}

// answer runs the prompt and then token after token, calling say with each piece of
// text, until the answer ends, ctx is done, or say fails. The outcome is valid with
// an error too.
func (s *session) answer(ctx context.Context, o order, say func(text string) error) (outcome, error) {
	var out outcome
	out.cached = min(s.shared(o.prompt), len(o.prompt)-1) // the last one must run for its logits
	s.keep(out.cached)
	logits, err := s.feed(ctx, o.prompt[out.cached:])
	if err != nil {
		return out, err
	}
	choose, text := newSampler(o.sampling), outlet{stops: o.stops}
	for {
		token := choose.next(logits)
		out.tokens++
		if !o.endless && s.model.tokens.endings[token] {
			out.finish = finishStop
			break
		}
		if piece := text.push(s.model.tokens.shown[token]); piece != "" {
			if err := say(piece); err != nil {
				return out, err
			}
		}
		if text.stopped {
			out.finish = finishStop
			break
		}
		if out.tokens == o.most {
			out.finish = finishLength
			break
		}
		if logits, err = s.feed(ctx, []int{token}); err != nil {
			return out, err
		}
	}
	if rest := text.end(); rest != "" {
		return out, say(rest)
	}
	return out, nil
}

// shared is how many tokens at the beginning the session has in common with prompt.
func (s *session) shared(prompt []int) int {
	n := min(len(s.tokens), len(prompt))
	for i := range n {
		if s.tokens[i] != prompt[i] {
			return i
		}
	}
	return n
}

package openai

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
)

// A Request is a request body with the members that routing looks at.
type Request struct {
	Body         []byte
	Model        string
	Stream       bool
	IncludeUsage bool // stream_options.include_usage

	members []member
}

// member locates one top-level member of a body.
type member struct {
	name       string
	from       int // of the name
	start, end int // of the value
}

// ParseRequest reads a JSON object. The error is an [*Error] with status 400
// that says what is wrong and where. Another member that occurs twice counts by
// its last value; those that routing looks at have to be unmistakable, since
// engines are not of one mind about them.
func ParseRequest(body []byte) (*Request, error) {
	// Decoding into nothing would read a long conversation twice.
	if i := skipSpace(body, 0); i == len(body) || body[i] != '{' || !json.Valid(body) {
		return nil, BadRequest("", "the body is not a JSON object: %s", describe(json.Unmarshal(body, &struct{}{})))
	}
	r := &Request{Body: body, members: scanMembers(body)}
	if err := r.unmistakable("model", "stream", "stream_options"); err != nil {
		return nil, err
	}
	if err := r.read("model", &r.Model); err != nil {
		return nil, BadMember("model", "want a string")
	}
	if r.Model == "" {
		return nil, BadMember("model", "name the model to use; GET /v1/models lists them")
	}
	if err := r.read("stream", &r.Stream); err != nil {
		return nil, BadMember("stream", "want true or false")
	}
	var options struct {
		IncludeUsage bool `json:"include_usage"`
	}
	if err := r.read("stream_options", &options); err != nil {
		return nil, BadMember("stream_options", "want an object")
	}
	r.IncludeUsage = options.IncludeUsage
	return r, nil
}

// unmistakable refuses members that some engine may read otherwise than we do.
// Engines in Go take "Model" for "model", so who may use one model only would get
// another by naming both.
func (r *Request) unmistakable(names ...string) error {
	seen := make([]bool, len(names))
	for _, m := range r.members {
		for i, name := range names {
			switch {
			case m.name == name && seen[i]:
				return BadMember(name, "it stands there twice, and engines differ in which one counts")
			case m.name == name:
				seen[i] = true
			case len(m.name) <= 2*len(name) && strings.EqualFold(m.name, name):
				return BadRequest(name, "%s: write %q; engines differ in whether that is the same", m.name, name)
			}
		}
	}
	return nil
}

// Value returns the raw JSON of a top-level member, nil when there is none.
func (r *Request) Value(name string) []byte {
	for i := len(r.members) - 1; i >= 0; i-- {
		if m := r.members[i]; m.name == name {
			return r.Body[m.start:m.end]
		}
	}
	return nil
}

// With returns the body with one top-level member set to raw JSON and every
// other byte as it was.
func (r *Request) With(name string, raw []byte) []byte {
	var out []byte
	done := 0
	for _, m := range r.members {
		if m.name == name {
			out = append(append(out, r.Body[done:m.start]...), raw...)
			done = m.end
		}
	}
	if done > 0 {
		return append(out, r.Body[done:]...)
	}
	open := bytes.IndexByte(r.Body, '{') + 1
	out = fmt.Appendf(out, "%s%q:%s", r.Body[:open], name, raw)
	if len(r.members) > 0 {
		out = append(out, ',')
	}
	return append(out, r.Body[open:]...)
}

// Without returns the body less some top-level members, with every other byte
// as it was but the commas between members.
func (r *Request) Without(names ...string) []byte {
	out := []byte{'{'}
	for _, m := range r.members {
		if slices.Contains(names, m.name) {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, r.Body[m.from:m.end]...)
	}
	return append(out, '}')
}

// Elements yields the raw elements of a JSON array, as [Request.Value] returns
// it; nothing when raw is no array.
func Elements(raw []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		i := skipSpace(raw, 0)
		if i == len(raw) || raw[i] != '[' {
			return
		}
		for {
			i = skipSpace(raw, i+1)
			end := skipValue(raw, i)
			if end == i || !yield(raw[i:end:end]) {
				return
			}
			i = skipSpace(raw, end)
			if i == len(raw) || raw[i] != ',' {
				return
			}
		}
	}
}

func (r *Request) read(name string, target any) error {
	raw := r.Value(name)
	if raw == nil || string(raw) == "null" {
		return nil
	}
	return json.Unmarshal(raw, target)
}

func describe(err error) string {
	if e, ok := err.(*json.SyntaxError); ok {
		return fmt.Sprintf("%v at byte %d", e, e.Offset)
	}
	if _, ok := err.(*json.UnmarshalTypeError); ok || err == nil { // null decodes into anything
		return "it is another kind of value"
	}
	return err.Error()
}

// scanMembers locates the top-level members of a valid JSON object.
func scanMembers(body []byte) []member {
	var list []member
	i := bytes.IndexByte(body, '{') + 1
	for {
		nameStart := bytes.IndexByte(body[i:], '"')
		if end := bytes.IndexByte(body[i:], '}'); nameStart < 0 || end >= 0 && end < nameStart {
			return list
		}
		nameStart += i
		nameEnd := skipString(body, nameStart)
		i = skipSpace(body, nameEnd)
		start := skipSpace(body, i+1) // after the colon
		end := skipValue(body, start)
		list = append(list, member{unquote(body[nameStart:nameEnd]), nameStart, start, end})
		i = end
	}
}

func unquote(raw []byte) string {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1])
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return "" // cannot happen: the body was found valid
	}
	return s
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}

// skipString returns the index after the string that begins at i.
func skipString(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

// skipValue returns the index after the value that begins at i.
func skipValue(b []byte, i int) int {
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			i = skipString(b, i)
			if depth == 0 {
				return i
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i // the end of a number or word, and of the object
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return i
			}
		}
		i++
	}
	return i
}

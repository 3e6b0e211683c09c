package gguf

import (
	"cmp"
	"slices"
	"strings"
)

// passage is text in which parts are quoted: what users and models said, where no
// control mark is recognised.
type passage struct {
	text   strings.Builder
	quotes [][2]int // from, until; in order
}

func (p *passage) markup(s string) { p.text.WriteString(s) }

func (p *passage) quote(s string) {
	from := p.text.Len()
	p.text.WriteString(s)
	p.quotes = append(p.quotes, [2]int{from, p.text.Len()})
}

// quoted reports whether any of from..until is quoted.
func (p *passage) quoted(from, until int) bool {
	i, _ := slices.BinarySearchFunc(p.quotes, from, func(q [2]int, from int) int { return cmp.Compare(q[1], from+1) })
	return i < len(p.quotes) && p.quotes[i][0] < until
}

// fragment is a part of a passage: a mark's token, or text that is not yet split.
type fragment struct {
	from, until int
	token       int // -1 for text
}

// encode is the passage's tokens, the beginning included.
func (t *tokenizer) encode(p *passage) []int {
	text := p.text.String()
	fragments := []fragment{{0, len(text), -1}}
	for _, m := range t.marks {
		if strings.Contains(text, m.text) {
			fragments = cut(fragments, text, m, p)
		}
	}
	var out []int
	if t.begin >= 0 {
		out = append(out, t.begin)
	}
	afterMark := true
	for _, f := range fragments {
		if f.token >= 0 {
			out = append(out, f.token)
		} else if f.from < f.until {
			out = t.rule.split(out, text[f.from:f.until], afterMark)
		}
		afterMark = f.token >= 0
	}
	return out
}

// cut takes a mark out of every fragment of text that has it.
func cut(fragments []fragment, text string, m mark, p *passage) []fragment {
	out := make([]fragment, 0, len(fragments)+2)
	for _, f := range fragments {
		if f.token >= 0 {
			out = append(out, f)
			continue
		}
		search := f.from
		for {
			i := strings.Index(text[search:f.until], m.text)
			if i < 0 {
				break
			}
			at := search + i
			end := at + len(m.text)
			if m.trusted && p.quoted(at, end) {
				search = at + 1
				continue
			}
			if at > f.from {
				out = append(out, fragment{f.from, at, -1})
			}
			out = append(out, fragment{at, end, m.token})
			f.from, search = end, end
		}
		if f.from < f.until {
			out = append(out, fragment{f.from, f.until, -1})
		}
	}
	return out
}

// plain is text as a passage in which every mark counts or, quoted, none does.
func plain(text string, quoted bool) *passage {
	p := &passage{}
	if quoted {
		p.quote(text)
	} else {
		p.markup(text)
	}
	return p
}

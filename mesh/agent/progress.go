package agent

import "unicode/utf8"

// maxProgress is how much of what an agent said is kept for those who follow.
const maxProgress = 256 << 10

// A progress is what an agent has said so far: the last part of it, at its place
// in the whole.
type progress struct {
	base int // bytes that were dropped before text
	text []byte
}

func (p *progress) say(text string) {
	p.text = append(p.text, text...)
	if over := len(p.text) - maxProgress; over > 0 {
		for over < len(p.text) && !utf8.RuneStart(p.text[over]) {
			over++
		}
		p.text = append(p.text[:0], p.text[over:]...)
		p.base += over
	}
}

// forget drops the text; its places stay.
func (p *progress) forget() { p.base, p.text = p.end(), nil }

// end is the length of the whole.
func (p *progress) end() int { return p.base + len(p.text) }

// from returns what was said after a place in the whole, and where that begins:
// later than asked when it was dropped.
func (p *progress) from(at int) (text string, begins int) {
	begins = min(max(at, p.base), p.end())
	return string(p.text[begins-p.base:]), begins
}

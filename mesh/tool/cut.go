package tool

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Output collects what a command writes: the beginning and the end, half of the
// limit each, and how much was left out between. Not safe for concurrent use.
type Output struct {
	limit    int
	head     []byte
	tail     []byte // a ring once it is full
	next     int    // where the ring continues
	total    int64
	progress Progress
}

// NewOutput keeps limit bytes and passes the beginning on to progress as it
// comes.
func NewOutput(limit int, progress Progress) *Output {
	return &Output{limit: limit, progress: progress}
}

// Add takes what was written to a stream.
func (o *Output) Add(stream string, data []byte) {
	o.total += int64(len(data))
	n := min(len(data), o.limit/2-len(o.head))
	if n > 0 {
		o.head = append(o.head, data[:n]...)
		o.progress(stream, data[:n])
		data = data[n:]
	}
	o.keepTail(data)
}

func (o *Output) keepTail(data []byte) {
	size := o.limit - o.limit/2
	if len(data) > size {
		data = data[len(data)-size:]
	}
	if room := size - len(o.tail); room > 0 {
		n := min(room, len(data))
		o.tail = append(o.tail, data[:n]...)
		data = data[n:]
	}
	for len(data) > 0 {
		n := copy(o.tail[o.next:], data)
		o.next = (o.next + n) % size
		data = data[n:]
	}
}

// Bytes returns what was kept; the second part is empty unless something was
// left out between.
func (o *Output) Bytes() (head, tail []byte, cut *Cut) {
	tail = append(append([]byte{}, o.tail[o.next:]...), o.tail[:o.next]...)
	if omitted := o.total - int64(len(o.head)+len(tail)); omitted > 0 {
		return o.head, tail, &Cut{Total: o.total, Omitted: omitted}
	}
	return append(o.head, tail...), nil, nil
}

// Finish passes on what came after the beginning: the end, after a line on stderr
// that says how much is missing between.
func (o *Output) Finish() {
	_, tail, cut := o.Bytes()
	if cut == nil {
		tail = o.tail
	} else {
		o.progress("stderr", fmt.Appendf(nil, "\n[... %d bytes left out ...]\n", cut.Omitted))
	}
	if len(tail) > 0 {
		o.progress("stdout", tail)
	}
}

// Text returns what was kept as text that says where something was left out.
func (o *Output) Text() (string, *Cut) {
	head, tail, cut := o.Bytes()
	if cut == nil {
		return strings.ToValidUTF8(string(head), "\uFFFD"), nil
	}
	return joinCut(strings.ToValidUTF8(string(head), "\uFFFD"), strings.ToValidUTF8(string(tail), "\uFFFD"), cut.Omitted), cut
}

func joinCut(head, tail string, omitted int64) string {
	return fmt.Sprintf("%s\n[... %d bytes left out ...]\n%s", head, omitted, tail)
}

// capTo makes the content keep within limit bytes: texts lose their middle,
// other parts and details that are too large are replaced by a text that says
// so.
func (r *Result) capTo(limit int) {
	rest := limit
	for i := range r.Content {
		p := &r.Content[i]
		if other := len(p.Data) + len(p.Resource) + len(p.URI) + len(p.Name); other > rest {
			*p = Part{Type: "text", Text: fmt.Sprintf("[%s of %d bytes left out]", p.Type, other)}
			r.omit(int64(other), int64(other))
		} else {
			rest -= other
		}
		if len(p.Text) > rest {
			r.cutText(p, rest)
		}
		rest = max(rest-len(p.Text), 0)
	}
	if len(r.Details) > limit {
		r.omit(int64(len(r.Details)), int64(len(r.Details)))
		r.Details = nil
	}
}

func (r *Result) omit(total, omitted int64) {
	if r.Cut == nil {
		r.Cut = new(Cut)
	}
	r.Cut.Total += total
	r.Cut.Omitted += omitted
}

// cutText leaves out the middle of a text so that limit bytes of it stay.
func (r *Result) cutText(p *Part, limit int) {
	head, tail := limit/2, len(p.Text)-(limit-limit/2)
	for head > 0 && !utf8.RuneStart(p.Text[head]) {
		head--
	}
	for tail < len(p.Text) && !utf8.RuneStart(p.Text[tail]) {
		tail++
	}
	omitted := int64(tail - head)
	r.omit(int64(len(p.Text)), omitted)
	p.Text = joinCut(p.Text[:head], p.Text[tail:], omitted)
}

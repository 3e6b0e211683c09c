package mux

import (
	"slices"
	"sync"
)

// chunk is a part of what a stream has received: data[start:end] is unread.
type chunk struct {
	start, end int
	data       [pieceBytes]byte
}

var chunks = sync.Pool{New: func() any { return new(chunk) }}

func (c *chunk) release() {
	c.start, c.end = 0, 0
	chunks.Put(c)
}

// inbox keeps what a stream has received and nobody has read, packed in chunks:
// many small frames take no more memory than few large ones.
type inbox struct {
	chunks  []*chunk
	unread  int
	filling *chunk // the goroutine that reads the connection writes behind its end
}

// fill gives the chunk for what comes next. It is in the inbox already, or new.
func (b *inbox) fill() *chunk {
	if last := len(b.chunks) - 1; last >= 0 && b.chunks[last].end < pieceBytes {
		b.filling = b.chunks[last]
	} else {
		b.filling = chunks.Get().(*chunk)
	}
	return b.filling
}

// filled takes n more bytes of the chunk that fill gave.
func (b *inbox) filled(n int) {
	c := b.filling
	b.filling = nil
	c.end += n
	b.unread += n
	known := len(b.chunks) > 0 && b.chunks[len(b.chunks)-1] == c
	switch {
	case !known && n == 0:
		c.release()
	case !known:
		b.chunks = append(b.chunks, c)
	}
	b.tidy()
}

func (b *inbox) read(p []byte) (n int) {
	for len(p) > 0 && b.unread > 0 {
		c := b.chunks[0]
		m := copy(p, c.data[c.start:c.end])
		c.start += m
		b.unread -= m
		n += m
		p = p[m:]
		b.tidy()
	}
	return n
}

// tidy frees the first chunk if all of it was read.
func (b *inbox) tidy() {
	if len(b.chunks) > 0 && b.chunks[0].start == b.chunks[0].end && b.chunks[0] != b.filling {
		b.chunks[0].release()
		b.chunks = slices.Delete(b.chunks, 0, 1)
	}
	if len(b.chunks) == 0 {
		b.chunks = nil
	}
}

// drop frees everything, but the chunk that is being filled.
func (b *inbox) drop() {
	for _, c := range b.chunks {
		if c != b.filling {
			c.release()
		}
	}
	b.chunks, b.unread = nil, 0
}

package gguf

import "container/heap"

// merge cuts text at the given ends of pieces, joins neighbouring pieces, best pair
// first, as long as rank knows one, and calls yield with the pieces that are left,
// in order. It takes n log n steps for n pieces.
func merge(text string, ends []int, rank pairRank, yield func(piece string)) {
	m := &merger{text: text, rank: rank, pieces: make([]piece, len(ends))}
	from := 0
	for i, end := range ends {
		m.pieces[i] = piece{from, end, i - 1, i + 1}
		from = end
	}
	for i := 1; i < len(ends); i++ {
		m.consider(i-1, i)
	}
	for len(m.queue) > 0 {
		m.join(heap.Pop(&m.queue).(pair))
	}
	for i := 0; i < len(m.pieces); i = m.pieces[i].next {
		yield(m.show(i))
	}
}

// pairRank tells how soon a pair is joined, lower first; false: never. joined is
// both pieces together.
type pairRank func(left, right, joined string) (rank float64, ok bool)

type merger struct {
	text   string
	rank   pairRank
	pieces []piece
	queue  pairs
}

// piece is a part of the text, linked to its neighbours by their indexes; those
// outside of the slice do not exist. A piece that was joined to its left is empty.
type piece struct{ from, until, previous, next int }

// pair is two neighbours that could be joined.
type pair struct {
	left, right int
	rank        float64
	size        int // bytes of both, which tells when either has grown since
}

func (m *merger) show(i int) string { return m.text[m.pieces[i].from:m.pieces[i].until] }

func (m *merger) consider(left, right int) {
	if left < 0 || right >= len(m.pieces) {
		return
	}
	l, r := m.pieces[left], m.pieces[right]
	if rank, ok := m.rank(m.show(left), m.show(right), m.text[l.from:r.until]); ok {
		heap.Push(&m.queue, pair{left, right, rank, r.until - l.from})
	}
}

func (m *merger) join(p pair) {
	l, r := &m.pieces[p.left], &m.pieces[p.right]
	if l.from == l.until || r.from == r.until || r.until-l.from != p.size {
		return // either was joined to something else
	}
	l.until, l.next = r.until, r.next
	r.from = r.until
	if r.next < len(m.pieces) {
		m.pieces[r.next].previous = p.left
	}
	m.consider(l.previous, p.left)
	m.consider(p.left, l.next)
}

// pairs is a heap by rank, then from left to right.
type pairs []pair

func (p pairs) Len() int      { return len(p) }
func (p pairs) Swap(i, j int) { p[i], p[j] = p[j], p[i] }
func (p pairs) Less(i, j int) bool {
	return p[i].rank < p[j].rank || p[i].rank == p[j].rank && p[i].left < p[j].left
}
func (p *pairs) Push(x any) { *p = append(*p, x.(pair)) }
func (p *pairs) Pop() any {
	last := len(*p) - 1
	x := (*p)[last]
	*p = (*p)[:last]
	return x
}

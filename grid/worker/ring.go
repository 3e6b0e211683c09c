package worker

import "slices"

// A ring is lines that take turns. It is guarded by the lock of its queue.
type ring struct {
	lines  []*line // in the order of their turns, none empty
	byName map[string]*line
}

// A line is the waiting requests of one requester, first come first; or, with a
// ring of its own, the lines of all strangers, who share its turn.
type line struct {
	name    string
	home    *ring // where it takes turns
	tickets []*ticket
	inner   *ring
	lasting bool // nobody takes a place in it
}

// strangers is the name of the line that strangers share; no key has it.
const strangers = "strangers"

func newRing() *ring { return &ring{byName: map[string]*line{}} }

func (l *line) len() int {
	if l == nil {
		return 0
	}
	if l.inner == nil {
		return len(l.tickets)
	}
	return l.inner.len()
}

// len is how many wait in all lines.
func (r *ring) len() int {
	sum := 0
	for _, l := range r.lines {
		sum += l.len()
	}
	return sum
}

// get returns the line of that name, a new one at the end if there is none.
func (r *ring) get(name string) *line {
	l := r.byName[name]
	if l == nil {
		l = &line{name: name, home: r}
		r.byName[name] = l
		r.lines = append(r.lines, l)
	}
	return l
}

// add puts t at the end of who's line.
func (r *ring) add(t *ticket, who string, stranger bool) {
	if stranger {
		shared := r.get(strangers)
		if shared.inner == nil {
			shared.inner = newRing()
		}
		r = shared.inner
	}
	t.line = r.get(who)
	t.line.tickets = append(t.line.tickets, t)
}

// take removes and returns the ticket whose turn it is; the ring has one.
func (r *ring) take() *ticket {
	l := r.lines[0]
	r.lines = append(r.lines[1:], l) // its next turn comes after all others'
	if l.inner != nil {
		t := l.inner.take()
		r.dropEmpty(l)
		return t
	}
	t := l.tickets[0]
	l.tickets = l.tickets[1:]
	t.line = nil
	r.dropEmpty(l)
	return t
}

// remove takes t out wherever it stands.
func (r *ring) remove(t *ticket) {
	l := t.line
	i := slices.Index(l.tickets, t)
	l.tickets = slices.Delete(l.tickets, i, i+1)
	t.line = nil
	l.home.dropEmpty(l)
	if l.home != r {
		r.dropEmpty(r.byName[strangers])
	}
}

func (r *ring) dropEmpty(l *line) {
	if l.len() > 0 {
		return
	}
	delete(r.byName, l.name)
	r.lines = slices.DeleteFunc(r.lines, func(other *line) bool { return other == l })
}

// ahead counts the tickets whose turn comes before t's, as things stand.
func (r *ring) ahead(t *ticket) int {
	l := t.line
	n := l.home.before(l, slices.Index(l.tickets, t))
	if l.home != r {
		n = r.before(r.byName[strangers], n)
	}
	return n
}

// before counts the tickets whose turn comes before l's next but k.
func (r *ring) before(l *line, k int) int {
	n, round := k, k+1 // of the lines that come before l in a round
	for _, other := range r.lines {
		if other == l {
			round = k
			continue
		}
		n += min(other.len(), round)
	}
	return n
}

// surplus returns the last ticket of the longest line, if it has two more than
// the line of who, who wants a place; else nil.
func (r *ring) surplus(who string, stranger bool) *ticket {
	own, inner := r.byName[who], r.byName[strangers]
	if stranger {
		own = inner
	}
	if t := r.overlong(own); t != nil || !stranger || inner == nil {
		return t
	}
	return inner.inner.overlong(inner.inner.byName[who])
}

// overlong returns the last ticket of the ring's longest line, if that has two
// more than own.
func (r *ring) overlong(own *line) *ticket {
	if longest := r.longest(); longest.len() >= own.len()+2 {
		return longest.last()
	}
	return nil
}

// longest returns the longest line that may lose a ticket, nil if there is none.
func (r *ring) longest() (longest *line) {
	for _, l := range r.lines {
		if !l.lasting && (longest == nil || l.len() > longest.len()) {
			longest = l
		}
	}
	return longest
}

func (l *line) last() *ticket {
	if l.inner != nil {
		return l.inner.longest().last()
	}
	return l.tickets[len(l.tickets)-1]
}

package member

import (
	"cmp"
	"container/heap"
	"slices"
	"time"

	"lobstah/key"
)

// Status is what is thought of a member.
type Status int

// The statuses. A member is Alive while links that both ends state lead to it.
const (
	Alive Status = iota
	Suspect
	Dead
)

func (s Status) String() string { return [...]string{"alive", "suspect", "dead"}[s] }

// MarshalText writes the status as a word.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// relayCost is what a relay adds to a path, so that a direct link wins over a
// slightly faster detour.
const relayCost = 5 * time.Millisecond

// A Member is one node as this node sees it. The Record must not be changed.
type Member struct {
	*Record
	Status Status        `json:"status"`
	Since  time.Time     `json:"since"`
	Direct bool          `json:"direct"`
	Via    key.ID        `json:"via,omitzero"` // first hop; the member itself when direct
	Hops   int           `json:"hops,omitempty"`
	RTT    time.Duration `json:"rtt,omitempty"` // sum over the path
}

// Members lists the known nodes without this one and the long dead, by name.
func (s *State) Members() []Member {
	list := make([]Member, 0, len(s.table))
	for id, e := range s.table {
		if id != s.self {
			list = append(list, s.member(id, e))
		}
	}
	slices.SortFunc(list, func(a, b Member) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), compareKeys(a.Key, b.Key))
	})
	return list
}

// Member returns one node; ok tells whether it is known.
func (s *State) Member(id key.ID) (m Member, ok bool) {
	e, ok := s.table[id]
	if !ok {
		return Member{}, false
	}
	return s.member(id, e), true
}

func (s *State) member(id key.ID, e *entry) Member {
	m := Member{Record: e.record, Status: e.status, Since: e.since, Via: e.via, Hops: e.hops}
	if n, direct := s.links[id]; direct {
		m.Direct, m.RTT = true, n.rtt // measured since the graph was searched
	} else if e.dist >= 0 {
		m.RTT = e.dist - relayCost*time.Duration(max(e.hops-1, 0))
	}
	return m
}

// searchGraph finds who is reachable and how, and what changed by it.
func (s *State) searchGraph(now time.Time) {
	s.graphDirty, s.searched = false, now
	paths := s.paths()
	for id, e := range s.table {
		p, reachable := paths[id]
		e.dist, e.via, e.hops = -1, key.ID{}, 0
		if reachable {
			e.dist, e.via, e.hops = p.dist, p.via, p.hops
		}
		s.judge(now, e, reachable)
	}
}

func (s *State) judge(now time.Time, e *entry, reachable bool) {
	switch {
	case reachable && e.status != Alive:
		if e.status == Dead && e.record.Key != s.self {
			s.event(Joined, e.record)
		}
		s.setStatus(now, e, Alive)
	case !reachable && e.record.Gone && e.status != Dead:
		s.setStatus(now, e, Dead)
		s.event(Left, e.record)
	case !reachable && e.status == Alive:
		s.setStatus(now, e, Suspect)
		s.event(Suspected, e.record)
	}
}

func (s *State) setStatus(now time.Time, e *entry, status Status) {
	e.status, e.since = status, now
	s.changed(now)
	s.expireBy(e.end(s.suspectFor()))
}

type path struct {
	dist time.Duration
	via  key.ID
	hops int
}

// paths is Dijkstra's algorithm from this node over its real links and the links
// that both ends of a pair state.
func (s *State) paths() map[key.ID]path {
	done := map[key.ID]path{s.self: {}}
	var queue frontier
	for id, n := range s.links {
		if e := s.table[id]; e != nil && s.passable(e) {
			heap.Push(&queue, reach{id, path{n.rtt, id, 1}})
		}
	}
	for len(queue) > 0 {
		at := heap.Pop(&queue).(reach)
		if _, seen := done[at.id]; seen {
			continue
		}
		done[at.id] = at.path
		s.eachLink(at.id, func(next key.ID, rtt time.Duration) {
			if _, seen := done[next]; !seen {
				heap.Push(&queue, reach{next, path{at.dist + rtt + relayCost, at.via, at.hops + 1}})
			}
		})
	}
	return done
}

func (s *State) passable(e *entry) bool {
	_, bad := s.revoked[e.record.Key]
	return !bad && !e.record.Gone
}

// eachLink visits the links that id and its neighbour both state.
func (s *State) eachLink(id key.ID, visit func(key.ID, time.Duration)) {
	from := HintOf(id)
	for hint, ms := range s.table[id].record.Links {
		e := s.hints[hint]
		if e == nil || !s.passable(e) {
			continue
		}
		if back, mutual := e.record.Links[from]; mutual {
			visit(e.record.Key, time.Duration(max(ms, back))*time.Millisecond)
		}
	}
}

// NextHops returns the neighbours through which dest may be reached, best first,
// at most limit of them. Members of path, the nodes that a circuit has already
// passed, are avoided. A direct link to dest is the only answer when there is one.
func (s *State) NextHops(dest key.ID, path []key.ID, limit int) []key.ID {
	if _, direct := s.links[dest]; direct && s.Admit(dest) == nil {
		return []key.ID{dest}
	}
	target := s.table[dest]
	if target == nil || !s.passable(target) {
		return nil
	}
	dist := s.distances(dest, append(slices.Clip(path), s.self))
	var hops []key.ID
	for id := range s.links {
		if _, ok := dist[id]; ok {
			hops = append(hops, id)
		}
	}
	cost := func(id key.ID) time.Duration { return dist[id] + s.links[id].rtt }
	slices.SortFunc(hops, func(a, b key.ID) int {
		return cmp.Or(cmp.Compare(cost(a), cost(b)), compareKeys(a, b))
	})
	return hops[:min(limit, len(hops))]
}

// distances is Dijkstra's algorithm from dest without the nodes to avoid.
func (s *State) distances(dest key.ID, avoid []key.ID) map[key.ID]time.Duration {
	done := map[key.ID]time.Duration{}
	queue := frontier{{dest, path{}}}
	for len(queue) > 0 {
		at := heap.Pop(&queue).(reach)
		if _, seen := done[at.id]; seen || slices.Contains(avoid, at.id) {
			continue
		}
		done[at.id] = at.dist
		s.eachLink(at.id, func(next key.ID, rtt time.Duration) {
			heap.Push(&queue, reach{next, path{dist: at.dist + rtt + relayCost}})
		})
	}
	return done
}

type reach struct {
	id key.ID
	path
}

// frontier is a heap of nodes by distance; equal ones go by key, so that every
// run finds the same paths.
type frontier []reach

func (f frontier) Len() int { return len(f) }
func (f frontier) Less(i, j int) bool {
	return f[i].dist < f[j].dist || f[i].dist == f[j].dist && compareKeys(f[i].id, f[j].id) < 0
}
func (f frontier) Swap(i, j int) { f[i], f[j] = f[j], f[i] }
func (f *frontier) Push(x any)   { *f = append(*f, x.(reach)) }
func (f *frontier) Pop() any {
	last := len(*f) - 1
	x := (*f)[last]
	*f = (*f)[:last]
	return x
}

package member

import (
	"cmp"
	"container/heap"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"lobstah/key"
)

// simulator runs nodes in virtual time: it delivers messages with latency and
// loss, cuts and restores links, and gives every node a clock of its own.
type simulator struct {
	t      *testing.T
	rand   *rand.Rand
	now    time.Time
	events schedule
	count  int // events so far, to order those of one moment
	nodes  []*node
	byKey  map[key.ID]*node
	opened map[string]*Record // checked records: opening is a pure function
	loss   float64
}

type node struct {
	sim    *simulator
	pair   key.Pair
	name   string
	skew   time.Duration
	state  *State // nil while it is down
	links  map[key.ID]*wire
	stepAt time.Time
	sent   int // bytes
	events []Event
}

// wire is a link; a cut one loses everything.
type wire struct {
	latency time.Duration
	cut     bool
}

type scheduled struct {
	at   time.Time
	turn int
	do   func()
}

type schedule []scheduled

func (s schedule) Len() int { return len(s) }
func (s schedule) Less(i, j int) bool {
	return s[i].at.Before(s[j].at) || s[i].at.Equal(s[j].at) && s[i].turn < s[j].turn
}
func (s schedule) Swap(i, j int) { s[i], s[j] = s[j], s[i] }
func (s *schedule) Push(x any)   { *s = append(*s, x.(scheduled)) }
func (s *schedule) Pop() any {
	last := len(*s) - 1
	x := (*s)[last]
	*s = (*s)[:last]
	return x
}

func newSimulator(t *testing.T, count int) *simulator {
	sim := &simulator{
		t: t, rand: rand.New(rand.NewPCG(1, uint64(count))), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		byKey: map[key.ID]*node{}, opened: map[string]*Record{},
	}
	for i := range count {
		var number [8]byte
		binary.BigEndian.PutUint64(number[:], uint64(i))
		pair := key.FromSeed(sha256.Sum256(number[:]))
		// Every clock is wrong, by up to half an hour.
		skew := time.Duration(sim.rand.IntN(3600)-1800) * time.Second
		n := &node{sim: sim, pair: pair, name: fmt.Sprintf("node-%03d", i), skew: skew, links: map[key.ID]*wire{}}
		sim.nodes = append(sim.nodes, n)
		sim.byKey[pair.ID()] = n
		n.start()
	}
	return sim
}

func (n *node) clock() time.Time { return n.sim.now.Add(n.skew) }

func (n *node) start() {
	state, err := New(Config{
		Pair: n.pair, Name: n.name, Epoch: uint64(n.clock().UnixMilli()),
		Offer: Offer{
			Agents: []Agent{{ID: "agent-of-" + n.name, Description: "Reviews code and answers questions", Tags: []string{"review"}}},
			Models: []Model{{ID: "qwen3-coder:30b", Provider: "ollama"}, {ID: "llama3.3:70b", Provider: "ollama"}},
			Tools:  []string{"read", "list"}, Tags: []string{"office", "gpu"},
		},
	}, n.clock())
	if err != nil {
		n.sim.t.Fatal(err)
	}
	state.open = n.sim.open
	n.state, n.stepAt = state, time.Time{}
	n.step()
}

func (sim *simulator) open(wire []byte) (*Record, error) {
	if r := sim.opened[string(wire)]; r != nil {
		return r, nil
	}
	r, err := OpenRecord(wire)
	if err == nil {
		sim.opened[string(wire)] = r
	}
	return r, err
}

func (sim *simulator) after(d time.Duration, do func()) {
	sim.count++
	heap.Push(&sim.events, scheduled{sim.now.Add(d), sim.count, do})
}

// run lets virtual time pass.
func (sim *simulator) run(d time.Duration) {
	end := sim.now.Add(d)
	for len(sim.events) > 0 && !sim.events[0].at.After(end) {
		next := heap.Pop(&sim.events).(scheduled)
		sim.now = next.at
		next.do()
	}
	sim.now = end
}

// settles runs until done, which must be within the limit, and tells how long it
// took (to 100 ms).
func (sim *simulator) settles(what string, limit time.Duration, done func() bool) time.Duration {
	sim.t.Helper()
	begin := sim.now
	for !done() {
		if sim.now.Sub(begin) > limit {
			sim.t.Fatalf("%s: not after %s; %s", what, limit, sim.difference())
		}
		sim.run(100 * time.Millisecond)
	}
	took := sim.now.Sub(begin)
	sim.t.Logf("%s: %s of virtual time", what, took)
	return took
}

func (n *node) step() {
	if n.state == nil {
		return
	}
	out := n.state.Step(n.clock())
	n.events = append(n.events, out.Events...)
	for _, m := range out.Messages {
		n.send(m)
	}
	at := out.Next.Add(-n.skew)
	if n.stepAt.IsZero() || at.Before(n.stepAt) {
		n.stepAt = at
		n.sim.after(max(at.Sub(n.sim.now), time.Millisecond), func() {
			if n.stepAt.Equal(at) {
				n.stepAt = time.Time{}
				n.step()
			}
		})
	}
}

func (n *node) send(m Message) {
	if len(m.Data) > MaxMessageBytes {
		n.sim.t.Fatalf("%s made a message of %d bytes", n.name, len(m.Data))
	}
	n.sent += len(m.Data)
	w, to, sender := n.links[m.To], n.sim.byKey[m.To], n.state
	if w == nil || w.cut || n.sim.rand.Float64() < n.sim.loss {
		return
	}
	n.sim.after(w.latency, func() {
		if w.cut || to.state == nil || to.links[n.pair.ID()] != w || n.state != sender {
			return
		}
		if err := to.state.Receive(to.clock(), n.pair.ID(), m.Data); err != nil {
			n.sim.t.Fatalf("%s refused a message of %s: %v", to.name, n.name, err)
		}
		to.step()
	})
}

func (sim *simulator) link(a, b *node) {
	if a == b || a.state == nil || b.state == nil {
		return
	}
	w := &wire{latency: time.Duration(1+sim.rand.IntN(80)) * time.Millisecond}
	for _, pair := range [][2]*node{{a, b}, {b, a}} {
		pair[0].links[pair[1].pair.ID()] = w
		pair[0].state.Connected(pair[0].clock(), pair[1].pair.ID(), 2*w.latency)
		pair[0].step()
	}
}

func (sim *simulator) unlink(a, b *node) {
	for _, pair := range [][2]*node{{a, b}, {b, a}} {
		delete(pair[0].links, pair[1].pair.ID())
		if pair[0].state != nil {
			pair[0].state.Disconnected(pair[0].clock(), pair[1].pair.ID())
			pair[0].step()
		}
	}
}

// peers are the nodes that n has links with, in the order of their names: with the
// same seed every run is the same.
func (n *node) peers() (list []*node) {
	for id := range n.links {
		list = append(list, n.sim.byKey[id])
	}
	slices.SortFunc(list, func(a, b *node) int { return cmp.Compare(a.name, b.name) })
	return list
}

// web links every node to two earlier ones, at random moments of ten seconds.
func (sim *simulator) web() {
	for i, n := range sim.nodes[1:] {
		for range 2 {
			other := sim.nodes[sim.rand.IntN(i+1)]
			sim.after(time.Duration(sim.rand.IntN(10_000))*time.Millisecond, func() { sim.link(n, other) })
		}
	}
}

// agreed says whether every running node knows every other running node's newest
// record as alive, and nobody else.
func (sim *simulator) agreed() bool { return sim.difference() == "" }

func (sim *simulator) difference() string {
	for _, n := range sim.nodes {
		if n.state == nil {
			continue
		}
		for _, other := range sim.nodes {
			m, known := n.state.Member(other.pair.ID())
			switch {
			case other.state == nil && known && m.Status == Alive:
				return fmt.Sprintf("%s takes %s for alive", n.name, other.name)
			case other.state == nil:
			case !known:
				return fmt.Sprintf("%s does not know %s", n.name, other.name)
			case m.Status != Alive:
				return fmt.Sprintf("%s takes %s for %s", n.name, other.name, m.Status)
			case m.Epoch != other.state.own.Epoch || m.Version != other.state.own.Version:
				return fmt.Sprintf("%s has an old record of %s", n.name, other.name)
			}
		}
	}
	return ""
}

func (sim *simulator) resetTraffic() {
	for _, n := range sim.nodes {
		n.sent = 0
	}
}

// traffic gives the bytes that nodes sent per minute: mean and largest.
func (sim *simulator) traffic(d time.Duration) (mean, most int) {
	for _, n := range sim.nodes {
		mean += n.sent
		most = max(most, n.sent)
	}
	perMinute := func(b int) int { return int(float64(b) / d.Minutes()) }
	return perMinute(mean / len(sim.nodes)), perMinute(most)
}

func (n *node) saw(change Change, of *node) int {
	return len(slices.DeleteFunc(slices.Clone(n.events), func(e Event) bool {
		return e.Change != change || e.Key != of.pair.ID()
	}))
}

var raceDetector bool // set when the test was built with it

// meshSize is that of the large simulations.
func meshSize() int {
	if testing.Short() || raceDetector {
		return 60
	}
	return 300
}

func TestPartitionHeals(t *testing.T) {
	t.Parallel()
	// The large mesh has the harder lot; that nothing depends on loss shows in a
	// small one, at a fraction of the time.
	for loss, size := range map[float64]int{0: 60, 0.1: meshSize()} {
		t.Run(fmt.Sprintf("loss %v", loss), func(t *testing.T) {
			t.Parallel()
			sim := newSimulator(t, size)
			sim.loss = loss
			sim.web()
			sim.run(10 * time.Second)
			sim.settles("first agreement", 10*time.Second, sim.agreed)
			sim.run(time.Minute)
			sim.resetTraffic()
			const rest = 2 * time.Minute
			sim.run(rest)
			mean, most := sim.traffic(rest)
			t.Logf("%d nodes at rest: %d bytes per node and minute, at most %d", len(sim.nodes), mean, most)
			if limit := 30_000; mean > limit {
				t.Errorf("a node at rest sends %d bytes a minute, want at most %d", mean, limit)
			}
			crossing := sim.partition()
			sim.run(3 * time.Minute) // both sides take the other for dead
			left, right := sim.nodes[0], sim.nodes[len(sim.nodes)-1]
			if m, _ := left.state.Member(right.pair.ID()); m.Status != Dead {
				t.Fatalf("the other side is %s after the partition, want dead", m.Status)
			}
			if got := left.saw(Left, right); got != 1 {
				t.Errorf("the loss of a node was told %d times, want once", got)
			}
			// Something changes on both sides meanwhile.
			for _, n := range []*node{left, right} {
				if err := n.state.SetOffer(n.clock(), Offer{Tags: []string{"changed"}}); err != nil {
					t.Fatal(err)
				}
				n.step()
			}
			sim.run(time.Minute)
			sim.resetTraffic()
			begin := sim.now
			for _, pair := range crossing {
				sim.after(time.Duration(sim.rand.IntN(2000))*time.Millisecond, func() { sim.link(pair[0], pair[1]) })
			}
			sim.run(2 * time.Second)
			sim.settles("agreement after the last link is back", 8*time.Second, sim.agreed)
			mean, most = sim.traffic(time.Minute)
			t.Logf("healing, %s: %d bytes per node, at most %d", sim.now.Sub(begin), mean, most)
			if m, _ := left.state.Member(right.pair.ID()); len(m.Tags) != 1 || m.Tags[0] != "changed" {
				t.Errorf("tags of the far node are %v, want those set during the partition", m.Tags)
			}
		})
	}
}

// partition cuts every link between the first and the second half; the ends
// notice when their heartbeats fail.
func (sim *simulator) partition() (crossing [][2]*node) {
	half := len(sim.nodes) / 2
	for i, a := range sim.nodes[:half] {
		for _, b := range sim.nodes[half:] {
			w := sim.nodes[i].links[b.pair.ID()]
			if w == nil {
				continue
			}
			w.cut = true
			crossing = append(crossing, [2]*node{a, b})
			sim.after(time.Duration(30_000+sim.rand.IntN(30_000))*time.Millisecond, func() { sim.unlink(a, b) })
		}
	}
	return crossing
}

func TestHubAndLeaves(t *testing.T) {
	t.Parallel()
	sim := newSimulator(t, meshSize())
	hub := sim.nodes[0]
	for _, n := range sim.nodes[1:] {
		sim.after(time.Duration(sim.rand.IntN(5000))*time.Millisecond, func() { sim.link(n, hub) })
	}
	sim.run(5 * time.Second)
	sim.settles("agreement around one hub", 10*time.Second, sim.agreed)
	leaf, other := sim.nodes[1], sim.nodes[2]
	m, _ := leaf.state.Member(other.pair.ID())
	if m.Direct || m.Hops != 2 || m.Via != hub.pair.ID() {
		t.Errorf("a leaf reaches another in %d hops through %s (direct %v), want 2 through the hub", m.Hops, m.Via.Short(), m.Direct)
	}
}

func TestCrashAndGoodbye(t *testing.T) {
	t.Parallel()
	sim := newSimulator(t, 40)
	sim.web()
	sim.run(15 * time.Second)
	sim.settles("first agreement", 5*time.Second, sim.agreed)
	watcher, crashed, polite := sim.nodes[0], sim.nodes[38], sim.nodes[39]

	polite.state.Leave(polite.clock())
	polite.step()
	sim.run(2 * time.Second)
	if got := watcher.saw(Left, polite); got != 1 || watcher.saw(Suspected, polite) != 0 {
		t.Errorf("a goodbye was told %d times and suspected %d times, want 1 and 0", got, watcher.saw(Suspected, polite))
	}
	crashed.state = nil
	for _, p := range crashed.peers() {
		sim.unlink(crashed, p)
	}
	sim.run(2 * time.Second)
	if m, _ := watcher.state.Member(crashed.pair.ID()); m.Status != Suspect {
		t.Errorf("a crashed node is %s, want suspect", m.Status)
	}
	sim.run(time.Minute)
	if got := watcher.saw(Left, crashed); got != 1 {
		t.Errorf("the crash was told %d times, want once", got)
	}
	sim.run(TombstoneFor)
	if _, known := watcher.state.Member(crashed.pair.ID()); known {
		t.Error("a dead node is remembered for longer than its tombstone")
	}
	if _, known := watcher.state.Member(sim.nodes[1].pair.ID()); !known {
		t.Error("a living node was forgotten")
	}
}

// A restarted process replaces its ghost, even when the clock went back; and a
// process that slept while another took over must stop.
func TestGhosts(t *testing.T) {
	t.Parallel()
	for _, skew := range []time.Duration{0, -48 * time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			t.Parallel()
			sim := newSimulator(t, 40)
			sim.web()
			sim.run(15 * time.Second)
			sim.settles("first agreement", 5*time.Second, sim.agreed)
			n := sim.nodes[20]
			ghost := n.state
			peers := n.peers()
			// The process dies without a word; the neighbours still hold its links
			// when the next one comes.
			was := n.skew
			n.skew += skew
			n.start()
			for _, p := range peers {
				sim.link(n, p)
			}
			sim.settles("the ghost is replaced", time.Second, func() bool {
				m, _ := sim.nodes[0].state.Member(n.pair.ID())
				return m.Status == Alive && m.Epoch == n.state.Epoch() && m.Epoch > ghost.Epoch()
			})
			if got := sim.nodes[0].saw(Left, n); got != 0 {
				t.Errorf("the restart was told as a loss %d times, want none", got)
			}
			// The ghost wakes up and links again.
			sim.run(JoinGrace)
			taken := n.state
			n.state, n.skew = ghost, was
			n.links = map[key.ID]*wire{}
			n.events = nil
			sim.link(n, peers[0])
			sim.run(2 * time.Second)
			if got := n.saw(Superseded, n); got != 1 {
				t.Errorf("the stale process was told %d times to stop, want once", got)
			}
			if m, _ := sim.nodes[0].state.Member(n.pair.ID()); m.Epoch != taken.Epoch() {
				t.Errorf("the mesh holds epoch %d, want the new process's %d", m.Epoch, taken.Epoch())
			}
		})
	}
}

func TestChurn(t *testing.T) {
	t.Parallel()
	sim := newSimulator(t, 80)
	sim.loss = 0.05
	sim.web()
	sim.run(10 * time.Second)
	peers := map[*node][]*node{}
	for _, n := range sim.nodes {
		peers[n] = n.peers()
	}
	for range 30 { // a restart every two seconds, half of them after a while
		n := sim.nodes[sim.rand.IntN(len(sim.nodes))]
		if n.state == nil {
			continue
		}
		n.state = nil
		for _, p := range n.peers() {
			sim.unlink(n, p)
		}
		sim.after(time.Duration(sim.rand.IntN(40))*time.Second, func() {
			n.start()
			for _, p := range peers[n] {
				sim.link(n, p)
			}
		})
		sim.run(2 * time.Second)
	}
	sim.run(45 * time.Second)
	sim.settles("agreement after restarts", 10*time.Second, sim.agreed)
}

func TestRevocation(t *testing.T) {
	t.Parallel()
	sim := newSimulator(t, 40)
	owner, victim, distant := sim.nodes[0].pair.ID(), sim.nodes[20], sim.nodes[39]
	for _, n := range sim.nodes { // all but one trust the owner
		if n != distant {
			n.state.cfg.Trusts = func(by key.ID) bool { return by == owner }
		}
	}
	sim.loss = 0.1
	sim.web()
	sim.run(15 * time.Second)
	sim.settles("first agreement", 10*time.Second, sim.agreed)
	if err := sim.nodes[0].state.Revoke(sim.nodes[0].clock(), victim.pair.ID(), "lost laptop"); err != nil {
		t.Fatal(err)
	}
	sim.nodes[0].step()
	sim.settles("the revocation is known everywhere", 10*time.Second, func() bool {
		for _, n := range sim.nodes {
			if len(n.state.revocations) != 1 {
				return false
			}
		}
		return true
	})
	for _, n := range sim.nodes {
		obeys := n != distant && n != victim
		if refused := n.state.Admit(victim.pair.ID()) != nil; refused != obeys {
			t.Errorf("%s refuses the revoked key: %v, want %v", n.name, refused, obeys)
		}
		if m, _ := n.state.Member(victim.pair.ID()); obeys && m.Status != Dead {
			t.Errorf("%s takes the revoked node for %s", n.name, m.Status)
		}
	}
	sim.nodes[5].state.Step(sim.nodes[5].clock().Add(RevocationFor + time.Hour))
	if len(sim.nodes[5].state.revocations) != 0 || sim.nodes[5].state.Admit(victim.pair.ID()) != nil {
		t.Error("the revocation outlived its time")
	}
}

package member

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"lobstah/key"
)

func testPair(b byte) key.Pair { return key.FromSeed([32]byte{b}) }

func testRecord() Record {
	return Record{
		Name: "office-01", Epoch: 7, Version: 3,
		Offer: Offer{Agents: []Agent{{ID: "coder", Description: "writes code", Tags: []string{"coding"}}}, Tags: []string{"gpu"}},
		Links: map[Hint]uint32{HintOf(testPair(2).ID()): 12},
	}
}

func seal1(t testing.TB, r Record, by byte) []byte {
	t.Helper()
	wire, err := r.Seal(testPair(by))
	if err != nil {
		t.Fatal(err)
	}
	return wire
}

func TestRecordRoundTrip(t *testing.T) {
	t.Parallel()
	wire := seal1(t, testRecord(), 1)
	got, err := OpenRecord(wire)
	if err != nil {
		t.Fatal(err)
	}
	if got.Key != testPair(1).ID() || got.Name != "office-01" || got.Agents[0].ID != "coder" || got.Links[HintOf(testPair(2).ID())] != 12 {
		t.Errorf("read back %+v", got)
	}
	want := `{"node":"office-01","epoch":7,"version":3,"agents":[{"id":"coder","description":"writes code","tags":["coding"]}],"tags":["gpu"],"links":{"`
	if body := string(wire[sealBytes:]); !strings.HasPrefix(body, want) {
		t.Errorf("the signed body is %s, want it to begin with %s", body, want)
	}
	for i := range wire {
		bad := bytes.Clone(wire)
		bad[i] ^= 1
		if _, err := OpenRecord(bad); err == nil {
			t.Fatalf("a record with byte %d changed was accepted", i)
		}
	}
}

// A signature over one kind of statement must not pass for another kind.
func TestStatementsAreNotExchangeable(t *testing.T) {
	t.Parallel()
	r := Revocation{Key: testPair(2).ID(), AtMS: 5}
	wire, err := r.Seal(testPair(1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenRevocation(wire); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenRecord(wire); err == nil || !strings.Contains(err.Error(), "signature") {
		t.Errorf("a revocation read as a record gave %v, want a refused signature", err)
	}
}

func TestRecordLimits(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxText+1)
	for name, change := range map[string]func(*Record){
		"no name":        func(r *Record) { r.Name = "" },
		"spaces":         func(r *Record) { r.Name = "a b" },
		"escape code":    func(r *Record) { r.Name = "a\x1b[2J" },
		"reversed text":  func(r *Record) { r.Name = "a\u202eb" },
		"long name":      func(r *Record) { r.Name = long },
		"no epoch":       func(r *Record) { r.Epoch = 0 },
		"huge epoch":     func(r *Record) { r.Epoch = maxCounter + 1 },
		"no version":     func(r *Record) { r.Version = 0 },
		"many tags":      func(r *Record) { r.Tags = strings.Split(strings.Repeat("t ", MaxTags)+"t", " ") },
		"many tools":     func(r *Record) { r.Tools = strings.Split(strings.Repeat("t ", MaxTools)+"t", " ") },
		"many models":    func(r *Record) { r.Models = make([]Model, MaxModels+1) },
		"nameless model": func(r *Record) { r.Models = []Model{{}} },
		"long text":      func(r *Record) { r.Agents[0].Description = long },
		"bell":           func(r *Record) { r.Agents[0].Description = "\a" },
		"many links": func(r *Record) {
			r.Links = map[Hint]uint32{}
			for i := range MaxLinks + 1 {
				r.Links[Hint{byte(i), byte(i >> 8)}] = 1
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := testRecord()
			change(&r)
			if _, err := r.Seal(testPair(1)); err == nil {
				t.Error("it was sealed")
			}
			wire, err := seal(testPair(1), recordDomain, &r)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := OpenRecord(wire); err == nil {
				t.Error("it was accepted from another node")
			}
		})
	}
}

func TestLargestRecordFits(t *testing.T) {
	t.Parallel()
	offer := Offer{}
	for i := range MaxModels {
		offer.Models = append(offer.Models, Model{ID: fmt.Sprint("model-", i), Description: "d"})
	}
	if err := offer.fit(); err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Pair: testPair(1), Name: "a", Epoch: maxCounter, Offer: offer}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for i := range MaxLinks + 50 {
		s.Connected(time.Now(), key.ID{1, byte(i), byte(i >> 8)}, 20*time.Minute)
	}
	s.Step(time.Now().Add(time.Second))
	if got := len(s.table[s.self].record.Links); got != MaxLinks {
		t.Errorf("%d links are stated, want %d", got, MaxLinks)
	}
	big := Offer{}
	for range 30 {
		big.Agents = append(big.Agents, Agent{ID: "a", Description: strings.Repeat("<", maxText)})
	}
	if err := s.SetOffer(time.Now(), big); err == nil || !strings.Contains(err.Error(), "shorten") {
		t.Errorf("an offer of more than %d bytes gave %v", MaxOfferBytes, err)
	}
}

// hostile is a state with one neighbour that may send anything.
func hostile(t testing.TB) (*State, key.ID, time.Time) {
	t.Helper()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s, err := New(Config{Pair: testPair(1), Name: "victim", Epoch: 1}, now)
	if err != nil {
		t.Fatal(err)
	}
	s.Connected(now, testPair(2).ID(), time.Millisecond)
	s.Step(now)
	return s, testPair(2).ID(), now
}

func TestStrangersCannotCrowdOutMembers(t *testing.T) {
	t.Parallel()
	s, from, now := hostile(t)
	send := func(wire []byte) {
		t.Helper()
		if err := s.Receive(now, from, appendSealed([]byte{kindRecords}, wire)); err != nil {
			t.Fatal(err)
		}
	}
	send(seal1(t, Record{Name: "friend", Epoch: 1, Version: 1}, 2))
	now = now.Add(time.Second)
	s.Step(now)
	for i := range 2 * MaxMembers { // nodes without a link, invented by the neighbour
		pair := key.FromSeed([32]byte{9, byte(i), byte(i >> 8)})
		wire, err := (&Record{Name: "ghost", Epoch: 1, Version: 1}).Seal(pair)
		if err != nil {
			t.Fatal(err)
		}
		send(wire)
	}
	now = now.Add(time.Second)
	s.Step(now)
	if len(s.table) > MaxMembers {
		t.Errorf("the table holds %d members, want at most %d", len(s.table), MaxMembers)
	}
	if m, ok := s.Member(from); !ok || m.Status != Alive {
		t.Error("the living member was crowded out")
	}
}

// When made-up nodes fill the table, all of them alive, one that is trusted is let
// in all the same, and neighbours and trusted ones stay.
func TestTheTrustedFindRoomAmongStrangers(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	liar, late := testPair(2), testPair(3)
	s, err := New(Config{Pair: testPair(1), Name: "victim", Epoch: 1, Trusts: func(id key.ID) bool { return id == late.ID() }}, now)
	if err != nil {
		t.Fatal(err)
	}
	s.Connected(now, liar.ID(), time.Millisecond)
	s.Step(now)
	tell := func(pair key.Pair, links ...key.ID) {
		t.Helper()
		r := Record{Name: "n", Epoch: 1, Version: 1, Links: map[Hint]uint32{}}
		for _, id := range links {
			r.Links[HintOf(id)] = 1
		}
		wire, err := r.Seal(pair)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Receive(now, liar.ID(), appendSealed([]byte{kindRecords}, wire)); err != nil {
			t.Fatal(err)
		}
	}
	var ghosts []key.Pair
	ring := []key.ID{s.self}
	for i := range MaxMembers - 2 { // a chain of nodes that each state the links with the next
		ghosts = append(ghosts, key.FromSeed([32]byte{9, byte(i), byte(i >> 8)}))
	}
	tell(liar, append(ring, ghosts[0].ID())...)
	for i, ghost := range ghosts {
		links := []key.ID{liar.ID()}
		if i > 0 {
			links = []key.ID{ghosts[i-1].ID()}
		}
		if i+1 < len(ghosts) {
			links = append(links, ghosts[i+1].ID())
		}
		tell(ghost, links...)
	}
	now = now.Add(time.Second)
	s.Step(now)
	alive := 0
	for _, m := range s.Members() {
		if m.Status == Alive {
			alive++
		}
	}
	if alive != MaxMembers-1 {
		t.Fatalf("%d living members; the test wants a full table of %d", alive, MaxMembers-1)
	}
	tell(testPair(4)) // one more stranger
	if _, ok := s.Member(testPair(4).ID()); ok {
		t.Error("a stranger crowded out a living member")
	}
	tell(late)
	if _, ok := s.Member(late.ID()); !ok {
		t.Error("the trusted node found no room")
	}
	if _, ok := s.Member(liar.ID()); !ok || len(s.table) > MaxMembers {
		t.Errorf("the neighbour is there: %t; %d members in the table", ok, len(s.table))
	}
}

func TestRevocationsBeyondTheLimitAreSaid(t *testing.T) {
	t.Parallel()
	s, _, now := hostile(t)
	for i := range MaxRevocations {
		if err := s.Revoke(now, key.FromSeed([32]byte{8, byte(i), byte(i >> 8)}).ID(), ""); err != nil {
			t.Fatal(err)
		}
	}
	victim := testPair(4).ID()
	if err := s.Revoke(now, victim, ""); err == nil || s.Admit(victim) != nil {
		t.Errorf("one too many: %v, and it is %v", err, s.Admit(victim))
	}
	now = now.Add(RevocationFor)
	s.Step(now)
	if err := s.Revoke(now, victim, ""); err != nil || s.Admit(victim) == nil {
		t.Errorf("after the others were over: %v", err)
	}
}

func TestRecordsThatChangeTooOften(t *testing.T) {
	t.Parallel()
	s, from, now := hostile(t)
	accepted := func() uint64 {
		if m, ok := s.Member(from); ok {
			return m.Version
		}
		return 0
	}
	for v := range uint64(1000) {
		wire := seal1(t, Record{Name: "busy", Epoch: 1, Version: v + 1}, 2)
		if err := s.Receive(now, from, appendSealed([]byte{kindRecords}, wire)); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := accepted(), uint64(versionsBurst+1); got != want {
		t.Errorf("version %d was accepted at once, want at most %d", got, want)
	}
	now = now.Add(time.Second)
	wire := seal1(t, Record{Name: "busy", Epoch: 1, Version: 5000}, 2)
	if err := s.Receive(now, from, appendSealed([]byte{kindRecords}, wire)); err != nil || accepted() != 5000 {
		t.Errorf("a second later version %d holds (%v), want 5000", accepted(), err)
	}
}

func TestBrokenMessagesAreErrors(t *testing.T) {
	t.Parallel()
	s, from, now := hostile(t)
	altered := seal1(t, testRecord(), 2)
	altered[len(altered)-2] ^= 1
	for name, data := range map[string][]byte{
		"empty":            {},
		"unknown kind":     {'?'},
		"short summary":    {kindSummary, 1},
		"endless digest":   {kindDigest, 0xff, 0xff, 0xff, 0xff, 0x0f},
		"odd want":         {kindWant, 1, 2, 3},
		"cut record":       {kindRecords, 200, 1},
		"altered record":   appendSealed([]byte{kindRecords}, altered),
		"empty revocation": appendSealed([]byte{kindRevocations}, make([]byte, sealBytes)),
		"long":             make([]byte, MaxMessageBytes+1),
	} {
		if err := s.Receive(now, from, data); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := s.Receive(now, testPair(3).ID(), []byte{kindWant}); err == nil {
		t.Error("a message of a node that is no neighbour was accepted")
	}
}

func TestStrangersCannotRevoke(t *testing.T) {
	t.Parallel()
	s, from, now := hostile(t)
	victim := testPair(4).ID()
	wire, err := (&Revocation{Key: victim, AtMS: now.UnixMilli()}).Seal(testPair(3))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Receive(now, from, appendSealed([]byte{kindRevocations}, wire)); err != nil {
		t.Fatal(err)
	}
	if len(s.revocations) != 0 || s.Admit(victim) != nil {
		t.Error("a revocation by a stranger was kept or obeyed")
	}
	if err := s.Revoke(now, victim, ""); err != nil {
		t.Fatal(err)
	}
	if err := s.Admit(victim); !errors.Is(err, ErrRevoked) {
		t.Errorf("our own revocation gave %v, want ErrRevoked", err)
	}
	if err := s.Revoke(now, s.self, ""); err == nil {
		t.Error("a node revoked itself")
	}
}

func TestRoutesAvoidThePath(t *testing.T) {
	t.Parallel()
	// 0 is linked to 1 and 2, both of them to 3: two disjoint ways.
	sim := newSimulator(t, 4)
	for _, ends := range [][2]int{{0, 1}, {0, 2}, {1, 3}, {2, 3}} {
		sim.link(sim.nodes[ends[0]], sim.nodes[ends[1]])
	}
	sim.settles("agreement", 5*time.Second, sim.agreed)
	id := func(i int) key.ID { return sim.nodes[i].pair.ID() }
	from := sim.nodes[0].state
	if got := from.NextHops(id(3), nil, 5); len(got) != 2 {
		t.Errorf("two ways lead to the far node, got %d", len(got))
	}
	if got := from.NextHops(id(1), nil, 5); len(got) != 1 || got[0] != id(1) {
		t.Errorf("a direct link must be the only answer, got %v", got)
	}
	if got := sim.nodes[1].state.NextHops(id(2), []key.ID{id(0)}, 5); len(got) != 1 || got[0] != id(3) {
		t.Errorf("around the node that was passed the way is %v, want by node 3", got)
	}
	if got := sim.nodes[1].state.NextHops(id(2), []key.ID{id(0), id(3)}, 5); got != nil {
		t.Errorf("a dead end gave %v, want nothing", got)
	}
}

func FuzzOpenRecord(f *testing.F) {
	f.Add(seal1(f, testRecord(), 1))
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := OpenRecord(body); err != nil && len(body) > sealBytes+MaxRecordBytes && !strings.Contains(err.Error(), "bytes") {
			t.Errorf("a long record was parsed: %v", err)
		}
		// The same bytes as a signed body reach the JSON reader and the limits.
		if len(body) > MaxRecordBytes {
			return
		}
		pair := testPair(1)
		id := pair.ID()
		wire := append(append(id[:], pair.Sign(append([]byte(recordDomain), body...))...), body...)
		if r, err := OpenRecord(wire); err == nil {
			if err := r.check(); err != nil {
				t.Errorf("an accepted record breaks the limits: %v", err)
			}
			if again, err := r.Seal(pair); err == nil {
				if _, err := OpenRecord(again); err != nil {
					t.Errorf("an accepted record was refused when sealed again: %v", err)
				}
			}
		}
	})
}

func FuzzReceive(f *testing.F) {
	f.Add(appendSealed([]byte{kindRecords}, seal1(f, testRecord(), 2)))
	f.Add([]byte{kindWant, 1, 2, 3, 4, 5, 6, 7, 8})
	f.Add(appendStamps(appendStamps([]byte{kindDigest}, []*Record{{Key: testPair(2).ID(), Epoch: 1, Version: 1}}), nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, from, now := hostile(t)
		err := s.Receive(now, from, data)
		out := s.Step(now.Add(time.Second))
		for _, m := range out.Messages {
			if _, err := decode(m.Data); err != nil {
				t.Errorf("answered with a message that cannot be read: %v", err)
			}
		}
		if err == nil && len(data) > 0 && data[0] == kindRecords && len(s.table) > 1+len(data)/sealBytes {
			t.Errorf("%d bytes made %d members", len(data), len(s.table))
		}
	})
}

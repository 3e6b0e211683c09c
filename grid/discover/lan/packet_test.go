package lan

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"lobstah/key"
)

func pair(n byte) key.Pair { return key.FromSeed([32]byte{n, 6}) }

func sampleHint() hint {
	return hint{id: pair(1).ID(), tag: "0011223344556677", port: 17474, addrs: []netip.Addr{netip.MustParseAddr("10.77.0.1"), netip.MustParseAddr("fd77::1")}}
}

func questionOf(t testing.TB, port uint16, questions ...dnsmessage.Question) question {
	t.Helper()
	packet, err := (&dnsmessage.Message{Header: dnsmessage.Header{ID: 7}, Questions: questions}).Pack()
	if err != nil {
		t.Fatal(err)
	}
	q, err := parseQuestion(packet, port)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func askFor(name string, kind dnsmessage.Type) dnsmessage.Question {
	return dnsmessage.Question{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}
}

func TestHintRoundTrip(t *testing.T) {
	t.Parallel()
	h := sampleHint()
	q, err := parseQuestion(ask(), 40000)
	if err != nil || !q.concerns(h) || !q.legacy || !q.alone {
		t.Fatalf("our own question: %+v, %v", q, err)
	}
	for _, port := range []uint16{5353, 40000} {
		q.legacy = port != 5353
		packet, err := h.answer(q, life)
		if err != nil || len(packet) > 512 {
			t.Fatalf("%d bytes, %v", len(packet), err)
		}
		list, err := parseHints(packet)
		if err != nil || len(list) != 1 || list[0].id != h.id || list[0].tag != h.tag || list[0].port != h.port || !slices.Equal(list[0].addrs, h.addrs) {
			t.Errorf("read %+v, %v; want %+v", list, err, h)
		}
	}
}

// What RFC 6762 wants of answers to plain resolvers, and of the others.
func TestAnswerForms(t *testing.T) {
	t.Parallel()
	for _, port := range []uint16{5353, 40000} {
		q := questionOf(t, port, askFor(service, dnsmessage.TypePTR))
		packet, err := sampleHint().answer(q, life)
		if err != nil {
			t.Fatal(err)
		}
		var m dnsmessage.Message
		if err := m.Unpack(packet); err != nil {
			t.Fatal(err)
		}
		legacy := port != 5353
		if (m.ID == 7) != legacy || (len(m.Questions) == 1) != legacy || !m.Response || !m.Authoritative {
			t.Errorf("port %d: header %+v, %d questions", port, m.Header, len(m.Questions))
		}
		for _, r := range m.Answers {
			if (r.Header.TTL <= legacyTTL) != legacy {
				t.Errorf("port %d: %s lives for %d s", port, r.Header.Name, r.Header.TTL)
			}
			unique := r.Header.Type != dnsmessage.TypePTR
			if (r.Header.Class&flush != 0) != (unique && !legacy) {
				t.Errorf("port %d: %s %s has class %x", port, r.Header.Type, r.Header.Name, r.Header.Class)
			}
		}
	}
	goodbye, err := sampleHint().answer(question{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if list, err := parseHints(goodbye); err != nil || len(list) != 0 {
		t.Errorf("a goodbye is read as %+v, %v", list, err)
	}
}

func TestConcerns(t *testing.T) {
	t.Parallel()
	h := sampleHint()
	instance, machine := host(h.id)+"."+service, host(h.id)+".local."
	for _, test := range []struct {
		name string
		kind dnsmessage.Type
		want bool
	}{
		{service, dnsmessage.TypePTR, true}, {strings.ToUpper(service), dnsmessage.TypeALL, true}, {service, dnsmessage.TypeSRV, false},
		{services, dnsmessage.TypePTR, true}, {instance, dnsmessage.TypeSRV, true}, {instance, dnsmessage.TypeTXT, true},
		{instance, dnsmessage.TypeA, false}, {machine, dnsmessage.TypeA, true}, {machine, dnsmessage.TypeAAAA, true},
		{"_http._tcp.local.", dnsmessage.TypePTR, false}, {"local.", dnsmessage.TypeALL, false},
	} {
		if got := questionOf(t, 5353, askFor(test.name, test.kind)).concerns(h); got != test.want {
			t.Errorf("%s %s: %v; want %v", test.kind, test.name, got, test.want)
		}
	}
	// Who knows us already is not told again.
	packet, err := (&dnsmessage.Message{
		Questions: []dnsmessage.Question{askFor(service, dnsmessage.TypePTR)},
		Answers: []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(service), Class: dnsmessage.ClassINET, TTL: 100},
			Body:   &dnsmessage.PTRResource{PTR: dnsmessage.MustNewName(instance)},
		}},
	}).Pack()
	if err != nil {
		t.Fatal(err)
	}
	if q, err := parseQuestion(packet, 5353); err != nil || q.concerns(h) {
		t.Errorf("a question with its answer: %+v, %v", q, err)
	}
}

func TestHostilePackets(t *testing.T) {
	t.Parallel()
	good, err := sampleHint().answer(question{}, life)
	if err != nil {
		t.Fatal(err)
	}
	for n := range good {
		if list, err := parseHints(good[:n]); err == nil && len(list) > 0 {
			t.Errorf("the first %d of %d bytes are read as %+v", n, len(good), list)
		}
	}
	if _, err := parseQuestion(good, 5353); err == nil {
		t.Error("an answer is read as a question")
	}
	if _, err := parseHints(ask()); err == nil {
		t.Error("a question is read as an answer")
	}
	many := make([]dnsmessage.Question, maxQuestions+1)
	for i := range many {
		many[i] = askFor(service, dnsmessage.TypePTR)
	}
	packet, err := (&dnsmessage.Message{Questions: many}).Pack()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseQuestion(packet, 5353); err == nil {
		t.Error("took too many questions")
	}
	crowd := dnsmessage.Message{Header: dnsmessage.Header{Response: true}}
	for range maxRecords + 1 {
		crowd.Answers = append(crowd.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(service), Class: dnsmessage.ClassINET, TTL: 9},
			Body:   &dnsmessage.PTRResource{PTR: dnsmessage.MustNewName(service)},
		})
	}
	if packet, err = crowd.Pack(); err != nil {
		t.Fatal(err)
	}
	if _, err := parseHints(packet); err == nil {
		t.Error("took too many records")
	}
	// A name that points to itself.
	loop := append([]byte{0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0}, 0xC0, 12, 0, 33, 0, 1, 0, 0, 0, 9, 0, 2, 0xC0, 12)
	if list, err := parseHints(loop); err == nil {
		t.Errorf("a loop is read as %+v", list)
	}
}

// What is taken of a crowd of forged hints is bounded, and leads nowhere
// outside the network.
func TestEars(t *testing.T) {
	t.Parallel()
	l := &link{own: []netip.Prefix{netip.MustParsePrefix("10.77.0.2/24")}}
	l.Name = "eth0"
	e := &ears{}
	sender := netip.MustParseAddrPort("10.77.0.9:5353")
	outside := sampleHint()
	outside.addrs = []netip.Addr{netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("169.254.169.254")}
	e.take(outside, l, sender)
	if len(e.heard) != 0 {
		t.Errorf("heard of %v", e.heard)
	}
	near := sampleHint()
	near.addrs = append(outside.addrs, near.addrs...)
	for range 3 {
		e.take(near, l, sender)
	}
	if len(e.heard) != 1 || !slices.Equal(e.heard[0].addrs, []netip.Addr{netip.MustParseAddr("10.77.0.1")}) {
		t.Errorf("heard of %+v", e.heard)
	}
	for port := range uint16(100) {
		h := sampleHint()
		h.port = port + 1
		e.take(h, l, sender)
	}
	if len(e.heard) != maxPerKey {
		t.Errorf("heard of one key %d times", len(e.heard))
	}
	for n := range 1000 {
		h := sampleHint()
		h.id = key.ID{byte(n), byte(n >> 8), 1}
		e.take(h, l, sender)
	}
	if len(e.heard) > maxHints/8 {
		t.Errorf("%d hints of one sender", len(e.heard))
	}
	for n := range 1000 {
		h := sampleHint()
		h.id = key.ID{byte(n), byte(n >> 8), 2}
		e.take(h, l, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 77, 0, byte(n)}), uint16(n)+1))
	}
	if len(e.heard) > maxHints {
		t.Errorf("%d hints", len(e.heard))
	}
}

func FuzzQuestion(f *testing.F) {
	f.Add(ask(), uint16(5353))
	f.Fuzz(func(t *testing.T, packet []byte, port uint16) {
		q, err := parseQuestion(packet, port)
		if err != nil {
			return
		}
		if len(q.asked) > maxQuestions || len(q.known) > maxRecords {
			t.Errorf("%d questions, %d known", len(q.asked), len(q.known))
		}
		if q.concerns(sampleHint()) {
			answer, err := sampleHint().answer(q, life)
			if list, parseErr := parseHints(answer); err != nil || parseErr != nil || len(list) != 1 {
				t.Errorf("the answer to %+v: %v, %v, %+v", q, err, parseErr, list)
			}
		}
	})
}

func FuzzHints(f *testing.F) {
	good, err := sampleHint().answer(question{}, time.Minute)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(ask())
	f.Fuzz(func(t *testing.T, packet []byte) {
		list, err := parseHints(packet)
		if err != nil {
			return
		}
		for _, h := range list {
			if h.id.IsZero() || h.port == 0 || len(h.addrs) == 0 || len(h.addrs) > 2*perLink {
				t.Errorf("%+v", h)
			}
		}
	})
}

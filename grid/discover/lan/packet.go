package lan

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"lobstah/grid/announce"
	"lobstah/key"
)

// Names of RFC 6763.
const (
	service  = "_lobstah._tcp.local."
	services = "_services._dns-sd._udp.local."
)

const (
	maxQuestions = 16
	maxRecords   = 64
	legacyTTL    = 10      // seconds; RFC 6762, section 6.7
	flush        = 1 << 15 // in a record's class: forget what you knew; in a question's: answer me alone
)

// A hint is what a worker tells its neighbours.
type hint struct {
	id    key.ID
	tag   string // of its offer
	port  uint16
	addrs []netip.Addr
}

// tagOf tells offers apart.
func tagOf(s *announce.Signed) string {
	sum := sha256.Sum256(s.Envelope())
	return hex.EncodeToString(sum[:8])
}

// host is the first label of the worker's names.
func host(id key.ID) string { return "lobstah-" + hex.EncodeToString(id[:8]) }

// A question is a packet that asks for something that we tell.
type question struct {
	id     uint16 // of the packet
	asked  []dnsmessage.Question
	known  []string // instances that the asker knows already
	alone  bool     // wants no multicast
	legacy bool     // a plain resolver, which wants its question repeated
}

var errPacket = errors.New("not a question")

// parseQuestion reads what came from a neighbour's port.
func parseQuestion(packet []byte, port uint16) (q question, err error) {
	var p dnsmessage.Parser
	header, err := p.Start(packet)
	if err != nil || header.Response || header.OpCode != 0 || header.RCode != 0 {
		return q, errPacket
	}
	q.id, q.legacy = header.ID, port != group4.Port()
	q.alone = true
	for n := 0; ; n++ {
		one, err := p.Question()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			break
		}
		if err != nil || n >= maxQuestions {
			return q, errPacket
		}
		q.alone = q.alone && one.Class&flush != 0
		one.Class &^= flush
		if one.Class == dnsmessage.ClassINET || one.Class == dnsmessage.ClassANY {
			q.asked = append(q.asked, one)
		}
	}
	records, err := section(p.Answer, maxRecords)
	for _, r := range records {
		// What is known for less than half of its life is told again.
		if ptr, ok := r.Body.(*dnsmessage.PTRResource); ok && sameName(r.Header.Name.String(), service) && r.Header.TTL > legacyTTL {
			q.known = append(q.known, ptr.PTR.String())
		}
	}
	return q, err
}

// section reads at most limit records.
func section(next func() (dnsmessage.Resource, error), limit int) (list []dnsmessage.Resource, err error) {
	for range limit {
		r, err := next()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return list, nil
		}
		if err != nil {
			return list, err
		}
		list = append(list, r)
	}
	return list, errors.New("too many records")
}

// concerns reports whether q asks for what h tells, and does not know it.
func (q question) concerns(h hint) bool {
	instance, machine := host(h.id)+"."+service, host(h.id)+".local."
	for _, one := range q.asked {
		name := one.Name.String()
		is := func(types ...dnsmessage.Type) bool {
			return slices.Contains(append(types, dnsmessage.TypeALL), one.Type)
		}
		switch {
		case sameName(name, service) && is(dnsmessage.TypePTR):
			for _, known := range q.known {
				if sameName(known, instance) {
					return false
				}
			}
			return true
		case sameName(name, services) && is(dnsmessage.TypePTR),
			sameName(name, instance) && is(dnsmessage.TypeSRV, dnsmessage.TypeTXT),
			sameName(name, machine) && is(dnsmessage.TypeA, dnsmessage.TypeAAAA):
			return true
		}
	}
	return false
}

// ask is the packet that a router sends.
func ask() []byte {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{})
	_ = b.StartQuestions() // neither can fail with these
	_ = b.Question(dnsmessage.Question{Name: dnsmessage.MustNewName(service), Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET | flush})
	packet, _ := b.Finish()
	return packet
}

// answer is the packet that tells h. A life of 0 says goodbye.
func (h hint) answer(q question, life time.Duration) ([]byte, error) {
	w := &writer{ttl: uint32(life / time.Second)}
	header := dnsmessage.Header{Response: true, Authoritative: true}
	if q.legacy {
		header.ID, w.ttl, w.unique = q.id, min(w.ttl, legacyTTL), dnsmessage.ClassINET
	} else {
		w.unique = dnsmessage.ClassINET | flush
	}
	w.b = dnsmessage.NewBuilder(make([]byte, 0, 512), header)
	w.b.EnableCompression()
	w.try(w.b.StartQuestions())
	if q.legacy {
		for _, one := range q.asked {
			w.try(w.b.Question(one))
		}
	}
	instance, machine := w.name(host(h.id)+"."+service), w.name(host(h.id)+".local.")
	w.try(w.b.StartAnswers())
	w.try(w.b.PTRResource(w.header(services, dnsmessage.ClassINET), dnsmessage.PTRResource{PTR: w.name(service)}))
	w.try(w.b.PTRResource(w.header(service, dnsmessage.ClassINET), dnsmessage.PTRResource{PTR: instance}))
	w.try(w.b.SRVResource(w.header(instance.String(), w.unique), dnsmessage.SRVResource{Port: h.port, Target: machine}))
	w.try(w.b.TXTResource(w.header(instance.String(), w.unique), dnsmessage.TXTResource{TXT: []string{"v=1", "key=" + h.id.String(), "offer=" + h.tag}}))
	for _, a := range h.addrs {
		if a.Is4() {
			w.try(w.b.AResource(w.header(machine.String(), w.unique), dnsmessage.AResource{A: a.As4()}))
		} else {
			w.try(w.b.AAAAResource(w.header(machine.String(), w.unique), dnsmessage.AAAAResource{AAAA: a.As16()}))
		}
	}
	packet, err := w.b.Finish()
	return packet, errors.Join(w.err, err)
}

// A writer builds a packet and keeps the first error.
type writer struct {
	b      dnsmessage.Builder
	ttl    uint32
	unique dnsmessage.Class // of records that are ours alone
	err    error
}

func (w *writer) try(err error) {
	if w.err == nil {
		w.err = err
	}
}

func (w *writer) name(text string) dnsmessage.Name {
	n, err := dnsmessage.NewName(text)
	w.try(err)
	return n
}

func (w *writer) header(name string, class dnsmessage.Class) dnsmessage.ResourceHeader {
	return dnsmessage.ResourceHeader{Name: w.name(name), Class: class, TTL: w.ttl}
}

// parseHints reads what a neighbour answered: the workers of which one packet
// tells key, port and address.
func parseHints(packet []byte) ([]hint, error) {
	var p dnsmessage.Parser
	header, err := p.Start(packet)
	if err != nil || !header.Response || header.OpCode != 0 || header.RCode != 0 {
		return nil, errors.New("not an answer")
	}
	if err := p.SkipAllQuestions(); err != nil {
		return nil, err
	}
	records, err := section(p.Answer, maxRecords)
	if err != nil {
		return nil, err
	}
	if err := p.SkipAllAuthorities(); err != nil {
		return nil, err
	}
	more, err := section(p.Additional, maxRecords)
	if err != nil {
		return nil, err
	}
	return assemble(append(records, more...)), nil
}

func assemble(records []dnsmessage.Resource) (list []hint) {
	for _, r := range records {
		srv, ok := r.Body.(*dnsmessage.SRVResource)
		name := r.Header.Name.String()
		if !ok || r.Header.TTL == 0 || srv.Port == 0 || !strings.HasSuffix(strings.ToLower(name), "."+service) {
			continue
		}
		h := hint{port: srv.Port}
		for _, other := range records {
			switch body := other.Body.(type) {
			case *dnsmessage.TXTResource:
				if sameName(other.Header.Name.String(), name) {
					h.read(body.TXT)
				}
			case *dnsmessage.AResource:
				h.addr(other, srv, netip.AddrFrom4(body.A))
			case *dnsmessage.AAAAResource:
				h.addr(other, srv, netip.AddrFrom16(body.AAAA).Unmap())
			}
		}
		if !h.id.IsZero() && len(h.addrs) > 0 {
			list = append(list, h)
		}
	}
	return list
}

func (h *hint) read(texts []string) {
	for _, text := range texts {
		if value, ok := strings.CutPrefix(text, "key="); ok {
			h.id, _ = key.ParseID(value) // without a key it is no hint
		} else if value, ok := strings.CutPrefix(text, "offer="); ok {
			h.tag = value
		}
	}
}

func (h *hint) addr(r dnsmessage.Resource, srv *dnsmessage.SRVResource, a netip.Addr) {
	if sameName(r.Header.Name.String(), srv.Target.String()) && len(h.addrs) < 2*perLink {
		h.addrs = append(h.addrs, a)
	}
}

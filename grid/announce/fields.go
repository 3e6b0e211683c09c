package announce

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"lobstah/grid"
	"lobstah/internal/canonical"
)

// Limits on single members; see also [MaxModels].
const (
	maxURL          = 512
	maxLabel        = 128
	maxModelName    = 256
	maxCapabilities = 16
	maxThrough      = 8
	maxCount        = 1 << 20 // answers and requests at a time
	maxContext      = 1 << 40
	maxTTLSeconds   = 1 << 31
)

// tree builds the canonical tree; the order of members follows their names.
func (o *Offer) tree() canonical.Object {
	var b builder
	b.number("announcedAt", float64(o.AnnouncedAt.UnixMilli()))
	b.count("concurrency", o.Concurrency)
	b.text("label", o.Label)
	if len(o.ModelFacts) > 0 {
		b.add("modelFacts", factsTree(o.ModelFacts))
	}
	if o.Models != nil {
		b.add("models", texts(o.Models))
	}
	if p := o.Price; p != nil {
		b.add("price", canonical.Object{{Name: "input", Value: p.Input}, {Name: "output", Value: p.Output}, {Name: "unit", Value: p.Unit}})
	}
	b.add("pubkey", o.ID.String())
	b.count("queueDepth", o.QueueDepth)
	if len(o.Through) > 0 {
		b.add("reachableThrough", texts(o.Through))
	}
	b.count("running", o.Running)
	b.text("tier", string(o.Tier))
	b.number("ttlSeconds", float64(o.TTL/time.Second))
	b.add("url", o.URL)
	b.number("version", 1)
	return b.members
}

func factsTree(facts []grid.Model) []any {
	list := make([]any, len(facts))
	for i, m := range facts {
		var b builder
		if len(m.Capabilities) > 0 {
			b.add("capabilities", texts(m.Capabilities))
		}
		b.count("context_length", m.ContextLength)
		b.text("digest", m.Digest)
		b.text("family", m.Family)
		b.add("id", m.ID)
		b.count("max_context_length", m.MaxContext)
		b.text("parameters", m.Parameters)
		b.text("quantization", m.Quantization)
		list[i] = b.members
	}
	return list
}

func texts(list []string) []any {
	values := make([]any, len(list))
	for i, s := range list {
		values[i] = s
	}
	return values
}

// builder collects members in the order of their names.
type builder struct{ members canonical.Object }

func (b *builder) add(name string, value any) {
	b.members = append(b.members, canonical.Member{Name: name, Value: value})
}

func (b *builder) number(name string, value float64) { b.add(name, value) }

// text and count leave empty members out.
func (b *builder) text(name, value string) {
	if value != "" {
		b.add(name, value)
	}
}

func (b *builder) count(name string, value int) {
	if value != 0 {
		b.add(name, float64(value))
	}
}

// parseFields reads the members that we know from an announcement and
// refuses what no honest worker writes; the original checks nothing after the
// signature. The error wraps [ErrSignature] if it names no key, or [ErrMalformed].
func parseFields(r *canonical.Reader) (Offer, error) {
	if !r.IsObject() {
		r.Skip()
		return Offer{}, fmt.Errorf("%w: the announcement is no object", ErrMalformed)
	}
	const (
		farthest = 253402300799999 // milliseconds, the end of the year 9999
		missing  = -1
	)
	var f fields
	var version, ttl, at int64 = missing, missing, missing
	var o Offer
	var pubkey string
	for name := range r.Members() {
		switch name {
		case "announcedAt":
			at = f.integer(name, r, farthest)
		case "concurrency":
			o.Concurrency = int(f.integer(name, r, maxCount))
		case "label":
			o.Label = f.text(name, r, maxLabel)
		case "modelFacts":
			o.ModelFacts = f.facts(name, r)
		case "models":
			o.Models = f.texts(name, r, MaxModels, maxModelName)
		case "price":
			o.Price = f.price(name, r)
		case "pubkey":
			pubkey, _ = r.Text()
		case "queueDepth":
			o.QueueDepth = int(f.integer(name, r, maxCount))
		case "reachableThrough":
			o.Through = f.urls(name, r)
		case "running":
			o.Running = int(f.integer(name, r, maxCount))
		case "tier":
			o.Tier = f.tier(name, r)
		case "ttlSeconds":
			ttl = f.integer(name, r, maxTTLSeconds)
		case "url":
			o.URL = f.url(name, r)
		case "version":
			version = f.integer(name, r, 1<<31)
		}
	}
	var err error
	if o.ID, err = parseID(pubkey); err != nil {
		return Offer{}, err
	}
	if version != 1 {
		f.fail("version", "want 1")
	}
	if ttl == missing || at == missing || o.URL == "" {
		f.fail("announcement", "want announcedAt, ttlSeconds and url")
	}
	f.ofModels(&o)
	o.TTL, o.AnnouncedAt = time.Duration(ttl)*time.Second, time.UnixMilli(at).UTC()
	return o, f.err
}

// fields reads the values of members and keeps the first error.
type fields struct{ err error }

func (f *fields) fail(name, format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf("%w: %s: %s", ErrMalformed, name, fmt.Sprintf(format, args...))
	}
}

// text reads a string of at most limit bytes.
func (f *fields) text(name string, r *canonical.Reader, limit int) string {
	s, ok := r.Text()
	switch {
	case !ok:
		f.fail(name, "want a string")
	case len(s) > limit:
		f.fail(name, "longer than %d bytes", limit)
	case !plain(s) && (!utf8.ValidString(s) || strings.ContainsFunc(s, misleading)):
		f.fail(name, "control characters, or no text at all")
	}
	return s
}

// plain reports whether s is printable ASCII, which most texts are.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// misleading are characters that would change how the text around them looks.
func misleading(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029'
}

// texts reads a list of strings that are not empty.
func (f *fields) texts(name string, r *canonical.Reader, count, limit int) []string {
	var room [8]string // most lists are short
	list := room[:0]
	if !r.IsArray() {
		f.fail(name, "want a list of strings")
	}
	for i := range r.Elements() {
		s := f.text(name, r, limit)
		switch {
		case i >= count:
			f.fail(name, "want %d at most", count)
		case s == "":
			f.fail(name, "want strings that are not empty")
		default:
			list = append(list, s)
		}
	}
	return append(make([]string, 0, len(list)), list...) // of just their size
}

// orNone takes an empty list for a missing one.
func orNone[T any](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	return list
}

// integer reads a whole number from 0 to limit.
func (f *fields) integer(name string, r *canonical.Reader, limit int64) int64 {
	n, ok := r.Number()
	if !ok || n != math.Trunc(n) || n < 0 || n > float64(limit) {
		f.fail(name, "want a whole number from 0 to %d", limit)
		return 0
	}
	return int64(n)
}

func (f *fields) tier(name string, r *canonical.Reader) grid.Tier {
	tier := grid.Tier(f.text(name, r, 32))
	if _, err := grid.ParseTier(string(tier)); err != nil {
		f.fail(name, "%v", err)
	}
	return tier
}

func (f *fields) url(name string, r *canonical.Reader) string {
	text := f.text(name, r, maxURL)
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		f.fail(name, "want a URL such as http://192.0.2.7:17474")
	case u.User != nil:
		f.fail(name, "a user name or password means nothing here")
	case Disguised(u.Hostname()):
		f.fail(name, "the host %.80q is a number that some programs take for an address; write it out", u.Hostname())
	}
	return text
}

// Disguised reports whether a host is an IP address in a notation that not
// everybody reads as one: 127.1, 0x7f.1 and 2130706433 are loopback to browsers
// and to the C library (WHATWG URL, section 3.5: "ends in a number"), and names
// to whoever judges addresses.
func Disguised(host string) bool {
	host = strings.TrimSuffix(host, ".")
	last := host[strings.LastIndexByte(host, '.')+1:]
	if last == "" || last[0] < '0' || last[0] > '9' {
		return false // and so are IPv6 addresses, which the standard library reads alone
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return false
	}
	_, err := strconv.ParseUint(last, 0, 64)
	return err == nil || errors.Is(err, strconv.ErrRange) || strings.Trim(last, "0123456789") == ""
}

// urls reads a list of URLs of any scheme.
func (f *fields) urls(name string, r *canonical.Reader) []string {
	list := f.texts(name, r, maxThrough, maxURL)
	for _, way := range list {
		if u, err := url.Parse(way); err != nil || u.Scheme == "" || u.Host == "" {
			f.fail(name, "%.80q is not a URL", way)
		}
	}
	return orNone(list)
}

func (f *fields) facts(name string, r *canonical.Reader) []grid.Model {
	var room [4]grid.Model
	list := room[:0]
	if !r.IsArray() {
		f.fail(name, "want a list of objects")
	}
	for i := range r.Elements() {
		if i >= MaxModels {
			f.fail(name, "want %d at most", MaxModels)
			continue
		}
		var inner fields
		list = append(list, inner.model(r))
		if inner.err != nil && f.err == nil {
			f.err = fmt.Errorf("%s: %w", name, inner.err)
		}
	}
	return orNone(append(make([]grid.Model, 0, len(list)), list...))
}

func (f *fields) model(r *canonical.Reader) (m grid.Model) {
	if !r.IsObject() {
		f.fail("fact", "want an object")
	}
	named := false
	for name := range r.Members() {
		switch name {
		case "capabilities":
			m.Capabilities = f.words(name, r)
		case "context_length":
			m.ContextLength = int(f.integer(name, r, maxContext))
		case "digest":
			m.Digest = f.text(name, r, 128)
		case "family":
			m.Family = f.text(name, r, 64)
		case "id":
			m.ID, named = f.text(name, r, maxModelName), true
		case "max_context_length":
			m.MaxContext = int(f.integer(name, r, maxContext))
		case "parameters":
			m.Parameters = f.text(name, r, 32)
		case "quantization":
			m.Quantization = f.text(name, r, 32)
		}
	}
	if !named {
		f.fail("id", "want a string")
	}
	return m
}

// words reads capabilities.
func (f *fields) words(name string, r *canonical.Reader) []string {
	list := f.texts(name, r, maxCapabilities, 32)
	if slices.ContainsFunc(list, func(c string) bool { return strings.IndexByte(c, ',') >= 0 || strings.IndexByte(c, ' ') >= 0 }) {
		f.fail(name, "want single words")
	}
	return orNone(list)
}

// ofModels checks that facts are about what is offered.
func (f *fields) ofModels(o *Offer) {
	for i := range o.ModelFacts {
		if id := o.ModelFacts[i].ID; !slices.Contains(o.Models, id) {
			f.fail("modelFacts", "%.80q is not among the models", id)
		}
	}
}

func (f *fields) price(name string, r *canonical.Reader) *Price {
	if !r.IsObject() {
		f.fail(name, "want an object")
	}
	const missing = -1
	p := &Price{Input: missing, Output: missing}
	var inner fields
	named := false
	for name := range r.Members() {
		switch name {
		case "input":
			p.Input = inner.amount(name, r)
		case "output":
			p.Output = inner.amount(name, r)
		case "unit":
			p.Unit, named = inner.text(name, r, maxUnit), true
		}
	}
	if p.Input == missing || p.Output == missing || !named {
		inner.fail("price", "want input, output and unit")
	}
	if inner.err != nil && f.err == nil {
		f.err = fmt.Errorf("%s: %w", name, inner.err)
	}
	return p
}

// amount reads what something costs.
func (f *fields) amount(name string, r *canonical.Reader) float64 {
	n, ok := r.Number()
	if !ok || n < 0 || n > maxPrice {
		f.fail(name, "want a number from 0 to %g", maxPrice)
		return 0
	}
	return n
}

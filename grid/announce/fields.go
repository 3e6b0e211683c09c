package announce

import (
	"fmt"
	"math"
	"net/url"
	"slices"
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
	maxPrice        = 1e12
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

// parseFields reads the members that we know from an announcement value and
// refuses what no honest worker writes; the original checks nothing after the
// signature.
func parseFields(tree any) (Offer, error) {
	body, ok := tree.(canonical.Object)
	if !ok {
		return Offer{}, fmt.Errorf("%w: the announcement is no object", ErrMalformed)
	}
	id, err := idOf(body)
	if err != nil {
		return Offer{}, err
	}
	f := fields{body: body}
	if version := f.integer("version", 1<<31, true); f.err == nil && version != 1 {
		f.fail("version", "%d is unknown", version)
	}
	const farthest = 253402300799999 // milliseconds, the end of the year 9999
	o := Offer{
		ID:          id,
		URL:         f.url("url"),
		Label:       f.text("label", maxLabel, false),
		Models:      f.texts("models", MaxModels, maxModelName),
		Tier:        grid.Tier(f.text("tier", 32, false)),
		TTL:         time.Duration(f.integer("ttlSeconds", maxTTLSeconds, true)) * time.Second,
		AnnouncedAt: time.UnixMilli(f.integer("announcedAt", farthest, true)).UTC(),
		ModelFacts:  f.facts(),
		Price:       f.price(),
		Concurrency: int(f.integer("concurrency", maxCount, false)),
		Running:     int(f.integer("running", maxCount, false)),
		QueueDepth:  int(f.integer("queueDepth", maxCount, false)),
		Through:     orNone(f.texts("reachableThrough", maxThrough, maxURL)),
	}
	if _, err := grid.ParseTier(string(o.Tier)); err != nil {
		f.fail("tier", "%v", err)
	}
	for _, m := range o.ModelFacts {
		if !slices.Contains(o.Models, m.ID) {
			f.fail("modelFacts", "%.80q is not among the models", m.ID)
		}
	}
	for _, way := range o.Through {
		if u, err := url.Parse(way); err != nil || u.Scheme == "" || u.Host == "" {
			f.fail("reachableThrough", "%.80q is not a URL", way)
		}
	}
	return o, f.err
}

// fields reads typed members and keeps the first error.
type fields struct {
	body canonical.Object
	err  error
}

func (f *fields) fail(name, format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf("%w: %s: %s", ErrMalformed, name, fmt.Sprintf(format, args...))
	}
}

// text reads a string of at most limit bytes; a missing one is "" unless it is
// required.
func (f *fields) text(name string, limit int, required bool) string {
	value, present := f.body.Get(name)
	if !present && !required {
		return ""
	}
	s, ok := value.(string)
	if !ok {
		f.fail(name, "want a string")
	}
	f.check(name, s, limit)
	return s
}

func (f *fields) check(name, s string, limit int) {
	switch {
	case len(s) > limit:
		f.fail(name, "longer than %d bytes", limit)
	case !plain(s) && (!utf8.ValidString(s) || strings.ContainsFunc(s, misleading)):
		f.fail(name, "control characters, or no text at all")
	}
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

// texts reads a list of strings that are not empty. A missing list is nil.
func (f *fields) texts(name string, count, limit int) []string {
	value, present := f.body.Get(name)
	if !present {
		return nil
	}
	values, ok := value.([]any)
	if !ok || len(values) > count {
		f.fail(name, "want a list of at most %d strings", count)
		return nil
	}
	list := make([]string, len(values))
	for i, v := range values {
		if list[i], _ = v.(string); list[i] == "" {
			f.fail(name, "want strings that are not empty")
		}
		f.check(name, list[i], limit)
	}
	return list
}

// orNone takes an empty list for a missing one.
func orNone(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	return list
}

// integer reads a whole number from 0 to limit; a missing one is 0 unless it is
// required.
func (f *fields) integer(name string, limit int64, required bool) int64 {
	value, present := f.body.Get(name)
	if !present && !required {
		return 0
	}
	n, ok := value.(float64)
	if !ok || n != math.Trunc(n) || n < 0 || n > float64(limit) {
		f.fail(name, "want a whole number from 0 to %d", limit)
		return 0
	}
	return int64(n)
}

func (f *fields) url(name string) string {
	text := f.text(name, maxURL, true)
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		f.fail(name, "want a URL such as http://192.0.2.7:17474")
	case u.User != nil:
		f.fail(name, "a user name or password means nothing here")
	}
	return text
}

func (f *fields) facts() []grid.Model {
	value, present := f.body.Get("modelFacts")
	if !present {
		return nil
	}
	values, ok := value.([]any)
	if !ok || len(values) > MaxModels {
		f.fail("modelFacts", "want a list of at most %d objects", MaxModels)
		return nil
	}
	if len(values) == 0 {
		return nil
	}
	list := make([]grid.Model, len(values))
	for i, v := range values {
		body, ok := v.(canonical.Object)
		if !ok {
			f.fail("modelFacts", "want a list of objects")
			return nil
		}
		m := fields{body: body}
		list[i] = m.model()
		if m.err != nil && f.err == nil {
			f.err = fmt.Errorf("modelFacts: %w", m.err)
		}
	}
	return list
}

func (f *fields) model() grid.Model {
	m := grid.Model{
		ID:            f.text("id", maxModelName, true),
		Digest:        f.text("digest", 128, false),
		ContextLength: int(f.integer("context_length", maxContext, false)),
		MaxContext:    int(f.integer("max_context_length", maxContext, false)),
		Capabilities:  orNone(f.texts("capabilities", maxCapabilities, 32)),
		Family:        f.text("family", 64, false),
		Parameters:    f.text("parameters", 32, false),
		Quantization:  f.text("quantization", 32, false),
	}
	if slices.ContainsFunc(m.Capabilities, func(c string) bool { return strings.ContainsAny(c, ", ") }) {
		f.fail("capabilities", "want single words")
	}
	return m
}

func (f *fields) price() *Price {
	value, present := f.body.Get("price")
	if !present {
		return nil
	}
	body, ok := value.(canonical.Object)
	if !ok {
		f.fail("price", "want an object")
		return nil
	}
	p := fields{body: body}
	price := &Price{Input: p.amount("input"), Output: p.amount("output"), Unit: p.text("unit", 16, true)}
	if p.err != nil && f.err == nil {
		f.err = fmt.Errorf("price: %w", p.err)
	}
	return price
}

// amount reads what something costs.
func (f *fields) amount(name string) float64 {
	value, _ := f.body.Get(name)
	n, ok := value.(float64)
	if !ok || n < 0 || n > maxPrice {
		f.fail(name, "want a number from 0 to %g", maxPrice)
		return 0
	}
	return n
}

package tracker

import (
	"slices"
	"strings"
	"unicode/utf8"
	"unique"

	"lobstah/grid/announce"
	"lobstah/key"
)

// A view is what the index knows of one announcement. It never changes, so
// readers keep it without a lock.
type view struct {
	id       key.ID
	at       int64  // announced, Unix milliseconds
	until    int64  // the last millisecond at which it counts
	envelope string // shared with the store
	offered  []offered
	folded   string // label, host and tier in lower case, one a line, for searching
	load     uint8  // 1 + percent of its places in use, at most 255
}

// offered is one model of a view.
type offered struct {
	model        *posting
	capabilities unique.Handle[string] // ",completion,tools,"; empty for unknown
}

func (o offered) can(capability string) bool {
	return strings.Contains(o.capabilities.Value(), ","+capability+",")
}

// canJust reports whether these are o's capabilities, in this order.
func (o offered) canJust(list []string) bool {
	rest := o.capabilities.Value()
	for _, one := range list {
		if !strings.HasPrefix(rest, ",") || !strings.HasPrefix(rest[1:], one) {
			return false
		}
		rest = rest[1+len(one):]
	}
	return rest == "," || rest == "" && len(list) == 0
}

func (v *view) serves(p *posting) bool {
	return slices.ContainsFunc(v.offered, func(o offered) bool { return o.model == p })
}

// fresh is [announce.Offer.Status] in numbers.
func (v *view) fresh(now int64) bool {
	return now <= v.until && v.at-now <= int64(announce.Window/1e6)
}

// shares reports whether both offer the same, since one took it from the other.
func (v *view) shares(other *view) bool {
	return other != nil && len(v.offered) == len(other.offered) && (len(v.offered) == 0 || &v.offered[0] == &other.offered[0])
}

// newView makes the view of s; names finds the posting of a model. A renewal
// mostly offers what old did, and then shares it.
func newView(s *announce.Signed, envelope string, old *view, names func(string) *posting) *view {
	v := &view{
		id: s.ID, at: s.AnnouncedAt.UnixMilli(), until: s.Expires().UnixMilli(),
		envelope: envelope, load: loadOf(&s.Offer),
	}
	if old != nil {
		v.folded = old.folded
	}
	v.folded = fold(&s.Offer, v.folded)
	if old != nil && old.offersSame(s) {
		v.offered = old.offered
		return v
	}
	v.offered = make([]offered, 0, len(s.Models))
	for _, name := range s.Models {
		p := names(name)
		if v.serves(p) {
			continue // named twice
		}
		capabilities := ""
		if list := capabilitiesOf(s, name); len(list) > 0 {
			capabilities = "," + strings.Join(list, ",") + ","
		}
		v.offered = append(v.offered, offered{p, unique.Make(capabilities)})
	}
	return v
}

// offersSame reports whether s offers what v does, in the same order.
func (v *view) offersSame(s *announce.Signed) bool {
	if len(v.offered) != len(s.Models) {
		return false
	}
	for i, name := range s.Models {
		if v.offered[i].model.name != name || !v.offered[i].canJust(capabilitiesOf(s, name)) {
			return false
		}
	}
	return true
}

func capabilitiesOf(s *announce.Signed, model string) []string {
	for _, m := range s.ModelFacts {
		if m.ID == model {
			return m.Capabilities
		}
	}
	return nil
}

// fold makes [view.folded]; it is mostly what it was before.
func fold(o *announce.Offer, before string) string {
	var room [256]byte
	text := append(append(room[:0], o.Label...), '\n')
	text = append(append(text, host(o.URL)...), '\n')
	text = append(text, o.Tier...)
	plain := true
	for i, c := range text {
		if 'A' <= c && c <= 'Z' {
			text[i] += 'a' - 'A'
		}
		plain = plain && c < utf8.RuneSelf
	}
	switch {
	case string(text) == before:
		return before
	case plain:
		return string(text)
	}
	return strings.ToLower(string(text))
}

// host is the host and port of a URL that [announce.Open] let pass.
func host(url string) string {
	_, rest, _ := strings.Cut(url, "://")
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		return rest[:i]
	}
	return rest
}

// label is the folded label.
func (v *view) label() string {
	label, _, _ := strings.Cut(v.folded, "\n")
	return label
}

func loadOf(o *announce.Offer) uint8 {
	percent := 100 * (o.Running + o.QueueDepth) / max(o.Concurrency, 1)
	return uint8(1 + min(percent, 254))
}

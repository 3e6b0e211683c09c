package tracker

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const (
	defaultPage = 100 // peers of a filtered answer when limit is not given
	maxPage     = 1000
	maxText     = 200 // bytes of q, model and capability
	maxWords    = 8
	stride      = 1024 // entries looked at before the index is free for others
)

// A query asks for the listed keys that match all of it. The zero query
// matches every one.
type query struct {
	model      string // exactly
	capability string // of that model, or of any
	words      []word
	limit      int    // 0 for all
	after      uint64 // only places from here on
}

// a word has to be found somewhere.
type word struct {
	where string // model, label or empty for anywhere
	text  string // in lower case
}

// filtered reports whether q asks for less than everything.
func (q query) filtered() bool { return q.model != "" || q.capability != "" || len(q.words) > 0 }

// parseQuery reads the parameters of GET /peers. epoch is the beginning of
// cursors of this run.
func parseQuery(values url.Values, epoch string) (q query, err error) {
	q.model, q.capability = values.Get("model"), values.Get("capability")
	text := values.Get("q")
	if max(len(q.model), len(q.capability), len(text)) > maxText+256 {
		return q, fmt.Errorf("model, capability and q take at most %d bytes", maxText)
	}
	if q.words, err = parseWords(text); err != nil {
		return q, err
	}
	if q.filtered() {
		q.limit = defaultPage
	}
	if text := values.Get("limit"); text != "" {
		if q.limit, err = strconv.Atoi(text); err != nil || q.limit < 1 || q.limit > maxPage {
			return q, fmt.Errorf("limit: want a number from 1 to %d", maxPage)
		}
	}
	q.after, err = parseCursor(values.Get("after"), epoch)
	return q, err
}

// parseWords reads free text, model:name and @label, parted by spaces.
func parseWords(text string) ([]word, error) {
	fields := strings.Fields(strings.ToLower(text))
	if len(text) > maxText || len(fields) > maxWords {
		return nil, fmt.Errorf("q: want at most %d words and %d bytes", maxWords, maxText)
	}
	var words []word
	for _, field := range fields {
		w := word{text: field}
		if rest, ok := strings.CutPrefix(field, "model:"); ok {
			w = word{"model", rest}
		} else if rest, ok := strings.CutPrefix(field, "@"); ok {
			w = word{"label", rest}
		}
		if w.text != "" {
			words = append(words, w)
		}
	}
	return words, nil
}

var errCursor = errors.New("after: this page is gone, the tracker was restarted; begin again without it")

// A cursor is the place of the next peer, marked with the run that it is of.
func cursor(place uint64, epoch string) string { return epoch + "." + strconv.FormatUint(place, 36) }

func parseCursor(text, epoch string) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	run, place, _ := strings.Cut(text, ".")
	n, err := strconv.ParseUint(place, 36, 64)
	if err != nil || run != epoch {
		return 0, errCursor
	}
	return n, nil
}

// matches reports whether v is what q asks for.
func (q query) matches(v *view) bool {
	if (q.model != "" || q.capability != "") && !slices.ContainsFunc(v.offered, q.offers) {
		return false
	}
	for _, w := range q.words {
		if !w.in(v) {
			return false
		}
	}
	return true
}

func (q query) offers(o offered) bool {
	return (q.model == "" || o.model.name == q.model) && (q.capability == "" || o.can(q.capability))
}

func (w word) in(v *view) bool {
	inModel := func(o offered) bool { return strings.Contains(o.model.folded, w.text) }
	switch w.where {
	case "model":
		return slices.ContainsFunc(v.offered, inModel)
	case "label":
		return strings.Contains(v.label(), w.text)
	}
	return strings.Contains(v.folded, w.text) || slices.ContainsFunc(v.offered, inModel) ||
		strings.HasPrefix(w.text, "lob1") && strings.HasPrefix(v.id.String(), w.text)
}

// a page is an answer to a query.
type page struct {
	views []*view
	loads []day[uint8] // of the views; only when asked for
	next  uint64       // place of the next one
	more  bool         // there is a next one
}

// find answers q from the index; it gives the index back every so often, so
// that a long search delays nobody. Who comes or goes meanwhile may be in the
// answer or not.
func (ix *index) find(ctx context.Context, q query, withLoads bool) (page, error) {
	ix.turn()
	var answer page
	if q.limit == 0 {
		answer.views = make([]*view, 0, ix.live())
	}
	for place, done := q.after, false; !done; {
		if err := ctx.Err(); err != nil {
			return page{}, err
		}
		place, done = ix.findSome(q, place, &answer, withLoads)
	}
	return answer, nil
}

// findSome looks at a stride of entries from place on and returns where the
// next one begins.
func (ix *index) findSome(q query, place uint64, answer *page, withLoads bool) (next uint64, done bool) {
	now := ix.now().UnixMilli()
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	p := &ix.all
	if q.model != "" {
		if p = ix.byName[q.model]; p == nil {
			return 0, true
		}
	}
	first := p.place(place)
	for i, e := range p.list[first:] {
		if i == stride {
			return e.seq, false
		}
		if e.view == nil || !e.view.fresh(now) || !q.matches(e.view) {
			continue
		}
		if q.limit > 0 && len(answer.views) == q.limit {
			answer.next, answer.more = e.seq, true
			return 0, true
		}
		answer.views = append(answer.views, e.view)
		if withLoads {
			answer.loads = append(answer.loads, e.day)
		}
	}
	return 0, true
}

// place is where in the list the entries from seq on begin.
func (p *posting) place(seq uint64) int {
	i, _ := slices.BinarySearchFunc(p.list, seq, compareSeq)
	return i
}

// a modelCount is a model and how many serve it.
type modelCount struct {
	name string
	live int
	day  []uint32
}

// findModels lists the models whose names have all that q's words say of
// models, those that most serve first.
func (ix *index) findModels(q query, limit int) []modelCount {
	slot := slotOf(ix.now())
	var found []modelCount
	for first := 0; first >= 0; {
		first = ix.someModels(q, first, slot, &found)
		slices.SortFunc(found, func(a, b modelCount) int {
			if a.live != b.live {
				return b.live - a.live
			}
			return strings.Compare(a.name, b.name)
		})
		found = found[:min(len(found), limit)]
	}
	return found
}

func (ix *index) someModels(q query, first int, slot int64, found *[]modelCount) (next int) {
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	for i, p := range ix.models[min(first, len(ix.models)):] {
		if i == stride {
			return first + i
		}
		if q.names(p) && (p.live > 0 || len(q.words) == 0) {
			*found = append(*found, modelCount{p.name, p.live, p.day.read(slot, uint32(p.live))})
		}
	}
	return -1
}

// names reports whether the words that can be about a model are in p's name.
func (q query) names(p *posting) bool {
	for _, w := range q.words {
		if w.where == "label" || !strings.Contains(p.folded, w.text) {
			return false
		}
	}
	return true
}

package trackers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"lobstah/grid"
	"lobstah/grid/announce"
	"lobstah/grid/discover"
)

// A round is one reading of all pages. It belongs to one goroutine.
type round struct {
	t      *Tracker
	found  func(*announce.Signed)
	left   int64  // bytes
	shown  int    // envelopes
	good   int    // of them
	fault  error  // why the first of the others was not
	next   string // the cursor of the next page
	offers []*announce.Signed
}

// Collect implements [discover.Source]: GET /peers, page by page where the
// tracker gives pages. A tracker that says that nothing changed is not read
// again.
func (t *Tracker) Collect(ctx context.Context, found func(discover.Found)) error {
	r := &round{t: t, left: maxBytes, found: func(s *announce.Signed) {
		found(discover.Found{Offer: s, Origin: grid.FromTracker, Where: t.base})
	}}
	for range maxPages {
		err := r.page(ctx)
		if err != nil && ctx.Err() != nil {
			return fmt.Errorf("the tracker did not answer to the end: %w", ctx.Err())
		}
		if err != nil {
			return err
		}
		if r.next == "" {
			return r.end()
		}
	}
	return discover.ErrPart
}

// end says what the whole answer comes to.
func (r *round) end() error {
	if r.shown > 0 && r.good == 0 {
		return fmt.Errorf("none of its %d announcements is good, by this machine's clock; the first: %w", r.shown, r.fault)
	}
	return nil
}

// page reads the next page.
func (r *round) page(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.t.base+"/peers?"+r.query().Encode(), nil)
	if err != nil {
		return err
	}
	first := r.next == ""
	tag, offers := r.t.last()
	if first && tag != "" {
		request.Header.Set("If-None-Match", tag)
	}
	response, err := r.t.do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if first && tag != "" && response.StatusCode == http.StatusNotModified {
		r.again(offers)
		return nil
	}
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, maxAnswer)) // the status says enough
		return refusal(response, text)
	}
	r.next = ""
	if err := r.read(response.Body); err != nil {
		return err
	}
	if tag := response.Header.Get("ETag"); first && r.next == "" && len(tag) <= maxTagSize {
		r.t.remember(tag, r.offers)
	}
	return nil
}

func (r *round) query() url.Values {
	values := url.Values{"limit": {strconv.Itoa(pageSize)}}
	if r.t.config.Model != "" {
		values.Set("model", r.t.config.Model)
	}
	if r.next != "" {
		values.Set("after", r.next)
	}
	return values
}

// again passes on what is still good of an answer that did not change.
func (r *round) again(offers []*announce.Signed) {
	for _, s := range offers {
		if s.Status(r.t.config.Now()) == announce.OK {
			r.found(s)
		}
	}
}

// read reads {"version":1,"count":N,"peers":[envelope…],"next":"…"}, one
// envelope at a time.
func (r *round) read(body io.Reader) error {
	limited := &io.LimitedReader{R: body, N: r.left + 1}
	err := r.object(json.NewDecoder(limited))
	r.left = limited.N - 1
	if limited.N <= 0 {
		return discover.ErrPart
	}
	return err
}

func (r *round) object(dec *json.Decoder) error {
	if start, err := dec.Token(); err != nil || start != json.Delim('{') {
		return r.t.noTracker(err)
	}
	listed := false
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return r.t.noTracker(err)
		}
		switch name {
		case "peers":
			listed = true
			err = r.peers(dec)
		case "next":
			err = dec.Decode(&r.next)
		default:
			err = dec.Decode(new(json.RawMessage))
		}
		if err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil || !listed {
		return r.t.noTracker(err)
	}
	return nil
}

func (r *round) peers(dec *json.Decoder) error {
	if start, err := dec.Token(); err != nil || start != json.Delim('[') {
		return r.t.noTracker(err)
	}
	for dec.More() {
		var envelope json.RawMessage
		if err := dec.Decode(&envelope); err != nil {
			return r.t.noTracker(err)
		}
		if r.shown++; r.shown > maxPeers {
			return discover.ErrPart
		}
		r.envelope(envelope)
	}
	_, err := dec.Token()
	return err
}

func (r *round) envelope(text []byte) {
	s, err := announce.Open(text, r.t.config.Now())
	switch {
	case err != nil:
		if r.fault == nil {
			r.fault = err
		}
	case r.t.config.Model != "" && !slices.Contains(s.Models, r.t.config.Model):
		r.good++ // a tracker that does not know the question
	default:
		r.good++
		r.offers = append(r.offers, s)
		r.found(s)
	}
}

// noTracker says what is wrong with an answer, if it is not the connection.
func (t *Tracker) noTracker(err error) error {
	if err == nil {
		return fmt.Errorf("%s: %w", t.base, errNoTracker)
	}
	if _, syntax := errors.AsType[*json.SyntaxError](err); syntax || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s: %w: %w", t.base, errNoTracker, err)
	}
	return fmt.Errorf("read the tracker's answer: %w", err)
}

func (t *Tracker) last() (string, []*announce.Signed) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.tag, t.offers
}

func (t *Tracker) remember(tag string, offers []*announce.Signed) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tag, t.offers = tag, nil
	if tag != "" {
		t.offers = offers
	}
}

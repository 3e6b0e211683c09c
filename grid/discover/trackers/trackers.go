// Package trackers speaks to trackers, ours and the original's: a [Tracker] is a
// [discover.Source] of who announced there and a [discover.Board] to announce
// on. Start from [New].
//
// cmd imports it; it imports grid/announce, grid/discover and what a statement
// is made of. What a tracker answers is hostile: it is capped in bytes, count
// and time, redirects are not followed, and only offers that their workers
// signed, and that are good now, are passed on. What it cannot be kept from is
// to hide some.
package trackers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"lobstah/grid/announce"
	"lobstah/grid/discover"
)

// Limits on what is read of a tracker.
const (
	maxBytes   = 8 << 20 // of all pages together
	maxPeers   = 5000
	maxPages   = 32
	pageSize   = 1000 // the largest of our trackers; the original gives all at once
	maxAnswer  = 16 << 10
	patience   = 20 * time.Second // for one answer
	maxTagSize = 256
)

// A Config says what a tracker is asked. The zero value asks for everybody.
type Config struct {
	Model     string            // only who serves it, by this very name
	Transport http.RoundTripper // nil means one with this package's limits
	Now       func() time.Time  // nil means time.Now
}

// A Tracker is one tracker. It is safe for concurrent use.
type Tracker struct {
	base   string
	config Config
	http   *http.Client

	mu     sync.Mutex
	tag    string             // guarded by mu; of the last answer, when it was one page
	offers []*announce.Signed // guarded by mu; what was good in it
}

// New makes a client of the tracker at an http or https URL.
func New(address string, c Config) (*Tracker, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil || len(address) > 2048:
		return nil, fmt.Errorf("tracker %.80q: not a URL", address)
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return nil, fmt.Errorf("tracker %.80q: want http://HOST:17476 or an https URL", address)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("tracker %.80q: its URL has no user name, query or fragment", address)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Transport == nil {
		own := http.DefaultTransport.(*http.Transport).Clone()
		own.MaxResponseHeaderBytes, own.ResponseHeaderTimeout = 64<<10, patience
		c.Transport = own
	}
	return &Tracker{
		base: strings.TrimRight(u.String(), "/"), config: c,
		http: &http.Client{
			Transport: c.Transport, Timeout: patience,
			// The user named this place, and no other.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Name implements [discover.Source] and [discover.Board].
func (t *Tracker) Name() string { return "tracker " + t.base }

// Publish implements [discover.Board]: POST /announce.
func (t *Tracker) Publish(ctx context.Context, offer *announce.Signed) (time.Duration, error) {
	var answer struct {
		TTLSeconds float64 `json:"ttlSeconds"`
	}
	if err := t.post(ctx, "/announce", offer.Envelope(), &answer); err != nil {
		return 0, err
	}
	if !(answer.TTLSeconds > 0 && answer.TTLSeconds < announce.MaxTTL.Seconds()) {
		return 0, nil
	}
	return time.Duration(answer.TTLSeconds * float64(time.Second)), nil
}

// Withdraw implements [discover.Board]: POST /unannounce.
func (t *Tracker) Withdraw(ctx context.Context, gone announce.Withdrawal) error {
	return t.post(ctx, "/unannounce", gone.JSON(), &struct{}{})
}

func (t *Tracker) post(ctx context.Context, path string, body []byte, answer any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, t.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := t.do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the tracker's answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return refusal(response, text)
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("%s is no tracker: it answered %s", t.base, quote(text))
	}
	return nil
}

func (t *Tracker) do(request *http.Request) (*http.Response, error) {
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "lobstah")
	return t.http.Do(request)
}

// refusal says why a tracker did not do what it was asked to.
func refusal(response *http.Response, text []byte) error {
	var body struct {
		Error struct{ Type, Reason, Code, Message string }
	}
	err := fmt.Errorf("the tracker answered %d %s", response.StatusCode, quote(text))
	if place := response.Header.Get("Location"); response.StatusCode/100 == 3 && place != "" {
		err = fmt.Errorf("the tracker is not here any more; it says it is at %s", quote([]byte(place)))
	} else if json.Unmarshal(text, &body) == nil && body.Error.Type != "" {
		why := slices.DeleteFunc([]string{body.Error.Type, body.Error.Reason, body.Error.Code, body.Error.Message}, func(s string) bool { return s == "" })
		err = fmt.Errorf("the tracker refused (%d): %s", response.StatusCode, quote([]byte(strings.Join(why, ": "))))
	}
	if wait := retryAfter(response.Header.Get("Retry-After")); wait > 0 {
		return &discover.LaterError{After: wait, Err: err}
	}
	return err
}

// retryAfter reads the seconds of RFC 9110, section 10.2.3; a date there, which
// no tracker sends, says nothing.
func retryAfter(text string) time.Duration {
	seconds, err := strconv.ParseUint(text, 10, 24)
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// quote shows a stranger's text to people.
func quote(text []byte) string {
	text = bytes.TrimSpace(text)
	if len(text) > 200 {
		text = append(bytes.ToValidUTF8(text[:200], nil), "…"...)
	}
	return strconv.Quote(string(text))
}

// errNoTracker is wrapped when an answer has not the form of a tracker's.
var errNoTracker = errors.New("this is not what a tracker answers")

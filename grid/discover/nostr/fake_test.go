package nostr

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"lobstah/grid"
	"lobstah/grid/announce"
	"lobstah/grid/discover"
	"lobstah/internal/nostrkey"
	"lobstah/key"
)

// A script is how a relay of a test behaves: it gets each message and answers
// as it likes until it returns false.
type script func(ctx context.Context, ws *websocket.Conn, message []json.RawMessage) bool

// serve runs a relay and returns its URL.
func serve(t *testing.T, s script) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer ws.CloseNow()
		ws.SetReadLimit(1 << 20)
		for {
			_, data, err := ws.Read(r.Context())
			if err != nil {
				return
			}
			var message []json.RawMessage
			if err := json.Unmarshal(data, &message); err != nil {
				t.Errorf("the relay was sent %.200s", data)
				return
			}
			if !s(r.Context(), ws, message) {
				return
			}
		}
	}))
	t.Cleanup(server.Close)
	return "ws" + strings.TrimPrefix(server.URL, "http")
}

func say(ctx context.Context, ws *websocket.Conn, format string, args ...any) bool {
	return ws.Write(ctx, websocket.MessageText, fmt.Appendf(nil, format, args...)) == nil
}

// honest is a relay that keeps what it is given and shows it to everybody, a
// page at a time when page is not 0.
type honest struct {
	page int

	mu     sync.Mutex
	events []json.RawMessage // guarded by mu
}

func (h *honest) add(events ...*event) *honest {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range events {
		h.events = append(h.events, raw(e))
	}
	return h
}

func (h *honest) script(ctx context.Context, ws *websocket.Conn, message []json.RawMessage) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch string(message[0]) {
	case `"EVENT"`:
		h.events = append(h.events, message[1])
		var e struct{ ID string }
		return json.Unmarshal(message[1], &e) == nil && say(ctx, ws, `["OK",%q,true,""]`, e.ID)
	case `"REQ"`:
		var filter struct {
			Kinds        []int
			Since, Until int64
		}
		if json.Unmarshal(message[2], &filter) != nil {
			return false
		}
		told := 0
		for _, text := range h.events {
			var e struct {
				Kind    int
				Created int64 `json:"created_at"`
			}
			if json.Unmarshal(text, &e) != nil || e.Kind != filter.Kinds[0] || e.Created < filter.Since || filter.Until > 0 && e.Created > filter.Until {
				continue
			}
			if told++; h.page > 0 && told > h.page {
				break
			}
			say(ctx, ws, `["EVENT",%s,%s]`, message[1], text)
		}
		return say(ctx, ws, `["EOSE",%s]`, message[1])
	}
	return true
}

func raw(e *event) json.RawMessage {
	text, err := json.Marshal(map[string]any{
		"id": fmt.Sprintf("%x", e.id), "pubkey": fmt.Sprintf("%x", e.author), "created_at": e.created, "kind": e.kind,
		"tags": e.tags, "content": e.content, "sig": fmt.Sprintf("%x", e.signature),
	})
	if err != nil {
		panic(err)
	}
	return text
}

var (
	secret = [32]byte{31: 3}
	now    = time.Now()
)

// relay makes a client of one relay, at the time of the offers and with the
// patience for a busy machine.
func relay(t testing.TB, address string, change ...func(*Config)) *Relay {
	t.Helper()
	c := Config{Secret: secret, Now: func() time.Time { return now }}
	for _, f := range change {
		f(&c)
	}
	list, err := Relays([]string{address}, c)
	if err != nil {
		t.Fatal(err)
	}
	list[0].patience, list[0].silence = 5*time.Minute, 2*time.Minute
	return list[0]
}

func worker(n int) key.Pair { return key.FromSeed([32]byte{byte(n), byte(n >> 8), 5}) }

func offer(t testing.TB, n int, at time.Time, url string) *announce.Signed {
	t.Helper()
	s, err := announce.Sign(worker(n), announce.Offer{ID: worker(n).ID(), URL: url, Models: []string{"m"}, TTL: 5 * time.Minute, AnnouncedAt: at})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// published is the event of an offer, signed by a key of nobody.
func published(t testing.TB, s *announce.Signed, created time.Time) *event {
	t.Helper()
	e := &event{kind: kindOffer, created: created.Unix(), content: string(s.Envelope()), tags: [][]string{{"d", "lobstah-peer"}}}
	fresh, _, err := nostrkey.Generate()
	if err != nil {
		t.Fatal(err)
	}
	if err := e.sign(fresh); err != nil {
		t.Fatal(err)
	}
	return e
}

func collect(t testing.TB, r *Relay) (urls []string, err error) {
	t.Helper()
	err = r.Collect(t.Context(), func(f discover.Found) {
		if f.Origin != grid.FromNostr || f.Where != r.url || f.URL != "" {
			t.Errorf("found %+v", f)
		}
		urls = append(urls, f.Offer.URL)
	})
	return urls, err
}

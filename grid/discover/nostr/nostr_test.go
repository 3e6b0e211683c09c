package nostr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"lobstah/grid/announce"
	"lobstah/grid/discover"
	"lobstah/internal/canonical"
	"lobstah/receipt"
)

type recording struct {
	Events struct{ Announcement, Receipt json.RawMessage }
	Frames []struct {
		Dir string
		M   []json.RawMessage
	}
}

func recorded(t testing.TB) (r recording) {
	t.Helper()
	data, err := os.ReadFile("testdata/original.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func parse(t testing.TB, text []byte) *event {
	t.Helper()
	tree, err := canonical.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	e, err := parseEvent(tree)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestOriginalsEvents(t *testing.T) {
	t.Parallel()
	r := recorded(t)
	texts := []json.RawMessage{r.Events.Announcement, r.Events.Receipt}
	for _, f := range r.Frames {
		if string(f.M[0]) == `"EVENT"` {
			texts = append(texts, f.M[len(f.M)-1])
		}
	}
	if len(texts) < 20 {
		t.Fatalf("%d events", len(texts))
	}
	for _, text := range texts {
		e := parse(t, text)
		if !e.genuine() {
			t.Errorf("event %x: the signature does not hold", e.id)
		}
		if again := parse(t, canonical.Append(nil, e.tree())); again.id != e.id || again.signature != e.signature {
			t.Errorf("event %x: written and read it is another", e.id)
		}
		// Any change is noticed, by the id or by the signature.
		e.content += " "
		if e.hash() == e.id {
			t.Errorf("event %x: its id does not cover the content", e.id)
		}
		if e.id = e.hash(); e.genuine() {
			t.Errorf("event %x: the signature does not cover the id", e.id)
		}
	}
}

// The recorded relay answers us as it answered the original, and what we send
// it is what the original sent.
func TestOriginalsTraffic(t *testing.T) {
	t.Parallel()
	r := recorded(t)
	theirs := map[int64]*event{} // what the original sent, by kind
	answers := map[string][]json.RawMessage{}
	for _, f := range r.Frames {
		switch string(f.M[0]) {
		case `"EVENT"`:
			e := parse(t, f.M[len(f.M)-1])
			theirs[e.kind] = e
			if f.Dir == "relay->client" {
				answers[fmt.Sprint(e.kind)] = append(answers[fmt.Sprint(e.kind)], f.M[2])
			}
		}
	}
	var ours []*event
	address := serve(t, func(ctx context.Context, ws *websocket.Conn, m []json.RawMessage) bool {
		if string(m[0]) == `"EVENT"` {
			e := parse(t, m[1])
			ours = append(ours, e)
			return say(ctx, ws, `["OK","%x",true,""]`, e.id)
		}
		var filter struct{ Kinds []int }
		if json.Unmarshal(m[2], &filter) != nil {
			return false
		}
		for _, text := range answers[fmt.Sprint(filter.Kinds[0])] {
			say(ctx, ws, `["EVENT",%s,%s]`, m[1], text)
		}
		return say(ctx, ws, `["EOSE",%s]`, m[1])
	})
	at := time.UnixMilli(1795317855116)
	ourSecret := [32]byte{}
	for i := range ourSecret {
		ourSecret[i] = 0x33
	}
	c := relay(t, address, func(c *Config) { c.Now, c.Secret = func() time.Time { return at }, ourSecret })
	if urls, err := collect(t, c); err != nil || !slices.Equal(urls, []string{"http://192.0.2.1:27474"}) {
		t.Errorf("offers at %v, %v", urls, err)
	}
	var total int64
	receipts := 0
	err := Receipts(t.Context(), []*Relay{c, c}, func(s *receipt.Signed) {
		receipts++
		total += s.Total()
	})
	if err != nil || receipts != 8 || total != 8*9 {
		t.Errorf("%d receipts of %d tokens, %v; want 8 of 72", receipts, total, err)
	}

	s, err := announce.Open([]byte(theirs[kindOffer].content), at)
	if err != nil {
		t.Fatal(err)
	}
	bill, err := receipt.Open([]byte(theirs[kindReceipt].content))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Publish(t.Context(), s); err != nil {
		t.Errorf("Publish: %v", err)
	}
	if err := c.PublishReceipt(t.Context(), bill); err != nil {
		t.Errorf("PublishReceipt: %v", err)
	}
	if err := c.Withdraw(t.Context(), announce.Withdrawal{}); err != nil {
		t.Errorf("Withdraw: %v", err)
	}
	for i, kind := range []int64{kindOffer, kindReceipt, kindDeletion} {
		got, want := ours[i], theirs[kind]
		tags := fmt.Sprint(want.tags)
		if kind == kindDeletion {
			tags = fmt.Sprintf("[[e %x]]", ours[0].id)
		}
		if got.kind != kind || fmt.Sprint(got.tags) != tags || got.author != want.author || !got.genuine() || !sameJSON(t, got.content, want.content) {
			t.Errorf("sent %s\nthe original sends %s", raw(got), raw(want))
		}
	}
}

func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	if a == b {
		return true
	}
	x, errX := canonical.Transform([]byte(a))
	y, errY := canonical.Transform([]byte(b))
	if errX != nil || errY != nil {
		t.Errorf("%q and %q: %v, %v", a, b, errX, errY)
	}
	return string(x) == string(y)
}

func TestNewestWins(t *testing.T) {
	t.Parallel()
	older, newer := offer(t, 1, now.Add(-time.Minute), "https://old:1"), offer(t, 1, now, "https://new:1")
	h := (&honest{}).add(
		published(t, newer, now.Add(-time.Second)),
		published(t, older, now), // somebody publishes it again, later
		published(t, offer(t, 2, now.Add(-10*time.Minute), "https://stale:1"), now),
		published(t, offer(t, 3, now.Add(20*time.Minute), "https://future:1"), now),
		published(t, offer(t, 4, now, "https://other:1"), now),
	)
	c := relay(t, serve(t, h.script))
	for range 2 {
		urls, err := collect(t, c)
		if err != nil || !slices.Equal(urls, []string{"https://new:1", "https://other:1"}) {
			t.Errorf("offers at %v, %v", urls, err)
		}
	}
	c.config.Now = func() time.Time { return now.Add(6 * time.Minute) }
	if urls, err := collect(t, c); err != nil || len(urls) != 0 {
		t.Errorf("six minutes later: %v, %v", urls, err)
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	h := &honest{page: manyEvents}
	for n := range 2*manyEvents + 50 {
		h.add(published(t, offer(t, n, now, fmt.Sprintf("https://h:%d", n+1)), now.Add(-time.Duration(n)*time.Second)))
	}
	urls, err := collect(t, relay(t, serve(t, h.script)))
	if err != nil || len(urls) != 2*manyEvents+50 {
		t.Errorf("%d offers, %v", len(urls), err)
	}
}

func TestPublishReplacesAndDeletes(t *testing.T) {
	t.Parallel()
	h := &honest{}
	c := relay(t, serve(t, h.script))
	for i := range 3 {
		if _, err := c.Publish(t.Context(), offer(t, 1, now.Add(time.Duration(i)*time.Second), "https://h:1")); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Withdraw(t.Context(), announce.Withdraw(worker(1), now)); err != nil {
		t.Fatal(err)
	}
	var created int64
	var last *event
	for _, text := range h.events[:3] {
		last = parse(t, text)
		if last.created <= created {
			t.Error("an event is not of a later second than the one before, so relays may keep either")
		}
		created = last.created
	}
	if e := parse(t, h.events[3]); fmt.Sprint(e.tags) != fmt.Sprintf("[[e %x]]", last.id) || e.kind != 5 || e.content != "lobstah unannounce" {
		t.Errorf("withdrawn by %s", h.events[3])
	}
}

func TestRefusedEvents(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{
		`["OK",ID,false,"blocked: \u001b[31mgo away"]`: `the relay did not take it: "blocked: \x1b[31mgo away"`,
		`["OK",ID,false]`:                                  `the relay did not take it: ""`,
		`["OK",ID,false,"rate-limited: slower"]`:           "asked again in 1m0s",
		`["NOTICE","pay first"]`:                           `it said "pay first"`,
		`["OK","` + strings.Repeat("0", 64) + `",true,""]`: "silent for 100ms",
		`["OK",ID,"true"]`:                                 "did not take it",
	} {
		silent := strings.HasPrefix(want, "silent")
		c := relay(t, serve(t, func(ctx context.Context, ws *websocket.Conn, m []json.RawMessage) bool {
			return say(ctx, ws, "%s", strings.Replace(answer, "ID", fmt.Sprintf(`"%x"`, parse(t, m[1]).id), 1)) && silent // else it hangs up
		}))
		if silent {
			c.silence = 100 * time.Millisecond
		}
		if _, err := c.Publish(t.Context(), offer(t, 1, now, "https://h:1")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", answer, err, want)
		}
	}
	c := relay(t, serve(t, func(ctx context.Context, ws *websocket.Conn, m []json.RawMessage) bool {
		return say(ctx, ws, `["OK","%x",false,"duplicate: have it"]`, parse(t, m[1]).id)
	}))
	if _, err := c.Publish(t.Context(), offer(t, 1, now, "https://h:1")); err != nil {
		t.Errorf("a duplicate: %v", err)
	}
	c.config.Secret = [32]byte{}
	if _, err := c.Publish(t.Context(), offer(t, 1, now, "https://h:1")); err == nil {
		t.Error("published without a key")
	}
}

// bad relays, none of which may hold up or change what a good one tells.
func bad(t *testing.T, now time.Time) map[string]script {
	good := published(t, offer(t, 1, now, "https://forged:1"), now)
	forged := *good
	forged.signature[5] ^= 1
	otherID := *good
	otherID.id[0] ^= 1
	changed := strings.Replace(string(raw(good)), "forged:1", "forged:2", 1)
	inner := published(t, offer(t, 2, now, "https://forged:3"), now)
	inner.content = strings.Replace(inner.content, "forged:3", "forged:4", 1)
	if err := inner.sign(secret); err != nil {
		t.Fatal(err)
	}
	huge := `["` + strings.Repeat("x", 4<<20) + `"]`
	tell := func(f func(ctx context.Context, ws *websocket.Conn, sub json.RawMessage) bool) script {
		return func(ctx context.Context, ws *websocket.Conn, m []json.RawMessage) bool { return f(ctx, ws, m[1]) }
	}
	return map[string]script{
		"silent":   func(context.Context, *websocket.Conn, []json.RawMessage) bool { return true },
		"hangs up": func(context.Context, *websocket.Conn, []json.RawMessage) bool { return false },
		"closes": tell(func(ctx context.Context, ws *websocket.Conn, sub json.RawMessage) bool {
			return say(ctx, ws, `["CLOSED",%s,"error: \u0007"]`, sub)
		}),
		"never ends": tell(func(ctx context.Context, ws *websocket.Conn, sub json.RawMessage) bool {
			return say(ctx, ws, `["EVENT",%s,%s]`, sub, raw(&forged))
		}),
		"another's subscription": tell(func(ctx context.Context, ws *websocket.Conn, _ json.RawMessage) bool {
			return say(ctx, ws, `["EVENT","x",%s]`, raw(good)) && say(ctx, ws, `["EOSE","x"]`)
		}),
		"garbage": tell(func(ctx context.Context, ws *websocket.Conn, sub json.RawMessage) bool {
			for _, text := range []string{"", "{", "null", "[]", "[7]", "[[]]", `["EVENT"]`, `["EVENT",7]`, `["EVENT",` + string(sub) + `]`, `["EVENT",` + string(sub) + `,{"id":1}]`,
				"[" + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "]", "\xff\xfe"} {
				say(ctx, ws, "%s", text)
			}
			return ws.Write(ctx, websocket.MessageBinary, []byte{0, 1, 2}) == nil
		}),
		"forged": tell(func(ctx context.Context, ws *websocket.Conn, sub json.RawMessage) bool {
			for _, text := range []json.RawMessage{raw(&forged), raw(&otherID), json.RawMessage(changed), raw(inner)} {
				say(ctx, ws, `["EVENT",%s,%s]`, sub, text)
			}
			return say(ctx, ws, `["EOSE",%s]`, sub)
		}),
		"endless": tell(func(ctx context.Context, ws *websocket.Conn, sub json.RawMessage) bool {
			for say(ctx, ws, `["EVENT",%s,%s]`, sub, raw(&forged)) {
			}
			return false
		}),
		"endless message": tell(func(ctx context.Context, ws *websocket.Conn, _ json.RawMessage) bool {
			w, err := ws.Writer(ctx, websocket.MessageText)
			for block := []byte(strings.Repeat("x", 1<<16)); err == nil; {
				_, err = w.Write(block)
			}
			return false
		}),
		"huge messages": tell(func(ctx context.Context, ws *websocket.Conn, _ json.RawMessage) bool {
			for say(ctx, ws, "%s", huge) {
			}
			return false
		}),
	}
}

func TestBadRelays(t *testing.T) {
	t.Parallel()
	for name, s := range bad(t, now) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := relay(t, serve(t, s))
			much := slices.Contains([]string{"endless", "endless message", "huge messages"}, name)
			if !much && name != "forged" {
				c.silence, c.patience = time.Second, 10*time.Second
			}
			urls, err := collect(t, c)
			if len(urls) != 0 {
				t.Errorf("it made us believe in %v", urls)
			}
			if (err == nil) != (name == "forged") {
				t.Errorf("error: %v", err)
			}
			if errors.Is(err, discover.ErrPart) != much {
				t.Errorf("error: %v", err)
			}
		})
	}
}

// A Learner over two good relays and all the bad ones knows what the good ones
// tell at once, and nothing else.
func TestBadRelaysAmongGood(t *testing.T) {
	t.Parallel()
	now := time.Now()
	mine, both := published(t, offer(t, 11, now, "https://mine:1"), now), published(t, offer(t, 12, now, "https://both:1"), now)
	urls := []string{serve(t, (&honest{}).add(mine, both).script), serve(t, (&honest{}).add(both).script)}
	for _, s := range bad(t, now) {
		urls = append(urls, serve(t, s))
	}
	relays, err := Relays(urls, Config{})
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan struct{}, 16)
	config := discover.LearnerConfig{Logger: slog.New(slog.DiscardHandler), Changed: func() { told <- struct{}{} }}
	for _, r := range relays {
		config.Sources = append(config.Sources, r) // with their full patience
	}
	ctx, stop := context.WithCancel(t.Context())
	l := discover.NewLearner(config)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.Run(ctx)
	}()
	for len(l.Peers()) < 2 {
		select {
		case <-told:
		case <-time.After(time.Minute):
			t.Fatalf("knows only %v", l.Peers())
		}
	}
	stop()
	<-ended
	var got []string
	for _, p := range l.Peers() {
		got = append(got, p.URL)
	}
	slices.Sort(got)
	if !slices.Equal(got, []string{"https://both:1", "https://mine:1"}) {
		t.Errorf("peers at %v", got)
	}
}

// A message that is too long does not spoil what a good relay tells besides.
func TestLongMessageIsLeftOut(t *testing.T) {
	t.Parallel()
	h := &honest{}
	long := published(t, offer(t, 1, now, "https://h:1"), now)
	long.content = strings.Repeat("x", 2<<20)
	if err := long.sign(secret); err != nil {
		t.Fatal(err)
	}
	h.add(long, published(t, offer(t, 2, now, "https://good:1"), now))
	if urls, err := collect(t, relay(t, serve(t, h.script))); err != nil || !slices.Equal(urls, []string{"https://good:1"}) {
		t.Errorf("offers at %v, %v", urls, err)
	}
}

func TestReceiptsCannotHideOthers(t *testing.T) {
	t.Parallel()
	bill := func(n int, tokens int64) *event {
		s, err := receipt.Sign(worker(n), receipt.Receipt{
			JobID: receipt.NewJobID(), Nonce: strings.Repeat("ab", 16), Requester: worker(9).ID().String(), Worker: worker(n).ID(),
			Model: "m", InputTokens: tokens, StartedAt: now, CompletedAt: now,
		})
		if err != nil {
			t.Fatal(err)
		}
		e := &event{kind: kindReceipt, created: now.Unix(), content: string(s.Envelope()), tags: [][]string{}}
		if err := e.sign(secret); err != nil {
			t.Fatal(err)
		}
		return e
	}
	forged := bill(3, 5)
	forged.signature[0] ^= 1
	first, second := bill(1, 1), bill(2, 2)
	urls := []string{serve(t, (&honest{}).add(first, second, forged).script), serve(t, (&honest{}).add(second, bill(1, 3)).script), "ws://127.0.0.1:1"}
	relays, err := Relays(urls, Config{})
	if err != nil {
		t.Fatal(err)
	}
	workers := map[string]int{}
	err = Receipts(t.Context(), relays, func(s *receipt.Signed) { workers[s.Worker.String()]++ })
	if len(workers) != 2 || workers[worker(1).ID().String()] != 1 || workers[worker(2).ID().String()] != 1 {
		t.Errorf("receipts by worker: %v", workers)
	}
	if err == nil || !strings.Contains(err.Error(), "relay ws://127.0.0.1:1: connect") {
		t.Errorf("Receipts: %v; want to hear of the relay that is down", err)
	}
}

// One relay that takes an offer is enough, and what the others say is told.
func TestAnnouncingAmongBadRelays(t *testing.T) {
	t.Parallel()
	h, taken := &honest{}, make(chan struct{}, 8)
	relays, err := Relays([]string{
		serve(t, func(ctx context.Context, ws *websocket.Conn, m []json.RawMessage) bool {
			defer func() { taken <- struct{}{} }()
			return h.script(ctx, ws, m)
		}),
		serve(t, func(context.Context, *websocket.Conn, []json.RawMessage) bool { return true }),
		serve(t, func(ctx context.Context, ws *websocket.Conn, m []json.RawMessage) bool {
			return say(ctx, ws, `["OK","%x",false,"blocked: not here"]`, parse(t, m[1]).id)
		}),
		"ws://127.0.0.1:1",
	}, Config{Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	config := discover.AnnouncerConfig{Key: worker(1), Logger: slog.New(slog.DiscardHandler), Offer: func(context.Context) (announce.Offer, error) {
		return announce.Offer{URL: "https://h:1", TTL: 5 * time.Minute}, nil
	}}
	for _, r := range relays {
		config.Boards = append(config.Boards, r)
	}
	relays[1].silence = 300 * time.Millisecond
	a := discover.NewAnnouncer(config)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	<-taken
	deadline := time.After(time.Minute)
	want := []string{"", "silent for", "blocked: not here", "connect"}
	for i := 0; i < len(want); {
		s := a.States()[i]
		told := s.LastErr != nil && strings.Contains(s.LastErr.Error(), want[i])
		if want[i] == "" && !s.LastOK.IsZero() && s.LastErr == nil || want[i] != "" && told {
			i++
			continue
		}
		select {
		case <-deadline:
			t.Fatalf("board %d: %+v; want %q", i, s, want[i])
		case <-time.After(10 * time.Millisecond):
		}
	}
	stop()
	if err := <-ended; err == nil || strings.Contains(err.Error(), relays[0].url) {
		t.Errorf("Run: %v; want to hear of the bad relays alone", err)
	}
	if len(h.events) != 2 || parse(t, h.events[1]).kind != kindDeletion {
		t.Errorf("the good relay was sent %s", h.events)
	}
}

// Making relays speaks to none of them, and announcing, learning and leaving
// publish no receipt: only PublishReceipt does.
func TestNothingIsPublishedUnasked(t *testing.T) {
	t.Parallel()
	said := make(chan string, 64)
	h := &honest{}
	relays, err := Relays([]string{serve(t, func(ctx context.Context, ws *websocket.Conn, m []json.RawMessage) bool {
		kind := string(m[0])
		if kind == `"EVENT"` {
			kind += fmt.Sprint(" ", parse(t, m[1]).kind)
		}
		said <- kind
		return h.script(ctx, ws, m)
	})}, Config{Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	l := discover.NewLearner(discover.LearnerConfig{Sources: []discover.Source{relays[0]}})
	a := discover.NewAnnouncer(discover.AnnouncerConfig{
		Boards: []discover.Board{relays[0]}, Key: worker(1), Logger: slog.New(slog.DiscardHandler),
		Offer: func(context.Context) (announce.Offer, error) {
			return announce.Offer{URL: "https://h:1", TTL: 5 * time.Minute}, nil
		},
	})
	if len(said) != 0 {
		t.Error("a relay was spoken to before anybody asked for it")
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	got := []string{<-said}
	if states := l.Collect(t.Context()); states[0].LastErr != nil {
		t.Error(states[0].LastErr)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	close(said)
	for what := range said {
		got = append(got, what)
	}
	slices.Sort(got)
	if want := []string{`"EVENT" 31474`, `"EVENT" 5`, `"REQ"`}; !slices.Equal(got, want) {
		t.Errorf("said %q; want %q", got, want)
	}
}

func TestRelays(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "relay", "http://h", "wss://", "wss://u@h", "wss://h#f", "ws://h", "ws://192.168.1.1:80", "ws://127.0.0.1.example.org", "wss://" + strings.Repeat("h", 600)} {
		if _, err := Relays([]string{text}, Config{}); err == nil {
			t.Errorf("%.50q is a relay", text)
		}
	}
	list, err := Relays([]string{"wss://Nos.lol/", "wss://nos.lol", "ws://localhost:1", "ws://[::1]:1", "ws://127.0.0.2:1/x"}, Config{})
	if err != nil || len(list) != 4 || list[0].Name() != "relay wss://nos.lol" {
		t.Errorf("%v, %v", list, err)
	}
	if _, err := Relays([]string{"ws://192.168.1.1:80"}, Config{Insecure: true}); err != nil {
		t.Error(err)
	}
	if _, err := Relays(DefaultRelays, Config{}); err != nil {
		t.Error(err)
	}
	many := make([]string, MaxRelays+1)
	for i := range many {
		many[i] = fmt.Sprintf("wss://h%d", i)
	}
	if _, err := Relays(many, Config{}); err == nil {
		t.Error("took too many relays")
	}
}

// A relay beyond this machine has to be who its name says.
func TestCertificateIsChecked(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	defer server.Close()
	_, err := collect(t, relay(t, "wss"+strings.TrimPrefix(server.URL, "https")))
	if err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("Collect: %v", err)
	}
}

// A relay cannot send us elsewhere.
func TestRedirect(t *testing.T) {
	t.Parallel()
	reached := false
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer inside.Close()
	server := httptest.NewServer(http.RedirectHandler(inside.URL, http.StatusFound))
	defer server.Close()
	_, err := collect(t, relay(t, "ws"+strings.TrimPrefix(server.URL, "http")))
	if err == nil || !strings.Contains(err.Error(), "it says it is at") || reached {
		t.Errorf("Collect: %v; reached is %v", err, reached)
	}
}

// BenchmarkOffer is what it costs to believe an event.
func BenchmarkOffer(b *testing.B) {
	e := published(b, offer(b, 1, now, "https://h:1"), now)
	text := canonical.Append(nil, e.tree())
	for name, fresh := range map[string]bool{"first": true, "again": false} {
		b.Run(name, func(b *testing.B) {
			r := relay(b, "wss://h", func(c *Config) { c.Now = func() time.Time { return now } })
			for b.Loop() {
				if fresh {
					clear(r.checked.offers)
				}
				tree, err := canonical.Parse(text)
				if err != nil {
					b.Fatal(err)
				}
				e, err := parseEvent(tree)
				if err != nil {
					b.Fatal(err)
				}
				if _, ok := r.offer(e); !ok {
					b.Fatal("not believed")
				}
			}
		})
	}
}

func FuzzEvent(f *testing.F) {
	r := recorded(f)
	f.Add([]byte(r.Events.Announcement))
	f.Add([]byte(r.Events.Receipt))
	f.Add([]byte(`{"id":"","tags":[[]],"kind":1e99}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		tree, err := canonical.Parse(text)
		if err != nil {
			return
		}
		e, err := parseEvent(tree)
		if err != nil {
			return
		}
		again, err := canonical.Parse(canonical.Append(nil, e.tree()))
		if err != nil {
			t.Fatal(err)
		}
		if read, err := parseEvent(again); err != nil || read.id != e.id || read.genuine() != e.genuine() {
			t.Errorf("%s is read as another: %v", text, err)
		}
	})
}

var _ interface {
	discover.Source
	discover.Board
} = (*Relay)(nil)

package trackers

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"lobstah/grid"
	"lobstah/grid/announce"
	"lobstah/grid/discover"
	"lobstah/grid/tracker"
	"lobstah/key"
)

func pair(n int) key.Pair { return key.FromSeed([32]byte{byte(n), byte(n >> 8), 7}) }

func offer(t testing.TB, n int, at time.Time, models ...string) *announce.Signed {
	t.Helper()
	s, err := announce.Sign(pair(n), announce.Offer{
		ID: pair(n).ID(), URL: fmt.Sprintf("https://192.0.2.1:%d", n+1), Models: models, TTL: 5 * time.Minute, AnnouncedAt: at,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ours runs the real tracker.
func ours(t *testing.T) *httptest.Server {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	handler := tracker.New(tracker.Config{
		Store: tracker.NewMemory(nil), Logger: slog.New(slog.DiscardHandler), Announces: tracker.Rate{Every: time.Microsecond, Burst: 100_000},
	})
	ended := make(chan error, 1)
	go func() { ended <- handler.Run(ctx) }()
	<-handler.Ready()
	server := httptest.NewServer(handler)
	t.Cleanup(func() {
		server.Close()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return server
}

func client(t testing.TB, address string, c Config) *Tracker {
	t.Helper()
	got, err := New(address, c)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func collect(t testing.TB, source discover.Source) (list []*announce.Signed, err error) {
	t.Helper()
	err = source.Collect(t.Context(), func(f discover.Found) {
		if f.Origin != grid.FromTracker || !strings.HasPrefix(f.Where, "http://127.0.0.1:") || f.URL != "" {
			t.Errorf("found %+v", f)
		}
		list = append(list, f.Offer)
	})
	return list, err
}

func TestOurTracker(t *testing.T) {
	t.Parallel()
	server, now := ours(t), time.Now()
	c := client(t, server.URL+"/", Config{})
	if list, err := collect(t, c); err != nil || len(list) != 0 {
		t.Fatalf("an empty tracker: %d offers, %v", len(list), err)
	}
	stay, err := c.Publish(t.Context(), offer(t, 1, now, "a"))
	if err != nil || stay != 5*time.Minute {
		t.Fatalf("Publish: %s, %v", stay, err)
	}
	list, err := collect(t, c)
	if err != nil || len(list) != 1 || list[0].ID != pair(1).ID() || list[0].URL != "https://192.0.2.1:2" {
		t.Fatalf("Collect: %v, %v", list, err)
	}
	if err := c.Withdraw(t.Context(), announce.Withdraw(pair(1), now)); err != nil {
		t.Fatalf("Withdraw: %v", err)
	}
	if list, err := collect(t, c); err != nil || len(list) != 0 {
		t.Errorf("after the withdrawal: %d offers, %v", len(list), err)
	}
	// The tracker says in its own words what it does not take.
	_, err = c.Publish(t.Context(), offer(t, 1, now.Add(-time.Second), "a"))
	if err == nil || !strings.Contains(err.Error(), "rejected: superseded") {
		t.Errorf("Publish of an older offer: %v", err)
	}
	if err := c.Withdraw(t.Context(), announce.Withdraw(pair(1), now.Add(-time.Hour))); err == nil || !strings.Contains(err.Error(), "stale") {
		t.Errorf("Withdraw an hour ago: %v", err)
	}
}

func TestPagesAndModels(t *testing.T) {
	t.Parallel()
	server, now := ours(t), time.Now()
	all := client(t, server.URL, Config{})
	const many = pageSize + 10
	want := map[key.ID]bool{}
	for n := range many {
		models := []string{"common"}
		if n%100 == 0 {
			models = append(models, "rare")
		}
		s := offer(t, n, now, models...)
		want[s.ID] = true
		if _, err := all.Publish(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	list, err := collect(t, all)
	if err != nil || len(list) != many {
		t.Fatalf("%d offers, %v; want %d", len(list), err, many)
	}
	for _, s := range list {
		delete(want, s.ID)
	}
	if len(want) != 0 {
		t.Errorf("%d offers were missed", len(want))
	}
	list, err = collect(t, client(t, server.URL, Config{Model: "rare"}))
	if err != nil || len(list) != many/100+1 {
		t.Errorf("rare: %d offers, %v; want %d", len(list), err, many/100+1)
	}
}

// An answer that did not change is not sent again, and is still judged anew.
func TestUnchangedAnswer(t *testing.T) {
	t.Parallel()
	real, statuses := ours(t), []int{}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		recorder := httptest.NewRecorder()
		real.Config.Handler.ServeHTTP(recorder, r)
		statuses = append(statuses, recorder.Code)
		maps.Copy(w.Header(), recorder.Header())
		w.WriteHeader(recorder.Code)
		w.Write(recorder.Body.Bytes())
	}))
	defer proxy.Close()
	now := time.Now()
	clock := now
	c := client(t, proxy.URL, Config{Now: func() time.Time { return clock }})
	if _, err := c.Publish(t.Context(), offer(t, 1, now, "a")); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if list, err := collect(t, c); err != nil || len(list) != 1 {
			t.Fatalf("%d offers, %v", len(list), err)
		}
	}
	if want := []int{200, 200, 304, 304}; !slices.Equal(statuses, want) {
		t.Errorf("statuses %v; want %v", statuses, want)
	}
	clock = now.Add(6 * time.Minute)
	if list, err := collect(t, c); err != nil || len(list) != 0 {
		t.Errorf("an unchanged answer showed %d stale offers, %v", len(list), err)
	}
}

// A worker announces to two trackers, one of which is down for a while, and
// leaves; a router learns of it and forgets it.
func TestAnnounceAndLearn(t *testing.T) {
	t.Parallel()
	quiet := slog.New(slog.DiscardHandler)
	up, down := client(t, ours(t).URL, Config{}), client(t, "http://127.0.0.1:1", Config{})
	a := discover.NewAnnouncer(discover.AnnouncerConfig{
		Boards: []discover.Board{up, down}, Key: pair(1), Logger: quiet,
		Offer: func(context.Context) (announce.Offer, error) {
			return announce.Offer{URL: "https://192.0.2.1:17474", Label: "box", Models: []string{"m"}, TTL: 5 * time.Minute}, nil
		},
	})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	l := discover.NewLearner(discover.LearnerConfig{Sources: []discover.Source{up, down}, Logger: quiet})
	deadline := time.After(time.Minute)
	for len(l.Peers()) == 0 || !a.States()[1].Tried {
		select {
		case <-deadline:
			t.Fatalf("nobody is known, or the tracker that is down was not tried; announcing: %+v, learning: %+v", a.States(), l.Sources())
		default:
			l.Collect(t.Context())
		}
	}
	if p := l.Peers()[0]; p != (grid.Peer{ID: pair(1).ID(), URL: "https://192.0.2.1:17474", Label: "box", Origin: grid.FromTracker}) {
		t.Errorf("learned %+v", p)
	}
	if s := l.Sources(); s[0].LastErr != nil || s[1].LastErr == nil {
		t.Errorf("sources: %+v", s)
	}
	stop()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "withdraw from tracker http://127.0.0.1:1") || strings.Contains(err.Error(), up.base) {
		t.Errorf("Run: %v; want to hear of the tracker that is down alone", err)
	}
	for range 2 {
		l.Collect(t.Context())
	}
	if len(l.Peers()) != 0 {
		t.Errorf("after it left: %+v", l.Peers())
	}
}

// The original's tracker, as it was recorded.
func TestOriginalsTracker(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/original.json")
	if err != nil {
		t.Fatal(err)
	}
	var recorded struct {
		Exchanges              map[string]struct{ Request, Response string }
		Announced, Unannounced string
	}
	if err := json.Unmarshal(data, &recorded); err != nil {
		t.Fatal(err)
	}
	var answer string // the next one
	var asked *http.Request
	var sent []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r
		sent, _ = io.ReadAll(r.Body)
		if text, ok := strings.CutPrefix(answer, "200 "); ok {
			fmt.Fprint(w, text)
			return
		}
		response, err := http.ReadResponse(bufio.NewReader(strings.NewReader(answer)), r)
		if err != nil {
			t.Error(err)
			return
		}
		w.Header().Set("Content-Type", response.Header.Get("Content-Type"))
		w.WriteHeader(response.StatusCode)
		io.Copy(w, response.Body)
	}))
	defer server.Close()
	at := time.UnixMilli(1795317778498)
	clock := at
	c := client(t, server.URL, Config{Now: func() time.Time { return clock }})

	answer = recorded.Exchanges["tracker_peers_empty"].Response
	if list, err := collect(t, c); err != nil || len(list) != 0 || asked.Method != "GET" || asked.URL.Path != "/peers" {
		t.Errorf("empty: %v, %v", list, err)
	}
	answer = recorded.Exchanges["tracker_peers_one"].Response
	list, err := collect(t, c)
	if err != nil || len(list) != 1 || list[0].URL != "http://192.0.2.1:27474" || list[0].Label != "mac-ü" || list[0].Tier != grid.Batch {
		t.Fatalf("one: %v, %v", list, err)
	}
	// It knows no filter, so ours is applied here.
	if list, err := collect(t, client(t, server.URL, Config{Model: "other", Now: c.config.Now})); err != nil || len(list) != 0 {
		t.Errorf("another model: %v, %v", list, err)
	}
	clock = at.Add(time.Hour)
	if list, err := collect(t, c); err == nil || !errors.Is(err, announce.ErrStale) || len(list) != 0 {
		t.Errorf("an hour later: %v, %v; want to hear that all is stale", list, err)
	}

	// What we send is what the original's worker sends, but for the order of
	// members, which does not matter there.
	answer = recorded.Announced
	request, body, _ := strings.Cut(recorded.Exchanges["tracker_announce_again"].Request, "\r\n\r\n")
	s, err := announce.Open([]byte(body), at)
	if err != nil {
		t.Fatal(err)
	}
	stay, err := c.Publish(t.Context(), s)
	if err != nil || stay != 5*time.Minute {
		t.Errorf("Publish: %s, %v", stay, err)
	}
	var got, want any
	if json.Unmarshal(sent, &got) != nil || json.Unmarshal([]byte(body), &want) != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("sent %s; the original sends %s", sent, body)
	}
	if line := asked.Method + " " + asked.URL.Path + " HTTP/1.1"; !strings.HasPrefix(request, line) || asked.Header.Get("Content-Type") != "application/json" {
		t.Errorf("asked %s; the original asks %s", line, request)
	}
	answer = recorded.Exchanges["tracker_announce_tampered"].Response
	if _, err := c.Publish(t.Context(), s); err == nil || !strings.Contains(err.Error(), "rejected: bad-signature") {
		t.Errorf("rejected: %v", err)
	}
	answer = recorded.Unannounced
	if err := c.Withdraw(t.Context(), announce.Withdraw(pair(1), at)); err != nil || asked.URL.Path != "/unannounce" {
		t.Errorf("Withdraw: %v", err)
	}
	answer = recorded.Exchanges["tracker_unannounce_stale"].Response
	if err := c.Withdraw(t.Context(), announce.Withdraw(pair(1), at)); err == nil || !strings.Contains(err.Error(), "rejected: stale") {
		t.Errorf("stale: %v", err)
	}
	answer = recorded.Exchanges["tracker_404"].Response
	if err := c.Withdraw(t.Context(), announce.Withdraw(pair(1), at)); err == nil || !strings.Contains(err.Error(), "answered 404") {
		t.Errorf("404: %v", err)
	}
}

func TestHostileTracker(t *testing.T) {
	t.Parallel()
	good := string(offer(t, 1, time.Now(), "a").Envelope())
	forged := strings.Replace(string(offer(t, 2, time.Now(), "a").Envelope()), `"url":"https://192`, `"url":"https://193`, 1)
	long := strings.Repeat(" ", 16<<10) + good + ","
	stale := string(offer(t, 3, time.Now().Add(-time.Hour), "a").Envelope())
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   int // offers
		err    string
	}{
		"forged and stale ones among the good": {text(`{"version":1,"count":9,"peers":[` + forged + `,` + good + `,` + stale + `,null,7,[]]}`), 1, ""},
		"only forged ones":                     {text(`{"peers":[` + forged + `]}`), 0, "bad signature"},
		"it ends early":                        {text(`{"peers":[` + good + `,`), 1, "not what a tracker answers"},
		"a page":                               {text(`<html>`), 0, "not what a tracker answers"},
		"no list":                              {text(`{"version":1}`), 0, "not what a tracker answers"},
		"a list only":                          {text(`[]`), 0, "not what a tracker answers"},
		"nothing":                              {text(``), 0, "not what a tracker answers"},
		"a cursor that is none":                {text(`{"peers":[],"next":{}}`), 0, "cannot unmarshal"},
		"pages without end":                    {text(`{"peers":[` + good + `],"next":"x"}`), maxPages, discover.ErrPart.Error()},
		"a list without end":                   {endless(`{"peers":[`, long), maxBytes / len(long), discover.ErrPart.Error()},
		"many small things":                    {endless(`{"peers":[`, "1,"), 0, discover.ErrPart.Error()},
		"one large thing":                      {endless(`{"peers":[`, "[[[[[[[["), 0, "depth"},
		"a long text":                          {endless(`{"peers":["`, "xxxxxxxx"), 0, discover.ErrPart.Error()},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/latest/meta-data", http.StatusFound)
		}, 0, "it says it is at \"http://127.0.0.1:1/latest/meta-data\""},
		"terminal codes": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(500)
			fmt.Fprint(w, "\x1b[2J")
		}, 0, `500 "\x1b[2J"`},
		"it hangs up": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 0, "EOF"},
		"304 unasked": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) }, 0, "answered 304"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(test.answer)
			defer server.Close()
			c := client(t, server.URL, Config{})
			c.http.Timeout = 5 * time.Minute // it is the bytes that end it, on a busy machine too
			list, err := collect(t, c)
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("error %v; want %q", err, test.err)
			}
			if len(list) != test.want {
				t.Errorf("%d offers; want %d", len(list), test.want)
			}
		})
	}
}

func text(answer string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, answer) }
}

func endless(head, again string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		block := []byte(strings.Repeat(again, max(1, 1<<16/len(again))))
		if _, err := io.WriteString(w, head); err != nil {
			return
		}
		for {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}
}

func TestSilentTracker(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte(`{"peers":[`))
		w.(http.Flusher).Flush()
		<-release
	}))
	defer server.Close()
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := client(t, server.URL, Config{}).Collect(ctx, func(discover.Found) {}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Collect: %v", err)
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "90")
		w.WriteHeader(http.StatusTooManyRequests)
		fmt.Fprint(w, `{"error":{"type":"rate_limit","message":"slower"}}`)
	}))
	defer server.Close()
	_, err := client(t, server.URL, Config{}).Publish(t.Context(), offer(t, 1, time.Now()))
	later, ok := errors.AsType[*discover.LaterError](err)
	if !ok || later.After != 90*time.Second || !strings.Contains(err.Error(), "refused (429)") || !strings.Contains(err.Error(), "slower") {
		t.Errorf("Publish: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"", "tracker", "ftp://h", "http://", "http://u:p@h", "http://h?x=1", "http://h#f", "http://h/" + strings.Repeat("x", 2100), "http://[::1"} {
		if _, err := New(address, Config{}); err == nil {
			t.Errorf("New(%.40q) is a tracker", address)
		}
	}
	if got := client(t, "https://h/sub/", Config{}).Name(); got != "tracker https://h/sub" {
		t.Errorf("Name: %s", got)
	}
}

func FuzzAnswer(f *testing.F) {
	good := string(offer(f, 1, time.Now(), "a").Envelope())
	f.Add([]byte(`{"version":1,"count":1,"peers":[` + good + `],"next":"a.1"}`))
	f.Add([]byte(`{"peers":[{},[],null],"peers":[1]}`))
	f.Add([]byte(`{"next":"x"`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		c := client(t, "http://h", Config{})
		r := &round{t: c, left: 1 << 16, found: func(s *announce.Signed) {
			if s.Status(time.Now()) != announce.OK {
				t.Errorf("%s was passed on", s.Envelope())
			}
		}}
		if err := r.read(strings.NewReader(string(answer))); err == nil && r.good > r.shown {
			t.Errorf("%d good of %d", r.good, r.shown)
		}
	})
}

var _ interface {
	discover.Source
	discover.Board
} = (*Tracker)(nil)

package tracker

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"lobstah/grid"
	"lobstah/grid/announce"
)

// town lists four peers that differ.
func town(t *testing.T) (*Tracker, *clock) {
	t.Helper()
	tracker, c := start(t, nil)
	for n, o := range []announce.Offer{
		{Label: "Mac Studio", Models: []string{"llama3.1:8b", "qwen2.5:7b"}, ModelFacts: facts("qwen2.5:7b", "completion", "tools"), Tier: grid.Interactive},
		{Label: "Büro", Models: []string{"llama3.1:8b"}, ModelFacts: facts("llama3.1:8b", "completion", "tools", "vision")},
		{Label: "mac mini", Models: []string{"nomic-embed"}, ModelFacts: facts("nomic-embed", "embedding"), Tier: grid.Batch},
		{Label: "empty", Models: []string{}},
	} {
		o.ID, o.URL, o.TTL, o.AnnouncedAt = pair(byte(n+1)).ID(), fmt.Sprintf("http://host%d.example:17474", n+1), time.Hour, c.now()
		mustAnnounce(t, tracker, byte(n+1), o)
	}
	return tracker, c
}

func TestQueries(t *testing.T) {
	tracker, _ := town(t)
	for _, test := range []struct{ query, want string }{
		{"", "Mac Studio, Büro, mac mini, empty"},
		{"model=llama3.1:8b", "Mac Studio, Büro"},
		{"model=llama3.1", ""},
		{"model=unheard-of", ""},
		{"capability=tools", "Mac Studio, Büro"},
		{"capability=tool", ""},
		{"model=llama3.1:8b&capability=tools", "Büro"},
		{"q=mac", "Mac Studio, mac mini"},
		{"q=" + url.QueryEscape("@mac model:LLAMA"), "Mac Studio"},
		{"q=" + url.QueryEscape("@llama"), ""},
		{"q=model:mac", ""},
		{"q=büro", "Büro"},
		{"q=host3", "mac mini"},
		{"q=interactive", "Mac Studio"},
		{"q=" + pair(2).ID().String()[:16], "Büro"},
		{"q=embed+batch", "mac mini"},
		{"q=%40+model%3A", "Mac Studio, Büro, mac mini, empty"},
	} {
		if got := labels(t, tracker, "/peers?"+test.query); got != test.want {
			t.Errorf("%q: %s; want %s", test.query, got, test.want)
		}
	}
}

func TestBadQueries(t *testing.T) {
	tracker, _ := town(t)
	for _, test := range []struct {
		query  string
		status int
		part   string
	}{
		{"limit=0", 400, "from 1 to 1000"},
		{"limit=1001", 400, "from 1 to 1000"},
		{"limit=many", 400, "from 1 to 1000"},
		{"q=" + strings.Repeat("x", 201), 400, "200 bytes"},
		{"q=1+2+3+4+5+6+7+8+9", 400, "8 words"},
		{"model=" + strings.Repeat("x", 500), 400, "at most"},
		{"after=other.1", 410, "begin again"},
		{"after=1", 410, "begin again"},
	} {
		wantStatus(t, test.query, do(t, tracker, "GET", "/peers?"+test.query, nil), test.status, test.part)
	}
}

func TestPaging(t *testing.T) {
	tracker, c := start(t, nil)
	const peers = 2500 // more than a stride
	for n := range peers {
		o := crowdOffer(t, n, c.now())
		if got := serve(tracker, crowdRequest(n, "/announce", o.Envelope())); got != 200 {
			t.Fatalf("announcement %d: %d", n, got)
		}
	}
	for _, test := range []struct {
		query       string
		pages, each int
		all         int
	}{
		{"limit=1000", 3, 1000, peers},
		{"model=llama3.1:8b", 25, 100, peers},
		{"model=model-7:7b&limit=4", 3, 4, 10},
		{"q=box&limit=999", 3, 999, peers},
	} {
		seen := map[string]bool{}
		pages := 0
		for after, more := "", true; more; pages++ {
			a := do(t, tracker, "GET", "/peers?"+test.query+"&after="+after, nil)
			var page struct {
				Peers []struct{ Announcement struct{ Pubkey string } }
				Next  string
			}
			if err := json.Unmarshal([]byte(a.body), &page); err != nil || len(page.Peers) > test.each {
				t.Fatalf("%s: a page of %d, %v", test.query, len(page.Peers), err)
			}
			for _, p := range page.Peers {
				seen[p.Announcement.Pubkey] = true
			}
			after, more = page.Next, page.Next != ""
			if link := a.header.Get("Link"); more != (link != "") || more && !(strings.Contains(link, "after="+after) && strings.HasSuffix(link, `>; rel="next"`)) {
				t.Errorf("%s: Link %q for next %q", test.query, link, page.Next)
			}
			if pages == 0 { // one leaves while the list is read
				post(t, tracker, "/unannounce", announce.Withdraw(crowdPair(0), c.now()).JSON())
			}
		}
		if pages != test.pages || len(seen) != test.all && len(seen) != test.all-1 {
			t.Errorf("%s: %d pages with %d peers; want %d with %d", test.query, pages, len(seen), test.pages, test.all)
		}
	}
	if a := do(t, tracker, "GET", "/peers", nil); strings.Count(a.body, `"announcement"`) != peers-1 || a.header.Get("Content-Length") != fmt.Sprint(len(a.body)) {
		t.Errorf("unasked for, it is paged: %d of %d, %s of %d bytes", strings.Count(a.body, `"announcement"`), peers-1, a.header.Get("Content-Length"), len(a.body))
	}
}

func TestETag(t *testing.T) {
	tracker, c := town(t)
	const target = "/peers?model=llama3.1:8b"
	first := do(t, tracker, "GET", target, nil)
	tag := first.header.Get("ETag")
	for _, sent := range []string{tag, "W/" + tag, `"x", ` + tag, "*"} {
		if a := do(t, tracker, "GET", target, nil, "If-None-Match", sent); a.status != 304 || a.body != "" || a.header.Get("ETag") != tag {
			t.Errorf("If-None-Match %s: %d %q", sent, a.status, a.body)
		}
	}
	c.pass(time.Second)
	o := offer(9, c.now(), "another")
	mustAnnounce(t, tracker, 9, o)
	if a := do(t, tracker, "GET", target, nil, "If-None-Match", tag); a.status != 304 {
		t.Errorf("somebody else came: %d", a.status)
	}
	mustAnnounce(t, tracker, 8, offer(8, c.now(), "llama3.1:8b"))
	if a := do(t, tracker, "GET", target, nil, "If-None-Match", tag); a.status != 200 || a.header.Get("ETag") == tag {
		t.Errorf("one more serves it: %d", a.status)
	}
}

// Pages from elsewhere may read the list, and do nothing else.
func TestCORS(t *testing.T) {
	tracker, c := town(t)
	if a := do(t, tracker, "GET", "/peers", nil, "Origin", "https://elsewhere.example"); a.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("GET /peers: %v", a.header)
	}
	a := do(t, tracker, "OPTIONS", "/peers", nil, "Origin", "https://elsewhere.example", "Access-Control-Request-Method", "GET")
	if a.status != 204 || a.header.Get("Access-Control-Allow-Methods") != "GET, HEAD" {
		t.Errorf("preflight: %d %v", a.status, a.header)
	}
	for _, a := range []answer{
		post(t, tracker, "/announce", signed(t, 9, offer(9, c.now())), "Origin", "https://elsewhere.example"),
		post(t, tracker, "/unannounce", announce.Withdraw(pair(9), c.now()).JSON(), "Origin", "https://elsewhere.example"),
		do(t, tracker, "OPTIONS", "/announce", nil),
		do(t, tracker, "GET", "/search", nil),
		do(t, tracker, "GET", "/", nil, "Accept", "text/html"),
	} {
		if origin := a.header.Get("Access-Control-Allow-Origin"); origin != "" {
			t.Errorf("%d %.40s: allowed for %s", a.status, a.body, origin)
		}
	}
}

func TestSearch(t *testing.T) {
	tracker, c := town(t)
	c.pass(2 * time.Hour)
	busy := offer(1, c.now(), "llama3.1:8b")
	busy.Concurrency, busy.Running, busy.QueueDepth = 4, 3, 3
	mustAnnounce(t, tracker, 1, busy)
	mustAnnounce(t, tracker, 2, offer(2, c.now(), "llama3.1:8b", "new"))
	var got searchAnswer
	if err := json.Unmarshal([]byte(do(t, tracker, "GET", "/search?q=llama", nil).body), &got); err != nil {
		t.Fatal(err)
	}
	if got.Live != 2 || got.Now != c.now().UnixMilli() || len(got.Peers) != 2 || len(got.Models) != 1 {
		t.Fatalf("answer %+v", got)
	}
	load := got.Peers[0].Load
	if len(load) != slots || load[slots-1] == nil || *load[slots-1] != 150 || load[slots-2] != nil {
		t.Errorf("load %v; want 150 %% now and a gap before", load)
	}
	if m := got.Models[0]; m.ID != "llama3.1:8b" || m.Peers != 2 || m.Day[slots-1] != 2 || m.Day[slots-5] != 2 || m.Day[slots-6] != 0 {
		t.Errorf("model %+v; want two peers now and two hours ago", m)
	}
	if got.Day[slots-5] != 4 || got.Day[slots-1] != 2 || got.Day[0] != 0 {
		t.Errorf("day %v; want four two hours ago and two now", got.Day)
	}
	// Two days later nothing of it is left.
	c.pass(48 * time.Hour)
	if err := json.Unmarshal([]byte(do(t, tracker, "GET", "/search", nil).body), &got); err != nil {
		t.Fatal(err)
	}
	if got.Live != 0 || len(got.Models) != 0 || fmt.Sprint(got.Day) != fmt.Sprint(make([]uint32, slots)) {
		t.Errorf("two days later: %+v", got)
	}
}

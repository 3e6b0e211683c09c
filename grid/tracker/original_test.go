package tracker

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"lobstah/grid"
	"lobstah/grid/announce"
	"lobstah/grid/channel"
	"lobstah/key"
)

type recording struct {
	Exchanges                                map[string]struct{ Request, Response string }
	Announced, Unannounced, UnannouncedAgain string
	URLs                                     []struct {
		URL string
		OK  bool
	}
}

func recorded(t *testing.T) recording {
	t.Helper()
	data, err := os.ReadFile("testdata/original.json")
	if err != nil {
		t.Fatal(err)
	}
	var r recording
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// replay sends a recorded request over a real connection.
func (r recording) replay(t *testing.T, server *httptest.Server, name string) (got, want *http.Response, gotBody, wantBody string) {
	t.Helper()
	parse := func(text string) (*http.Response, string) {
		method, _, _ := strings.Cut(r.Exchanges[name].Request, " ")
		response, err := http.ReadResponse(bufio.NewReader(strings.NewReader(text)), &http.Request{Method: method})
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response, string(body)
	}
	conn, err := server.Listener.Addr(), error(nil)
	request, err := http.ReadRequest(bufio.NewReader(strings.NewReader(r.Exchanges[name].Request)))
	if err != nil {
		t.Fatal(err)
	}
	request.URL.Scheme, request.URL.Host, request.RequestURI = "http", conn.String(), ""
	got, err = http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	body, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	want, wantBody = parse(r.Exchanges[name].Response)
	return got, want, string(body), wantBody
}

// The recorded conversation, in its order: what the original answered is what
// ours answers, with the clock of the recording.
func TestOriginalsTraffic(t *testing.T) {
	r := recorded(t)
	announcement := r.Exchanges["tracker_announce_again"].Request
	_, announcement, _ = strings.Cut(announcement, "\r\n\r\n")
	tracker, c := start(t, func(c *Config) {
		c.Allow = func(p grid.Peer) error { return channel.CheckURL(p, false) }
	})
	c.t = time.UnixMilli(1795317778498)
	server := httptest.NewServer(tracker)
	defer server.Close()
	same := func(name string) {
		t.Helper()
		got, want, gotBody, wantBody := r.replay(t, server, name)
		if got.StatusCode != want.StatusCode || !strings.EqualFold(got.Header.Get("Content-Type"), want.Header.Get("Content-Type")) {
			t.Errorf("%s: %d %s; want %d %s", name, got.StatusCode, got.Header.Get("Content-Type"), want.StatusCode, want.Header.Get("Content-Type"))
		}
		if !sameText(gotBody, wantBody) {
			t.Errorf("%s:\n got %s\nwant %s", name, gotBody, wantBody)
		}
	}
	said := func(a answer, want string) {
		t.Helper()
		if got := fmt.Sprintf("%d %s", a.status, a.body); got != want {
			t.Errorf("got %s; want %s", got, want)
		}
	}
	for _, name := range []string{
		"tracker_root_empty", "tracker_peers_empty", "tracker_announce_badjson", "tracker_announce_empty_object", "tracker_announce_null",
	} {
		same(name)
	}
	said(post(t, tracker, "/announce", []byte(announcement)), r.Announced)
	for _, name := range []string{
		"tracker_peers_one", "tracker_root_one", "tracker_announce_again", "tracker_announce_tampered",
	} {
		same(name)
	}
	c.t = time.UnixMilli(1795317788349)
	same("tracker_unannounce_stale")
	same("tracker_unannounce_badsig")
	var seed [32]byte
	for i := range seed {
		seed[i] = 0x11
	}
	withdrawal := announce.Withdraw(key.FromSeed(seed), c.now()).JSON()
	said(post(t, tracker, "/unannounce", withdrawal), r.Unannounced)
	said(post(t, tracker, "/unannounce", withdrawal), r.UnannouncedAgain)
	same("tracker_404")
	same("tracker_head_peers")

	// The original fails with 500 here; ours says why.
	said(post(t, tracker, "/unannounce", []byte("null")), `400 {"error":{"type":"rejected","reason":"bad-signature"}}`)
}

// sameText compares bodies; JSON by its content, since ours lists envelopes in
// their canonical form.
func sameText(a, b string) bool {
	var x, y any
	if json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil {
		return reflect.DeepEqual(x, y)
	}
	return a == b
}

// Whatever the original's check refuses in a URL, a tracker with ours refuses;
// it refuses more on purpose.
func TestOriginalsURLs(t *testing.T) {
	stricter := map[string]bool{
		"http://[::127.0.0.1]/": true, "http://[64:ff9b::7f00:1]/": true, "http://[fec0::1]/": true, "http://224.0.0.1/": true,
		"http://255.255.255.255/": true, "http://user:pw@192.0.2.1/": true,
	}
	for _, v := range recorded(t).URLs {
		s, c := start(t, func(c *Config) { c.Allow = func(p grid.Peer) error { return channel.CheckURL(p, false) } })
		statement := fmt.Sprintf(`{"announcedAt":%d,"pubkey":%q,"ttlSeconds":300,"url":%q,"version":1}`, c.now().UnixMilli(), pair(1).ID(), v.URL)
		envelope := fmt.Sprintf(`{"announcement":%s,"signature":"%x"}`, statement, pair(1).Sign([]byte(statement)))
		a := post(t, s, "/announce", []byte(envelope))
		want := v.OK && !stricter[v.URL]
		if (a.status == 200) != want {
			t.Errorf("%s: %d %s; the original says %v", v.URL, a.status, a.body, v.OK)
		}
	}
}

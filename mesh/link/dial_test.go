package link

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"lobstah/key"
)

// What is told of a dial in vain is the cause, once, without what the libraries say
// around it.
func TestDialTellsTheCause(t *testing.T) {
	t.Parallel()
	stranger := httptest.NewServer(http.NotFoundHandler())
	defer stranger.Close()
	elsewhere := httptest.NewServer(http.RedirectHandler("https://example.com/mesh", http.StatusFound))
	defer elsewhere.Close()
	near, _ := connected(t) // nobody listens where a connection comes from, nor can while it lasts
	at := func(server *httptest.Server) string { return "ws" + strings.TrimPrefix(server.URL, "http") }
	for name, test := range map[string]struct{ url, want string }{
		"another program": {at(stranger), "the server answered 404 Not Found, and not as a node of a mesh"},
		"a redirect":      {at(elsewhere), "the server redirects, which a node does not do"},
		"nobody listens":  {"ws://" + near.LocalAddr().String(), "dial tcp " + near.LocalAddr().String() + ": "},
	} {
		d := Dialer{Identity: testIdentity(t, 2, strongText), DialContext: new(net.Dialer).DialContext}
		_, err := d.Dial(t.Context(), test.url, testIdentity(t, 1, strongText).Pair.ID())
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "failed to") || strings.Contains(err.Error(), "Get ") {
			t.Errorf("%s: %v; want %q and nothing of the libraries", name, err, test.want)
		}
	}
}

// A link whose other side is gone without a word says so in words of its own.
func TestLinkThatBreaksTellsTheCause(t *testing.T) {
	t.Parallel()
	server := listen(t, testIdentity(t, 1, strongText), false, 0)
	dialer := &Dialer{Identity: testIdentity(t, 2, strongText)}
	l, err := dialer.Dial(t.Context(), server.url(), key.ID{})
	if err != nil {
		t.Fatal(err)
	}
	ended := run(t, l)
	far := <-server.links
	far.socket.Close()
	if err := <-ended; !strings.HasPrefix(err.Error(), "link lost: ") || strings.Contains(err.Error(), "failed to") {
		t.Errorf("the reason is %q; want the cause and nothing of the libraries", err)
	}
}

package native

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"

	"lobstah/mesh/tool"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		addr    string
		public  bool // may be fetched from
		private bool // may be with allowPrivate
	}{
		{"93.184.215.14", true, true}, {"2606:2800:21f:cb07:6820:80da:af6b:8b2c", true, true}, {"1.1.1.1", true, true},
		{"127.0.0.1", false, false}, {"127.255.0.9", false, false}, {"::1", false, false}, {"0.0.0.0", false, false}, {"::", false, false},
		{"169.254.169.254", false, false}, {"fe80::1", false, false}, {"fe80::1%eth0", false, false}, {"fd00:ec2::254", false, false},
		{"100.100.100.200", false, false}, {"168.63.129.16", false, false}, {"224.0.0.1", false, false}, {"ff02::1", false, false}, {"255.255.255.255", false, false},
		{"10.0.0.1", false, true}, {"172.31.0.1", false, true}, {"192.168.1.1", false, true}, {"100.64.0.1", false, true}, {"fd12::1", false, true},
		// The same in other clothes.
		{"::ffff:127.0.0.1", false, false}, {"::127.0.0.1", false, false}, {"64:ff9b::127.0.0.1", false, false}, {"64:ff9b::a9fe:a9fe", false, false},
		{"2002:7f00:1::", false, false}, {"2002:a9fe:a9fe::1", false, false}, {"2002:a00:1::", false, true}, {"2001:0:7f00:1::", false, false},
		{"2001:0:101:101::80ff:fffe", false, false}, {"2606::5efe:7f00:1", false, false}, {"::ffff:0:127.0.0.1", false, false}, {"64:ff9b::1.1.1.1", true, true},
	} {
		addr := netip.MustParseAddr(c.addr)
		if err := judge(addr, false); (err == nil) != c.public {
			t.Errorf("%s: %v", c.addr, err)
		}
		if err := judge(addr, true); (err == nil) != c.private {
			t.Errorf("%s, private ones allowed: %v", c.addr, err)
		}
	}
}

// What a machine says to an address of its own passes no firewall, whatever kind of
// address it is.
func TestAddressesOfThisMachine(t *testing.T) {
	t.Parallel()
	own, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	still := func(ip net.IP) bool { // networks of other programs come and go
		now, err := net.InterfaceAddrs()
		return err != nil || slices.ContainsFunc(now, func(a net.Addr) bool { return a.(*net.IPNet).IP.Equal(ip) })
	}
	dial := control(true)
	for _, a := range own {
		ip := a.(*net.IPNet).IP
		if err := dial("tcp", net.JoinHostPort(ip.String(), "80"), nil); codeOf(err) != tool.CodePath && still(ip) {
			t.Errorf("%s of this machine: %v; want %s", ip, err, tool.CodePath)
		}
		if addr, _ := netip.AddrFromSlice(ip); codeOf(notOwn(addr)) != tool.CodePath && still(ip) {
			t.Errorf("%s is taken for another machine", ip)
		}
	}
	if err := dial("tcp", "9.9.9.9:80", nil); err != nil {
		t.Errorf("an address of another machine: %v", err)
	}
}

func FuzzJudge(f *testing.F) {
	f.Add([]byte{127, 0, 0, 1})
	f.Add([]byte("\x20\x02\x7f\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		addr, ok := netip.AddrFromSlice(b)
		if !ok {
			return
		}
		if judge(addr, true) == nil && (addr.IsLoopback() || addr.IsLinkLocalUnicast() || addr.IsMulticast() || addr.IsUnspecified()) {
			t.Errorf("%s may be fetched from", addr)
		}
		if judge(addr, false) == nil && addr.IsPrivate() {
			t.Errorf("%s may be fetched from without leave", addr)
		}
	})
}

// The address that is dialled is judged, so neither a name nor a redirect leads to
// this machine.
func TestNoPageOfThisMachine(t *testing.T) {
	t.Parallel()
	served := false
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served = true }))
	defer server.Close()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	tools := New(Config{Web: tool.Web{AllowPrivate: true}})
	for _, address := range []string{server.URL, "http://localhost:" + port, "http://[::ffff:127.0.0.1]:" + port, "http://127.1:" + port, "http://0x7f000001:" + port, "http://2130706433:" + port, "http://0.0.0.0:" + port} {
		_, err := tools.Call(t.Context(), &tool.Call{Tool: tool.WebFetch, Args: args(t, object{"url": address})}, nil)
		if err == nil {
			t.Errorf("%s was fetched", address)
		}
	}
	for _, address := range []string{"file:///etc/passwd", "ftp://example.com/", "http://", "http://me:pw@example.com/", "x", "http://example.com/" + strings.Repeat("a", 5000)} {
		_, err := tools.Call(t.Context(), &tool.Call{Tool: tool.WebFetch, Args: args(t, object{"url": address})}, nil)
		if codeOf(err) != tool.CodeArguments {
			t.Errorf("%.40s: %v", address, err)
		}
	}
	if served {
		t.Error("a server of this machine was reached")
	}
}

// open fetches from this machine, which the real one never does; only the address
// is not judged, so that redirects and answers can be tried.
func open() *web {
	w := newWeb(tool.Web{})
	w.client.Transport.(*http.Transport).DialContext = new(net.Dialer).DialContext
	return w
}

func fetch(t *testing.T, w *web, address string, in webArgs) (*tool.Result, error) {
	t.Helper()
	in.URL = address
	u, err := in.check()
	if err != nil {
		t.Fatal(err)
	}
	return w.fetch(t.Context(), u, in)
}

func TestRedirectsAreJudgedAgain(t *testing.T) {
	t.Parallel()
	inner := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	defer inner.Close()
	outer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		to := map[string]string{"/file": "file:///etc/passwd", "/auth": "http://a:b@example.com/", "/loop": "/loop", "/inner": inner.URL}[r.URL.Path]
		http.Redirect(w, r, to, http.StatusFound)
	}))
	defer outer.Close()
	for path, code := range map[string]string{"/file": tool.CodeArguments, "/auth": tool.CodeArguments, "/loop": tool.CodeFailed} {
		if _, err := fetch(t, open(), outer.URL+path, webArgs{}); codeOf(err) != code {
			t.Errorf("%s: %v", path, err)
		}
	}
	// As the first address were elsewhere, and the one of the redirect here.
	w := newWeb(tool.Web{})
	judged := w.client.Transport.(*http.Transport).DialContext
	w.client.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == "example.com:80" {
			return new(net.Dialer).DialContext(ctx, network, outer.Listener.Addr().String())
		}
		return judged(ctx, network, address)
	}
	if _, err := fetch(t, w, "http://example.com/inner", webArgs{}); codeOf(err) != tool.CodePath {
		t.Errorf("a redirect to this machine: %v", err)
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/html":
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			fmt.Fprint(w, `<title>A  page</title><script>no</script><h1>Head</h1><p>Some <b>bold</b> text,<br>and <a href="/x">a link</a>.</p><ul><li>one</li><li>two</li></ul><pre>a
  b</pre><style>no</style><noscript>no</noscript>`)
		case "/json":
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"a":1}`)
		case "/latin":
			w.Header().Set("Content-Type", "text/plain; charset=ISO-8859-1")
			fmt.Fprint(w, "caf\xe9")
		case "/silent":
			w.Header()["Content-Type"] = nil
			fmt.Fprint(w, "<html><p>hi")
		case "/binary":
			w.Header().Set("Content-Type", "application/zip")
		case "/huge":
			w.Header().Set("Content-Type", "text/plain")
			for range maxPage/1024 + 100 {
				fmt.Fprint(w, strings.Repeat("é", 512))
			}
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	for _, c := range []struct{ path, mode, want string }{
		{"/html", "markdown", "# Head\n\nSome bold text,\nand [a link](" + server.URL + "/x).\n\n- one\n- two\n\n```\na\n  b\n```"},
		{"/html", "text", "Head\n\nSome bold text,\nand a link.\n\none\ntwo\n\na\n  b"},
		{"/json", "", `{"a":1}`}, {"/latin", "", "café"}, {"/silent", "", "hi"},
	} {
		if r, err := fetch(t, open(), server.URL+c.path, webArgs{ExtractMode: c.mode}); err != nil || r.String() != c.want {
			t.Errorf("%s: %v\n%q, want\n%q", c.path, err, r.String(), c.want)
		}
	}
	if _, err := fetch(t, open(), server.URL+"/binary", webArgs{}); err == nil || !strings.Contains(err.Error(), "no text") {
		t.Error(err)
	}
	if r, err := fetch(t, open(), server.URL+"/huge", webArgs{MaxChars: 10}); err != nil || !strings.HasPrefix(r.String(), "éééééééééé\n[...") {
		t.Errorf("%v", err)
	}
	if r, err := fetch(t, open(), server.URL+"/missing", webArgs{}); err != nil || !r.IsError {
		t.Errorf("%+v, %v", r, err)
	}
}

func FuzzExtract(f *testing.F) {
	f.Add("<h1>a</h1><a href=x>b</a><pre>c")
	f.Add("</pre></a><li><td><title>")
	base, err := url.Parse("http://example.com/")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, page string) {
		for _, markdown := range []bool{true, false} {
			title, text := extract("<script>"+hidden+"</script>"+page, base, markdown)
			if strings.Contains(title+text, hidden) {
				t.Errorf("%q shows its script", page)
			}
			if len(title)+len(text) > 40*(len(page)+1) {
				t.Errorf("%d bytes became %d", len(page), len(text))
			}
		}
	})
}

const hidden = "what no reader sees"

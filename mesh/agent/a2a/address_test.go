package a2a

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"lobstah/mesh/agent"
)

func TestWhereAgentsMaySendANode(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		card, endpoint string
		ok             bool
	}{
		{"https://agent.example/card.json", "https://agent.example/rpc", true},
		{"https://agent.example/card.json", "https://api.example/rpc", true},
		{"http://192.0.2.7:9000/card.json", "http://192.0.2.7:9001/rpc", true},
		{"http://agent.example/card.json", "https://agent.example/rpc", true},
		{"http://127.0.0.1:9000/card.json", "http://localhost:9000/", true},
		{"https://agent.example/card.json", "http://agent.example/rpc", false}, // the token would be readable
		{"https://agent.example/card.json", "http://169.254.169.254/latest", false},
		{"https://agent.example/card.json", "http://127.0.0.1:18789/", false},
		{"http://192.0.2.7:9000/card.json", "http://localhost:9000/", false},
		{"http://192.0.2.7:9000/card.json", "https://10.0.0.1/", false},
		{"https://agent.example/card.json", "file:///etc/passwd", false},
		{"https://agent.example/card.json", "https://me:secret@agent.example/", false},
		{"https://agent.example/card.json", "/rpc", false},
		{"https://agent.example/card.json", "http://[::1", false},
	} {
		if _, err := endpointOf(test.card, test.endpoint); (err == nil) != test.ok {
			t.Errorf("from %s to %s: %v; want allowed %t", test.card, test.endpoint, err, test.ok)
		}
	}
}

// Neither a card nor a redirect leads a node to where its owner did not send it.
func TestAnAgentCannotSendTheNodeElsewhere(t *testing.T) {
	t.Parallel()
	inner := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("%s %s came to a service that nobody meant", r.Method, r.URL)
	}))
	defer inner.Close()
	for name, serve := range map[string]func(http.ResponseWriter, *http.Request){
		"by its card": func(w http.ResponseWriter, _ *http.Request) {
			writeJSON(w, card{Interfaces: []endpoint{{inner.URL, "JSONRPC", "1.0"}}})
		},
		"by a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, inner.URL, http.StatusTemporaryRedirect)
		},
	} {
		outer := httptest.NewTLSServer(http.HandlerFunc(serve))
		defer outer.Close()
		client := outer.Client()
		client.CheckRedirect = direct.CheckRedirect
		// The certificate of tests is for this name too, which is not loopback.
		client.Transport = named{client.Transport, outer.Listener.Addr().String()}
		_, err := Agent{URL: "https://example.com", Client: client}.Run(t.Context(), agent.Work{Say: func(string) {}})
		if err == nil || !strings.Contains(err.Error(), "is not followed") {
			t.Errorf("%s: %v; want a refusal", name, err)
		}
	}
}

// named sends what is for example.com to a server of the test.
type named struct {
	http.RoundTripper
	at string
}

func (n named) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host == "example.com" {
		r = r.Clone(r.Context())
		r.URL.Host, r.Host = n.at, "example.com"
	}
	return n.RoundTripper.RoundTrip(r)
}

package tool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"lobstah/key"
)

// directory is nodes in a list.
type directory struct {
	nodes []Node
	tags  map[string][]Node
}

func (d directory) Find(name string) (Node, error) {
	for _, n := range d.nodes {
		if n.Name == name || n.Key.String() == name {
			return n, nil
		}
	}
	return Node{}, errors.New("this mesh has no such node")
}

func (d directory) Tagged(tag string) []Node { return d.tags[tag] }

func TestResolve(t *testing.T) {
	t.Parallel()
	near := Node{Key: key.ID{1}, Name: "near", Verified: true, RTT: time.Millisecond, Tools: []string{"exec", "read"}}
	far := Node{Key: key.ID{2}, Name: "far", Verified: true, RTT: time.Second, Tools: []string{"web*"}}
	silent := Node{Key: key.ID{3}, Name: "silent", Verified: true, RTT: time.Minute}
	rogue := Node{Key: key.ID{4}, Name: "rogue", RTT: time.Nanosecond}
	d := directory{nodes: []Node{near, far}, tags: map[string][]Node{"gpu": {rogue, far, near, silent}, "new": {rogue}, "odd": {far}}}
	for _, c := range []struct{ target, tool, want, why string }{
		{"near", "exec", "near", ""}, {near.Key.String(), "exec", "near", ""}, {"nobody", "exec", "", "no such node"},
		{"tags:gpu", "exec", "near", ""},                               // the nearest of those that are verified
		{"tags:gpu", "web_fetch", "far", ""},                           // that offer the tool
		{"tags:gpu", "browser", "silent", ""},                          // or do not say what they offer
		{"tags:new", "exec", "", "rogue bears it and is not verified"}, // never an unverified one
		{"tags:odd", "exec", "", "says that it offers exec"}, {"tags:none", "exec", "", "no node with the tag"},
	} {
		n, err := Resolve(d, c.target, c.tool)
		if n.Name != c.want || c.why != "" && (codeOf(err) != CodeNode || !strings.Contains(err.Error(), c.why)) {
			t.Errorf("%s for %s: %s, %v; want %s", c.target, c.tool, n.Name, err, c.want)
		}
	}
}

func TestLocalAPI(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	there := Node{Key: key.ID{7}, Name: "away-01", Verified: true}
	l := NewLocal(w.Server, directory{nodes: []Node{{Key: self.Key, Name: self.Node, Verified: true}, there}}, &Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.URL.Host != there.Key.String() {
			t.Errorf("asked %s", r.URL)
		}
		rec := httptest.NewRecorder()
		writeError(rec, refuse(CodeDenied, "", "not you"))
		return rec.Result(), nil
	})})
	for _, c := range []struct {
		path   string
		status int
		want   string
	}{
		{"/v1/nodes/office-01/tools/invoke", 200, `"node":"office-01"`}, {"/v1/nodes/" + self.Key.String() + "/tools/invoke", 200, `"node":"office-01"`},
		{"/v1/nodes/away-01/tools/invoke", 403, "not you"}, {"/v1/nodes/tags:none/tools/invoke", 404, "no node with the tag"}, {"/v1/nodes/x/tools/invoke", 404, "unknown_node"},
	} {
		rec := httptest.NewRecorder()
		l.ServeHTTP(rec, httptest.NewRequest("POST", c.path, strings.NewReader(`{"tool":"echo"}`)))
		if rec.Code != c.status || !strings.Contains(rec.Body.String(), c.want) {
			t.Errorf("%s: %d %s; want %d with %s", c.path, rec.Code, rec.Body, c.status, c.want)
		}
	}
}

// A way that breaks in the middle of a call is told to the program that made it, as
// the last event of the stream or as the answer.
func TestLocalTellsOfABrokenWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	there := Node{Key: key.ID{7}, Name: "away-01", Verified: true}
	begun := fmt.Sprintf("{\"type\":\"started\",\"executor\":{\"node\":\"away-01\",\"key\":%q}}\n{\"type\":\"output\",\"stream\":\"stdout\",\"text\":\"one\"}\n", there.Key)
	l := NewLocal(w.Server, directory{nodes: []Node{there}}, &Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Status: "200 OK", Body: io.NopCloser(io.MultiReader(strings.NewReader(begun), iotest.ErrReader(context.Canceled)))}, nil
	})})
	for _, body := range []string{`{"tool":"exec","stream":true}`, `{"tool":"exec"}`} {
		rec := httptest.NewRecorder()
		l.ServeHTTP(rec, httptest.NewRequest("POST", "/v1/nodes/away-01/tools/invoke", strings.NewReader(body)))
		got := rec.Body.String()
		if strings.Contains(body, "stream") {
			var last *Event
			err := ReadEvents(strings.NewReader(got), func(e *Event) error { last = e; return nil })
			if err != nil || last.Error == nil || last.Error.Code != CodeOutcome || !strings.Contains(last.Error.Message, "the way to away-01 broke") {
				t.Errorf("%s: %v, %s; want a last event that says that the outcome is not known", body, err, got)
			}
		} else if rec.Code != statusOf(CodeOutcome) || !strings.Contains(got, CodeOutcome) {
			t.Errorf("%s: %d %s; want %s", body, rec.Code, got, CodeOutcome)
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestRequireToken(t *testing.T) {
	t.Parallel()
	h := RequireToken("secret", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	for _, c := range []struct {
		auth, host, origin string
		want               int
	}{
		{"Bearer secret", "127.0.0.1:19002", "", 204}, {"Bearer secret", "localhost:19002", "", 204}, {"Bearer secret", "[::1]:19002", "", 204},
		{"", "127.0.0.1:19002", "", 401}, {"Bearer secre", "127.0.0.1:19002", "", 401}, {"secret", "127.0.0.1:19002", "", 401},
		{"Bearer secret", "evil.example", "", 403}, {"Bearer secret", "127.0.0.1.evil.example:19002", "", 403}, {"Bearer secret", "127.0.0.1:19002", "https://evil.example", 403},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Host = c.host
		for name, value := range map[string]string{"Authorization": c.auth, "Origin": c.origin} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		rec := httptest.NewRecorder()
		if h.ServeHTTP(rec, r); rec.Code != c.want {
			t.Errorf("%+v: %d %s", c, rec.Code, rec.Body)
		}
	}
	rec := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer ")
	if RequireToken("", h).ServeHTTP(rec, r); rec.Code != 401 {
		t.Errorf("an empty token lets in: %d", rec.Code)
	}
}

// The document has every member that the types have, and no other.
func TestOpenAPIFitsTheTypes(t *testing.T) {
	t.Parallel()
	var doc struct {
		Paths      map[string]any
		Components struct {
			Schemas map[string]struct{ Properties map[string]any }
		}
	}
	if err := json.Unmarshal(openAPI, &doc); err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]any{
		"Executor": &Executor{}, "Info": &Info{}, "Listing": &Listing{}, "Request": &Request{}, "Part": &Part{}, "Result": &Result{},
		"Response": &Response{}, "Event": &Event{}, "Error": &errorBody{},
	} {
		want := members(v)
		slices.Sort(want)
		if got := slices.Sorted(maps.Keys(doc.Components.Schemas[name].Properties)); !slices.Equal(got, want) {
			t.Errorf("%s: the document has %v, the type %v", name, got, want)
		}
	}
	if len(doc.Paths) != 2 {
		t.Errorf("%d paths", len(doc.Paths))
	}
}

package worker

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"

	"lobstah/grid"
	"lobstah/grid/engine"
	"lobstah/key"
	"lobstah/openai"
	"lobstah/receipt"
)

// An exchange is one recorded request and the original's answer.
type exchange struct{ Request, Response string }

func recorded(t *testing.T) map[string]exchange {
	t.Helper()
	data, err := os.ReadFile("testdata/original.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Exchanges map[string]exchange }
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	return file.Exchanges
}

// fakeOllama answers as the engine behind the recorded worker did.
func fakeOllama(t *testing.T, all map[string]exchange) *fakeEngine {
	_, whole := parseResponse(t, all["worker_chat"].Response)
	_, broken := parseResponse(t, all["worker_stream_broken"].Response)
	_, stream := parseResponse(t, all["worker_chat_stream"].Response)
	before, _, _ := strings.Cut(stream, receipt.CommentPrefix)
	e := &fakeEngine{models: []grid.Model{{ID: "llama3.1:8b"}, {ID: "qwen2.5:7b"}}}
	e.do = func(_ context.Context, call engine.Call) (*engine.Answer, error) {
		switch body := string(call.Body); {
		case strings.Contains(body, "FAIL"):
			return nil, openai.ParseError(500, []byte(`{"error":{"message":"fake failure"}}`))
		case strings.Contains(body, "BREAK"):
			return answer("text/event-stream", strings.NewReader(broken)), nil
		case strings.Contains(body, `"stream":true`):
			return answer("text/event-stream", strings.NewReader(before+"data: [DONE]\n\n")), nil
		}
		return answer("application/json", strings.NewReader(whole)), nil
	}
	return e
}

func parseResponse(t *testing.T, raw string) (*http.Response, string) {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(raw)), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// replay sends a recorded request's bytes.
func replay(t *testing.T, url, request string) (*http.Response, string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return parseResponse(t, string(raw))
}

// TestOriginalsRequests replays what the original's programs sent to its
// worker. Its router's address is allowed as legacy, as its owner would do.
func TestOriginalsRequests(t *testing.T) {
	t.Parallel()
	all := recorded(t)
	router, err := key.ParseID("lob1a09aa5f47a6759802ff955f8dc2d2a14a5c99d23be97f864127ff9383455a4f0")
	if err != nil {
		t.Fatal(err)
	}
	type check func(t *testing.T, want, got *http.Response, wantBody, gotBody string)
	same := func(t *testing.T, want, got *http.Response, wantBody, gotBody string) {
		if got.StatusCode != want.StatusCode || gotBody != wantBody {
			t.Errorf("got %d %s; the original %d %s", got.StatusCode, gotBody, want.StatusCode, wantBody)
		}
		for _, name := range []string{"Content-Type", "Content-Length"} {
			if g, w := got.Header.Get(name), want.Header.Get(name); g != w {
				t.Errorf("%s: %q; the original %q", name, g, w)
			}
		}
		checkReceiptOf(t, want, got, router)
	}
	differs := func(status int, says string) check {
		return func(t *testing.T, _, got *http.Response, _, gotBody string) {
			if got.StatusCode != status || !strings.Contains(gotBody, says) {
				t.Errorf("got %d %s; want %d and %q", got.StatusCode, gotBody, status, says)
			}
		}
	}
	tests := map[string]check{
		"worker_root":           same,
		"worker_pubkey":         sameButOwnKey,
		"worker_capacity":       sameMembers,
		"worker_models":         sameMembers,
		"worker_chat":           same,
		"worker_chat_anonymous": same,
		"worker_chat_stream":    sameStream,
		// Ours are better on purpose: JSON errors, of OpenAI's shape.
		"worker_404":               differs(404, `"message"`),
		"worker_dashboard_404":     differs(404, `"message"`),
		"worker_chat_badjson":      differs(400, "not a JSON object"),
		"worker_chat_invalid":      differs(400, "model"),
		"worker_chat_options":      differs(405, "POST"),
		"worker_chat_engine_error": differs(502, `"type":"engine_error"`),
		// A model that nobody has is not asked for from the engine.
		"worker_chat_empty_messages": differs(404, "llama3.1:8b"),
		// Parts and whatever else the engine understands travel.
		"worker_chat_parts":          differs(200, "chat.completion"),
		"worker_stream_engine_error": differs(502, `"type":"engine_error"`),
		// It does not end as if it were whole.
		"worker_stream_broken": differs(200, "unfinished_stream"),
		"worker_chat_402":      credit402,
		// A text is no key; unsigned, it has no credit of its own. On
		// loopback it is served, as anonymous.
		"worker_chat_402_garbage_requester": differs(200, "chat.completion"),
	}
	for name, exchange := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check, ok := tests[name]
			if !ok {
				t.Fatal("no expectation")
			}
			l := &fakeLedger{}
			w := newTestWorker(fakeOllama(t, all), l, func(c *Config) {
				c.Tier = grid.Batch
				c.Admission = friends{legacy: map[netip.Addr]key.ID{netip.MustParseAddr("127.0.0.1"): router}}
				if name == "worker_chat_402" {
					c.Credit = 10
					l.owed = map[key.ID]int64{router: 10064}
				}
			})
			want, wantBody := parseResponse(t, exchange.Response)
			got, gotBody := replay(t, serve(t, w), exchange.Request)
			check(t, want, got, wantBody, gotBody)
		})
	}
}

// checkReceiptOf compares the receipts in the headers, where there are any.
func checkReceiptOf(t *testing.T, want, got *http.Response, router key.ID) {
	t.Helper()
	text := want.Header.Get(receipt.Header)
	if (text == "") != (got.Header.Get(receipt.Header) == "") {
		t.Fatalf("receipt %q; the original's %q", got.Header.Get(receipt.Header), text)
	}
	if text == "" {
		return
	}
	theirs, err := receipt.OpenText(text)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := receipt.OpenText(got.Header.Get(receipt.Header))
	if err != nil {
		t.Fatal(err)
	}
	if ours.Requester != theirs.Requester || ours.Model != theirs.Model || ours.InputTokens != theirs.InputTokens || ours.OutputTokens != theirs.OutputTokens {
		t.Errorf("receipt %+v; the original's %+v", ours.Receipt, theirs.Receipt)
	}
	if r := ours.Requester; r != receipt.Anonymous && r != router.String() {
		t.Errorf("requester %s", r)
	}
}

func sameButOwnKey(t *testing.T, want, got *http.Response, wantBody, gotBody string) {
	if got.StatusCode != 200 || gotBody != fmt.Sprintf(`{"pubkey":%q}`, workerPair.ID()) || len(gotBody) != len(wantBody) {
		t.Errorf("got %s; the original %s", gotBody, wantBody)
	}
}

// sameMembers wants every member of the original's body, apart from the
// worker's key in it; ours may have more.
func sameMembers(t *testing.T, want, got *http.Response, wantBody, gotBody string) {
	const theirs = "lob1d04ab232742bb4ab3a1368bd4615e4e6d0224ab71a016baf8520a332c9778737"
	wantBody = strings.ReplaceAll(wantBody, theirs, workerPair.ID().String())
	wantBody = strings.ReplaceAll(wantBody, theirs[:12], workerPair.ID().Short())
	var w, g any
	if err := json.Unmarshal([]byte(wantBody), &w); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(gotBody), &g); err != nil {
		t.Fatal(err)
	}
	if got.StatusCode != want.StatusCode || got.Header.Get("Content-Type") != want.Header.Get("Content-Type") || !contains(g, w) {
		t.Errorf("got %d %s; want at least %s", got.StatusCode, gotBody, wantBody)
	}
}

// contains reports whether all members of part are in whole.
func contains(whole, part any) bool {
	switch p := part.(type) {
	case map[string]any:
		w, ok := whole.(map[string]any)
		for name, value := range p {
			ok = ok && contains(w[name], value)
		}
		return ok
	case []any:
		w, ok := whole.([]any)
		ok = ok && len(w) == len(p)
		for i := 0; ok && i < len(p); i++ {
			ok = contains(w[i], p[i])
		}
		return ok
	}
	return reflect.DeepEqual(whole, part)
}

// sameStream wants the original's events, without the usage chunk that was not
// asked for, then the receipt, then [DONE].
func sameStream(t *testing.T, want, got *http.Response, wantBody, gotBody string) {
	for _, name := range []string{"Content-Type", "Cache-Control"} {
		if g, w := got.Header.Get(name), want.Header.Get(name); g != w {
			t.Errorf("%s: %q; the original %q", name, g, w)
		}
	}
	wantEvents, wantTail, _ := strings.Cut(wantBody, receipt.CommentPrefix)
	gotEvents, gotTail, _ := strings.Cut(gotBody, receipt.CommentPrefix)
	lines := strings.SplitAfter(wantEvents, "\n\n")
	if len(lines) != 5 || !strings.Contains(lines[3], `"usage"`) || gotEvents != strings.Join(lines[:3], "") {
		t.Errorf("got %s; the original %s", gotEvents, wantEvents)
	}
	_, wantTail, _ = strings.Cut(wantTail, "\n\n")
	text, gotTail, _ := strings.Cut(gotTail, "\n\n")
	if s, err := receipt.OpenText(text); err != nil || s.Total() != 9 {
		t.Errorf("receipt: %+v %v", s, err)
	}
	if gotTail != wantTail {
		t.Errorf("tail %q; the original %q", gotTail, wantTail)
	}
}

// credit402 wants the original's members in the refusal.
func credit402(t *testing.T, want, got *http.Response, wantBody, gotBody string) {
	var w, g any
	if err := json.Unmarshal([]byte(wantBody), &w); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(gotBody), &g); err != nil {
		t.Fatal(err)
	}
	if got.StatusCode != want.StatusCode || !contains(g, w) {
		t.Errorf("got %d %s; want at least %s", got.StatusCode, gotBody, wantBody)
	}
}

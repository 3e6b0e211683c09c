package router

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lobstah/grid"
	"lobstah/key"
	"lobstah/receipt"
)

// recording is one exchange with a program of the original.
type recording struct {
	method, path, body string
	status             int
	header             http.Header
	answer             string
}

func recordings(t *testing.T) map[string]recording {
	t.Helper()
	raw, err := os.ReadFile("testdata/recorded.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		HTTP map[string]struct{ Request, Response string }
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	list := map[string]recording{}
	for name, e := range file.HTTP {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(e.Request)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		body, _ := io.ReadAll(r.Body)
		a, err := http.ReadResponse(bufio.NewReader(strings.NewReader(e.Response)), r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		answer, err := io.ReadAll(a.Body)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		list[name] = recording{r.Method, r.URL.String(), string(body), a.StatusCode, a.Header, string(answer)}
	}
	return list
}

// replay answers as a recorded worker did.
func (rec recording) replay(w http.ResponseWriter, _ *http.Request, _ bool) {
	for name, values := range rec.header {
		if !slices.Contains([]string{"Date", "Connection", "Content-Length"}, name) {
			w.Header()[name] = values
		}
	}
	w.WriteHeader(rec.status)
	io.WriteString(w, rec.answer)
}

var (
	recordedWorker = key.FromSeed([32]byte(bytes.Repeat([]byte{0x11}, 32)))
	recordedRouter = key.FromSeed([32]byte(bytes.Repeat([]byte{0x22}, 32)))
)

// inRecordedWorld has the recorded router's key, the recorded worker as its one
// peer if it has any, and the time of the recordings.
func inRecordedWorld(t *testing.T, peers bool, test func(*testing.T, *world, *fakeWorker, map[string]recording)) {
	all := recordings(t)
	inWorld(t, 0, func(c *Config) {
		c.Identity = recordedRouter
		c.Now = func() time.Time { return time.UnixMilli(1795317830000) }
	}, func(t *testing.T, w *world) {
		var f *fakeWorker
		if peers {
			f = w.add(recordedWorker, grid.Peer{ID: recordedWorker.ID(), URL: "http://192.0.2.1:27474", Label: "mac-ü"})
			f.change(func() { f.said = all["worker_capacity"].answer })
			w.repoll()
		}
		test(t, w, f, all)
	})
}

func (w *world) play(rec recording) reply {
	return w.do(w.t.Context(), rec.method, rec.path, rec.body)
}

func TestRecordedPagesWithoutPeers(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"router_root", "router_pubkey", "router_peers_empty", "router_models_empty", "router_balance_empty", "router_ledger_empty",
	} {
		inRecordedWorld(t, false, func(t *testing.T, w *world, _ *fakeWorker, all map[string]recording) {
			rec := all[name]
			got := w.play(rec)
			if name == "router_balance_empty" {
				// Our own account is the ledger's to draw up.
				rec.answer = strings.Replace(rec.answer, `"self":{"pubkey":"`+recordedRouter.ID().String(), `"self":{"pubkey":"`, 1)
			}
			if got.status != rec.status || got.body != rec.answer || got.header.Get("Content-Type") != rec.header.Get("Content-Type") {
				t.Errorf("%s: got %d %s %q, recorded %d %s %q", name, got.status, got.header.Get("Content-Type"), got.body,
					rec.status, rec.header.Get("Content-Type"), rec.answer)
			}
		})
	}
}

// Answers that carry more than the original's have all its members all the same.
func TestRecordedPagesWithAPeer(t *testing.T) {
	t.Parallel()
	inRecordedWorld(t, true, func(t *testing.T, w *world, _ *fakeWorker, all map[string]recording) {
		for _, name := range []string{"router_peers", "router_models"} {
			var got, want any
			if json.Unmarshal([]byte(w.play(all[name]).body), &got) != nil || json.Unmarshal([]byte(all[name].answer), &want) != nil || !includes(got, want) {
				t.Errorf("%s: %v lacks something of %v", name, got, want)
			}
		}
	})
}

// includes reports whether a has all that b has.
func includes(a, b any) bool {
	switch b := b.(type) {
	case map[string]any:
		a, ok := a.(map[string]any)
		for name := range b {
			ok = ok && includes(a[name], b[name])
		}
		return ok
	case []any:
		a, ok := a.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range b {
			ok = ok && includes(a[i], b[i])
		}
		return ok
	}
	return a == b
}

func TestRecordedAnswersPassAndTheirReceiptsAreKept(t *testing.T) {
	t.Parallel()
	inRecordedWorld(t, true, func(t *testing.T, w *world, f *fakeWorker, all map[string]recording) {
		rec := all["router_chat"]
		f.answers(rec.replay) // the router passed the worker's answer on as it was
		got := w.play(rec)
		if got.status != 200 || got.body != rec.answer || got.header.Get(receipt.Header) != rec.header.Get(receipt.Header) {
			t.Errorf("whole: got %d %q", got.status, got.body)
		}
		if name := f.header().Get(receipt.RequesterHeader); name != recordedRouter.ID().String() {
			t.Errorf("the worker was told %q", name)
		}
		f.answers(all["worker_chat_stream"].replay)
		rec = all["router_chat_stream"]
		got = w.play(rec)
		if got.status != 200 || got.body != rec.answer || got.header.Get("Content-Type") != rec.header.Get("Content-Type") {
			t.Errorf("stream: got %d %q, recorded %q", got.status, got.body, rec.answer)
		}
		synctest.Wait()
		if kept := w.ledger.kept(); len(kept) != 2 || kept[0].Bound() || kept[0].Total() != 9 {
			t.Errorf("%d receipts kept, want both\n%s", len(kept), w.log)
		}
	})
}

// Where the original answers otherwise: this is the list of differences.
func TestRecordedDifferences(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name           string
		peer           bool
		worker         string // how the worker answers
		recorded       int
		status         int
		kind, contains string
	}{
		{"router_chat_no_peers", false, "", 503, 503, "no_peers", "lobstah peers add"},
		{"router_chat_unknown_model", true, "", 503, 404, "invalid_request_error", `"code":"model_not_found"`},
		{"router_chat_invalid", true, "", 400, 400, "invalid_request_error", "model: want a string"},
		{"router_chat_badjson", true, "", 500, 400, "invalid_request_error", "not a JSON object"},
		{"router_chat_402", true, "worker_chat_402", 402, 503, "all_peers_refused", "requester has -10054 tokens"},
		{"router_chat_engine_error_1", true, "worker_chat_engine_error", 502, 502, "all_peers_failed", `"peer":"lob1d04ab232742b"`},
	} {
		inRecordedWorld(t, test.peer, func(t *testing.T, w *world, f *fakeWorker, all map[string]recording) {
			rec := all[test.name]
			if rec.status != test.recorded {
				t.Errorf("%s: recorded %d", test.name, rec.status)
			}
			if test.worker != "" {
				f.answers(all[test.worker].replay)
			}
			got := w.play(rec)
			message, kind := got.message()
			if got.status != test.status || kind != test.kind || message == "" || !strings.Contains(got.body, test.contains) {
				t.Errorf("%s: got %d %s", test.name, got.status, got.body)
			}
		})
	}
}

func TestRecordedExclusionAfterTwoFailures(t *testing.T) {
	t.Parallel()
	inRecordedWorld(t, true, func(t *testing.T, w *world, f *fakeWorker, all map[string]recording) {
		f.answers(all["worker_chat_engine_error"].replay)
		w.play(all["router_chat_engine_error_1"])
		w.play(all["router_chat_engine_error_2"])
		rec := all["router_chat_after_two_failures"]
		got := w.play(rec)
		var ours, theirs struct {
			Error struct{ Type, Model, Message string }
		}
		if json.Unmarshal([]byte(got.body), &ours) != nil || json.Unmarshal([]byte(rec.answer), &theirs) != nil ||
			got.status != rec.status || ours.Error.Type != theirs.Error.Type || ours.Error.Model != theirs.Error.Model ||
			!strings.HasPrefix(ours.Error.Message, theirs.Error.Message) {
			t.Errorf("got %d %s, recorded %d %s", got.status, got.body, rec.status, rec.answer)
		}
	})
}

// The original's client sees a clean end; ours is told.
func TestRecordedBrokenStreamEndsWithAnError(t *testing.T) {
	t.Parallel()
	inRecordedWorld(t, true, func(t *testing.T, w *world, f *fakeWorker, all map[string]recording) {
		f.answers(all["worker_stream_broken"].replay)
		rec := all["router_stream_broken"]
		got := w.play(rec)
		rest, ok := strings.CutPrefix(got.body, rec.answer)
		if !ok || !strings.HasPrefix(rest, `data: {"error":`) || strings.Contains(rest, "[DONE]") {
			t.Errorf("got %q, recorded %q", got.body, rec.answer)
		}
	})
}

func TestLedgerLimitReadsAsTheOriginal(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]int{
		"": 50, "?limit=2": 2, "?limit=abc": 50, "?limit=1.5": 1, "?limit=": 1, "?limit=0": 1, "?limit=-3": 1, "?limit=9999": 500, "?limit=NaN": 50,
	} {
		r, err := http.NewRequest(http.MethodGet, "/ledger"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := ledgerLimit(r); got != want {
			t.Errorf("%q: %d, want %d", query, got, want)
		}
	}
}

func TestOpenClawRequestsPassByteForByte(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/openclaw-*.json")
	if err != nil || len(files) != 5 {
		t.Fatalf("%d recordings: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) { openClawRequest(t, file) })
	}
}

func openClawRequest(t *testing.T, file string) {
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var turn struct {
		Headers [][2]string
		Body    json.RawMessage
	}
	if err := json.Unmarshal(raw, &turn); err != nil {
		t.Fatal(err)
	}
	var asked struct{ Model string }
	if err := json.Unmarshal(turn.Body, &asked); err != nil {
		t.Fatal(err)
	}
	inWorld(t, 1, func(c *Config) {}, func(t *testing.T, w *world) {
		var seen []byte
		w.workers[0].change(func() {
			w.workers[0].capacity.Models = []string{asked.Model}
			w.workers[0].answer = func(rw http.ResponseWriter, r *http.Request, body []byte) {
				seen = body
				text(goodStream, "")(rw, r, true)
			}
		})
		w.repoll()
		var headers []string
		for _, h := range turn.Headers {
			if !slices.Contains([]string{"host", "connection", "content-length", "accept-encoding"}, h[0]) {
				headers = append(headers, h[0], h[1])
			}
		}
		got := w.chat(string(turn.Body), headers...)
		if got.status != 200 || got.body != goodStream {
			t.Errorf("got %d %.300q", got.status, got.body)
		}
		if !bytes.Equal(seen, turn.Body) {
			t.Error("the worker saw other bytes")
		}
		h := w.workers[0].header()
		if h.Get("Authorization") != "" || h.Get("Traceparent") == "" || h.Get("X-Stainless-Lang") != "" {
			t.Errorf("the worker was sent %v", h)
		}
	})
}

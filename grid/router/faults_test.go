package router

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lobstah/grid"
	"lobstah/openai"
)

// What a client sees of a peer's fault.
const (
	other    = "another peer's answer" // the fault is invisible
	complete = "the peer's answer"     // as if nothing were wrong
	errEvent = "an error event"        // after what had come, and no [DONE]
	passedOn = "the peer's refusal"
)

func status(code int, body string, header ...string) func(http.ResponseWriter, *http.Request, bool) {
	return func(w http.ResponseWriter, _ *http.Request, _ bool) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		io.WriteString(w, body)
	}
}

// text answers with bytes as they are, once as a stream and once as a whole.
func text(stream, whole string) func(http.ResponseWriter, *http.Request, bool) {
	return func(w http.ResponseWriter, _ *http.Request, streams bool) {
		if streams {
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, stream)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, whole)
	}
}

// cut breaks the connection after some bytes.
func cut(stream, whole string) func(http.ResponseWriter, *http.Request, bool) {
	return func(w http.ResponseWriter, r *http.Request, streams bool) {
		text(stream, whole)(w, r, streams)
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

// stall falls silent after some bytes, until the router gives up.
func stall(stream string) func(http.ResponseWriter, *http.Request, bool) {
	return func(w http.ResponseWriter, r *http.Request, streams bool) {
		if streams && stream != "" {
			text(stream, "")(w, r, streams)
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done()
	}
}

var (
	longChunk  = strings.Replace(chunk1, "Grüße", strings.Repeat("x", 10<<20), 1)
	longAnswer = strings.Replace(wholeAnswer, "Grüße", strings.Repeat("x", 10<<20), 1)
	noUsage    = strings.Replace(wholeAnswer, `,"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}`, "", 1)
)

// The fault matrix: what goes wrong at the first peer, for streams and for
// whole answers, and what the client sees of it. A second peer is well.
var faults = []struct {
	name   string
	answer func(w http.ResponseWriter, r *http.Request, streams bool)
	dark   bool
	stream string
	whole  string
	gets   string // what the stream has in the end, if not the usual
}{
	{name: "refuses connections", dark: true, stream: other, whole: other},
	{name: "resets before an answer", answer: func(http.ResponseWriter, *http.Request, bool) { panic(http.ErrAbortHandler) }, stream: other, whole: other},
	{name: "500", answer: status(500, `{"error":{"message":"boom"}}`), stream: other, whole: other},
	{name: "502 web page", answer: status(502, "<html>bad gateway</html>", "Content-Type", "text/html"), stream: other, whole: other},
	{name: "503 without Retry-After", answer: status(503, `{"error":{"message":"down"}}`), stream: other, whole: other},
	{name: "503 with Retry-After", answer: status(503, `{"error":{"message":"draining"}}`, "Retry-After", "3"), stream: other, whole: other},
	{name: "401", answer: status(401, `{"error":{"message":"who?"}}`), stream: other, whole: other},
	{name: "402", answer: status(402, `{"error":{"message":"pay"}}`), stream: other, whole: other},
	{name: "403", answer: status(403, `{"error":{"message":"no"}}`), stream: other, whole: other},
	{name: "404", answer: status(404, `{"error":{"message":"no such model"}}`), stream: other, whole: other},
	{name: "408", answer: status(408, `{"error":{"message":"late"}}`), stream: other, whole: other},
	{name: "429", answer: status(429, `{"error":{"message":"full"}}`, "Retry-After", "7"), stream: other, whole: other},
	{name: "400", answer: status(400, `{"error":{"message":"bad temperature"}}`), stream: passedOn, whole: passedOn},
	{name: "413", answer: status(413, `{"error":{"message":"long"}}`), stream: passedOn, whole: passedOn},
	{name: "415", answer: status(415, `{"error":{"message":"kind"}}`), stream: passedOn, whole: passedOn},
	{name: "422", answer: status(422, `{"error":{"message":"schema"}}`), stream: passedOn, whole: passedOn},
	{name: "400 web page", answer: status(400, "<html>", "Content-Type", "text/html"), stream: other, whole: other},
	{name: "redirects", answer: status(307, "", "Location", "http://127.0.0.1:1/"), stream: other, whole: other},
	{name: "200 web page", answer: status(200, "<!doctype html><p>hello", "Content-Type", "text/html"), stream: other, whole: other},
	{name: "200 with an error body", answer: status(200, `{"error":{"message":"out of memory"}}`), stream: other, whole: other},
	{name: "200 and nothing", answer: text("", ""), stream: other, whole: other},
	{name: "error as the first event", answer: text(data(`{"error":{"message":"boom"}}`), `{"error":"boom"}`), stream: other, whole: other},
	{name: "compressed unasked", answer: func(w http.ResponseWriter, _ *http.Request, _ bool) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Type", "text/event-stream")
		z := gzip.NewWriter(w)
		io.WriteString(z, goodStream)
		z.Close()
	}, stream: other, whole: other},
	{name: "cut before data", answer: cut(": hello\n\n", wholeAnswer[:20]), stream: other, whole: other},
	{name: "cut in the first event", answer: cut("data: "+chunk1[:30], wholeAnswer[:20]), stream: other, whole: other},
	{name: "cut after data", answer: cut(data(chunk1), wholeAnswer[:20]), stream: errEvent, whole: other},
	{name: "clean end without a finish reason", answer: text(data(chunk1), `{"choices":[{"message":{"content":"x"}}]}`), stream: errEvent, whole: other},
	{name: "[DONE] without a finish reason", answer: text(data(chunk1, "[DONE]"), `{"choices":[{"message":{"content":"x"}}]}`), stream: errEvent, whole: other},
	{name: "malformed event", answer: text(data(chunk1, `{"choices":[`)+data(chunk2, "[DONE]"), `{"choices":[`), stream: errEvent, whole: other},
	{name: "error event after data", answer: text(data(chunk1, `{"error":{"message":"boom"}}`), wholeAnswer), stream: errEvent, whole: complete},
	{name: "silent from the start", answer: stall(""), stream: other, whole: other},
	{name: "silent after the head", answer: stall(": accepted\n\n"), stream: other, whole: other},
	{name: "silent after data", answer: stall(data(chunk1)), stream: errEvent, whole: other},
	{name: "whole answer to a stream", answer: status(200, wholeAnswer), stream: other, whole: complete},
	{name: "missing [DONE]", answer: text(data(chunk1, chunk2, chunk3), wholeAnswer), stream: complete, whole: complete},
	{name: "last event without its blank line", answer: text(strings.TrimSuffix(goodStream, "\n\n"), wholeAnswer), stream: complete, whole: complete},
	{name: "no usage", answer: text(data(chunk1, chunk2, "[DONE]"), noUsage), stream: complete, whole: complete, gets: data(chunk1, chunk2, "[DONE]")},
	{name: "two finish reasons", answer: text(data(chunk1, chunk2, chunk2, "[DONE]"), wholeAnswer), stream: complete, whole: complete, gets: data(chunk1, chunk2, chunk2, "[DONE]")},
	{name: "CRLF events", answer: text(strings.ReplaceAll(goodStream, "\n", "\r\n"), wholeAnswer), stream: complete, whole: complete, gets: strings.ReplaceAll(goodStream, "\n", "\r\n")},
	{name: "10 MiB chunk", answer: text(data(longChunk, chunk2, "[DONE]"), longAnswer), stream: complete, whole: complete, gets: data(longChunk, chunk2, "[DONE]")},
	{name: "events cut everywhere", answer: func(w http.ResponseWriter, r *http.Request, streams bool) {
		if !streams {
			io.WriteString(w, wholeAnswer)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		for _, b := range []byte(goodStream) {
			w.Write([]byte{b})
			w.(http.Flusher).Flush()
		}
	}, stream: complete, whole: complete},
}

func TestFaultMatrix(t *testing.T) {
	t.Parallel()
	for _, fault := range faults {
		for _, streams := range []bool{true, false} {
			body, want, way := askWhole, fault.whole, "whole"
			if streams {
				body, want, way = askStream, fault.stream, "stream"
			}
			t.Run(fault.name+"/"+way, func(t *testing.T) {
				t.Parallel()
				inWorld(t, 2, nil, func(t *testing.T, w *world) {
					first := w.prefer(0)
					first.setDark(fault.dark)
					first.way.CloseIdleConnections()
					if fault.answer != nil {
						first.answers(fault.answer)
					}
					got := w.chat(body)
					if fault.dark == (first.count() > 0) {
						t.Fatalf("the faulty peer was asked %d times", first.count())
					}
					checkFault(t, w, got, want, streams, fault.gets)
				})
			})
		}
	}
}

// prefer makes a worker the one that is asked first.
func (w *world) prefer(i int) *fakeWorker {
	f := w.workers[i]
	f.change(func() { f.capacity.Tier = grid.Interactive })
	w.repoll()
	return f
}

// repoll waits until all peers were polled again.
func (w *world) repoll() {
	time.Sleep(w.rt.Timeouts.Poll) // virtual
	synctest.Wait()
}

func checkFault(t *testing.T, w *world, got reply, want string, streams bool, gets string) {
	t.Helper()
	whole, by := strings.ReplaceAll(got.body, "\r", ""), 0
	if want == other {
		by = 1
	}
	peer := w.workers[by].peer.ID
	switch want {
	case other, complete:
		expect := wholeAnswer
		if streams {
			expect = goodStream
		}
		if gets != "" && streams {
			expect = gets
		}
		if got.status != 200 || got.err != nil {
			t.Fatalf("status %d, %v: %.300s", got.status, got.err, got.body)
		}
		// Keep-alives may have gone before; they name the peer.
		data := got.body
		if streams {
			data = stripComments(got.body)
		}
		if len(data) != len(got.body) && !strings.Contains(got.body, ": answered by "+peer.String()) ||
			len(data) == len(got.body) && got.header.Get(grid.PeerHeader) != peer.String() {
			t.Errorf("the client is not told that %s answered: %v %.300s", peer.Short(), got.header, got.body)
		}
		if streams && data != expect {
			t.Errorf("stream is %.400q, want %.400q", data, expect)
		}
		if !streams && len(got.body) < 1<<20 && got.body != expect && got.body != noUsage {
			t.Errorf("answer is %.400q", got.body)
		}
	case errEvent:
		if got.status != 200 || !strings.HasPrefix(whole, data(chunk1)) || strings.Contains(whole, "[DONE]") {
			t.Errorf("got %d %q, want the first chunk and no [DONE]", got.status, got.body)
		}
		last := whole[strings.LastIndex(strings.TrimSpace(whole), "\n")+1:]
		if !strings.HasPrefix(last, `data: {"error":{`) || !strings.Contains(last, `"type":"stream_broken"`) {
			t.Errorf("the stream ends with %q, want an error event", last)
		}
		if w.workers[1].count() != 0 {
			t.Error("another peer was asked in the middle of a stream")
		}
	case passedOn:
		if got.status < 400 || w.workers[1].count() != 0 || got.header.Get(grid.PeerHeader) != peer.String() {
			t.Errorf("got %d, other peer asked %d times, peer %q", got.status, w.workers[1].count(), got.header.Get(grid.PeerHeader))
		}
		if message, _ := got.message(); message == "" {
			t.Errorf("the peer's body did not come: %q", got.body)
		}
	}
}

func stripComments(stream string) string {
	var b bytes.Buffer
	events := openai.NewScanner(strings.NewReader(stream))
	for {
		event, err := events.Next()
		if err != nil {
			return b.String()
		}
		if event.Data != nil {
			b.Write(event.Raw)
		}
	}
}

// What the peer is to blame for counts against it, and nothing else does.
func TestOnlyFaultsOfThePeerExcludeIt(t *testing.T) {
	t.Parallel()
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, 2, nil, func(t *testing.T, w *world) {
				first := w.prefer(0)
				p := w.rt.roster.current.Load().peers[0]
				first.setDark(fault.dark)
				first.way.CloseIdleConnections()
				if fault.answer != nil {
					first.answers(fault.answer)
				}
				for range 2 {
					w.chat(askStream)
				}
				excluded := !offer{peer: p, model: &grid.Model{ID: "m"}}.ready(time.Now(), false)
				refusal := strings.HasPrefix(fault.name, "4") && !strings.Contains(fault.name, "page") || strings.Contains(fault.name, "with Retry-After")
				if want := !refusal && fault.stream != complete; excluded != want {
					t.Errorf("excluded after two times: %t, want %t", excluded, want)
				}
			})
		})
	}
}

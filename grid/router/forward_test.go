package router

import (
	"crypto/sha256"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lobstah/grid"
	"lobstah/receipt"
)

func TestBodyAndFewHeadersReachTheWorker(t *testing.T) {
	t.Parallel()
	body := "{ \"model\" :\t\"m\",\n\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"\\u00fc<>\"}]}],\"tools\":[{\"x\":1}],\"seed\":1e0,\"unknown\":{\"deep\":[null]} }\n"
	inWorld(t, 1, nil, func(t *testing.T, w *world) {
		var seen []byte
		var query string
		f := w.workers[0]
		f.change(func() {
			f.answer = func(rw http.ResponseWriter, r *http.Request, body []byte) {
				seen, query = body, r.URL.RawQuery
				io.WriteString(rw, wholeAnswer)
			}
		})
		w.post("/v1/chat/completions?beta=true", body, "Authorization", "Bearer secret", "Cookie", "a=b", "X-Lobstah-Requester", "lob1forged",
			"Anthropic-Version", "2023-06-01", "X-Request-Id", "mine-1", "X-Forwarded-For", "1.2.3.4")
		if string(seen) != body || query != "beta=true" {
			t.Errorf("the worker saw %q?%s", seen, query)
		}
		h := f.header()
		want := map[string]string{
			"Authorization": "", "Cookie": "", "X-Forwarded-For": "", "Idempotency-Key": "", "Anthropic-Version": "2023-06-01", "X-Request-Id": "mine-1",
			receipt.RequesterHeader: w.pair.ID().String(), "Content-Type": "application/json", "Accept-Encoding": "identity",
		}
		for name, value := range want {
			if got := h.Get(name); got != value {
				t.Errorf("%s is %q at the worker, want %q", name, got, value)
			}
		}
		proof, err := receipt.ParseProof(h.Get(receipt.SignatureHeader))
		if err != nil {
			t.Fatal(err)
		}
		hash := receipt.Request{Method: "POST", Path: "/v1/chat/completions", Worker: f.pair.ID(), Requester: w.pair.ID()}
		hash.BodyHash = sha256.Sum256(seen)
		if err := hash.Verify(proof); err != nil {
			t.Errorf("the request's signature: %v", err)
		}
	})
}

func TestEachAttemptIsSignedForItsWorkerAnew(t *testing.T) {
	t.Parallel()
	inWorld(t, 2, nil, func(t *testing.T, w *world) {
		w.prefer(0).answers(boom)
		w.chat(askWhole)
		a, errA := receipt.ParseProof(w.workers[0].header().Get(receipt.SignatureHeader))
		b, errB := receipt.ParseProof(w.workers[1].header().Get(receipt.SignatureHeader))
		if errA != nil || errB != nil || a.Nonce == b.Nonce {
			t.Errorf("nonces %q (%v) and %q (%v)", a.Nonce, errA, b.Nonce, errB)
		}
	})
}

func TestBadRequestsGetAClearAnswer(t *testing.T) {
	t.Parallel()
	inWorld(t, 1, func(c *Config) { c.MaxBody = 1 << 20 }, func(t *testing.T, w *world) {
		for _, test := range []struct {
			name, method, path, body string
			status                   int
			says                     string
		}{
			{"not JSON", "POST", "/v1/chat/completions", "{nope", 400, "not a JSON object"},
			{"empty", "POST", "/v1/chat/completions", "", 400, "not a JSON object"},
			{"an array", "POST", "/v1/chat/completions", "[]", 400, "not a JSON object"},
			{"no model", "POST", "/v1/chat/completions", "{}", 400, "name the model"},
			{"stream is text", "POST", "/v1/chat/completions", `{"model":"m","stream":"yes"}`, 400, "true or false"},
			{"too large", "POST", "/v1/chat/completions", `{"model":"m","x":"` + strings.Repeat("x", 1<<20) + `"}`, 413, "larger than 1 MiB"},
			{"endless name", "POST", "/v1/chat/completions", `{"model":"` + strings.Repeat("x", 600) + `"}`, 404, "no peer has"},
			{"wrong method", "GET", "/v1/chat/completions", "", 405, "takes POST only"},
			{"unknown path", "GET", "/v2", "", 404, "nothing that this router has"},
			{"a base URL without /v1", "POST", "/chat/completions", "{}", 404, "did you mean /v1/chat/completions?"},
			{"a base URL with /v1 for Anthropic's client", "POST", "/v1/v1/messages", "{}", 404, "did you mean /v1/messages?"},
			{"a path of Azure's", "POST", "/openai/deployments/m/completions", "{}", 404, "did you mean /v1/completions?"},
			{"a slash too much", "POST", "/v1/chat/completions/", "{}", 404, "did you mean /v1/chat/completions?"},
			{"models without /v1", "GET", "/models", "", 404, "did you mean /v1/models?"},
			{"unknown model", "POST", "/v1/chat/completions", `{"model":"n"}`, 404, "did you mean m?"},
			{"Anthropic's shape", "POST", "/v1/messages", `{"model":"n"}`, 404, `"type":"not_found_error"`},
		} {
			got := w.do(t.Context(), test.method, test.path, test.body)
			if got.status != test.status || !strings.Contains(got.body, test.says) || !json.Valid([]byte(got.body)) {
				t.Errorf("%s: got %d %.300s, want %d %q", test.name, got.status, got.body, test.status, test.says)
			}
		}
		if n := w.workers[0].count(); n != 0 {
			t.Errorf("the worker was asked %d times", n)
		}
	})
}

// endless is a body that counts what is read of it.
type endless struct{ read int64 }

func (e *endless) Read(p []byte) (int, error) {
	e.read += int64(len(p))
	return len(p), nil
}

// Most clients look for an answer only after they have sent all.
func TestOfATooLargeRequestSomeIsRead(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	for _, test := range []struct {
		name   string
		length int64 // as announced
		expect string
		least  int64
		most   int64
	}{
		{"announced", 3 * limit, "", 3 * limit, 3 * limit},
		{"of unknown length", -1, "", 4 * limit, 6 * limit},
		{"without end", 1 << 40, "", 4 * limit, 4 * limit},
		{"from who waits for leave", 3 * limit, "100-continue", 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			source := &endless{}
			body := io.Reader(source)
			if test.length > 0 {
				body = io.LimitReader(source, test.length)
			}
			r := httptest.NewRequest("POST", "/v1/chat/completions", body)
			r.ContentLength = test.length
			if test.expect != "" {
				r.Header.Set("Expect", test.expect)
			}
			got, e := readBody(httptest.NewRecorder(), r, limit)
			if got != nil || e == nil || e.Status != 413 {
				t.Fatalf("got %d bytes and %v, want 413", len(got), e)
			}
			if source.read < test.least || source.read > test.most {
				t.Errorf("%d bytes were read, want %d to %d", source.read, test.least, test.most)
			}
		})
	}
}

func TestAnEncodedRequestIsNamedSo(t *testing.T) {
	t.Parallel()
	inWorld(t, 1, nil, func(t *testing.T, w *world) {
		got := w.chat("\x1f\x8b\x08\x00", "Content-Encoding", "gzip")
		if got.status != 415 || !strings.Contains(got.body, `encoded as \"gzip\"`) {
			t.Errorf("a compressed body: %d %s, want 415", got.status, got.body)
		}
		if got := w.chat(askWhole, "Content-Encoding", "gzip"); got.status != 200 {
			t.Errorf("a body that only says so: %d %s", got.status, got.body)
		}
		if got := w.chat(`{"messages":[]}`, "Content-Encoding", "gzip"); got.status != 400 {
			t.Errorf("such a body without a model: %d %s", got.status, got.body)
		}
	})
}

func TestNearestNames(t *testing.T) {
	t.Parallel()
	offers := map[string][]offer{"llama3.1:8b": nil, "llama3.1:70b": nil, "qwen2.5:7b": nil, "nomic-embed-text": nil}
	for given, want := range map[string][]string{
		"llama3.1":    {"llama3.1:70b", "llama3.1:8b"},
		"lama3.1:8b":  {"llama3.1:8b", "llama3.1:70b", "qwen2.5:7b"},
		"Qwen2.5:7B":  {"qwen2.5:7b"},
		"gpt-4o-mini": nil,
		"nomic":       {"nomic-embed-text"},
	} {
		if got := nearest(given, offers); len(want) > 0 && (len(got) == 0 || got[0] != want[0]) || len(want) == 0 && len(got) > 0 {
			t.Errorf("nearest(%q) = %q, want %q first", given, got, want)
		}
	}
}

func TestAllRefuseGivesTheSmallestRetryAfterAndTheReasons(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		a, b   func(http.ResponseWriter, *http.Request, bool)
		status int
		retry  string
	}{
		{"both full", status(429, `{"error":{"message":"A"}}`, "Retry-After", "9"), status(429, `{"error":{"message":"B"}}`, "Retry-After", "4"), 429, "4"},
		{"one full", status(503, `{"error":{"message":"A"}}`, "Retry-After", "9"), status(429, `{"error":{"message":"B"}}`), 429, "9"},
		{"both drain", status(503, `{"error":{"message":"A"}}`, "Retry-After", "2"), status(503, `{"error":{"message":"B"}}`, "Retry-After", "3"), 503, "2"},
		{"no credit, not allowed", status(402, `{"error":{"message":"A"}}`), status(403, `{"error":{"message":"B"}}`), 503, ""},
		{"nobody has it", status(404, `{"error":{"message":"A"}}`), status(404, `{"error":{"message":"B"}}`), 404, ""},
		{"a date", status(429, `{"error":{"message":"A"}}`, "Retry-After", "Sat, 01 Jan 2000 00:01:00 GMT"), status(429, `{"error":{"message":"B"}}`), 429, "30"},
		{"one fails", boom, status(429, `{"error":{"message":"B"}}`, "Retry-After", "4"), 502, ""},
	} {
		inWorld(t, 2, nil, func(t *testing.T, w *world) {
			w.prefer(0).answers(test.a)
			w.workers[1].answers(test.b)
			got := w.chat(askWhole)
			if got.status != test.status || got.header.Get("Retry-After") != test.retry {
				t.Errorf("%s: %d, Retry-After %q: %s", test.name, got.status, got.header.Get("Retry-After"), got.body)
			}
			if message, _ := got.message(); !strings.Contains(message, "w2: ") || !strings.Contains(message, "B") {
				t.Errorf("%s: %q names no reasons", test.name, message)
			}
		})
	}
}

// hinted is an error as the channel makes them.
type hinted struct{}

func (hinted) Error() string { return "reach w1: check its key: expected A, got B" }
func (hinted) Hint() string  { return "another machine answers there" }

type failing struct{ err error }

func (f failing) RoundTrip(*http.Request) (*http.Response, error) { return nil, f.err }

func TestAllFailedShowsAttemptsAsTheOriginalDoes(t *testing.T) {
	t.Parallel()
	inWorld(t, 1, func(c *Config) { c.Timeouts.Poll = time.Hour }, func(t *testing.T, w *world) {
		p := w.rt.roster.current.Load().peers[0]
		p.way = failing{hinted{}}
		got := w.chat(askWhole)
		var body struct {
			Error struct {
				Type     string
				Attempts int
				Errors   []struct{ Peer, Message, Hint string }
				Message  string
			}
		}
		if err := json.Unmarshal([]byte(got.body), &body); err != nil {
			t.Fatal(err)
		}
		e := body.Error
		if got.status != 502 || e.Type != "all_peers_failed" || e.Attempts != 1 || len(e.Errors) != 1 || e.Message == "" {
			t.Fatalf("got %d %s", got.status, got.body)
		}
		if x := e.Errors[0]; x.Peer != p.ID.String()[:16] || x.Message != (hinted{}).Error() || x.Hint != (hinted{}).Hint() {
			t.Errorf("attempt is %+v", x)
		}
	})
}

func TestRetryBudgetEndsAStorm(t *testing.T) {
	t.Parallel()
	inWorld(t, 5, nil, func(t *testing.T, w *world) {
		for _, f := range w.workers {
			f.answers(status(429, `{"error":{"message":"full"}}`, "Retry-After", "1"))
		}
		const requests = 100
		for range requests {
			w.chat(askWhole)
		}
		asked := 0
		for _, f := range w.workers {
			asked += f.count()
		}
		// Each request asks once, and earns one failover beside the hundred saved.
		if most := requests + requests + maxBudget; asked > most || asked < most-5 {
			t.Errorf("%d requests asked %d times, want about %d", requests, asked, most)
		}
		if got := w.chat(askWhole); !strings.Contains(got.body, "retry budget") {
			t.Errorf("%s does not say that the budget is spent", got.body)
		}
	})
}

// A worker that was restarted has closed what the router kept open.
func TestClosedKeptConnectionIsNoFailure(t *testing.T) {
	t.Parallel()
	inWorld(t, 1, nil, func(t *testing.T, w *world) {
		f := w.workers[0]
		first := true
		good := f.good
		f.change(func() {
			f.answer = func(rw http.ResponseWriter, r *http.Request, body []byte) {
				if first && f.asked > 1 { // the second request on the connection finds it closed
					first = false
					panic(http.ErrAbortHandler)
				}
				good(rw, r, body)
			}
		})
		w.chat(askWhole)
		if got := w.chat(askWhole); got.status != 200 {
			t.Errorf("got %d %s", got.status, got.body)
		}
		if first || w.rt.Stats().Failures != 0 {
			t.Errorf("aborted=%t, failures=%d", !first, w.rt.Stats().Failures)
		}
	})
}

// A worker refuses what is signed by another clock than its own, and tells it.
func TestAnotherClockIsSignedBy(t *testing.T) {
	t.Parallel()
	inWorld(t, 1, nil, func(t *testing.T, w *world) {
		f := w.workers[0]
		const ahead = 20 * time.Minute
		f.change(func() {
			f.answer = func(rw http.ResponseWriter, r *http.Request, body []byte) {
				proof, err := receipt.ParseProof(r.Header.Get(receipt.SignatureHeader))
				if now := time.Now().Add(ahead); err != nil || !receipt.Fresh(proof.Time, now) {
					status(401, `{"error":{"message":"stale"}}`, "X-Lobstah-Time", strconv.FormatInt(now.UnixMilli(), 10))(rw, r, false)
					return
				}
				s := f.receiptFor(r, body, receipt.HashBody([]byte(wholeAnswer)), func(s *receipt.Receipt) { s.CompletedAt = time.Now().Add(ahead) })
				status(200, wholeAnswer, receipt.Header, s.Text())(rw, r, false)
			}
		})
		for range 3 {
			if got := w.chat(askWhole); got.status != 200 {
				t.Fatalf("got %d %s", got.status, got.body)
			}
		}
		synctest.Wait()
		if n, kept := f.count(), len(w.ledger.kept()); n != 4 || kept != 3 {
			t.Errorf("asked %d times, %d receipts kept; want one more than three, and three\n%s", n, kept, w.log)
		}
		f.answers(status(401, `{"error":{"message":"never"}}`, "X-Lobstah-Time", strconv.FormatInt(time.Now().UnixMilli(), 10)))
		if got := w.chat(askWhole); got.status != 503 || f.count() != 6 {
			t.Errorf("a worker that always refuses was asked %d times more: %d", f.count()-4, got.status)
		}
	})
}

func TestClockIsLearnedWithTheCapacity(t *testing.T) {
	t.Parallel()
	inWorld(t, 1, nil, func(t *testing.T, w *world) {
		f := w.workers[0]
		f.change(func() { f.capacity.Now = time.Now().Add(w.rt.Timeouts.Poll - 20*time.Minute).UnixMilli() })
		w.repoll()
		w.chat(askWhole)
		proof, err := receipt.ParseProof(f.header().Get(receipt.SignatureHeader))
		if behind := time.Since(proof.Time); err != nil || behind < 19*time.Minute || behind > 21*time.Minute {
			t.Errorf("signed %s ago (%v), want by the worker's clock", behind, err)
		}
	})
}

// Each dialect's streams end and break in their own way.
func TestDialects(t *testing.T) {
	t.Parallel()
	messages := "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"m\",\"usage\":{\"input_tokens\":7,\"output_tokens\":1}}}\n\n" +
		"event: ping\ndata: {\"type\":\"ping\"}\n\n" +
		"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"hi\"}}\n\n"
	messagesEnd := "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":2}}\n\n" +
		"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
	responses := "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"hi\"}\n\n"
	responsesEnd := "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\",\"model\":\"m\",\"usage\":{\"input_tokens\":7,\"output_tokens\":2}}}\n\n"
	completions := data(`{"object":"text_completion","choices":[{"text":"hi","finish_reason":null}]}`)
	completionsEnd := data(`{"object":"text_completion","choices":[{"text":"","finish_reason":"stop"}]}`, "[DONE]")
	for _, test := range []struct{ path, begin, end, breaks string }{
		{"/v1/messages", messages, messagesEnd, "event: error\ndata: {\"error\":{\"message\":"},
		{"/v1/responses", responses, responsesEnd, "event: error\ndata: {\"code\":"},
		{"/v1/completions", completions, completionsEnd, `data: {"error":{`},
		{"/v1/chat/completions", data(chunk1), data(chunk2, "[DONE]"), `data: {"error":{`},
	} {
		t.Run(test.path, func(t *testing.T) {
			t.Parallel()
			inWorld(t, 1, nil, func(t *testing.T, w *world) {
				w.workers[0].answers(text(test.begin+test.end, ""))
				if got := w.post(test.path, askStream); got.body != test.begin+test.end {
					t.Errorf("got %q, want %q", got.body, test.begin+test.end)
				}
				w.workers[0].answers(text(test.begin, ""))
				got := w.post(test.path, askStream)
				rest, ok := strings.CutPrefix(got.body, test.begin)
				if !ok || !strings.HasPrefix(rest, test.breaks) || strings.Contains(rest, "[DONE]") {
					t.Errorf("broken: %q, want an error that begins %q", rest, test.breaks)
				}
			})
		})
	}
}

func TestAnswersThatAreNeverStreams(t *testing.T) {
	t.Parallel()
	for path, answer := range map[string]string{
		"/v1/embeddings":            `{"object":"list","data":[{"embedding":[0.1]}],"usage":{"prompt_tokens":3}}`,
		"/v1/messages/count_tokens": `{"input_tokens":12}`,
	} {
		inWorld(t, 1, nil, func(t *testing.T, w *world) {
			w.workers[0].answers(status(200, answer))
			if got := w.post(path, askStream); got.status != 200 || got.body != answer {
				t.Errorf("%s: %d %q", path, got.status, got.body)
			}
		})
	}
}

func TestModelsAreMergedWithFactsAndDigests(t *testing.T) {
	t.Parallel()
	inWorld(t, 3, nil, func(t *testing.T, w *world) {
		w.weights(digestA, digestB, digestA)
		var page struct {
			Object string
			Data   []struct {
				ID, Object, Digest string
				OwnedBy            string `json:"owned_by"`
				Digests, Peers     []string
				Loaded             bool
				Created            int64
			}
		}
		if err := json.Unmarshal([]byte(w.get("/v1/models").body), &page); err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, m := range page.Data {
			ids = append(ids, m.ID)
		}
		if want := []string{"m", "m@" + digestA, "m@" + digestB}; !slices.Equal(ids, want) {
			t.Fatalf("models are %q, want %q", ids, want)
		}
		all, a := page.Data[0], page.Data[1]
		if all.Digest != "" || len(all.Digests) != 2 || len(all.Peers) != 3 || all.OwnedBy != "lobstah:w1" || !all.Loaded || all.Object != "model" {
			t.Errorf("the merged entry is %+v", all)
		}
		if want := w.rt.started.Unix(); all.Created != want || want == 0 {
			t.Errorf("created is %d, want the router's start, %d", all.Created, want)
		}
		if a.Digest != digestA || len(a.Peers) != 2 {
			t.Errorf("the entry of one digest is %+v", a)
		}
		if got := w.get("/v1/models/m@" + digestA); got.status != 200 || !strings.Contains(got.body, digestA) {
			t.Errorf("one model: %d %s", got.status, got.body)
		}
		if got := w.get("/v1/models/nope"); got.status != 404 {
			t.Errorf("an unknown model: %d", got.status)
		}
	})
}

// What a client plans with holds whichever peer answers.
func TestMergedFactsHoldForEveryPeer(t *testing.T) {
	t.Parallel()
	inWorld(t, 2, nil, func(t *testing.T, w *world) {
		for i, m := range []grid.Model{
			{ID: "m", ContextLength: 8192, Capabilities: []string{"completion", "tools", "vision"}},
			{ID: "m", ContextLength: 32768, Capabilities: []string{"tools", "thinking", "completion"}},
		} {
			f := w.workers[i]
			f.change(func() { f.capacity.ModelFacts = []grid.Model{m} })
		}
		w.repoll()
		var page struct{ Data []grid.Model }
		if err := json.Unmarshal([]byte(w.get("/v1/models").body), &page); err != nil {
			t.Fatal(err)
		}
		if m := page.Data[0]; m.ContextLength != 8192 || !slices.Equal(m.Capabilities, []string{"completion", "tools"}) {
			t.Errorf("the merged entry is %+v", m)
		}
	})
}

func TestModelsOfAPeerThatIsGoneAreNotListed(t *testing.T) {
	t.Parallel()
	inWorld(t, 1, nil, func(t *testing.T, w *world) {
		w.workers[0].setDark(true)
		w.workers[0].way.CloseIdleConnections()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := w.get("/v1/models"); got.body != `{"object":"list","data":[]}` {
			t.Errorf("got %s", got.body)
		}
		got := w.chat(askWhole)
		if _, kind := got.message(); got.status != 503 || kind != "no_capable_peer" || !strings.Contains(got.body, "w1 is unreachable") {
			t.Errorf("got %d %s", got.status, got.body)
		}
		if got.header.Get("Retry-After") != "2" {
			t.Errorf("Retry-After is %q", got.header.Get("Retry-After"))
		}
		synctest.Wait()
		w.workers[0].setDark(false)
		w.chat(askWhole) // asks for an early poll
		time.Sleep(2 * time.Second)
		if got := w.chat(askWhole); got.status != 200 {
			t.Errorf("after it came back: %d %s", got.status, got.body)
		}
	})
}

func TestLogTellsTheRequestButNoPromptAndNoKey(t *testing.T) {
	t.Parallel()
	inWorld(t, 1, nil, func(t *testing.T, w *world) {
		got := w.chat(strings.Replace(askWhole, "hi", "my secret prompt", 1), "Authorization", "Bearer secret-key")
		log := w.log.String()
		for _, want := range []string{"id=" + got.header.Get(grid.RequestIDHeader), "model=m", "peer=w1", "outcome=answered", "in=7", "out=2"} {
			if !strings.Contains(log, want) {
				t.Errorf("the log lacks %q: %s", want, log)
			}
		}
		if strings.Contains(log, "secret") || strings.Contains(log, "Grüße") {
			t.Errorf("the log tells too much: %s", log)
		}
	})
}

// Engines quote what they cannot read, and clients send what is no request.
func TestLogQuotesNobody(t *testing.T) {
	t.Parallel()
	refuses := func(status int) func(http.ResponseWriter, *http.Request, bool) {
		return func(rw http.ResponseWriter, _ *http.Request, _ bool) {
			rw.Header().Set("Content-Type", "application/json")
			rw.WriteHeader(status)
			io.WriteString(rw, `{"error":{"message":"cannot read 'secret'"}}`)
		}
	}
	for name, test := range map[string]struct {
		body   string
		answer func(http.ResponseWriter, *http.Request, bool)
		want   string // in the log
	}{
		"refusal of the request": {askWhole, refuses(400), "err=400"},
		"failure":                {askWhole, refuses(500), "err=500"},
		"error under 200":        {askWhole, refuses(200), "type=all_peers_failed"},
		"error instead of one":   {askStream, refuses(200), `err="no stream"`},
		"error in a stream":      {askStream, text(data(chunk1, `{"error":{"message":"secret"}}`), ""), "outcome=broken"},
		"no JSON":                {`{"secret"`, nil, "status=400"},
		"unknown member's type":  {`{"model":"m","messages":[],"stream":"secret"}`, nil, "msg=refused"},
	} {
		inWorld(t, 1, nil, func(t *testing.T, w *world) {
			if test.answer != nil {
				w.workers[0].answers(test.answer)
			}
			got := w.chat(test.body)
			log := w.log.String()
			if id := got.header.Get(grid.RequestIDHeader); id == "" || !strings.Contains(log, "id="+id) || !strings.Contains(log, test.want) {
				t.Errorf("%s: the log lacks the id %q or %s: %s", name, id, test.want, log)
			}
			if strings.Contains(log, "secret") {
				t.Errorf("%s: the log tells too much: %s", name, log)
			}
		})
	}
}

func TestRequestIDsAreHarmless(t *testing.T) {
	t.Parallel()
	for given, kept := range map[string]bool{"a-1_B.c:2": true, "": false, "a b": false, "x\"y": false, strings.Repeat("x", 65): false} {
		r := &http.Request{Header: http.Header{grid.RequestIDHeader: {given}}}
		if got := requestID(r); (got == given) != kept || !kept && !strings.HasPrefix(got, "req_") {
			t.Errorf("%q became %q", given, got)
		}
	}
}

func TestUnusablePeerURLIsAFailureOfThatPeerOnly(t *testing.T) {
	t.Parallel()
	inWorld(t, 1, nil, func(t *testing.T, w *world) {
		bad := w.addWorker(2)
		list := slices.Clone(w.peers.List())
		list[1].URL = "http://[::1"
		w.peers.set(list)
		w.repoll()
		if got := w.chat(askWhole); got.status != 200 {
			t.Errorf("got %d %s", got.status, got.body)
		}
		if bad.count() != 0 || !strings.Contains(w.get("/peers").body, "missing ']'") {
			t.Errorf("/peers: %s", w.get("/peers").body)
		}
	})
}

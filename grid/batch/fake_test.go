package batch

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lobstah/openai"
)

// bed runs a service over a fake router.
type bed struct {
	testing.TB
	*Service
	config Config
	cancel context.CancelFunc
	done   sync.WaitGroup
}

func newBed(t testing.TB, config Config) *bed {
	t.Helper()
	if config.Dir == "" {
		config.Dir = t.TempDir()
	}
	b := &bed{TB: t, config: config}
	b.open()
	t.Cleanup(func() {
		b.cancel()
		b.done.Wait()
	})
	return b
}

func (b *bed) open() {
	b.Helper()
	var err error
	if b.Service, err = Open(b.config); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	b.done.Go(func() { b.Run(ctx) })
}

// reopen ends the process, as far as its memory goes, and starts another.
func (b *bed) reopen() {
	b.Helper()
	b.cancel()
	b.done.Wait()
	b.open()
}

// call sends a request and decodes the answer into out.
func (b *bed) call(method, path string, body io.Reader, contentType string, out any) int {
	b.Helper()
	r := httptest.NewRequestWithContext(context.Background(), method, path, body)
	r.Header.Set("Content-Type", contentType)
	return b.do(r, out)
}

func (b *bed) do(r *http.Request, out any) int {
	b.Helper()
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	if text, ok := out.(*string); ok {
		*text = w.Body.String()
	} else if out != nil {
		if err := json.Unmarshal(w.Body.Bytes(), out); err != nil {
			b.Fatalf("%s %s answers %q: %v", r.Method, r.URL, w.Body, err)
		}
	}
	return w.Code
}

type errorBody struct{ Error openai.Error }

// form makes an upload.
func form(t testing.TB, fields map[string]string, filename, content string) (io.Reader, string) {
	t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for name, value := range fields {
		if err := w.WriteField(name, value); err != nil {
			t.Fatal(err)
		}
	}
	if filename != "" {
		part, err := w.CreateFormFile("file", filename)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(part, content)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &body, w.FormDataContentType()
}

func (b *bed) upload(content string) File {
	b.Helper()
	body, contentType := form(b, map[string]string{"purpose": "batch"}, "requests.jsonl", content)
	var f File
	if code := b.call("POST", "/v1/files", body, contentType, &f); code != http.StatusOK {
		b.Fatalf("upload: status %d", code)
	}
	return f
}

func (b *bed) create(file File) Batch {
	b.Helper()
	body := fmt.Sprintf(`{"input_file_id":%q,"endpoint":"/v1/chat/completions","completion_window":"24h"}`, file.ID)
	var got Batch
	if code := b.call("POST", "/v1/batches", strings.NewReader(body), "application/json", &got); code != http.StatusOK {
		b.Fatalf("create: status %d", code)
	}
	return got
}

func (b *bed) get(id string) Batch {
	b.Helper()
	var got Batch
	if code := b.call("GET", "/v1/batches/"+id, nil, "", &got); code != http.StatusOK {
		b.Fatalf("retrieve: status %d", code)
	}
	return got
}

// await polls until the batch has ended, or is at another stage that is wanted.
func (b *bed) await(id string, wanted ...Status) Batch {
	b.Helper()
	for i := range 10_000 {
		got := b.get(id)
		if got.Status.Ended() {
			return got
		}
		if slices.Contains(wanted, got.Status) {
			return got
		}
		pause := time.Second // virtual
		if i > 600 {
			pause = time.Minute
		}
		time.Sleep(pause)
	}
	b.Fatalf("the batch does not end: %+v", b.get(id))
	panic("unreachable")
}

// results reads a file of results by custom_id.
func (b *bed) results(id *string) map[string]result {
	b.Helper()
	list := map[string]result{}
	if id == nil {
		return list
	}
	var text string
	if code := b.call("GET", "/v1/files/"+*id+"/content", nil, "", &text); code != http.StatusOK {
		b.Fatalf("content: status %d", code)
	}
	for line := range strings.Lines(text) {
		var r result
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			b.Fatalf("line %q: %v", line, err)
		}
		if _, twice := list[r.CustomID]; twice {
			b.Errorf("%s stands in the file twice", r.CustomID)
		}
		list[r.CustomID] = r
	}
	return list
}

// chat makes an input of n lines.
func chat(n int) string {
	var text strings.Builder
	for i := range n {
		text.WriteString(chatLine(fmt.Sprintf("line-%d", i), "m", fmt.Sprint(i)))
	}
	return text.String()
}

func chatLine(id, model, content string) string {
	return fmt.Sprintf(`{"custom_id":%q,"method":"POST","url":"/v1/chat/completions","body":{"model":%q,"messages":[{"role":"user","content":%q}]}}`+"\n",
		id, model, content)
}

const okAnswer = `{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"yes"},"finish_reason":"stop"}],` +
	`"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,"prompt_tokens_details":{"cached_tokens":1},"completion_tokens_details":{"reasoning_tokens":1}}}`

// router is a fake one: it answers by what a line says.
type router struct {
	mu      sync.Mutex
	asked   map[string]int // by request id
	content map[string]int // by what the message says
	answer  func(w http.ResponseWriter, r *http.Request, content string, try int)
}

func newRouter(answer func(w http.ResponseWriter, r *http.Request, content string, try int)) *router {
	return &router{asked: map[string]int{}, content: map[string]int{}, answer: answer}
}

func (f *router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Model    string
		Messages []struct{ Content string }
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.URL.Path != "/v1/chat/completions" || len(body.Messages) != 1 {
		refuse(w, 400, 0, "this is no chat")
		return
	}
	content := body.Messages[0].Content
	f.mu.Lock()
	f.asked[r.Header.Get("X-Request-Id")]++
	f.content[content]++
	try := f.content[content]
	f.mu.Unlock()
	f.answer(w, r, content, try)
}

func (f *router) tries(content string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.content[content]
}

func ok(w http.ResponseWriter) {
	w.Header().Set("X-Request-Id", "req_1")
	io.WriteString(w, okAnswer)
}

func refuse(w http.ResponseWriter, status int, after time.Duration, message string) {
	if after > 0 {
		w.Header().Set("Retry-After", fmt.Sprint(int(after.Seconds())))
	}
	w.WriteHeader(status)
	w.Write((&openai.Error{Type: "test", Message: message}).JSON())
}

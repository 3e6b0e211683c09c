// Package recording holds traffic of real engines and plays it back, for tests
// of what an engine here could not be made to do at will. It is imported by
// tests only.
//
// The files under engines/ were recorded from llama.cpp's llama-server b11669
// and from Ollama 0.33.0 with tiny generated models, byte for byte with times;
// paths of files were replaced by @PATH@. Start from [Load] for the exchanges of
// a file and [Handler] for a server that repeats them.
package recording

import (
	"bytes"
	"embed"
	"net/http"
	"path"
	"strconv"
	"strings"
	"testing"
)

//go:embed engines
var files embed.FS

// An Exchange is one request and what the engine answered.
type Exchange struct {
	File   string // name of the recording
	Title  string
	Method string
	Path   string
	Body   []byte // of the request
	Status int
	Header http.Header // of the answer
	Chunks [][]byte    // of the answer, as they were read; a whole body is one
	Cut    bool        // the client went away before the end
}

// Answer is the answer's body.
func (e Exchange) Answer() []byte { return bytes.Join(e.Chunks, nil) }

// Stream reports whether the answer is a stream of server-sent events.
func (e Exchange) Stream() bool { return e.Header.Get("Content-Type") == "text/event-stream" }

// Names returns the names of all recordings.
func Names(t testing.TB) []string {
	t.Helper()
	entries, err := files.ReadDir("engines")
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = strings.TrimSuffix(e.Name(), ".txt")
	}
	return names
}

// Load reads one recording, such as "ollama-v0.33.0-info".
func Load(t testing.TB, name string) []Exchange {
	t.Helper()
	text, err := files.ReadFile(path.Join("engines", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	var list []Exchange
	for _, part := range strings.Split("\n"+string(text), "\n===== ")[1:] {
		e := parse(part)
		e.File = name
		if e.Status == 0 {
			t.Fatalf("recording %s, %q: no answer in it", name, e.Title)
		}
		list = append(list, e)
	}
	return list
}

// Find returns the exchange of that title in a recording.
func Find(t testing.TB, name, title string) Exchange {
	t.Helper()
	for _, e := range Load(t, name) {
		if e.Title == title {
			return e
		}
	}
	t.Fatalf("recording %s has no %q", name, title)
	return Exchange{}
}

func parse(text string) Exchange {
	title, rest, _ := strings.Cut(text, "\n")
	e := Exchange{Title: title, Header: http.Header{}}
	requestHead := true
	for rest != "" {
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		switch {
		case strings.HasPrefix(line, "> ") && requestHead:
			requestHead = e.requestLine(line[2:])
		case strings.HasPrefix(line, "> "):
			e.Body = append(e.Body, line[2:]...)
		case strings.HasPrefix(line, "< "):
			e.answerLine(line[2:])
		case strings.HasPrefix(line, "["):
			rest = e.event(line, rest)
		}
	}
	return e
}

// requestLine reads a line of the request's head and reports whether more follow.
func (e *Exchange) requestLine(line string) bool {
	if e.Method == "" {
		fields := strings.Fields(line)
		e.Method, e.Path = fields[0], fields[1]
	}
	return line != ""
}

func (e *Exchange) answerLine(line string) {
	if e.Status == 0 {
		e.Status, _ = strconv.Atoi(strings.Fields(line)[1])
		return
	}
	name, value, _ := strings.Cut(line, ":")
	e.Header.Set(name, strings.TrimSpace(value))
}

// event reads what follows "[+0.001s] ": the start of a body or chunk, whose text
// goes on until the next such line.
func (e *Exchange) event(line, rest string) (after string) {
	_, what, _ := strings.Cut(line, "] ")
	switch {
	case strings.HasPrefix(what, "end: client closed"):
		e.Cut = true
	case strings.HasPrefix(what, "body, "):
		text, after := cutEvent(rest)
		e.chunk(strings.Fields(what)[1], text)
		return after
	case strings.HasPrefix(what, "chunk "):
		head, first, _ := strings.Cut(what, ": ")
		text, after := cutEvent(first + "\n" + rest)
		e.chunk(strings.Fields(head)[2], text)
		return after
	}
	return rest
}

func cutEvent(text string) (before, after string) {
	if strings.HasPrefix(text, "[+") {
		return "", text
	}
	i := strings.Index(text, "\n[+")
	if i < 0 {
		return text, ""
	}
	return text[:i], text[i+1:]
}

// chunk restores the line ends that the recording left out at a chunk's end.
func (e *Exchange) chunk(size, text string) {
	n, _ := strconv.Atoi(size)
	text = strings.TrimRight(text, "\n")
	switch missing := n - len(text); {
	case e.Stream():
		text += "\n\n"
	case missing > 0 && missing <= 2:
		text += strings.Repeat("\n", missing)
	}
	if text != "" {
		e.Chunks = append(e.Chunks, []byte(text))
	}
}

// Handler answers as the exchanges did: to the same method, path and body, or
// else to the same method and path. What was not recorded is a 404 in plain text.
func Handler(exchanges ...[]Exchange) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		if _, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, 1<<20)); err != nil {
			return // the client is gone
		}
		var best *Exchange
		for _, list := range exchanges {
			for i, e := range list {
				if e.Method != r.Method || e.Path != r.URL.Path {
					continue
				}
				if same := bytes.Equal(compact(e.Body), compact(body.Bytes())); same || best == nil {
					best = &list[i]
					if same {
						play(w, best)
						return
					}
				}
			}
		}
		if best == nil {
			http.Error(w, "404 page not found", http.StatusNotFound)
			return
		}
		play(w, best)
	})
}

func compact(body []byte) []byte { return bytes.ReplaceAll(body, []byte(" "), nil) }

func play(w http.ResponseWriter, e *Exchange) {
	for _, name := range []string{"Content-Type", "Retry-After"} {
		if value := e.Header.Get(name); value != "" {
			w.Header().Set(name, value)
		}
	}
	w.WriteHeader(e.Status)
	flush := http.NewResponseController(w)
	for _, chunk := range e.Chunks {
		if _, err := w.Write(chunk); err != nil || flush.Flush() != nil {
			return // the client is gone
		}
	}
	if e.Cut {
		panic(http.ErrAbortHandler)
	}
}

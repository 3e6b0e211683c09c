package recording

import (
	"bytes"
	"encoding/json"
	"testing"
)

// Every recorded answer is what its engine sent: JSON is whole, events are
// separate.
func TestRecordings(t *testing.T) {
	t.Parallel()
	exchanges, events := 0, 0
	for _, name := range Names(t) {
		for _, e := range Load(t, name) {
			exchanges++
			if e.Method == "" || e.Path == "" {
				t.Errorf("%s %q: no request line", name, e.Title)
			}
			switch body := e.Answer(); {
			case e.Stream():
				for block := range bytes.SplitSeq(bytes.TrimSpace(body), []byte("\n\n")) {
					events++
					_, data, found := bytes.Cut(block, []byte("data: "))
					if !found || string(data) != "[DONE]" && !json.Valid(data) {
						t.Errorf("%s %q: no event: %q", name, e.Title, block)
					}
				}
			case e.Header.Get("Content-Type") == "application/json" && !json.Valid(body):
				t.Errorf("%s %q: no JSON: %q", name, e.Title, body)
			}
		}
	}
	if exchanges < 170 || events < 150 {
		t.Errorf("%d exchanges with %d events; the files have more", exchanges, events)
	}
}

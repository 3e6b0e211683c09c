package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Models that think first are silent for long; whoever waits is told.
func TestThoughtsAreHeardAndAreNoAnswer(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, delta := range []string{`{"role":"assistant","content":""}`, `{"reasoning":"hm"}`, `{"content":null,"reasoning_content":"well"}`, `{"content":"yes"}`} {
			fmt.Fprintf(w, "data: {\"choices\":[{\"index\":0,\"delta\":%s,\"finish_reason\":null}]}\n\n", delta)
		}
		fmt.Fprint(w, `data: {"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}`+"\n\ndata: [DONE]\n\n")
	}))
	defer server.Close()
	var heard []string
	got, err := (&apiClient{base: server.URL}).stream(t.Context(), chatRequest{Model: "m"}, listener{
		Piece:  func(piece string) { heard = append(heard, piece) },
		Thinks: func() { heard = append(heard, "(thinks)") },
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := "(thinks) (thinks) yes"; strings.Join(heard, " ") != want {
		t.Errorf("heard %q, want %q", heard, want)
	}
	if got.Text != "yes" || got.Finish != "length" {
		t.Errorf("the answer is %q, finish %q", got.Text, got.Finish)
	}
}

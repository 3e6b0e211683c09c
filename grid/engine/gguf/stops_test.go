package gguf

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"lobstah/internal/tinygguf"
)

func TestStopTexts(t *testing.T) {
	t.Parallel()
	url, _ := serve(t, demo(t), Options{})
	tests := []struct{ stop, want string }{
		{`" model answers"`, " The demo"}, // over two tokens
		{`["zzz","wers n"]`, " The demo model ans"},
		{`"demo"`, " The "},
		{`["demo","The"]`, " "},
		{`"` + strings.Repeat("x", 30) + `"`, ""},
	}
	for _, test := range tests {
		for _, stream := range []bool{false, true} {
			body := question + `,"stop":` + test.stop
			content, finish := "", ""
			if stream {
				_, text := call(t, url+"/v1/chat/completions", body+`,"stream":true}`)
				list := eventsOf(t, text)
				for _, e := range list[:len(list)-1] {
					c := decode[envelope](t, e).Choices[0]
					if c.Delta.Content != nil {
						content += *c.Delta.Content
					}
					if c.Finish != nil {
						finish = *c.Finish
					}
				}
			} else {
				_, text := call(t, url+"/v1/chat/completions", body+`}`)
				c := decode[envelope](t, text).Choices[0]
				content, finish = *c.Message.Content, *c.Finish
			}
			if test.want == "" {
				if len(content) < 40 {
					t.Errorf("stop %s (stream %v): %q was cut, want all of it", test.stop, stream, content)
				}
			} else if content != test.want || finish != "stop" {
				t.Errorf("stop %s (stream %v): %q %s, want %q stop", test.stop, stream, content, finish, test.want)
			}
		}
	}
}

func TestEventsHoldWholeCharacters(t *testing.T) {
	t.Parallel()
	url, _ := serve(t, build(t, tinygguf.Random(1)), Options{}) // says bytes at random
	_, text := call(t, url+"/v1/completions", `{"prompt":"x","max_tokens":120,"seed":3,"stream":true}`)
	if !utf8.ValidString(text) || !strings.Contains(text, "\uFFFD") {
		t.Errorf("stream is valid: %v, want valid text with U+FFFD for the model's stray bytes", utf8.ValidString(text))
	}
	words, _ := serve(t, build(t, with(tinygguf.Words(), func(s *tinygguf.Spec) { s.Text, s.Whole = "ok 🙂 fine", false })), Options{})
	_, text = call(t, words+"/v1/completions", `{"prompt":"<|assistant|>","max_tokens":20,"temperature":0,"stream":true}`)
	var pieces []string
	list := eventsOf(t, text)
	for _, e := range list[:len(list)-2] {
		pieces = append(pieces, *decode[envelope](t, e).Choices[0].Text)
	}
	if want := []string{" ok", " ", "🙂", " fine"}; !slices.Equal(pieces, want) {
		t.Errorf("pieces are %q, want %q", pieces, want)
	}
}

package openai

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// collect reads a stream to its end and returns the data payloads and the raw
// bytes put together.
func collect(r io.Reader) (data []string, raw string, err error) {
	s := NewScanner(r)
	for {
		e, err := s.Next()
		if err == io.EOF {
			return data, raw, nil
		}
		if err != nil {
			return data, raw, err
		}
		raw += string(e.Raw)
		if e.Data != nil {
			data = append(data, string(e.Data))
		}
	}
}

func TestScanner(t *testing.T) {
	for name, test := range map[string]struct {
		stream string
		want   []string
	}{
		"LF":                       {"data: a\n\ndata: b\n\n", []string{"a", "b"}},
		"CRLF":                     {"data: a\r\n\r\ndata: b\r\n\r\n", []string{"a", "b"}},
		"CR":                       {"data: a\r\rdata: b\r\r", []string{"a", "b"}},
		"mixed":                    {"data: a\r\n\ndata: b\n\r\n", []string{"a", "b"}},
		"no space":                 {"data:a\n\n", []string{"a"}},
		"two spaces":               {"data:  a\n\n", []string{" a"}},
		"several lines":            {"data: a\ndata: b\n\n", []string{"a\nb"}},
		"named event":              {"event: message_stop\ndata: {}\n\n", []string{"{}"}},
		"comment":                  {": keep-alive\n\ndata: a\n\n", []string{"a"}},
		"empty data":               {"data:\n\n", []string{""}},
		"blank lines before":       {"\n\n\ndata: a\n\n", []string{"a"}},
		"no blank line at the end": {"data: a\n\ndata: b\n", []string{"a", "b"}},
		"no line end at the end":   {"data: a\n\ndata: [DONE]", []string{"a", "[DONE]"}},
		"other fields only":        {"id: 1\nretry: 5\n\n", nil},
		"nothing":                  {"", nil},
		"blank lines only":         {"\r\n\r\n\n", nil},
		"data in a word":           {"metadata: a\n\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			for form, r := range map[string]io.Reader{
				"whole":     strings.NewReader(test.stream),
				"bytewise":  iotest.OneByteReader(strings.NewReader(test.stream)),
				"with EOF":  iotest.DataErrReader(strings.NewReader(test.stream)),
				"by halves": iotest.HalfReader(strings.NewReader(test.stream)),
			} {
				data, raw, err := collect(r)
				if err != nil || strings.Join(data, "|") != strings.Join(test.want, "|") || len(data) != len(test.want) {
					t.Errorf("%s: %q, %v; want %q", form, data, err, test.want)
				}
				// Nothing but blank lines after the last event may be lost or added.
				if strings.TrimRight(raw, "\r\n") != strings.TrimRight(test.stream, "\r\n") {
					t.Errorf("%s: passed on %q for %q", form, raw, test.stream)
				}
			}
		})
	}
}

func TestScannerCompletesALastEvent(t *testing.T) {
	_, raw, err := collect(strings.NewReader("data: a\r\n\r\ndata: b\r\n"))
	if err != nil || raw != "data: a\r\n\r\ndata: b\n\n" {
		t.Errorf("got %q, %v", raw, err)
	}
}

func TestScannerTellsACut(t *testing.T) {
	data, _, err := collect(io.MultiReader(strings.NewReader("data: a\n\ndata: b"), iotest.ErrReader(io.ErrUnexpectedEOF)))
	if !errors.Is(err, io.ErrUnexpectedEOF) || len(data) != 1 {
		t.Errorf("got %q, %v; want the whole event alone and the reader's error", data, err)
	}
}

func TestScannerBounds(t *testing.T) {
	big := "data: " + strings.Repeat("x", 10<<20) + "\n\n"
	data, _, err := collect(strings.NewReader(big))
	if err != nil || len(data) != 1 || len(data[0]) != 10<<20 {
		t.Errorf("an event of 10 MiB: %d events, %v", len(data), err)
	}
	endless := io.MultiReader(strings.NewReader("data: "), neverEnding('x'))
	if _, _, err := collect(endless); !errors.Is(err, ErrEventTooLarge) {
		t.Errorf("an endless event: %v; want ErrEventTooLarge", err)
	}
}

type neverEnding byte

func (b neverEnding) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(b)
	}
	return len(p), nil
}

func TestScannerBuffered(t *testing.T) {
	s := NewScanner(strings.NewReader("data: a\n\ndata: b\n\ndata: c"))
	for _, want := range []bool{true, false} {
		if _, err := s.Next(); err != nil {
			t.Fatal(err)
		}
		if got := s.Buffered(); got != want {
			t.Errorf("Buffered = %v; want %v", got, want)
		}
	}
}

func FuzzScanner(f *testing.F) {
	f.Add([]byte("data: a\r\n\r\n: c\rdata:b\r\r"), uint8(1))
	f.Add([]byte("event: x\ndata: {}\n\ndata: [DONE]\n\n"), uint8(7))
	f.Fuzz(func(t *testing.T, stream []byte, step uint8) {
		whole, rawWhole, err := collect(bytes.NewReader(stream))
		if err != nil {
			t.Fatal(err)
		}
		cut, rawCut, err := collect(&steps{stream, int(step)%16 + 1})
		if err != nil || strings.Join(whole, "|") != strings.Join(cut, "|") {
			t.Errorf("%q cut every %d bytes gives %q, whole %q, %v", stream, step, cut, whole, err)
		}
		if !strings.HasPrefix(rawWhole, strings.TrimRight(rawCut, "\r\n")) {
			t.Errorf("raw bytes differ: %q and %q", rawWhole, rawCut)
		}
	})
}

type steps struct {
	rest []byte
	n    int
}

func (s *steps) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), s.n)], s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func BenchmarkScanner(b *testing.B) {
	stream := strings.Repeat(`data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}`+"\n\n", 100)
	b.SetBytes(int64(len(stream)))
	for b.Loop() {
		s := NewScanner(strings.NewReader(stream))
		m := NewMeter(Chat)
		for {
			e, err := s.Next()
			if err != nil {
				break
			}
			m.Event(e.Data)
		}
		if m.Deltas != 100 {
			b.Fatal(m.Deltas)
		}
	}
}

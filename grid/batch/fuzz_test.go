package batch

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzCheck holds an input's reading to what it promises: an index whose lines
// can be read again, or faults, and never both.
func FuzzCheck(f *testing.F) {
	f.Add([]byte(chat(3)))
	f.Add([]byte("\ufeff" + chat(2) + "\n\n"))
	f.Add([]byte(`{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"m","stream":1}}`))
	f.Add([]byte(`{"CUSTOM_ID":"\ud800","method":"POST","url":"/v1/chat/completions","body":{"model":"m"},"body":{"model":"n"}}`))
	f.Add([]byte("[[[[\n{}\nnull\n\"\"\n"))
	limits := Limits{Lines: 10, Line: 400, Models: 2}.withDefaults()
	f.Fuzz(func(t *testing.T, input []byte) {
		index, faults, err := check(bytes.NewReader(input), "/v1/chat/completions", limits)
		if err != nil || (index == nil) == (len(faults) == 0) || len(faults) > maxFaults {
			t.Fatalf("index %v, faults %v, %v", index, faults, err)
		}
		if index == nil {
			return
		}
		if len(index.entries) == 0 || len(index.entries) != len(index.ids) {
			t.Fatalf("%d entries, %d ids", len(index.entries), len(index.ids))
		}
		for i, e := range index.entries {
			q, err := readEntry(bytes.NewReader(input), e)
			if err != nil {
				t.Fatalf("entry %d: %v", i, err)
			}
			if at, known := index.ids[hashID(*q.CustomID)]; !known || int(at) != i {
				t.Errorf("entry %d is found at %d", i, at)
			}
		}
	})
}

// FuzzUpload sends forms that nobody would: each is a file, or leaves nothing.
func FuzzUpload(f *testing.F) {
	const boundary = "b"
	part := func(head, body string) string {
		return "--b\r\nContent-Disposition: form-data; " + head + "\r\n\r\n" + body + "\r\n"
	}
	whole := part(`name="purpose"`, "batch") + part(`name="file"; filename="a.jsonl"`, "x") + "--b--\r\n"
	f.Add([]byte(whole))
	f.Add([]byte(whole[:len(whole)-9]))
	f.Add([]byte(part(`name="file"; filename="../../etc/passwd"`, "x") + part(`name="purpose"`, "batch") + "--b--\r\n"))
	f.Add([]byte(strings.Repeat(part(`name="x"`, "y"), 20)))
	f.Add([]byte(part(`name="file"; filename*=utf-8''%00`, "x")))
	dir := f.TempDir()
	s, err := Open(Config{Dir: dir, Ask: http.NotFoundHandler(), Limits: Limits{File: 1000, Files: 1 << 30}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/v1/files", bytes.NewReader(body))
		r.Header.Set("Content-Type", "multipart/form-data; boundary="+boundary)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		files := s.store.listFiles("", "")
		switch {
		case w.Code >= 500:
			t.Fatalf("status %d: %s", w.Code, w.Body)
		case w.Code == 200 && len(files) != 1, w.Code != 200 && len(files) != 0:
			t.Fatalf("status %d and %d files", w.Code, len(files))
		}
		for _, one := range files {
			if name := one.Filename; name == "" || strings.ContainsAny(name, "/\\\x00\n") {
				t.Errorf("filename %q", name)
			}
			if err := s.store.deleteFile(one); err != nil {
				t.Fatal(err)
			}
		}
		left, err := filepath.Glob(filepath.Join(dir, "files", "*"))
		if err != nil || len(left) > 0 || s.store.used != 0 {
			t.Fatalf("left on disk: %v, %v; %d bytes accounted for", left, err, s.store.used)
		}
	})
}

// FuzzJournal reads back files that a crash, or worse, left behind; what is read
// once is read the same again.
func FuzzJournal(f *testing.F) {
	f.Add([]byte(`{"id":"batch_req_1","custom_id":"a","response":{"status_code":200,"request_id":"r","body":{}},"error":null}` + "\n" + `{"id":"ba`))
	f.Add([]byte("\x00\n{}\n\n\n{\"custom_id\":7}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		st, err := openStore(t.TempDir(), Limits{}.withDefaults())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(st.outputPath("x"), text, 0o600); err != nil {
			t.Fatal(err)
		}
		var counts [2]int
		var sizes [2]int64
		for i := range counts {
			j, err := openJournal(st, "x", slog.New(slog.NewTextHandler(io.Discard, nil)), func(recovered) { counts[i]++ })
			if err != nil {
				t.Fatal(err)
			}
			sizes[i] = j.output.size
			if err := j.closeFiles(); err != nil {
				t.Fatal(err)
			}
		}
		if counts[0] != counts[1] || sizes[0] != sizes[1] || sizes[0] > int64(len(text)) {
			t.Errorf("read %v results in %v bytes of %d", counts, sizes, len(text))
		}
	})
}

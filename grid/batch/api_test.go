package batch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func answering() *router {
	return newRouter(func(w http.ResponseWriter, r *http.Request, content string, try int) { ok(w) })
}

func TestFiles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, Config{Ask: answering()})
		now := time.Now().Unix()
		var raw string
		body, contentType := form(t, map[string]string{"purpose": "batch"}, "requests.jsonl", "one\n")
		b.call("POST", "/v1/files", body, contentType, &raw)
		var first File
		if err := json.Unmarshal([]byte(raw), &first); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf(`{"id":%q,"object":"file","bytes":4,"created_at":%d,"expires_at":%d,"filename":"requests.jsonl","purpose":"batch","status":"processed","status_details":null}`+"\n",
			first.ID, now, now+30*86400)
		if raw != want || !strings.HasPrefix(first.ID, "file-") {
			t.Errorf("upload answers\n%swant\n%s", raw, want)
		}
		second := b.upload("two\n")
		var list page[File]
		ids := func() (ids []string) {
			for _, f := range list.Data {
				ids = append(ids, f.ID)
			}
			return ids
		}
		for query, want := range map[string][]string{
			"":                             {second.ID, first.ID},
			"?order=asc":                   {first.ID, second.ID},
			"?limit=1":                     {second.ID},
			"?limit=1&after=" + second.ID:  {first.ID},
			"?after=" + first.ID:           nil,
			"?purpose=batch_output":        nil,
			"?purpose=batch&limit=10000":   {second.ID, first.ID},
			"?order=asc&after=" + first.ID: {second.ID},
		} {
			if code := b.call("GET", "/v1/files"+query, nil, "", &list); code != 200 || !slices.Equal(ids(), want) || list.Object != "list" ||
				list.HasMore != (query == "?limit=1") {
				t.Errorf("list %s: %d %+v; want %v", query, code, list, want)
			}
		}
		for path, want := range map[string]int{
			"/v1/files?limit=0": 400, "/v1/files?limit=10001": 400, "/v1/files?order=x": 400, "/v1/files?after=nope": 400, "/v1/files/nope": 404,
			"/v1/files/nope/content": 404, "/v1/batches/nope": 404, "/v1/batches?limit=101": 400, "/v1/files/" + first.ID + "/x": 404,
		} {
			var e errorBody
			if code := b.call("GET", path, nil, "", &e); code != want || e.Error.Type != "invalid_request_error" || e.Error.Message == "" {
				t.Errorf("GET %s: %d %+v; want %d", path, code, e, want)
			}
		}
		var content string
		if b.call("GET", "/v1/files/"+first.ID+"/content", nil, "", &content); content != "one\n" {
			t.Errorf("content %q", content)
		}
		b.reopen() // what was uploaded is there after a restart
		var deleted map[string]any
		if code := b.call("DELETE", "/v1/files/"+first.ID, nil, "", &deleted); code != 200 || deleted["deleted"] != true || deleted["object"] != "file" || deleted["id"] != first.ID {
			t.Errorf("delete: %d %v", code, deleted)
		}
		if code := b.call("GET", "/v1/files/"+first.ID, nil, "", nil); code != 404 {
			t.Errorf("after the deletion: %d", code)
		}
		if got, want := b.store.used, onDisk(t, b.Dir); got != want || want != 4 {
			t.Errorf("%d bytes accounted for, %d on disk; want 4", got, want)
		}
	})
}

func TestUploadRefused(t *testing.T) {
	t.Parallel()
	b := newBed(t, Config{Ask: answering(), Limits: Limits{File: 1000, Disk: 1500, Files: 3}})
	for name, test := range map[string]struct {
		fields    map[string]string
		file      string
		content   string
		status    int
		param     string
		truncated bool
	}{
		"no purpose":     {nil, "a.jsonl", "x", 400, "purpose", false},
		"other purpose":  {map[string]string{"purpose": "fine-tune"}, "a.jsonl", "x", 400, "purpose", false},
		"no file":        {map[string]string{"purpose": "batch"}, "", "", 400, "file", false},
		"too large":      {map[string]string{"purpose": "batch"}, "a.jsonl", strings.Repeat("x", 1001), 413, "file", false},
		"cut off":        {map[string]string{"purpose": "batch"}, "a.jsonl", strings.Repeat("x", 900), 400, "file", true},
		"long member":    {map[string]string{"purpose": strings.Repeat("x", 5000)}, "a.jsonl", "x", 400, "", false},
		"wrong anchor":   {map[string]string{"purpose": "batch", "expires_after[anchor]": "never", "expires_after[seconds]": "3600"}, "a.jsonl", "x", 400, "expires_after.anchor", false},
		"too short life": {map[string]string{"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "1"}, "a.jsonl", "x", 400, "expires_after.seconds", false},
	} {
		body, contentType := form(t, test.fields, test.file, test.content)
		if test.truncated {
			body = io.LimitReader(body, 700)
		}
		var e errorBody
		if code := b.call("POST", "/v1/files", body, contentType, &e); code != test.status || e.Error.Param != test.param {
			t.Errorf("%s: %d %+v; want %d, param %q", name, code, e.Error, test.status, test.param)
		}
	}
	var e errorBody
	if code := b.call("POST", "/v1/files", strings.NewReader("{}"), "application/json", &e); code != 400 {
		t.Errorf("no form: %d", code)
	}
	if used, on := b.store.used, onDisk(t, b.Dir); used != 0 || on != 0 {
		t.Errorf("what was refused left %d bytes on disk, %d accounted for", on, used)
	}
	upload := func(n int) (int, string) {
		body, contentType := form(t, map[string]string{"purpose": "batch"}, "a.jsonl", strings.Repeat("x", n))
		var e errorBody
		code := b.call("POST", "/v1/files", body, contentType, &e)
		return code, e.Error.Code
	}
	for i, want := range []string{"", "storage_full", "", "", "too_many_files"} {
		if _, got := upload([]int{900, 700, 100, 100, 1}[i]); got != want {
			t.Errorf("upload %d: %q; want %q", i, got, want)
		}
	}
}

func TestCreateRefused(t *testing.T) {
	t.Parallel()
	b := newBed(t, Config{Ask: answering(), Peers: slots(0), Limits: Limits{Batches: 2}})
	file := b.upload(chat(1)).ID
	long := strings.Repeat("x", 600)
	for body, param := range map[string]string{
		`{`:                           "",
		`{}`:                          "completion_window",
		`{"completion_window":"24h"}`: "endpoint",
		`{"completion_window":"1d","endpoint":"/v1/chat/completions"}`:                                                                                "completion_window",
		`{"completion_window":"169h","endpoint":"/v1/chat/completions"}`:                                                                              "completion_window",
		`{"completion_window":"24h","endpoint":"/v1/messages/count_tokens"}`:                                                                          "endpoint",
		`{"completion_window":"24h","endpoint":"/v1/chat/completions","input_file_id":"file-x"}`:                                                      "input_file_id",
		`{"completion_window":"24h","endpoint":"/v1/chat/completions","input_file_id":7}`:                                                             "input_file_id",
		`{"completion_window":"24h","endpoint":"/v1/chat/completions","input_file_id":"` + file + `","metadata":{"a":"` + long + `"}}`:                "metadata",
		`{"completion_window":"24h","endpoint":"/v1/chat/completions","input_file_id":"` + file + `","output_expires_after":{"anchor":"x"}}`:          "expires_after.anchor",
		`{"completion_window":"24h","endpoint":"/v1/chat/completions","input_file_id":"` + file + `","metadata":"` + strings.Repeat(long, 200) + `"}`: "",
	} {
		var e errorBody
		if code := b.call("POST", "/v1/batches", strings.NewReader(body), "application/json", &e); code != 400 || e.Error.Param != param {
			t.Errorf("%.120s: %d %+v; want 400, param %q", body, code, e.Error, param)
		}
	}
}

// Of more batches than may run at a time the others wait; one that waits can be
// cancelled, and expires.
func TestActiveLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fake := newRouter(func(w http.ResponseWriter, r *http.Request, content string, try int) {
			time.Sleep(23 * time.Hour)
			ok(w)
		})
		b := newBed(t, Config{Ask: fake, Limits: Limits{Active: 1}})
		file := b.upload(chat(1))
		first := b.create(file)
		time.Sleep(time.Second)
		second, third := b.create(file), b.create(file)
		time.Sleep(time.Minute)
		if got := b.get(second.ID).Status; got != Validating {
			t.Errorf("the second is %s", got)
		}
		b.call("POST", "/v1/batches/"+second.ID+"/cancel", nil, "", nil)
		time.Sleep(time.Minute)
		if got := b.get(second.ID); got.Status != Cancelled || got.RequestCounts != (Counts{1, 0, 1}) {
			t.Errorf("cancelled while it waits: %+v", got)
		}
		if got := b.await(first.ID); got.Status != Completed {
			t.Errorf("the first is %+v", got)
		}
		if got := b.await(third.ID); got.Status != Expired {
			t.Errorf("the third, with an hour left for what takes 23: %+v", got)
		}
	})
}

func TestFileInUse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fake := newRouter(func(w http.ResponseWriter, r *http.Request, content string, try int) {
			time.Sleep(time.Hour)
			ok(w)
		})
		b := newBed(t, Config{Ask: fake, Limits: Limits{Batches: 1}})
		file := b.upload(chat(1))
		created := b.create(file)
		var e errorBody
		if code := b.call("DELETE", "/v1/files/"+file.ID, nil, "", &e); code != 400 || e.Error.Code != "file_in_use" {
			t.Errorf("delete an input in use: %d %+v", code, e.Error)
		}
		body := fmt.Sprintf(`{"input_file_id":%q,"endpoint":"/v1/chat/completions","completion_window":"24h"}`, file.ID)
		if code := b.call("POST", "/v1/batches", strings.NewReader(body), "", &e); code != 400 || e.Error.Code != "too_many_batches" {
			t.Errorf("a second batch: %d %+v", code, e.Error)
		}
		b.await(created.ID)
		if code := b.call("DELETE", "/v1/files/"+file.ID, nil, "", nil); code != 200 {
			t.Errorf("delete after the end: %d", code)
		}
	})
}

// Who shows another key sees neither files nor batches.
func TestOwners(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, Config{Ask: answering(), Owner: func(r *http.Request) string { return r.Header.Get("Authorization") }})
		ask := func(who, method, path string, body io.Reader, contentType string, out any) int {
			r := httptest.NewRequestWithContext(t.Context(), method, path, body)
			r.Header.Set("Authorization", who)
			r.Header.Set("Content-Type", contentType)
			return b.do(r, out)
		}
		body, contentType := form(t, map[string]string{"purpose": "batch"}, "a.jsonl", chat(1))
		var f File
		ask("ann", "POST", "/v1/files", body, contentType, &f)
		create := fmt.Sprintf(`{"input_file_id":%q,"endpoint":"/v1/chat/completions","completion_window":"24h"}`, f.ID)
		if code := ask("ben", "POST", "/v1/batches", strings.NewReader(create), "", nil); code != 400 {
			t.Errorf("another's input: %d", code)
		}
		var made Batch
		ask("ann", "POST", "/v1/batches", strings.NewReader(create), "", &made)
		for _, path := range []string{"/v1/files/" + f.ID, "/v1/files/" + f.ID + "/content", "/v1/batches/" + made.ID} {
			if code := ask("ben", "GET", path, nil, "", nil); code != 404 {
				t.Errorf("%s is shown to another: %d", path, code)
			}
		}
		for method, path := range map[string]string{"DELETE": "/v1/files/" + f.ID, "POST": "/v1/batches/" + made.ID + "/cancel"} {
			if code := ask("ben", method, path, nil, "", nil); code != 404 {
				t.Errorf("%s %s by another: %d", method, path, code)
			}
		}
		var list page[Batch]
		if ask("ben", "GET", "/v1/batches", nil, "", &list); len(list.Data) != 0 {
			t.Errorf("another's list has %d batches", len(list.Data))
		}
		synctest.Wait()
	})
}

func TestBatchPages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, Config{Ask: answering()})
		file := b.upload(chat(1))
		var made []string
		for range 25 {
			made = append(made, b.create(file).ID)
		}
		slices.Reverse(made)
		var got []string
		after := ""
		for {
			var p page[Batch]
			b.call("GET", "/v1/batches"+after, nil, "", &p)
			for _, one := range p.Data {
				got = append(got, one.ID)
			}
			if len(p.Data) > 20 || len(p.Data) == 0 || *p.FirstID != p.Data[0].ID {
				t.Fatalf("page %+v", p)
			}
			if !p.HasMore {
				break
			}
			after = "?after=" + *p.LastID
		}
		if !slices.Equal(got, made) {
			t.Errorf("pages give %v; want %v", got, made)
		}
		for _, id := range made {
			b.await(id)
		}
	})
}

// Inputs and results go when their time is over, and so does the batch.
func TestFilesExpire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, Config{Ask: answering()})
		got := b.await(b.create(b.upload(chat(2))).ID)
		time.Sleep(30*24*time.Hour + time.Second)
		if code := b.call("GET", "/v1/files/"+*got.OutputFileID, nil, "", nil); code != 404 {
			t.Errorf("the output after 30 days: %d", code)
		}
		time.Sleep(2 * 24 * time.Hour)
		if b.store.batch("", got.ID) != nil || b.store.used != 0 || onDisk(t, b.Dir) != 0 {
			t.Errorf("after 32 days there are %d bytes on disk", onDisk(t, b.Dir))
		}
	})
}

func TestFaults(t *testing.T) {
	t.Parallel()
	line := func(id, method, url, body string) string {
		return fmt.Sprintf(`{"custom_id":%s,"method":%q,"url":%q,"body":%s}`, id, method, url, body)
	}
	const chats = "/v1/chat/completions"
	good := line(`"a"`, "POST", chats, `{"model":"m"}`)
	limits := Limits{Lines: 5, Line: 300, Models: 3}.withDefaults()
	for name, test := range map[string]struct {
		input string
		want  string // code:line:param of each
	}{
		"good":                {good + "\n", ""},
		"no end of line":      {good, ""},
		"blank lines and BOM": {"\ufeff" + good + "\r\n\n  \n", ""},
		"empty":               {"", "empty_file:0:"},
		"blank":               {"\n \n", "empty_file:0:"},
		"not JSON":            {good + "\nhello\n", "invalid_json_line:2:"},
		"an array":            {"[1]\n", "invalid_json_line:1:"},
		"no custom_id":        {`{"method":"POST","url":"/v1/chat/completions","body":{"model":"m"}}`, "missing_required_parameter:1:custom_id"},
		"empty custom_id":     {line(`""`, "POST", chats, `{"model":"m"}`), "missing_required_parameter:1:custom_id"},
		"custom_id a number":  {line(`7`, "POST", chats, `{"model":"m"}`), "invalid_type:1:custom_id"},
		"no body":             {`{"custom_id":"a","method":"POST","url":"/v1/chat/completions"}`, "missing_required_parameter:1:body"},
		"body is text":        {line(`"a"`, "POST", chats, `"x"`), "invalid_request:1:body"},
		"GET":                 {line(`"a"`, "GET", chats, `{"model":"m"}`), "invalid_method:1:method"},
		"other url":           {line(`"a"`, "POST", "/v1/embeddings", `{"model":"m"}`), "url_mismatch:1:url"},
		"no model":            {line(`"a"`, "POST", chats, `{}`), "invalid_request:1:body.model"},
		"stream":              {line(`"a"`, "POST", chats, `{"model":"m","stream":true}`), "unsupported_parameter:1:body.stream"},
		"twice":               {good + "\n\n" + good, "duplicate_custom_id:3:custom_id"},
		"too long":            {good + "\n" + line(`"b"`, "POST", chats, `{"model":"`+strings.Repeat("m", 300)+`"}`), "line_too_large:2:"},
		"too many":            {chat(6), "too_many_tasks:0:"},
		"as many as may be":   {chat(5), ""},
		"too many models": {chatLine("a", "m1", "") + chatLine("b", "m2", "") + chatLine("c", "m3", "") + chatLine("d", "m4", ""),
			"too_many_models:4:body.model"},
		"several": {"x\n" + good + "\n" + line(`"b"`, "PUT", chats, `{}`), "invalid_json_line:1:;invalid_method:3:method"},
	} {
		index, faults, err := check(strings.NewReader(test.input), chats, limits)
		var got []string
		for _, f := range faults {
			number, param := 0, ""
			if f.Line != nil {
				number = *f.Line
			}
			if f.Param != nil {
				param = *f.Param
			}
			got = append(got, fmt.Sprintf("%s:%d:%s", f.Code, number, param))
		}
		if text := strings.Join(got, ";"); text != test.want || err != nil || (index == nil) != (test.want != "") {
			t.Errorf("%s: %q, %v; want %q", name, text, err, test.want)
		}
	}
}

// A batch whose input is wrong fails with line numbers, and asks nothing.
func TestFailedBatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fake := answering()
		b := newBed(t, Config{Ask: fake})
		got := b.await(b.create(b.upload(chat(1) + "oops\n")).ID)
		if got.Status != Failed || got.FailedAt == nil || got.Errors == nil || got.Errors.Object != "list" || len(got.Errors.Data) != 1 || *got.Errors.Data[0].Line != 2 {
			t.Errorf("%+v", got)
		}
		if len(fake.asked) != 0 || got.OutputFileID != nil || got.ErrorFileID != nil {
			t.Errorf("%d requests were asked", len(fake.asked))
		}
	})
}

// Bodies go to the engine byte for byte, and answers come back as they were but
// for line feeds.
func TestBytes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const body = `{ "model":"m","messages" : [{"role":"user","content":"<&>\u00e9é"}],"new_tomorrow":1e3 , "seed":12345678901234567890}`
		var got []byte
		b := newBed(t, Config{Ask: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got, _ = io.ReadAll(r.Body)
			io.WriteString(w, "{\n \"big\": 12345678901234567890, \"text\": \"<&>\\n\\u00e9\"\n}\n")
		})})
		done := b.await(b.create(b.upload(`{"custom_id":"\u00e9 1","method":"POST","url":"/v1/chat/completions","body":` + body + `}`)).ID)
		if string(got) != body {
			t.Errorf("the engine got %s\nwant %s", got, body)
		}
		var text string
		b.call("GET", "/v1/files/"+*done.OutputFileID+"/content", nil, "", &text)
		if !strings.Contains(text, `"custom_id":"é 1"`) || !strings.Contains(text, `"body":{"big":12345678901234567890,"text":"<&>\n\u00e9"}`) || strings.Count(text, "\n") != 1 {
			t.Errorf("output %s", text)
		}
	})
}

func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fake := newRouter(func(w http.ResponseWriter, r *http.Request, content string, try int) {
			switch content {
			case "0":
				w.Write(bytes.Repeat([]byte("x"), 2000))
			case "1":
				io.WriteString(w, "<html>hello</html>")
			case "2":
				io.WriteString(w, "")
			default:
				ok(w)
			}
		})
		b := newBed(t, Config{Ask: fake, Limits: Limits{Answer: 1000}})
		got := b.await(b.create(b.upload(chat(4))).ID)
		if got.RequestCounts != (Counts{4, 1, 3}) {
			t.Errorf("counts %+v", got.RequestCounts)
		}
		for id, r := range b.results(got.ErrorFileID) {
			if r.Response == nil || r.Response.StatusCode != 502 || !json.Valid(r.Response.Body) {
				t.Errorf("%s: %+v", id, r)
			}
		}
	})
}

// Answers that the disk has no room for wait until there is.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, Config{Ask: answering(), Limits: Limits{Disk: 40_000}})
		big := b.upload(strings.Repeat("x", 25_000))
		created := b.create(b.upload(chat(60))) // some 10,000 bytes in and 30,000 out
		time.Sleep(time.Minute)
		if now := b.get(created.ID); now.Status != InProgress || now.RequestCounts.Failed > 0 || now.RequestCounts.Completed == 60 {
			t.Errorf("with a full disk: %+v", now)
		}
		if code := b.call("DELETE", "/v1/files/"+big.ID, nil, "", nil); code != 200 {
			t.Fatal(code)
		}
		if got := b.await(created.ID); got.RequestCounts != (Counts{60, 60, 0}) {
			t.Errorf("with room again: %+v", got)
		}
	})
}

func TestDamagedRecord(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := newBed(t, Config{Ask: answering(), Dir: dir})
	f := b.upload("x")
	b.cancel()
	b.done.Wait()
	path := b.store.filePath(f.ID) + ".json"
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(b.config); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a damaged record: %v; want its name", err)
	}
}

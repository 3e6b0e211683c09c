package tool

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"
)

// A hook has to say yes in so many words; everything else is a no.
func TestHooks(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("a POSIX shell is used")
	}
	question := Question{ID: "1", Caller: home, Executor: self, Tool: Exec, Args: json.RawMessage(`{"command":"id"}`)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q Question
		data, err := io.ReadAll(r.Body)
		if err != nil || json.Unmarshal(data, &q) != nil || q.Caller != home || string(q.Args) != `{"command":"id"}` {
			t.Errorf("asked %s, %v", data, err)
		}
		switch r.URL.Path {
		case "/yes":
			io.WriteString(w, `{"approve":true}`)
		case "/no":
			io.WriteString(w, `{"approve":false,"reason":"not today"}`)
		case "/created":
			w.WriteHeader(http.StatusCreated)
			io.WriteString(w, `{"approve":true}`)
		case "/away":
			http.Redirect(w, r, "/yes", http.StatusTemporaryRedirect)
		case "/silent":
			<-r.Context().Done()
		}
	}))
	t.Cleanup(server.Close)
	sh := func(line string) []string { return []string{"/bin/sh", "-c", line} }
	for _, c := range []struct {
		name string
		hook Approval
		want string // empty: approved
	}{
		{"a program that says yes", Approval{Command: sh(`grep -q '"tool":"exec"' && echo '{"approve":true}'`)}, ""},
		{"a program that says no", Approval{Command: sh(`echo '{"approve":false,"reason":"not today"}'`)}, "not today"},
		{"a program that fails", Approval{Command: sh(`echo '{"approve":true}'; exit 1`)}, "ended with code 1"},
		{"a program that says nothing", Approval{Command: sh("true")}, "did not answer"},
		{"a program that says yes on stderr", Approval{Command: sh(`echo '{"approve":true}' >&2`)}, "did not answer"},
		{"a program that is not there", Approval{Command: []string{"/nonexistent"}}, "no such file"},
		{"a program that waits", Approval{Command: sh("sleep 1000"), Timeout: 1}, "nobody answered within 1s"},
		{"a tool that needs none", Approval{Command: sh("false"), Tools: []string{"write"}}, ""},
		{"a tool that needs one", Approval{Command: sh("false"), Tools: []string{"ex*"}}, "ended with code 1"},
		{"an address that says yes", Approval{URL: server.URL + "/yes"}, ""},
		{"an address that says no", Approval{URL: server.URL + "/no"}, "not today"},
		{"another status", Approval{URL: server.URL + "/created"}, "answered 201"},
		{"a redirect", Approval{URL: server.URL + "/away"}, "answered 307"},
		{"an address that waits", Approval{URL: server.URL + "/silent", Timeout: 1}, "nobody answered within 1s"},
		{"nobody there", Approval{URL: "http://127.0.0.1:1/"}, "cannot be reached"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			err := NewApprover(c.hook).Approve(ctx, question)
			if c.want == "" && err != nil || c.want != "" && (codeOf(err) != CodeApproval || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v; want %q", err, c.want)
			}
		})
	}
	if NewApprover(Approval{}) != nil {
		t.Error("without a hook somebody is asked")
	}
}

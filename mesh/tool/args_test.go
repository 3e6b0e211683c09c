package tool

import (
	"encoding/json"
	"strings"
	"testing"
)

type testArgs struct {
	Argv  []string          `json:"argv,omitempty"`
	Env   map[string]string `json:"env,omitempty"`
	Start *int64            `json:"start,omitempty"`
	Edits []struct {
		Old string `json:"oldText"`
	} `json:"edits,omitempty"`
	Rest json.RawMessage `json:"rest,omitempty"`
}

// What a hook or another program reads in the arguments is what is done: no member
// stands for another one.
func TestArgsMeanOneThing(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"argv":["echo"],"ARGV":["id"]}`:              `unknown field "ARGV"`,
		`{"Argv":["id"]}`:                              `unknown field "Argv"`,
		`{"argv":["echo"],"argv":["id"]}`:              `"argv" stands twice`,
		`{"argv":["echo"],"\u0061rgv":["id"]}`:         `"argv" stands twice`,
		`{"env":{"A":"1","A":"2"}}`:                    `"A" stands twice`,
		`{"edits":[{"oldText":"a"},{"OldText":"a"}]}`:  `unknown field "OldText"`,
		`{"edits":[{"oldText":"a","oldText":"b"}]}`:    `"oldText" stands twice`,
		`{"rest":{"path":"a","deep":[{"b":1,"b":2}]}}`: `"b" stands twice`,
		`{"other":1}`:       `unknown field "other"`,
		`{"argv":["a"]} {}`: "something follows them",
		`{"argv":["a"],"env":{"A":"1","a":"2"},"start":1}`: "",
		`{"edits":[{"oldText":"a"},{"oldText":"a"}]}`:      "",
		`{"rest":{"Path":1e999,"path":[{"a":1},{"a":2}]}}`: "",
		`{"rest":null,"argv":null}`:                        "",
		`{}}`:                                              "something follows them",
		`{}`:                                               "",
	} {
		err := ReadArgs(json.RawMessage(text), new(testArgs))
		if want == "" && err != nil || want != "" && (codeOf(err) != CodeArguments || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v; want %q", text, err, want)
		}
	}
}

// Whatever is taken means one thing to every reader of JSON.
func FuzzReadArgs(f *testing.F) {
	f.Add([]byte(`{"argv":["echo"],"env":{"A":"1"},"edits":[{"oldText":"a"}],"rest":{"a":[1,{}]}}`))
	f.Add([]byte(`{"argv":["echo"],"ARGV":["id"]}`))
	f.Add([]byte(`{}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var args testArgs
		if ReadArgs(raw, &args) != nil {
			return
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(raw, &members); err != nil && string(raw) != "null" {
			t.Fatalf("%q was taken and is no object: %v", raw, err)
		}
		for name := range members {
			switch name {
			case "argv", "env", "start", "edits", "rest":
			default:
				t.Errorf("%q was taken with the member %q", raw, name)
			}
		}
	})
}

package anthropic

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestTranslateRequest(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, in, want string }{
		{
			"the least",
			`{"model":"m","messages":[{"role":"user","content":"hi"}]}`,
			`{"model":"m","max_tokens":8192,"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}`,
		},
		{
			"settings",
			`{"model":"m","messages":[{"role":"system","content":"a"},{"role":"developer","content":[{"type":"text","text":"b"}]},{"role":"user","content":"hi"}],
			  "max_tokens":5,"max_completion_tokens":7,"temperature":1.7,"top_p":0.5,"top_k":3,"stop":"END","user":"u","stream":true,"seed":1,"presence_penalty":1}`,
			`{"model":"m","max_tokens":7,"system":"a\n\nb","temperature":1,"top_p":0.5,"top_k":3,"stop_sequences":["END"],"metadata":{"user_id":"u"},"stream":true,
			  "messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}`,
		},
		{
			"tools, called twice at once, and their results in one message with what follows",
			`{"model":"m","parallel_tool_calls":false,"tool_choice":"required",
			  "tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"}}},{"type":"function","function":{"name":"g"}}],
			  "messages":[{"role":"user","content":"go"},
			    {"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}},{"id":"2","type":"function","function":{"name":"g","arguments":""}}]},
			    {"role":"tool","tool_call_id":"1","content":"one"},{"role":"tool","tool_call_id":"2","content":""},{"role":"user","content":"well?"}]}`,
			`{"model":"m","max_tokens":8192,"tool_choice":{"type":"any","disable_parallel_tool_use":true},
			  "tools":[{"name":"f","description":"d","input_schema":{"type":"object"}},{"name":"g","input_schema":{"type":"object","properties":{}}}],
			  "messages":[{"role":"user","content":[{"type":"text","text":"go"}]},
			    {"role":"assistant","content":[{"type":"tool_use","id":"1","name":"f","input":{"x":1}},{"type":"tool_use","id":"2","name":"g","input":{}}]},
			    {"role":"user","content":[{"type":"tool_result","tool_use_id":"1","content":[{"type":"text","text":"one"}]},{"type":"tool_result","tool_use_id":"2"},{"type":"text","text":"well?"}]}]}`,
		},
		{
			"one tool by name, images and a document",
			`{"model":"m","tool_choice":{"type":"function","function":{"name":"f"}},"stop":["a","b"],
			  "messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}},{"type":"image_url","image_url":{"url":"https://x.example/a.png"}},
			    {"type":"file","file":{"file_data":"data:application/pdf;name=a;base64,BBBB"}}]}]}`,
			`{"model":"m","max_tokens":8192,"tool_choice":{"type":"tool","name":"f"},"stop_sequences":["a","b"],
			  "messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}},{"type":"image","source":{"type":"url","url":"https://x.example/a.png"}},
			    {"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"BBBB"}}]}]}`,
		},
		{
			"a structured answer is the input of a tool",
			`{"model":"m","messages":[{"role":"user","content":"hi"}],"response_format":{"type":"json_schema","json_schema":{"name":"n","description":"d","schema":{"type":"object","required":["a"]}}}}`,
			`{"model":"m","max_tokens":8192,"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}],
			  "tools":[{"name":"structured_answer","description":"d","input_schema":{"type":"object","required":["a"]}}],"tool_choice":{"type":"tool","name":"structured_answer"}}`,
		},
		{
			"any JSON object is asked for in words",
			`{"model":"m","messages":[{"role":"system","content":"s"},{"role":"user","content":"hi"}],"response_format":{"type":"json_object"}}`,
			`{"model":"m","max_tokens":8192,"system":"s\n\nAnswer with one JSON object and nothing else, no code fence.","messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}`,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			out, failure := translate([]byte(test.in))
			if failure != nil {
				t.Fatal(failure)
			}
			raw, err := json.Marshal(out)
			if err != nil {
				t.Fatal(err)
			}
			var got, want any
			if json.Unmarshal(raw, &got) != nil || json.Unmarshal([]byte(test.want), &want) != nil {
				t.Fatal("the test's own JSON is wrong")
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %s\nwant %s", raw, test.want)
			}
		})
	}
}

// What cannot be carried over is refused and named.
func TestRefusesWhatCannotBeCarriedOver(t *testing.T) {
	t.Parallel()
	const hi = `"model":"m","messages":[{"role":"user","content":"hi"}]`
	tests := []struct{ in, param, says string }{
		{`{` + hi + `,"n":2}`, "n", "one choice"},
		{`{` + hi + `,"logprobs":true}`, "logprobs", "log probabilities"},
		{`{` + hi + `,"modalities":["text","audio"]}`, "modalities", "text only"},
		{`{` + hi + `,"stop":7}`, "stop", "a string or an array"},
		{`{` + hi + `,"tools":[{"type":"custom"}]}`, "tools", "tools[0]"},
		{`{` + hi + `,"tool_choice":"maybe"}`, "tool_choice", "auto, none, required"},
		{`{` + hi + `,"response_format":{"type":"xml"}}`, "response_format", "json_schema"},
		{`{` + hi + `,"response_format":{"type":"json_schema"}}`, "response_format", "no schema"},
		{`{"model":"m","messages":[{"role":"robot","content":"hi"}]}`, "messages", `role "robot"`},
		{`{"model":"m","messages":[{"role":"user","content":7}]}`, "messages", "messages[0].content"},
		{`{"model":"m","messages":[{"role":"user","content":[{"type":"input_audio"}]}]}`, "messages", "input_audio"},
		{`{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"file:///etc/passwd"}}]}]}`, "messages", "base64"},
		{`{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"c","function":{"name":"f","arguments":"[]"}}]}]}`, "messages", `call "c"`},
		{`[]`, "", "cannot be read"},
	}
	for _, test := range tests {
		_, failure := translate([]byte(test.in))
		if failure == nil || failure.Status != 400 || failure.Param != test.param || !strings.Contains(failure.Message, test.says) {
			t.Errorf("%s\ngot %+v; want 400 for %q that says %q", test.in, failure, test.param, test.says)
		}
	}
}

func FuzzTranslate(f *testing.F) {
	f.Add([]byte(`{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:;base64,"}}]}],"stop":null}`))
	f.Add([]byte(`{"model":"m","messages":[{"role":"assistant","tool_calls":[{"function":{"arguments":"{}"}}]}],"tools":[{"type":"function"}],"parallel_tool_calls":false}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		out, failure := translate(body)
		if failure != nil {
			return
		}
		if _, err := json.Marshal(out); err != nil {
			t.Fatalf("what was translated cannot be sent: %v", err)
		}
	})
}

package workflow_test

import (
	"testing"

	"lobstah/flow/schema"
	"lobstah/flow/value"
	"lobstah/flow/workflow"
)

// TestSchemaAgreesWithLoading holds the published schema to what loading accepts.
func TestSchemaAgreesWithLoading(t *testing.T) {
	t.Parallel()
	doc, err := value.Parse(workflow.Schema)
	if err != nil {
		t.Fatal(err)
	}
	sch, err := schema.Compile(doc)
	if err != nil {
		t.Fatal(err)
	}
	good := []string{
		`{"steps":[{"id":"a","run":"ls"}]}`,
		`{"name":"n","args":{"x":{"default":1},"y":null},"env":{"A":"b"},"cost_limit":{"max_usd":1.5,"action":"stop"},"steps":[{"id":"a","command":"ls","when":"$a.json","timeout_ms":5}]}`,
		`{"steps":[{"id":"a","pipeline":"head","stdin":[1],"retry":{"max":2,"backoff":"exponential","delay_ms":0,"jitter":true},"on_error":"continue"}]}`,
		`{"steps":[{"id":"a","approval":true},{"id":"b","approval":"go?"},{"id":"c","approval":{"prompt":"p","items":[1],"required_approver":"x","requireDifferentApprover":true}}]}`,
		`{"steps":[{"id":"a","input":{"prompt":"p","responseSchema":{}}}]}`,
		`{"steps":[{"id":"a","parallel":{"wait":"any","branches":[{"id":"b","run":"ls"},{"id":"c","pipeline":"head"}]}}]}`,
		`{"steps":[{"id":"x","run":"ls"},{"id":"a","for_each":"$x.json","batch_size":2,"pause_ms":1,"steps":[{"id":"s","run":"ls","when":false}]}]}`,
		`{"steps":[{"id":"a","workflow":"k.lobster","workflow_args":{"x":1}}]}`,
		`{"steps":[{"id":"a","run":"ls","command":"ls"}]}`,
	}
	bad := []string{
		`[]`, `{}`, `{"steps":[]}`, `{"steps":[{"run":"ls"}]}`, `{"steps":[{"id":5,"run":"ls"}]}`, `{"steps":[{"id":"a"}]}`, `{"steps":[{"id":"a","run":5}]}`,
		`{"steps":[{"id":"a","run":"ls","pipeline":"head"}]}`, `{"steps":[{"id":"a","run":"ls","timeout_ms":0}]}`, `{"steps":[{"id":"a","run":"ls","on_error":"x"}]}`,
		`{"steps":[{"id":"a","run":"ls","retry":{"max":0}}]}`, `{"steps":[{"id":"a","parallel":{"branches":[]}}]}`, `{"steps":[{"id":"a","parallel":{"branches":[{"id":"b"}]}}]}`,
		`{"steps":[{"id":"a","for_each":"$x.json","steps":[{"id":"s","workflow":"k","run":"ls"}]}]}`, `{"steps":[{"id":"a","input":{"prompt":"p"}}]}`,
		`{"cost_limit":{"action":"stop"},"steps":[{"id":"a","run":"ls"}]}`, `{"steps":[{"id":"a","run":"ls","workflow_args":[]}]}`,
	}
	for _, text := range good {
		v, err := value.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := workflow.Parse("x.json", text); err != nil {
			t.Errorf("loading refuses %s: %v", text, err)
		}
		if issue, isBad := sch.Validate(v); isBad {
			t.Errorf("the schema refuses %s at %s: %s", text, issue.Where(), issue.Message)
		}
	}
	for _, text := range bad {
		v, err := value.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := workflow.Parse("x.json", text); err == nil {
			t.Errorf("loading accepts %s", text)
		}
		if _, isBad := sch.Validate(v); !isBad {
			t.Errorf("the schema accepts %s", text)
		}
	}
}

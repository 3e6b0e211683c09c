package anthropic

import (
	"strings"
	"testing"

	"lobstah/internal/enginetest"
	"lobstah/openai"
)

// llama-server speaks Anthropic's dialect too: what it makes of our request is
// another program's judgement of it.
func TestARealServerOfTheDialect(t *testing.T) {
	t.Parallel()
	e, err := New(Config{BaseURL: enginetest.LlamaServer(t, enginetest.Options{})})
	if err != nil {
		t.Fatal(err)
	}
	models, err := e.Models(t.Context())
	if err != nil || len(models) == 0 {
		t.Fatalf("models: %v, %v", models, err)
	}
	for _, path := range []string{chatPath, "/v1/messages"} {
		meter := openai.NewMeter(openai.DialectOf(path))
		got, err := askModel(t, e, models[0].ID, path, `,"temperature":0`)
		meter.Body([]byte(got))
		if err != nil || !meter.Ended() || meter.Failure != nil || meter.Usage.Input == 0 || meter.Usage.Output == 0 {
			t.Errorf("%s: %+v of %s", path, meter, got)
		}
	}
	meter := openai.NewMeter(openai.Chat)
	got, err := askModel(t, e, models[0].ID, chatPath, `,"temperature":0,"stream":true,"stream_options":{"include_usage":true}`)
	for scanner := openai.NewScanner(strings.NewReader(got)); ; {
		event, err := scanner.Next()
		if err != nil {
			break
		}
		meter.Event(event.Data)
	}
	if err != nil || !meter.Ended() || meter.Deltas == 0 || !meter.Usage.Known || meter.Finish != "length" {
		t.Errorf("the stream: %+v of %s", meter, got)
	}
}

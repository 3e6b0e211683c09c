package openaiapi

import (
	"net/http"
	"strings"
	"testing"

	"lobstah/grid/engine/gguf"
	"lobstah/internal/memnet"
)

// The embedded runner is an engine like others, behind a network in memory.
func TestEmbeddedRunner(t *testing.T) {
	t.Parallel()
	model, err := gguf.Demo()
	if err != nil {
		t.Fatal(err)
	}
	l := memnet.Listen("demo")
	server := &http.Server{Handler: gguf.NewHandler(model, gguf.Options{})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() { server.Close(); <-served })
	e := newEngine(t, Config{
		BaseURL: "http://demo", Name: "the demo", Demo: true,
		Transport: &http.Transport{DialContext: l.DialContext, DisableCompression: true},
	})
	models, err := e.Models(t.Context())
	if err != nil || len(models) != 1 {
		t.Fatalf("Models() = %v, %v", models, err)
	}
	m := models[0]
	if m.ID != gguf.DemoID || !m.Demo || !m.Loaded || m.Engine != "embedded" || m.ContextLength == 0 || !strings.HasPrefix(m.Digest, "sha256:") || m.Family != "llama" {
		t.Errorf("Models() = %+v; want the demo with its facts", m)
	}
	meter := stream(t, e, "/v1/chat/completions", `{"model":"`+m.ID+`","stream":true,"stream_options":{"include_usage":true},"temperature":0,"max_tokens":5,"messages":[{"role":"user","content":"hi"}]}`)
	if !meter.Ended() || meter.Usage.Output == 0 || meter.Usage.Timings || meter.Deltas == 0 {
		t.Errorf("the stream is metered as %+v", meter)
	}
	answered := whole(t, e, "/v1/completions", `{"model":"`+m.ID+`","temperature":0,"max_tokens":5,"prompt":"hi"}`)
	if !answered.Ended() || answered.Usage.Output != 5 && answered.Finish == "length" {
		t.Errorf("the answer is metered as %+v", answered)
	}
	if _, err := e.Do(t.Context(), chat); err == nil || !strings.Contains(err.Error(), "does not serve") {
		t.Errorf("another model: %v", err)
	}
}

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lobstah/internal/cli"
	"lobstah/mesh/agent"
	"lobstah/mesh/config"
)

// OpenClaw's file is JSON5: what a person wrote into it is read, too.
func TestProvidersOfOpenClaw(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "openclaw.json")
	a := &app{IO: cli.IO{Env: []string{"OPENCLAW_CONFIG_PATH=" + path}}}
	for name, text := range map[string]string{
		"JSON": `{"models":{"providers":{"corp":{"baseUrl":"https://llm.corp.example//v1","apiKey":"k/*1*/","api":"openai-completions"}}},"agents":{}}`,
		"JSON5": "// mine\n{\n\tmodels: { /* all\n of them */ providers: {\n\t\tcorp: {\n\t\t\t\"baseUrl\": 'https://llm.corp.example//v1', // the office\n" +
			"\t\t\tapiKey: \"k/*1*/\",\n\t\t\tapi: \"openai-completions\",\n\t\t},\n\t} },\n\tagents: {},\n}\n// end",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		found, err := a.openclawProviders()
		if want := (openclawProvider{BaseURL: "https://llm.corp.example//v1", APIKey: "k/*1*/", API: "openai-completions"}); err != nil || found["corp"] != want {
			t.Errorf("%s: %+v, %v; want %+v", name, found, err, want)
		}
	}
	for _, text := range []string{"{", "[]", `{"models": 3}`, "/*", "//", `{"a": "`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if found, err := a.openclawProviders(); len(found) > 0 || err == nil && text != "//" && text != "/*" {
			t.Errorf("%q: %v, %v; want an error", text, found, err)
		}
	}
}

// An answer that was printed while it came is not printed again to the same person.
func TestAnswersThatWereShown(t *testing.T) {
	t.Parallel()
	done := agent.Task{State: agent.Done, Output: "the answer\n"}
	for said, want := range map[string]bool{"": false, "thinking\nthe answer": true, "the answer\n": true, "the answer, and more": false} {
		if got := shown(done, said); got != want {
			t.Errorf("after %q: %t, want %t", said, got, want)
		}
	}
	if shown(agent.Task{State: agent.Failed}, "") {
		t.Error("a failure counts as shown")
	}
}

// An Ollama that is started after the node lends its models then.
func TestOllamaMayComeLater(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"", "127.0.0.1:1", "0.0.0.0"} {
		p := providers{app: &app{IO: cli.IO{Env: []string{"OLLAMA_HOST=" + host}}}}
		if e, err := p.engine(config.Model{ID: "m", Provider: "ollama"}); err != nil || !strings.HasPrefix(e.Name(), "ollama at http://127.0.0.1:") {
			t.Errorf("with OLLAMA_HOST=%q: %v, %v", host, e, err)
		}
	}
}

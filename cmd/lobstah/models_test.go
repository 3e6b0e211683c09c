package main

import (
	"testing"

	"lobstah/grid"
)

func TestBestModel(t *testing.T) {
	t.Parallel()
	demo := grid.Model{ID: "lobstah-demo", Demo: true, Loaded: true}
	cold := grid.Model{ID: "qwen3:4b", Capabilities: []string{"completion", "tools"}}
	warm := grid.Model{ID: "llama3.2:1b", Loaded: true}
	embedder := grid.Model{ID: "bge-m3", Capabilities: []string{"embedding"}, Loaded: true}
	named := grid.Model{ID: "nomic-embed-text:latest", Loaded: true}
	for _, c := range []struct {
		models []grid.Model
		want   string
	}{
		{[]grid.Model{demo}, demo.ID},
		{[]grid.Model{demo, cold}, cold.ID},
		{[]grid.Model{cold, warm}, warm.ID},
		{[]grid.Model{embedder, named, cold}, cold.ID},
		{[]grid.Model{embedder, named}, ""},
		{nil, ""},
	} {
		got, ok := bestModel(c.models)
		if got.ID != c.want || ok != (c.want != "") {
			t.Errorf("bestModel(%v) = %q, %v; want %q", c.models, got.ID, ok, c.want)
		}
	}
}

func TestGetEngineNamesThree(t *testing.T) {
	t.Parallel()
	if got := getEngine(); len(got) != 3 {
		t.Errorf("%d ways to an engine; want three: %q", len(got), got)
	}
}

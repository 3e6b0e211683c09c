package main

import (
	"runtime"
	"strings"

	"lobstah/grid"
)

// getEngine are three ways to an engine that answers, for this system.
func getEngine() []string {
	switch runtime.GOOS {
	case "darwin":
		return []string{
			"Ollama      brew install --cask ollama && open -a Ollama && ollama pull qwen3:4b",
			"llama.cpp   brew install llama.cpp && lobstah up --model hf:ggml-org/gemma-3-4b-it-GGUF",
			"LM Studio   brew install --cask lm-studio && lms get qwen3-4b && lms server start",
		}
	case "windows":
		return []string{
			"Ollama      winget install Ollama.Ollama; ollama pull qwen3:4b",
			"llama.cpp   winget install llama.cpp; lobstah up --model hf:ggml-org/gemma-3-4b-it-GGUF",
			"LM Studio   winget install ElementLabs.LMStudio; lms get qwen3-4b; lms server start",
		}
	}
	return []string{
		"Ollama      curl -fsSL https://ollama.com/install.sh | sh && ollama pull qwen3:4b",
		"llama.cpp   brew install llama.cpp && lobstah up --model hf:ggml-org/gemma-3-4b-it-GGUF",
		"LM Studio   install it from https://lmstudio.ai, then: lms get qwen3-4b && lms server start",
	}
}

// bestModel is the one to try: not the demo if there is another, one that is in
// memory rather than one that has to be loaded, and none that only embeds.
func bestModel(models []grid.Model) (grid.Model, bool) {
	best, score := grid.Model{}, -1
	for _, m := range models {
		s := 0
		if !m.Demo {
			s += 4
		}
		if m.Loaded {
			s += 2
		}
		if embeds(m) {
			continue
		}
		if s > score {
			best, score = m, s
		}
	}
	return best, score >= 0
}

func embeds(m grid.Model) bool {
	for _, c := range m.Capabilities {
		if c == "completion" || c == "tools" || c == "vision" {
			return false
		}
	}
	return len(m.Capabilities) > 0 || strings.Contains(strings.ToLower(m.ID), "embed")
}

package gguf

import (
	"fmt"
	"slices"
	"strings"
)

// message is one turn of a conversation.
type message struct{ role, content string }

// template is a family of chat templates. It is recognised by marks in the file's
// own template, which is never run: what a file's template does beyond its family
// (a system prompt of its own, dates, tools) is left out.
type template struct {
	name string
	// matches reports whether a file's template (Jinja) is of this family.
	matches func(jinja string) bool
	// write puts the conversation into p, up to where the assistant speaks. eos is
	// the text of the token that ends a text.
	write func(p *passage, messages []message, eos string)
	roles []string // that messages may have
	eos   string
}

var (
	withoutTools = []string{"system", "user", "assistant"}
	withTools    = append(withoutTools, "tool")
)

var templates = []template{
	{name: "ChatML", matches: hasAll("<|im_start|>", "<|im_end|>"), write: writeChatML, roles: withTools},
	{name: "Llama 3", matches: hasAll("<|start_header_id|>", "<|end_header_id|>"), write: writeLlama3, roles: withTools},
	{name: "Llama 2", matches: hasAll("[INST]", "<<SYS>>"), write: writeLlama2, roles: withoutTools},
	{name: "Phi 3", matches: phi3, write: writePhi3, roles: withoutTools},
	{name: "plain marks", matches: hasAll("<|assistant|>", "<|end|>"), write: writePlain, roles: withTools},
	{name: "Zephyr", matches: hasAll("<|user|>", "eos_token"), write: writeZephyr, roles: withoutTools},
}

// readTemplate recognises the file's chat template. Without one it is ChatML, the
// custom of llama.cpp; nil means that it is of no known family.
func readTemplate(meta metadata, t *tokenizer) (*template, error) {
	jinja, err := meta.stringOr("tokenizer.chat_template", "")
	if err != nil {
		return nil, err
	}
	if jinja == "" {
		return &templates[0], nil
	}
	for _, family := range templates {
		if family.matches(jinja) {
			if t.eos >= 0 {
				family.eos = t.text[t.eos]
			}
			return &family, nil
		}
	}
	return nil, nil
}

func hasAll(marks ...string) func(string) bool {
	return func(jinja string) bool {
		for _, mark := range marks {
			if !strings.Contains(jinja, mark) {
				return false
			}
		}
		return true
	}
}

// phi3 tells Phi's turns, whose role stands on a line of its own, from plain ones.
func phi3(jinja string) bool {
	return strings.Contains(jinja, "<|end|>") && (strings.Contains(jinja, `<|user|>\n`) || strings.Contains(jinja, "'|>\\n'"))
}

// apply writes a conversation as the model wants to read it.
func (f *template) apply(messages []message) (*passage, error) {
	for i, m := range messages {
		if !slices.Contains(f.roles, m.role) {
			return nil, fmt.Errorf("messages[%d].role: the model's chat template (%s) has no role %.40q, only %s", i, f.name, m.role, strings.Join(f.roles, ", "))
		}
	}
	p := &passage{}
	f.write(p, messages, f.eos)
	return p, nil
}

func writeChatML(p *passage, messages []message, _ string) {
	for _, m := range messages {
		p.markup("<|im_start|>" + m.role + "\n")
		p.quote(m.content)
		p.markup("<|im_end|>\n")
	}
	p.markup("<|im_start|>assistant\n")
}

func writeLlama3(p *passage, messages []message, _ string) {
	for _, m := range messages {
		role := m.role
		if role == "tool" {
			role = "ipython" // Llama's name for what a tool returned
		}
		p.markup("<|start_header_id|>" + role + "<|end_header_id|>\n\n")
		p.quote(strings.TrimSpace(m.content))
		p.markup("<|eot_id|>")
	}
	p.markup("<|start_header_id|>assistant<|end_header_id|>\n\n")
}

// writeLlama2 puts the system's words into the first user's turn. Each later turn of
// the user begins a text anew; the first beginning is the tokenizer's.
func writeLlama2(p *passage, messages []message, eos string) {
	system := ""
	for i, m := range messages {
		content := strings.TrimSpace(m.content)
		switch m.role {
		case "system":
			system = content
		case "assistant":
			p.markup(" ")
			p.quote(content)
			p.markup(" " + eos)
		default:
			if i > 0 && messages[i-1].role == "assistant" {
				p.markup("<s>")
			}
			p.markup("[INST] ")
			if system != "" {
				p.markup("<<SYS>>\n")
				p.quote(system)
				p.markup("\n<</SYS>>\n\n")
				system = ""
			}
			p.quote(content)
			p.markup(" [/INST]")
		}
	}
}

func writePhi3(p *passage, messages []message, _ string) {
	for _, m := range messages {
		p.markup("<|" + m.role + "|>\n")
		p.quote(m.content)
		p.markup("<|end|>\n")
	}
	p.markup("<|assistant|>\n")
}

func writePlain(p *passage, messages []message, _ string) {
	for _, m := range messages {
		p.markup("<|" + m.role + "|>")
		p.quote(m.content)
		p.markup("<|end|>")
	}
	p.markup("<|assistant|>")
}

func writeZephyr(p *passage, messages []message, eos string) {
	for _, m := range messages {
		p.markup("<|" + m.role + "|>\n")
		p.quote(m.content)
		p.markup(eos + "\n")
	}
	p.markup("<|assistant|>\n")
}

// Package filter renders templates: text with placeholders such as {{title | truncate 40}}, filled in from an item.
//
// [Render] fills in a template, [RenderPlain] one without filters; [Lookup] follows the path of one placeholder. The filters are upper, lower, trim, string, truncate,
// replace, split, first, last, length, join, json, default, round and date, with JavaScript's rules for text, numbers and dates.
//
// Imported by flow/stdlib and flow/workflow; imports flow/value. Templates and items are hostile: rendering takes time
// proportional to both, and its result is capped at [MaxOutput]. Nothing here keeps state.
package filter

import (
	"regexp"
	"strings"

	"lobstah/flow/value"
)

// MaxOutput caps the text that one template renders to, in bytes.
const MaxOutput = 64 << 20

var placeholder = regexp.MustCompile(`\{\{([^}]+)\}\}`)

// Render fills the placeholders of text in from item. The error names an unknown filter.
func Render(text string, item value.Value) (string, error) {
	return fill(text, func(expr string) (string, error) {
		v, err := evaluate(expr, item)
		return show(v), err
	})
}

// RenderPlain fills in a template that has no filters, as fields of `map` are: numbers are JSON there, too.
func RenderPlain(text string, item value.Value) (string, error) {
	return fill(text, func(expr string) (string, error) {
		v := Lookup(item, value.Trim(expr))
		if v.IsNullish() {
			return "", nil
		}
		return v.Plain(), nil
	})
}

func fill(text string, with func(expr string) (string, error)) (string, error) {
	var b strings.Builder
	end := 0
	for _, at := range placeholder.FindAllStringSubmatchIndex(text, -1) {
		shown, err := with(text[at[2]:at[3]])
		if err != nil {
			return "", err
		}
		if b.Len()+len(shown) > MaxOutput {
			return "", errTooLarge
		}
		b.WriteString(text[end:at[0]])
		b.WriteString(shown)
		end = at[1]
	}
	b.WriteString(text[end:])
	return b.String(), nil
}

func show(v value.Value) string {
	switch v.Kind() {
	case value.KindUndefined, value.KindNull:
		return ""
	case value.KindList, value.KindObject:
		return v.JSON()
	}
	return value.Text(v)
}

func evaluate(expr string, item value.Value) (value.Value, error) {
	parts := splitBars(expr)
	v := Lookup(item, value.Trim(parts[0]))
	for _, part := range parts[1:] {
		var err error
		if v, err = Apply(v, value.Trim(part)); err != nil {
			return value.Undefined, err
		}
	}
	return v, nil
}

// Lookup follows a path: "." and "this" are the item itself, the parts between dots are fields, indices or length.
func Lookup(item value.Value, path string) value.Value {
	if path == "." || path == "this" {
		return item
	}
	for part := range strings.SplitSeq(path, ".") {
		if part == "" {
			continue
		}
		if item.IsNullish() {
			return value.Undefined
		}
		item = item.Property(part)
	}
	return item
}

// splitBars splits an expression at the bars outside quotes.
func splitBars(expr string) []string {
	var parts []string
	start, quote := 0, byte(0)
	for i := 0; i < len(expr); i++ {
		switch c := expr[i]; {
		case quote != 0 && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '|':
			parts = append(parts, expr[start:i])
			start = i + 1
		}
	}
	return append(parts, expr[start:])
}

// callWords splits a filter call at blanks into its name and arguments. A word that begins with a quote ends with it; a backslash within
// protects the next character.
func callWords(call string) []string {
	var words []string
	for call = strings.TrimLeft(call, " "); call != ""; call = strings.TrimLeft(call, " ") {
		var word string
		if call[0] == '"' || call[0] == '\'' {
			word, call = quotedWord(call)
		} else {
			word, call, _ = strings.Cut(call, " ")
		}
		words = append(words, word)
	}
	return words
}

// quotedWord cuts the quoted word off the front of a call.
func quotedWord(call string) (word, rest string) {
	var b []byte
	quote, i := call[0], 1
	for ; i < len(call) && call[i] != quote; i++ {
		if call[i] == '\\' && i+1 < len(call) {
			i++
		}
		b = append(b, call[i])
	}
	return string(b), call[min(i+1, len(call)):]
}

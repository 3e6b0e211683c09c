package native

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"lobstah/internal/durable"
	"lobstah/mesh/tool"
)

type replacement struct {
	OldText string `json:"oldText"`
	NewText string `json:"newText"`
}

// editArgs take a list of edits, or one beside the path as older callers send it.
type editArgs struct {
	Path    string        `json:"path"`
	Edits   []replacement `json:"edits,omitempty"`
	OldText string        `json:"oldText,omitempty"`
	NewText string        `json:"newText,omitempty"`
}

const (
	maxEdits = 1000
	maxFile  = 4 << 20 // bytes of a file that is edited
)

func (t *Tools) edit(_ context.Context, call *tool.Call, _ tool.Progress) (*tool.Result, error) {
	var args editArgs
	if err := tool.ReadArgs(call.Args, &args); err != nil {
		return nil, err
	}
	if args.OldText != "" {
		args.Edits = append(args.Edits, replacement{args.OldText, args.NewText})
	}
	if len(args.Edits) == 0 || len(args.Edits) > maxEdits {
		return nil, tool.Errorf(tool.CodeArguments, "%d edits; want 1 to %d", len(args.Edits), maxEdits)
	}
	line := 0
	err := t.beneath(call.Grant, args.Path, func(root *os.Root, rel string) error {
		t.writing.Lock()
		defer t.writing.Unlock()
		old, err := wholeText(root, rel)
		if err != nil {
			return err
		}
		changed, at, err := apply(old, args.Edits)
		if err != nil {
			return tool.Errorf(tool.CodeArguments, "edit %s: %s", args.Path, err)
		}
		line = 1 + bytes.Count(old[:at], []byte("\n"))
		perm, _, err := replaceable(root, rel)
		if err != nil {
			return err
		}
		return fileError(rel, durable.WriteIn(root, rel, changed, perm))
	})
	if err != nil {
		return nil, err
	}
	what := "one text"
	if n := len(args.Edits); n != 1 {
		what = fmt.Sprintf("%d texts", n)
	}
	return tool.Text(fmt.Sprintf("replaced %s in %s", what, args.Path), map[string]any{"changed": true, "firstChangedLine": line})
}

func wholeText(root *os.Root, rel string) ([]byte, error) {
	file, info, err := openRegular(root, rel)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	switch {
	case err != nil:
		return nil, fileError(rel, err)
	case len(data) > maxFile:
		return nil, tool.Errorf(tool.CodeArguments, "%s has %d bytes; at most %d can be edited", rel, info.Size(), maxFile)
	case binary(data):
		return nil, tool.Errorf(tool.CodeArguments, "%s is no UTF-8 text", rel)
	}
	return data, nil
}

// apply makes all replacements or none. Each old text is looked for in the text as
// it was, has to occur once, and may not overlap another. Line feeds stand for
// the line ends of the file. at is where the first change begins.
func apply(text []byte, edits []replacement) (changed []byte, at int, err error) {
	spans := make([]span, len(edits))
	for i, e := range edits {
		if spans[i], err = find(text, e); err != nil {
			return nil, 0, fmt.Errorf("edit %d: %w", i+1, err)
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return a.begin - b.begin })
	end := 0
	for i, s := range spans {
		if i > 0 && s.begin < end {
			return nil, 0, fmt.Errorf("two edits overlap at byte %d", s.begin)
		}
		changed = append(append(changed, text[end:s.begin]...), s.text...)
		end = s.end
	}
	return append(changed, text[end:]...), spans[0].begin, nil
}

type span struct {
	begin, end int
	text       string
}

func find(text []byte, e replacement) (span, error) {
	if e.OldText == "" {
		return span{}, fmt.Errorf("oldText is empty")
	}
	n := bytes.Count(text, []byte(e.OldText))
	if n == 0 && bytes.Contains(text, []byte("\r\n")) {
		e = replacement{windowsLines(e.OldText), windowsLines(e.NewText)}
		n = bytes.Count(text, []byte(e.OldText))
	}
	begin := bytes.Index(text, []byte(e.OldText))
	switch {
	case n == 0:
		return span{}, fmt.Errorf("oldText does not occur: %.80q", e.OldText)
	case bytes.Contains(text[begin+1:], []byte(e.OldText)):
		return span{}, fmt.Errorf("oldText occurs more than once: add what stands around it: %.80q", e.OldText)
	}
	return span{begin, begin + len(e.OldText), e.NewText}, nil
}

func windowsLines(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\n", "\r\n")
}

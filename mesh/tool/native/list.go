package native

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"lobstah/mesh/tool"
)

const maxEntries = 1000 // of a folder, unless asked for less

type listArgs struct {
	Path  string `json:"path,omitempty"`
	Limit int    `json:"limit,omitempty"`
}

type listed struct {
	Name    string    `json:"name"`
	Type    string    `json:"type"` // file, folder, link, other
	Bytes   int64     `json:"bytes,omitempty"`
	Changed time.Time `json:"changed"`
}

func (t *Tools) list(_ context.Context, call *tool.Call, _ tool.Progress) (*tool.Result, error) {
	var args listArgs
	if err := tool.ReadArgs(call.Args, &args); err != nil {
		return nil, err
	}
	if args.Limit < 0 || args.Limit > maxEntries {
		return nil, tool.Errorf(tool.CodeArguments, "limit is %d; it may be 1 to %d", args.Limit, maxEntries)
	}
	if args.Limit == 0 {
		args.Limit = maxEntries
	}
	if args.Path == "" {
		args.Path = "."
	}
	var entries []listed
	more := false
	err := t.beneath(call.Grant, args.Path, func(root *os.Root, rel string) (err error) {
		entries, more, err = listFolder(root, rel, args.Limit)
		return err
	})
	if err != nil {
		return nil, err
	}
	var text strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&text, "%s\n", e.Name+map[string]string{"folder": "/", "link": "@"}[e.Type])
	}
	if more {
		text.WriteString("[there are more]\n")
	}
	return tool.Text(text.String(), map[string]any{"entries": entries, "more": more})
}

// listFolder returns the first entries of a folder, sorted.
func listFolder(root *os.Root, rel string, limit int) (entries []listed, more bool, err error) {
	file, err := root.OpenFile(rel, os.O_RDONLY|openFlags, 0)
	if err != nil {
		return nil, false, fileError(rel, err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, false, fileError(rel, err)
	}
	if !info.IsDir() {
		return nil, false, tool.Errorf(tool.CodeArguments, "%s is no folder", rel)
	}
	found, err := file.ReadDir(limit + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, false, fileError(rel, err)
	}
	if more = len(found) > limit; more {
		found = found[:limit]
	}
	entries = []listed{}
	for _, d := range found {
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, false, fileError(rel, err)
		}
		entries = append(entries, entryOf(info))
	}
	slices.SortFunc(entries, func(a, b listed) int { return cmp.Compare(a.Name, b.Name) })
	return entries, more, nil
}

func entryOf(info fs.FileInfo) listed {
	e := listed{Name: info.Name(), Type: "other", Changed: info.ModTime().UTC()}
	switch mode := info.Mode(); {
	case mode.IsRegular():
		e.Type, e.Bytes = "file", info.Size()
	case mode.IsDir():
		e.Type = "folder"
	case mode&fs.ModeSymlink != 0:
		e.Type = "link"
	}
	return e
}

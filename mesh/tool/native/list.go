package native

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"

	"lobstah/mesh/tool"
)

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

package native

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"lobstah/internal/durable"
	"lobstah/mesh/tool"
)

type writeArgs struct {
	Path     string  `json:"path"`
	Content  *string `json:"content"`
	Encoding string  `json:"encoding,omitempty"`
}

func (t *Tools) write(_ context.Context, call *tool.Call, _ tool.Progress) (*tool.Result, error) {
	var args writeArgs
	if err := tool.ReadArgs(call.Args, &args); err != nil {
		return nil, err
	}
	if args.Content == nil {
		return nil, tool.Errorf(tool.CodeArguments, "write wants content")
	}
	data, err := decode(*args.Content, args.Encoding)
	if err != nil {
		return nil, err
	}
	created := false
	err = t.beneath(call.Grant, args.Path, func(root *os.Root, rel string) error {
		t.writing.Lock()
		defer t.writing.Unlock()
		perm, isNew, err := replaceable(root, rel)
		if err != nil {
			return err
		}
		created = isNew
		if err := root.MkdirAll(filepath.Dir(rel), 0o755); err != nil {
			return fileError(filepath.Dir(rel), err)
		}
		return fileError(rel, durable.WriteIn(root, rel, data, perm))
	})
	if err != nil {
		return nil, err
	}
	return tool.Text(fmt.Sprintf("wrote %d bytes to %s", len(data), args.Path), map[string]any{"changed": true, "created": created, "bytes": len(data)})
}

func decode(content, encoding string) ([]byte, error) {
	switch encoding {
	case "", "utf-8":
		return []byte(content), nil
	case "base64":
		data, err := base64.StdEncoding.DecodeString(content)
		if err != nil {
			return nil, tool.Errorf(tool.CodeArguments, "content is no base64: %s", err)
		}
		return data, nil
	}
	return nil, tool.Errorf(tool.CodeArguments, "encoding is utf-8 or base64, not %q", encoding)
}

// replaceable tells the permissions that a file keeps, or gets when it is new.
// A symbolic link would be replaced by a file, so it is refused.
func replaceable(root *os.Root, rel string) (perm fs.FileMode, created bool, err error) {
	info, err := root.Lstat(rel)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0o644, true, nil
	case err != nil:
		return 0, false, fileError(rel, err)
	case info.Mode()&fs.ModeSymlink != 0:
		return 0, false, tool.Errorf(tool.CodePath, "%s is a symbolic link: name the file that it points to", rel)
	case !info.Mode().IsRegular():
		return 0, false, tool.Errorf(tool.CodeArguments, "%s is no regular file", rel)
	case info.Mode().Perm()&0o222 == 0:
		return 0, false, tool.Errorf(tool.CodePath, "%s is read-only", rel)
	}
	return info.Mode().Perm(), false, nil
}

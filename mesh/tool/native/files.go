package native

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"lobstah/mesh/tool"
)

// locate finds the root of a path and makes the folder of the node itself when it
// is the one that is granted.
func (t *Tools) locate(grant tool.Grant, path string) (root, rel string, err error) {
	root, rel, err = grant.Locate(path)
	if err == nil && root == t.cfg.Work {
		err = os.MkdirAll(root, 0o700)
	}
	return root, rel, err
}

// beneath opens the root of a path and does something with it and the path in it.
func (t *Tools) beneath(grant tool.Grant, path string, do func(root *os.Root, rel string) error) error {
	dir, rel, err := t.locate(grant, path)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fileError(dir, err)
	}
	defer root.Close()
	return do(root, rel)
}

// fileError says what is wrong with a path. That a link leads out of the root is
// told as what it is.
func fileError(path string, err error) error {
	if pathError, ok := errors.AsType[*os.PathError](err); ok {
		err = pathError.Err // whose text knows no names
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return tool.Errorf(tool.CodeArguments, "%s does not exist", path)
	case errors.Is(err, fs.ErrPermission):
		return tool.Errorf(tool.CodePath, "%s may not be opened by the user of this node", path)
	case strings.Contains(err.Error(), "escapes"):
		return tool.Errorf(tool.CodePath, "%s leads out of the folders that are granted to you here, by a symbolic link", path)
	}
	if _, ok := errors.AsType[*tool.Error](err); ok {
		return err
	}
	return tool.Errorf(tool.CodeFailed, "%s: %s", path, err)
}

// openRegular opens a regular file to read. Pipes, devices and folders are not.
func openRegular(root *os.Root, rel string) (*os.File, fs.FileInfo, error) {
	file, err := root.OpenFile(rel, os.O_RDONLY|openFlags, 0)
	if err != nil {
		return nil, nil, fileError(rel, err)
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = tool.Errorf(tool.CodeArguments, "%s is no regular file", rel)
	}
	if err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	return file, info, nil
}
